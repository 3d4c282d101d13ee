"""Real secrets of every kind, made once per process by the real programs."""

import dataclasses
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.findings.guard import commit
from nixsecrets.findings.guard.judge import Judge
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.keys.sopsoptions import SELECTION
from tests.files.agekeys import age_encrypts, passphrase_file
from tests.files.sopsfiles import encrypt
from tests.fleet import age_key, rsa_key, sops_path, ssh_key

YAML = b"""# comment secret
plain: hunter2
number: 5
nested:
    # secret
    deep: sesame
    list:
        - one
        # note
        - two: three
    other: -1.5
text: |
    many
    lines

    here
flag: true
empty: ""
none: null
nothing: {}
open_unencrypted: public
"with space": 'single'
"""
MANY = b"a: hunter2\n---\nb: sesame\nc_unencrypted: x\n---\n# only a comment\nd: e\n"
JSON = b"""{"plain": "hunter2", "number": 5, "nested": {"deep": ["sesame", 1.5,
  {"x": true}], "nothing": null, "empty": ""}, "open_unencrypted": "public"}"""
ENV = b"# secret\nPLAIN=hunter2\n\n# note\nTWO=two words = x\nopen_unencrypted=y\nE=\n"
INI = (
    b"top = hunter2\n; secret\n[one]\n; secret\nplain = sesame\nnext = 5\n\n"
    b"[two]\nopen_unencrypted = public\nlast = x\n"
)
CONTENTS = {
    "a.yaml": YAML,
    "many.yaml": MANY,
    "a.yml": b"a: hunter2\n",
    "a.json": JSON,
    "a.env": ENV,
    "a.ini": INI,
    "a.bin": b"hunter2\n\x00\xff",
    "noextension": b"hunter2\n",
}
OPTIONS = (
    "",
    "unencrypted_suffix: _open",
    "encrypted_suffix: _unencrypted",
    "encrypted_regex: ^(plain|PLAIN|top|one|a)$",
    "unencrypted_regex: '^(number|TWO|two|c)'",
    "encrypted_comment_regex: secret",
    "unencrypted_comment_regex: secret",
    "mac_only_encrypted: true",
    "encrypted_regex: '(?i)PLAIN|^[[:alpha:]]$'",
)


@cache
def recipients() -> tuple[str, ...]:
    """An X25519, an ssh-ed25519 and an ssh-rsa key."""
    return age_key().public, ssh_key("guard").public, rsa_key().public


def sops_programs() -> Iterator[str]:
    """The packaged sops, and the reference one where it is at hand."""
    yield sops_path()
    reference = Path(os.environ.get("NIXSECRETS_REFERENCE_BIN", "")) / "sops"
    if reference.is_file():
        yield str(reference)


@cache
def sops_files() -> Mapping[str, bytes]:
    """Valid sops files: formats, options, versions, numbers of recipients."""
    made: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for program, (number, option) in itertools.product(
            sops_programs(), enumerate(OPTIONS)
        ):
            keys = ",".join(recipients()[: 1 + number % 3])
            rule = f"  - age: '{keys}'\n" + (f"    {option}\n" if option else "")
            (folder / ".sops.yaml").write_text("creation_rules:\n" + rule)
            for path, content in CONTENTS.items():
                sops = SopsProgram(Path(program), dict(os.environ))
                data = encrypt(sops, path, content, [], folder)
                if b"hunter2" in data and b"ENC[" not in data.split(b"sops", 1)[0]:
                    continue  # the options select nothing of this content
                made[f"{len(made)}/{path}"] = data
    return made


@cache
def age_files() -> Mapping[str, bytes]:
    """Valid age files: recipients, armor, sizes; by age and by pyrage."""
    import pyrage

    keys = [parse_recipient(text) for text in recipients()]
    made: dict[str, bytes] = {}
    sizes = (0, 1, 47, 48, 1000, 65536, 65537, 200_000)
    for size, armored, count in itertools.product(sizes, (False, True), (1, 2, 3)):
        data = age_encrypts(os.urandom(size), *keys[:count], armored=armored)
        made[f"{len(made)}/x.age"] = data
    own = pyrage.x25519.Identity.generate().to_public()
    made["rage/x.age"] = pyrage.encrypt(b"hunter2", [own])
    made["scrypt/x.age"] = passphrase_file(b"hunter2", "correct horse")
    return made


@dataclass(frozen=True)
class Blob:
    """A file of a commit that exists in memory only."""

    path: str
    data: bytes = field(repr=False)
    mode: str = "100644"

    @property
    def oid(self) -> str:
        return self.path

    @property
    def regular(self) -> bool:
        return self.mode != "120000"

    @property
    def link(self) -> bool:
        return self.mode == "120000"

    @property
    def new(self) -> "Blob":
        return self

    @property
    def old(self) -> None:
        return None


class Memory:
    """A tree in memory, as the guard wants one."""

    def __init__(self, blobs: list[Blob]) -> None:
        self.blobs = {blob.path: blob for blob in blobs}

    def lookup(self, paths: Sequence[str]) -> dict[str, Blob]:
        wanted = set(paths)
        return {p: b for p, b in self.blobs.items() if p in wanted}

    def below(self, folders: Sequence[str]) -> list[Blob]:
        return [
            blob for blob in self.everything() if blob.path.startswith(tuple(folders))
        ]

    def everything(self) -> list[Blob]:
        return list(self.blobs.values())

    def read(self, blobs: Sequence[commit.Blob]) -> Iterator[bytes]:
        return (self.blobs[b.oid].data for b in blobs)


def judged(files: list[Blob], rule: str | None = None) -> dict[str, set[str]]:
    """Commit files that must be encrypted; return codes by path.

    Each under a rule with the options that it records, if there is no other.
    """
    owner = f'version = 1\nalways = ["a"]\n[users.a]\nkeys = ["{recipients()[0]}"]\n'
    folders: dict[str, int] = {}
    placed: dict[str, Blob] = {}
    for blob in files:
        options = _recorded(blob) if rule is None else rule
        number = folders.setdefault(options, len(folders))
        path = f"{number}/{blob.path}"
        placed[path] = dataclasses.replace(blob, path=path)
    rules = "".join(
        f'[[secrets]]\npath = "{number}/**"\nreaders = ["a"]\n{options}\n'
        for options, number in folders.items()
    )
    blobs = list(placed.values())
    tree = Memory([Blob("nixsecrets.toml", (owner + rules).encode()), *blobs])
    found: dict[str, set[str]] = {}
    for finding in Judge(tree).findings(blobs):
        path = finding.path.partition("/")[2]
        found.setdefault(path, set()).add(finding.code.value)
    return found


def _recorded(blob: Blob) -> str:
    """The line of a rule with the options that a file records, or sops' own."""
    try:
        options = dict(metadata.parse(blob.path, blob.data).options)
    except SecretFileError:
        options = {}
    if not options.keys() & set(SELECTION):
        options["unencrypted_suffix"] = "_unencrypted"
    values = (f"{name} = {json.dumps(value)}" for name, value in options.items())
    return f"sops = {{ {', '.join(values)} }}"


@cache
def sops_with(encrypted_regex: str) -> bytes:
    """The YAML sample with one selection option, or none."""
    option = ("--encrypted-regex", encrypted_regex) if encrypted_regex else ()
    with tempfile.TemporaryDirectory() as folder:
        sops = SopsProgram(Path(sops_path()), dict(os.environ))
        keys = recipients()[:1]
        return encrypt(sops, "a.yaml", YAML, keys, Path(folder), *option)
