"""What is fuzzed: each reader of foreign bytes, as a function that fails only on a bug.

A refusal (`NixsecretsError`) is right; what is accepted must survive being written
again.  Used by `make fuzz` (atheris) and, on hostile megabytes, by the tests.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.policy import edit
from nixsecrets.policy.load import load
from nixsecrets.render import sopsconfig
from nixsecrets.render.lock import Lock
from nixsecrets.secretfiles import agefile, agestate, sopsmeta, sopsstate
from nixsecrets.secretfiles.state import Actual
from nixsecrets.splice import apply_edits
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
    agestate.read_actual("x.age", data, _BOOK, None)
    try:
        file = agefile.parse(data)
    except NixsecretsError:
        return
    header = agefile.encode_header(file.stanzas)
    assert header == file.header
    again = agefile.encode(header, file.mac, file.payload, armored=file.armored)
    if file.armored:
        assert agefile.parse(again) == file
    else:
        assert again == data


def armor(data: bytes) -> None:
    """Bytes between the lines of armor."""
    begin = b"-----BEGIN AGE ENCRYPTED FILE-----\n"
    age(begin + data + b"-----END AGE ENCRYPTED FILE-----\n")


def _sops(path: str) -> Target:
    def target(data: bytes) -> None:
        sopsmeta.looks_like_sops(path, data)
        found = sopsstate.read_actual(path, data, _BOOK)
        assert found == sopsstate.read_closely(path, data, _BOOK)
        if not isinstance(found, Actual):
            return
        file = sopsmeta.parse(path, data)
        if not (file.entries and file.agree):
            return
        edits = [e for block in file.blocks for e in block.append([(_LABEL, _ENC)])]
        text = apply_edits(file.text, edits).encode("utf-8", "surrogateescape")
        labels = [entry.label for entry in sopsmeta.parse(path, text).entries]
        assert labels == [*(entry.label for entry in file.entries), _LABEL]

    return target


def toml(data: bytes) -> None:
    """A map: what loads can be edited, and loads again with one host more."""
    text = data.decode("utf-8", "replace")
    try:
        before = load(text, "map")
        after = edit.add_host(text, "fuzz-host", [parse_recipient(_KEY)], groups=["g"])
    except NixsecretsError:
        return
    hosts = {host.name for host in before.hosts}
    assert {host.name for host in load(after, "map").hosts} == hosts | {"fuzz-host"}


def config(data: bytes) -> None:
    """A `.sops.yaml`: blocks go in, foreign lines stay, twice is once."""
    recipient_map = load(_MAP, "map")
    try:
        once = sopsconfig.render(recipient_map, data.decode("utf-8", "replace"))
    except NixsecretsError:
        return
    assert sopsconfig.render(recipient_map, once) == once


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
    "lock": lock,
}

_SEEDS = {
    "age": ("secrets/**/*.age",),
    "sops-yaml": ("secrets/**/*.yaml",),
    "sops-json": ("secrets/**/*.json",),
    "sops-dotenv": ("secrets/**/*.env",),
    "sops-ini": ("secrets/**/*.ini",),
    "map": ("nixsecrets.toml", "**/nixsecrets.toml"),
    "config": (".sops.yaml.example", "**/.sops.yaml"),
    "lock": ("nixsecrets.lock", "**/nixsecrets.lock"),
}


def seeds(name: str) -> Iterator[bytes]:
    """Yield real files for a target: of the sample fleet, and the public vectors."""
    for pattern in _SEEDS.get(name, ()):
        for place in sorted(PROJECT.glob(pattern)):
            if place.is_file() and ".venv" not in place.parts:
                yield place.read_bytes()
    vectors = SHARED / "vectors/age-testkit"
    if name in {"age", "armor"} and vectors.is_dir():
        for place in sorted(vectors.iterdir()):
            yield place.read_bytes().partition(b"\n\n")[2]


def write_seeds(name: str, folder: Path) -> None:
    """Put the seeds of a target into a folder, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (folder / f"seed-{number}").write_bytes(data)
