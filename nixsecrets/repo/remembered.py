"""What a clone remembers of a map, as values and as text; pure.

JSON Lines: a head with the version and a MAC over the rest, then a line for each fact,
with its kind and the map that it is about (one repository may hold several).  Lines
about other maps, and of kinds that a newer nixsecrets writes, are kept as they are.  A
changed format of a kind gets a new kind.

    {"nixsecrets-clone":1,"mac":"…"}
    {"kind":"approved","map":"nixsecrets.toml","name":"bob","key":"ssh-ed25519 …",
     "fingerprint":"SHA256:…","date":"2026-11-30"}
    {"kind":"removed","map":"nixsecrets.toml","name":"brunnen","key":"ssh-ed25519 …",
     "date":"2026-11-30","commit":"…"}
    {"kind":"returned","map":"nixsecrets.toml","name":"brunnen","key":"ssh-ed25519 …",
     "date":"2026-12-01","commit":"…"}

What the history shows (`scanned`, `seen`), and which files were opened (`fitting`), is
kept so that it is not looked at again.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

_VERSION = 1


class Approved(NamedTuple):
    """A key that the operator of this clone saw with its fingerprint and agreed to.

    `key` is its text without comment, in the form in which it was seen.
    """

    name: str
    key: str
    fingerprint: str
    date: str


class Removed(NamedTuple):
    """A key that was taken out of the map; `commit` is empty where it is unknown."""

    name: str
    key: str
    date: str
    commit: str = ""


class Returned(NamedTuple):
    """A removed key that the operator agreed to use again.

    `commit` is the one that removed it, empty where none was known; a removal by a
    later one is not covered.
    """

    name: str
    key: str
    date: str
    commit: str = ""


class Scanned(NamedTuple):
    """A commit up to which the history of the map was read."""

    commit: str


class Seen(NamedTuple):
    """A removal that the history up to the scanned commit shows, the newest first."""

    number: str
    name: str
    key: str
    date: str
    commit: str
    entries: str


class Fitting(NamedTuple):
    """Sops files whose values' types were found to fit: SHA-256s, shortened, spaced."""

    files: str


Fact = Approved | Removed | Returned | Scanned | Seen | Fitting
# by the name of their kind, and of what holds them in `Remembered`
_KINDS: dict[str, type[Fact]] = {
    "approved": Approved,
    "removed": Removed,
    "returned": Returned,
    "scanned": Scanned,
    "seen": Seen,
    "fitting": Fitting,
}


class Remembered(NamedTuple):
    """The facts about one map; `others` are the lines that are about anything else.

    `damage` says what is wrong with the text, None where nothing is; there are no
    approvals then, so that all is asked again.  `newer` text must not be overwritten.
    """

    approved: tuple[Approved, ...] = ()
    removed: tuple[Removed, ...] = ()
    returned: tuple[Returned, ...] = ()
    scanned: tuple[Scanned, ...] = ()
    seen: tuple[Seen, ...] = ()
    fitting: tuple[Fitting, ...] = ()
    others: tuple[str, ...] = ()
    damage: str | None = None
    newer: bool = False


Edit = Callable[[Remembered], Remembered]
"""A change of what is remembered."""


def parse(text: bytes, map_path: str) -> Remembered:
    """Read what is remembered of the map at `map_path`; never raises."""
    head, *lines = text.decode(errors="replace").removesuffix("\n").split("\n")
    version = (_object(head) or {}).get("nixsecrets-clone")
    if version != _VERSION:
        newer = isinstance(version, int)
        what = "a newer nixsecrets wrote it" if newer else "its first line is damaged"
        return Remembered(damage=what, newer=newer)
    facts: dict[str, dict[Fact, None]] = {kind: {} for kind in _KINDS}
    others: list[str] = []
    damage: str | None = None
    for number, line in enumerate(lines, start=2):
        found = _object(line)
        if found is None or not isinstance(found.get("kind"), str):
            damage = damage or f"line {number} is damaged"
        elif found.get("map") != map_path or found["kind"] not in _KINDS:
            others.append(line)
        elif (fact := _fact(found)) is None:
            damage = damage or f"line {number} is damaged"
        else:
            facts[str(found["kind"])][fact] = None
    known: dict[str, Any] = {
        kind: tuple(found)
        for kind, found in facts.items()
        if not damage or kind == "removed"
    }
    return Remembered(**known, others=tuple(others), damage=damage)


def render(found: Remembered, map_path: str) -> bytes:
    """Return the facts as text that goes below a head: sorted, each once."""
    lines = {*found.others}
    for kind in _KINDS:
        for fact in getattr(found, kind):
            lines.add(_line({"kind": kind, "map": map_path, **fact._asdict()}))
    return "".join(f"{line}\n" for line in sorted(lines)).encode()


def with_head(facts: bytes, mac: str | None) -> bytes:
    """Return the text of a file: its facts below a head that carries their MAC."""
    head = {"nixsecrets-clone": _VERSION, "mac": mac}
    return _line(head).encode() + b"\n" + facts


def taken_apart(text: bytes) -> tuple[str, bytes]:
    """Return the MAC ("" where there is none) and the facts of a file's text."""
    head, _, facts = text.partition(b"\n")
    mac = (_object(head.decode(errors="replace")) or {}).get("mac")
    return mac if isinstance(mac, str) else "", facts


def _line(found: object) -> str:
    return json.dumps(found, separators=(",", ":"))


def _object(line: str) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _fact(found: dict[str, object]) -> Fact | None:
    kind = _KINDS[str(found["kind"])]
    values = {name: v for name, v in found.items() if name not in {"kind", "map"}}
    if values.keys() != {*kind._fields}:
        return None
    if not all(isinstance(value, str) for value in values.values()):
        return None
    return kind(**{name: str(value) for name, value in values.items()})
