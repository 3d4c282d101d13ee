"""A cache of looks at complete files, for runs over thousands of unchanged files.

`repo.clone` stores it with a MAC; `survey` reads and writes it.  A look depends on the
bytes of a file, on the format that its name implies, and on the code.  So a cached look
is valid for the same SHA-256 (for sops files with a name that implies YAML), while the
code is unchanged (`code_id`).

Format: a line with that id, a line with a JSON list of what files show, and for each
item of the list the SHA-256s of its files, followed by their key prints.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

from nixsecrets import __version__
from nixsecrets.files import looks
from nixsecrets.files.age import shape
from nixsecrets.files.kind import SopsFormat, format_for
from nixsecrets.files.looks import Look
from nixsecrets.files.sops import state
from nixsecrets.files.sops.selectors import LeftOpen
from nixsecrets.frozen import NamedTuple

_HEX = 64  # digits of a SHA-256
# the folders with code that a look depends on
_CODE = ("", "files", "files/age", "files/sops", "keys", "untrusted", "world")

CompleteLook = shape.Shown | state.Shown


class _Group(NamedTuple):
    """Files that show the same and have prints of the same lengths.

    `prints` has the prints of all files; `spans` are those of the first file in it.
    """

    shown: CompleteLook
    spans: list[tuple[int, int]]
    prints: bytes

    def prints_of(self, number: int) -> tuple[bytes, ...]:
        """Return the prints of one file, counted from 0."""
        at = number * self.spans[-1][1]
        return tuple([self.prints[at + a : at + b] for a, b in self.spans])


class LookCache:
    """Looks of earlier runs, by the SHA-256 (hex) of the file."""

    def __init__(self, data: bytes = b"") -> None:
        """Parse the output of `rendered`; ignore it if other code wrote it."""
        self._places: dict[str, tuple[_Group, int]] = {}
        made_by, _, rest = data.partition(b"\n")
        if made_by == code_id():
            for hashes, group in _groups(rest):
                places = [(group, number) for number in range(len(hashes))]
                self._places.update(zip(hashes, places, strict=True))

    def __contains__(self, sha256: object) -> bool:
        """Return whether the cache has a look at a file with this hash."""
        return sha256 in self._places

    def look(self, path: str, data: bytes) -> Look:
        """Return what the complete content of a file shows, with its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        place = self._places.get(sha256)
        if place is None or not _fits(place[0].shown, path):
            return sha256, *looks.seen(path, data)
        group, number = place
        return sha256, group.shown, group.prints_of(number)


def cacheable(path: str, look: Look) -> bool:
    """Return whether a look is of a complete file and `_to_json` preserves it."""
    _, shown, _ = look
    return isinstance(shown, CompleteLook) and _fits(shown, path) and _survives(shown)


def rendered(found: Iterable[Look]) -> bytes:
    """Return the content of a cache with these looks, all of them `cacheable`."""
    groups: dict[tuple[CompleteLook, tuple[int, ...]], list[Look]] = {}
    for one in found:
        _, shown, prints = one
        if isinstance(shown, CompleteLook):
            groups.setdefault((shown, tuple(map(len, prints))), []).append(one)
    head = [
        (_to_json(shown), sizes, len(files)) for (shown, sizes), files in groups.items()
    ]
    parts = [code_id(), b"\n", json.dumps(head).encode(), b"\n"]
    for files in groups.values():
        hashes = "".join(sha256 for sha256, _, _ in files)
        every = chain.from_iterable(prints for _, _, prints in files)
        parts += [hashes.encode(), *every]
    return b"".join(parts)


def _groups(data: bytes) -> Iterator[tuple[list[str], _Group]]:
    """Parse the groups of files, each with their hashes."""
    head, _, rest = data.partition(b"\n")
    at = 0
    for encoded, sizes, number in json.loads(head):
        end = at + number * _HEX
        hashes = rest[at:end].decode("ascii")
        at, end = end, end + number * sum(sizes)
        spans = list(pairwise(accumulate(sizes, initial=0)))
        group = _Group(_from_json(*encoded), spans, rest[at:end])
        yield [hashes[i : i + _HEX] for i in range(0, len(hashes), _HEX)], group
        at = end


def _fits(shown: CompleteLook, path: str) -> bool:
    """Return whether a look is valid for a file of this name (sops: only YAML)."""
    return isinstance(shown, shape.Shown) or format_for(path) is SopsFormat.YAML


@cache
def _survives(shown: CompleteLook) -> bool:
    """Return whether a file is complete and writing and reading preserves the look."""
    encoded = json.loads(json.dumps(_to_json(shown)))
    return shown.complete and _from_json(*encoded) == shown


def _to_json(shown: CompleteLook) -> list[object]:
    """Return a look at a complete file as JSON, without what few files have."""
    heads = [head.decode("ascii") for head in shown.heads]
    if isinstance(shown, shape.Shown):
        return [heads, shown.armored]
    return [heads, shown.labels, shown.options, shown.typed]


def _from_json(heads: list[str], *others: Any) -> CompleteLook:
    """Return the look of an output of `_to_json`."""
    found = tuple(head.encode("ascii") for head in heads)
    if len(others) == 1:
        return shape.Shown(found, fault=None, complete=True, armored=others[0])
    labels, options, typed = others
    return state.Shown(
        labels=tuple(labels),
        heads=found,
        options=tuple((name, value) for name, value in options),
        others=(),
        refusal=None,
        doubt=None,
        complete=True,
        left_open=LeftOpen(),
        typed=typed,
        noisy=(),
    )


@cache
def code_id() -> bytes:
    """Return an id of the code that computes looks."""
    return id_of(Path(looks.__file__).parents[1])


def id_of(package: Path) -> bytes:
    """Return a hash (hex) of a package's version, path, and module sizes and times.

    Reading the content of its seventy modules would take 3 ms.
    """
    found = [__version__, sys.version, str(package)]
    for folder in _CODE:
        with os.scandir(package / folder) as entries:
            modules = [(e.name, e.stat()) for e in entries if e.name.endswith(".py")]
        found += [f"{n} {s.st_size} {s.st_mtime_ns}" for n, s in sorted(modules)]
    return hashlib.sha256("\0".join(found).encode()).hexdigest().encode()
