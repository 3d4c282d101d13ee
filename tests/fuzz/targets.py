"""What is fuzzed: each reader of foreign bytes, as a function that fails only on a bug.

A refusal (`NixsecretsError`) is right; what is accepted must survive being written
again.  Used by `make fuzz` (atheris) and, on hostile megabytes, by the tests.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import shape
from nixsecrets.files.age import state as age_state
from nixsecrets.files.faults import faults
from nixsecrets.files.kind import looks_like_sops
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops import state as sops_state
from nixsecrets.files.state import Actual
from nixsecrets.findings.guard.privatekeys import private_keys
from nixsecrets.generated import blocks, sopsyaml
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.map import edit
from nixsecrets.map.load import load
from nixsecrets.map.resolve import Policy
from nixsecrets.splice import apply_edits
from tests.files import sopsfiles
from tests.files.agekeys import age_encrypts, encode_header
from tests.fleet import PROJECT, SHARED, ssh_key

Target = Callable[[bytes], None]

_BOOK = KeyBook([])
_ENC = "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n-----END AGE ENCRYPTED FILE-----\n"
_LABEL = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
_KEY = ssh_key("fuzz").public
_MAP = f"""version = 1
always = ["a"]
[users.a]
keys = ["{_KEY}"]
[sops]
config = ".sops.yaml"
[[secrets]]
path = "secrets/*.yaml"
readers = ["a"]
"""


def age(data: bytes) -> None:
    """An age file, armored or not: what is read is written back the same."""
    age_state.interpret("x.age", "", shape.look(data), _BOOK, None)
    try:
        file = age_header.parse(data)
    except NixsecretsError:
        return
    header = encode_header(file.stanzas)
    assert header == file.header
    again = age_header.encode(header, file.mac, file.payload, armored=file.armored)
    if file.armored:
        assert age_header.parse(again) == file
    else:
        assert again == data


def armor(data: bytes) -> None:
    """Bytes between the lines of armor."""
    begin = b"-----BEGIN AGE ENCRYPTED FILE-----\n"
    age(begin + data + b"-----END AGE ENCRYPTED FILE-----\n")


def _sops(path: str) -> Target:
    def target(data: bytes) -> None:
        looks_like_sops(path, data)
        found = sops_state.read_actual(path, data, _BOOK)
        if not isinstance(found, Actual):
            return
        file = metadata.parse(path, data)
        if not (file.entries and file.agree):
            return
        edits = [e for block in file.blocks for e in block.append([(_LABEL, _ENC)])]
        text = apply_edits(file.text, edits).encode("utf-8", "surrogateescape")
        labels = [entry.label for entry in metadata.parse(path, text).entries]
        assert labels == [*(entry.label for entry in file.entries), _LABEL]

    return target


def toml(data: bytes) -> None:
    """A map: what loads can be edited, and loads again with one host more."""
    text = data.decode("utf-8", "replace")
    try:
        before = load(text)
        after = edit.add_host(text, "fuzz-host", [parse_recipient(_KEY)], groups=["g"])
    except NixsecretsError:
        return
    hosts = {host.name for host in before.hosts}
    assert {host.name for host in load(after).hosts} == hosts | {"fuzz-host"}


def config(data: bytes) -> None:
    """A `.sops.yaml`: blocks go in, foreign lines stay, twice is once."""
    policy = Policy(load(_MAP))
    text = data.decode("utf-8", "replace")
    try:
        once = sopsyaml.render(policy, text)
    except NixsecretsError:
        return
    assert sopsyaml.render(policy, once) == once
    foreign = iter(blocks.take_out(once, "config")[0].split("\n"))
    for line in blocks.take_out(text, "config")[0].split("\n"):
        assert line.strip() in _EMPTY or any(line == kept for kept in foreign), line


# blanks may go where nothing else is; an empty list that is filled looks otherwise
_EMPTY = ("", "keys: []", "creation_rules: []", "keys:", "creation_rules:")
_LINES = """\
keys:
  - &a age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  - &b age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg
- &c x
  # nixsecrets: begin
  # nixsecrets: end
# nixsecrets: begin
# nixsecrets: end
creation_rules:
  - path_regex: ^secrets/a\\.yaml$
  - path_regex: .*
  - age: x
- path_regex: x
    age: *a
    age: >-
      age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p,
      age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg
  age: *b
    key_groups:
      - age: [*a, *b]
      - age:
          - *a
        pgp: []
    key_groups: []
    <<: *d
  - &d {path_regex: "x", age: *a}
  - {path_regex: y, age: z} # note
stores:
  yaml:
    indent: 2
destination_rules: []

---
...
# a comment
    # another
  # third
\t- x
keys: []
creation_rules: []
creation_rules: [{age: x}]
keys: {a: &a x}
"keys":
? keys
: - x
%YAML 1.1
\ufeffkeys:
  - |
    text: b
