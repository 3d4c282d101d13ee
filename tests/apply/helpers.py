"""A small mixed repository, runs of real commands in it, and what must hold after."""

import importlib
import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from nixsecrets.cli.main import run
from nixsecrets.errors import IdentityError
from nixsecrets.files.age import operations as age_operations
from nixsecrets.files.kind import looks_like_age
from nixsecrets.files.sops import datakey, metadata, opening
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.keys.identities import Identity, parse_identities
from nixsecrets.repo.fsops import FileOps
from tests.fleet import Fleet, forget_runs, make_fleet, ssh_key
from tests.repo.helpers import in_child, installed

RULES = """
[sops]
config = ".sops.yaml"
[agenix]
rules = "secrets/secrets.nix"

[[secrets]]
path = "secrets/**"
readers = ["servers"]
"""
SECRETS = {
    "secrets/wifi.age": "canary-wifi\n",
    "secrets/armored.age": "canary-armored\n",
    "secrets/dns.yaml": "dns:\n    key: canary-dns\n",
    "secrets/web/app.json": '{\n\t"password": "canary-app"\n}\n',
}
CANARY = b"canary-"
NEW_HOST = "stein"
LEAVES = "schere"
STAYS = "brunnen"
COMMANDS = {
    "add-host": ("add-host", NEW_HOST, "--group", "servers", "--yes", "--key"),
    "remove-host": ("remove-host", LEAVES, "--yes"),
}


@dataclass
class Sample:
    """The repository, the bytes it starts from, and who is who.

    `readers` are the identities of all hosts and of alice, by name.
    """

    fleet: Fleet
    start: dict[str, bytes] = field(repr=False)
    readers: dict[str, Identity]
    private: Path

    def command(self, name: str) -> list[str]:
        """Return the arguments of one of `COMMANDS`."""
        words = [*COMMANDS[name]]
        return [*words, new_key()] if name == "add-host" else words

    def expected(self, name: str) -> dict[str, set[str]]:
        """Return who reads everything before and after a command."""
        before = {"alice", STAYS, LEAVES}
        after = before | {NEW_HOST} if name == "add-host" else before - {LEAVES}
        return {"before": before, "after": after}

    def reset(self) -> None:
        """Bring the tree back to its start, and forget every earlier run."""
        for path, data in self.snapshot().items():
            if self.start.get(path) != data:
                (self.fleet.root / path).unlink()
        for path, data in self.start.items():
            place = self.fleet.root / path
            place.parent.mkdir(exist_ok=True, parents=True)
            if not place.exists():
                place.write_bytes(data)
        forget_runs(self.fleet.root, self.fleet.env)

    def snapshot(self) -> dict[str, bytes]:
        """Return every file of the tree."""
        return self.fleet.snapshot()

    def run(self, *args: str, ops: FileOps | None = None) -> tuple[int, str]:
        """Run a command in a process of its own; return exit code and what it said."""
        said = self.fleet.home / "said"
        said.write_text("")

        def body() -> None:
            os.environ.clear()
            os.environ.update(self.fleet.env)
            os.chdir(self.fleet.root)
            with (
                said.open("w") as talk,
                Path(os.devnull).open() as nothing,
                redirect_stderr(talk),
                redirect_stdout(io.StringIO()),
                installed(ops or FileOps()),
            ):
                sys.stdin = nothing
                try:
                    run(list(args))
                except SystemExit as end:
                    talk.flush()
                    os._exit(int(end.code or 0))

        code = in_child(body)
        return code, said.read_text()

    def ok(self, *args: str) -> str:
        """Run a command that must succeed; return what it said."""
        code, said = self.run(*args)
        assert code == 0, said
        return said

    def opens(self, path: str, name: str) -> bool:
        """Return whether a reader's private key opens a secret with its content."""
        data = self.fleet.read(path)
        identity = self.readers[name]
        try:
            if looks_like_age(data):
                assert (
                    age_operations.decrypt(data, [identity]).decode() == SECRETS[path]
                )
                return True
            key = datakey.data_key(metadata.parse(path, data), [identity])
        except IdentityError:
            return False
        assert self._content(path, data, key) == SECRETS[path]
        return True

    def _content(self, path: str, data: bytes, key: bytes) -> str:
        """Return what real sops decrypts (once for the same bytes)."""
        known = _decrypted.get(data)
        if known is None:
            sops = SopsProgram.find(self.fleet.env)
            workdir = self.fleet.home
            file = metadata.parse(path, data)
            known = opening.decrypt_with_key(file, key, sops=sops, workdir=workdir)
            _decrypted[data] = known
        return known.decode()

    def assert_nobody_lost(self, name: str) -> None:
        """Every secret opens for alice and for who reads it both before and after."""
        both = self.expected(name)
        for path in SECRETS:
            if self.fleet.read(path) != self.start[path]:
                for reader in both["before"] & both["after"]:
                    assert self.opens(path, reader), f"{path} is lost to {reader}"

    def assert_readers(self, names: set[str]) -> None:
        """Exactly `names` open every secret."""
        for path in SECRETS:
            assert {n for n in self.readers if self.opens(path, n)} == names

    def assert_no_plaintext(self) -> None:
        """No file below the test's folder, which is on a disk, holds plaintext."""
        base = self.fleet.root.parent
        found = [p for p in base.rglob("*") if p.is_file() and CANARY in p.read_bytes()]
        assert found == []


# Loaded before a run is forked, not in each run anew.
for _module in (
    "cryptography.hazmat.primitives.asymmetric.x25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "pyrage",
    "ruamel.yaml",
    "nixsecrets.cli.commands.add_host",
    "nixsecrets.cli.commands.remove_host",
    "nixsecrets.cli.commands.sync",
):
    importlib.import_module(_module)

_decrypted: dict[bytes, bytes] = {}


def new_key() -> str:
    """Return the public key of the host that is to come."""
    return ssh_key(f"host {NEW_HOST}").public


def make_sample(base: Path, private: Path) -> Sample:
    """Build the repository with the real program; `private` is a memory folder."""
    fleet = make_fleet(base, hosts=(STAYS, LEAVES))
    fleet.env["XDG_RUNTIME_DIR"] = str(private)
    fleet.env["TMPDIR"] = str(base)
    fleet.write_map(f'[groups]\nservers = ["{STAYS}", "{LEAVES}"]\n' + RULES)
    armored = 'path = "secrets/armored.age"\nreaders = ["servers"]\narmor = true\n'
    text = fleet.read("nixsecrets.toml").decode()
    text = text.replace(
        "[[secrets]]\n", "[[secrets]]\n" + armored + "\n[[secrets]]\n", 1
    )
    fleet.write("nixsecrets.toml", text)
    content = private / "content"
    fleet.env["EDITOR"] = f"cp {content}"
    for path, plaintext in SECRETS.items():
        content.write_text(plaintext)
        fleet.ok("edit", path)
    content.unlink()
    fleet.ok("sync")
    fleet.ok("check")
    fleet.commit()
    readers = {name: _identity(fleet, name) for name in ("alice", STAYS, LEAVES)}
    readers[NEW_HOST] = _parsed(ssh_key(f"host {NEW_HOST}").private)
    return Sample(fleet, fleet.snapshot(), readers, private)


def _identity(fleet: Fleet, name: str) -> Identity:
    key = fleet.hosts.get(name) or fleet.users[name]
    return _parsed(key.private)


def _parsed(private: str) -> Identity:
    (identity,) = parse_identities(private.encode(), "test").identities
    return identity
