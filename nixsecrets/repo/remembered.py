"""The format of the facts that a clone remembers about a map.

JSON Lines: a head with the version and a MAC over the rest, then a line for each fact,
with its kind and its map (a repository may have several).  Lines about other maps, and
of kinds from newer versions, are preserved.  A kind never changes its format; it is
replaced by a new kind.

    {"nixsecrets-clone":1,"mac":"…"}
    {"kind":"approved","map":"nixsecrets.toml","name":"bob","key":"ssh-ed25519 …",
     "fingerprint":"SHA256:…","date":"2026-11-30"}
    {"kind":"removed","map":"nixsecrets.toml","name":"brunnen","key":"ssh-ed25519 …",
     "date":"2026-11-30","commit":"…"}
    {"kind":"returned","map":"nixsecrets.toml","name":"brunnen","key":"ssh-ed25519 …",
     "date":"2026-12-01","commit":"…"}

`scanned`, `seen` and `fitting` cache results about the history and about opened files.
"""

import json
from collections.abc import Callable
from typing import Any

from nixsecrets.frozen import NamedTuple

_VERSION = 1


class Approved(NamedTuple):
    """A key that the operator of this clone approved after seeing its fingerprint.

    `key` is its text without comment, in the form that was shown.
    """

    name: str
    key: str
    fingerprint: str
    date: str


class Removed(NamedTuple):
    """A key that was removed from the map; `commit` is "" if unknown."""

    name: str
    key: str
    date: str
    commit: str = ""


class Returned(NamedTuple):
    """A removed key that the operator agreed to use again.

    `commit` is the one that removed it, "" if unknown; a later removal is not covered.
    """

    name: str
    key: str
    date: str
    commit: str = ""


class Scanned(NamedTuple):
    """A commit up to which the history of the map has been read."""

    commit: str


class Seen(NamedTuple):
    """A removal in the history up to the scanned commit.

    `number` orders them from "000000", the newest; `entries` is the number of
    `[[retired]]` entries for the key in the map after the removal.
    """

    number: str
    name: str
    key: str
    date: str
    commit: str
    entries: str


class Fitting(NamedTuple):
    """Sops files whose values have matching types: shortened SHA-256s and blanks."""

    files: str


Fact = Approved | Removed | Returned | Scanned | Seen | Fitting
# by kind; the fields of `Remembered` have the same names
_KINDS: dict[str, type[Fact]] = {
    "approved": Approved,
    "removed": Removed,
    "returned": Returned,
    "scanned": Scanned,
    "seen": Seen,
    "fitting": Fitting,
}


class Remembered(NamedTuple):
    """The facts about one map; `others` are the other lines, unparsed.

    `damage` says what is wrong with the text, None if it is fine.  Corrupt text has no
    approvals, so that every key is asked about again.  Text of a `newer` version must
    not be overwritten.
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
"""A change of the facts."""


def parse(text: bytes, map_path: str) -> Remembered:
    """Parse the facts about the map at `map_path`; never raises."""
    head, *lines = text.decode(errors="replace").removesuffix("\n").split("\n")
    version = (_object(head) or {}).get("nixsecrets-clone")
    if version != _VERSION:
        newer = isinstance(version, int)
        what = "a newer nixsecrets wrote it" if newer else "its first line is corrupt"
        return Remembered(damage=what, newer=newer)
    facts: dict[str, dict[Fact, None]] = {kind: {} for kind in _KINDS}
    others: list[str] = []
    damage: str | None = None
    for number, line in enumerate(lines, start=2):
        found = _object(line)
        if found is None or not isinstance(found.get("kind"), str):
            damage = damage or f"line {number} is corrupt"
        elif found.get("map") != map_path or found["kind"] not in _KINDS:
            others.append(line)
        elif (fact := _fact(found)) is None:
            damage = damage or f"line {number} is corrupt"
        else:
            facts[str(found["kind"])][fact] = None
    # corrupt text may lack a line: approvals must not count, but removals are safe
    known: dict[str, Any] = {
        kind: tuple(found)
        for kind, found in facts.items()
        if not damage or kind == "removed"
    }
    return Remembered(**known, others=tuple(others), damage=damage)


def render(found: Remembered, map_path: str) -> bytes:
    """Return the lines of the facts, without a head: sorted, each once."""
    lines = {*found.others}
    for kind in _KINDS:
        for fact in getattr(found, kind):
            lines.add(_line({"kind": kind, "map": map_path, **fact._asdict()}))
    # sorted, so that the same facts give the same bytes and MAC
    return "".join(f"{line}\n" for line in sorted(lines)).encode()


def with_head(facts: bytes, mac: str | None) -> bytes:
    """Return the content of the file: a head with the MAC, then the facts."""
    head = {"nixsecrets-clone": _VERSION, "mac": mac}
    return _line(head).encode() + b"\n" + facts


def split_head(text: bytes) -> tuple[str, bytes]:
    """Return the MAC ("" if there is none) and the facts of a file's content."""
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