creation_rules: # end
keys:\r
"""
_PARTS = _LINES.split("\n")


def config_lines(data: bytes) -> None:
    """A `.sops.yaml` of likely lines in any order: most of the bytes would be none."""
    lines = (_PARTS[byte % len(_PARTS)] for byte in data[:40])
    end = "\r\n" if data[:1] > b"\xf0" else "\n"
    config((end.join(lines) + (end if len(data) % 2 else "")).encode())


def guard(data: bytes) -> None:
    """A secret of any format, as the guard looks at it: faults, and nothing else."""
    kinds = _in_order()
    path = kinds[data[0] % len(kinds)] if data else "x.age"
    for fault in faults(path, data[1:]):
        assert fault.message


def keys(data: bytes) -> None:
    """Any file: private keys are told with a line that it has."""
    for path in ("x", "wg/private"):
        for found in private_keys(path, data):
            assert 1 <= found.line <= data.count(b"\n") + 1


def lock(data: bytes) -> None:
    """A lock: what is read is written, and read again the same."""
    try:
        text = Lock.parse(data.decode("utf-8", "replace"), "lock").render()
    except NixsecretsError:
        return
    assert Lock.parse(text, "lock").render() == text


TARGETS: dict[str, Target] = {
    "age": age,
    "armor": armor,
    "sops-yaml": _sops("x.yaml"),
    "sops-json": _sops("x.json"),
    "sops-dotenv": _sops("x.env"),
    "sops-ini": _sops("x.ini"),
    "sops-binary": _sops("x.bin"),
    "map": toml,
    "config": config,
    "config-lines": config_lines,
    "lock": lock,
    "guard": guard,
    "private-keys": keys,
}

_SEEDS = {
    "age": ("secrets/**/*.age",),
    "sops-yaml": ("secrets/**/*.yaml",),
    "map": ("nixsecrets.toml", "**/nixsecrets.toml"),
    "config": (".sops.yaml.example", "**/.sops.yaml"),
    "lock": ("nixsecrets.lock", "**/nixsecrets.lock"),
}
_FORMATS = {
    "sops-yaml": "s.yaml",
    "sops-json": "s.json",
    "sops-dotenv": "s.env",
    "sops-ini": "s.ini",
    "sops-binary": "s.bin",
}


@cache
def _encrypted() -> Mapping[str, bytes]:
    """One file of each format, by the real programs."""
    key = parse_recipient(_KEY)
    made = {"x.age": age_encrypts(b"x" * 100, key)}
    with tempfile.TemporaryDirectory() as folder:
        for name, plain in sopsfiles.PLAIN.items():
            made[name] = sopsfiles.encrypt(
                sopsfiles.old_sops(), name, plain, [_KEY, _LABEL], Path(folder)
            )
    return made


def _private() -> Iterator[bytes]:
    """Yield private keys of a few kinds, which open nothing."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed25519

    from tests.findings.keysamples import age_identities, putty, wireguard

    pkcs8 = (form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    yield ed25519.Ed25519PrivateKey.generate().private_bytes(*pkcs8)
    yield ssh_key("fuzz").private.encode()
    yield from (text.encode() for text in age_identities().values())
    yield putty(3).encode()
    yield f"PrivateKey = {wireguard()}\n".encode()
    yield ssh_key("fuzz").private.encode("utf-16")


def seeds(name: str) -> Iterator[bytes]:
    """Yield real files for a target: of the sample fleet, and the public vectors."""
    if name in _FORMATS:
        yield _encrypted()[_FORMATS[name]]
    for pattern in _SEEDS.get(name, ()):
        for place in sorted(PROJECT.glob(pattern)):
            if place.is_file() and ".venv" not in place.parts:
                yield place.read_bytes()
    match name:
        case "armor":
            armored = age_encrypts(os.urandom(100), parse_recipient(_KEY), armored=True)
            yield b"".join(line + b"\n" for line in armored.splitlines()[1:-1])
        case "guard":
            for number, data in enumerate(_encrypted()[n] for n in _in_order()):
                yield bytes([number]) + data
        case "config-lines":
            yield bytes(range(len(_PARTS)))
            yield bytes([0, 1, 2, 8, 9, 13, 10, 13])
        case "private-keys":
            yield from _private()
        case _:
            pass
    vectors = SHARED / "vectors/age-testkit"
    if name in {"age", "armor"} and vectors.is_dir():
        for place in sorted(vectors.iterdir()):
            yield place.read_bytes().partition(b"\n\n")[2]


def _in_order() -> list[str]:
    return [*sopsfiles.PLAIN, "x.age"]


def write_seeds(name: str, folder: Path) -> None:
    """Put the seeds of a target into a folder, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (folder / f"seed-{number}").write_bytes(data)
