"""Finds the values of today's files in earlier versions of any file.

Two values are the same if their ciphertext is equal, or their plaintext once both are
opened.  Within a file and the files it was moved from or to, any value counts; across
unrelated files, only one that is unlikely to occur twice by chance.  The index holds
hashes under a key of this process, no plaintext.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nixsecrets.files.pieces import Piece
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo.history import Swap, Version

Digest = bytes
_SALT = os.urandom(32)
_SHORTEST = 8  # bytes of a value that is recognized across unrelated files
_CLASSES = (re.compile(rb"[a-z]"), re.compile(rb"[A-Z]"), re.compile(rb"[0-9]"))
_OTHER = re.compile(rb"[^a-zA-Z0-9]")
_ASSIGNED = re.compile(rb"[^\s:=]+(?:\s*=\s*|:\s+)(.*)")  # NAME=value, name: value
_MOST_MOVED = 200  # files added or deleted by a commit that is searched for moves


class Place(NamedTuple):
    """A value of today: its file, and its index among the pieces of that file.

    `number` is None for a line of a file that is a single value (age).
    """

    path: str
    number: int | None


class Share(NamedTuple):
    """A value to compare: its digest, and its key path in its file.

    `telling`: it is unlikely to occur twice by chance; `line`: it is one line of a
    larger value.
    """

    digest: Digest
    keys: tuple[str, ...]
    telling: bool
    line: bool = False


def shares(piece: Piece) -> Iterator[Share]:
    """Yield an opened value; for one without a key path, also the values of its lines.

    The value of a line `NAME=value` or `name: value` counts, so that a secret is found
    again after it moved to a file of another format.
    """
    whole = (piece.plaintext or b"").strip()
    if not whole:
        return
    yield Share(_digest(whole), piece.path, _telling(whole))
    if piece.path or (b"\n" not in whole and not _ASSIGNED.fullmatch(whole)):
        return
    for line in whole.split(b"\n"):
        for part in _parts(line.strip()):
            if _telling(part):
                yield Share(_digest(part), (), telling=True, line=True)


def _parts(line: bytes) -> Iterator[bytes]:
    yield line
    if found := _ASSIGNED.fullmatch(line):
        yield found[1].strip().strip(b"\"'")


def _digest(value: bytes) -> Digest:
    return hashlib.blake2b(value, digest_size=16, key=_SALT).digest()


def _telling(value: bytes) -> bool:
    """Return whether `value` is unlikely to occur twice unless it was copied.

    It is long enough and mixes at least two classes of characters.
    """
    if len(value) < _SHORTEST:
        return False
    return sum(bool(kind.search(value)) for kind in (*_CLASSES, _OTHER)) > 1


@dataclass
class Today:
    """An index of the values in today's files, by ciphertext and by plaintext."""

    pieces: dict[str, tuple[Piece, ...]] = field(default_factory=dict)
    _tokens: dict[str, list[Place]] = field(default_factory=dict, repr=False)
    _digests: dict[Digest, list[Place]] = field(default_factory=dict, repr=False)

    def add(self, path: str, pieces: Sequence[Piece]) -> None:
        """Add a file; its pieces may be unopened."""
        self.pieces[path] = tuple(pieces)
        for number, piece in enumerate(pieces):
            self._tokens.setdefault(piece.token, []).append(Place(path, number))
            for share in shares(piece):
                place = Place(path, None if share.line else number)
                self._digests.setdefault(share.digest, []).append(place)

    def with_token(self, piece: Piece) -> Sequence[Place]:
        """Return the places with the same ciphertext as an earlier value."""
        return self._tokens.get(piece.token, ())

    def with_value(
        self, share: Share, path: str, families: "Families"
    ) -> Iterator[Place]:
        """Yield the places with the same value as an earlier version of `path`."""
        for place in self._digests.get(share.digest, ()):
            if place.number is None:
                # a line of today matches a whole earlier value, but not another line:
                # two private keys have lines in common
                fits = not share.line
            else:
                keys = self.pieces[place.path][place.number].path
                same = keys == share.keys or not (keys and share.keys)
                fits = share.telling or (same and families.related(place.path, path))
            if fits:
                yield place


class Families:
    """Groups of paths between which files were moved or copied (a union-find)."""

    def __init__(self) -> None:
        """Start with every path in a group of its own."""
        self._parents: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        """Record that content moved between two paths."""
        self._parents[self.family(one)] = self.family(other)

    def related(self, one: str, other: str) -> bool:
        """Return whether content moved between two paths, perhaps through others."""
        return one == other or self.family(one) == self.family(other)

    def family(self, path: str) -> str:
        """Return a path that represents the group of `path`."""
        while (parent := self._parents.get(path, path)) != path:
            path = parent
        return path


def same_blobs(versions: Iterable[Version]) -> Iterator[tuple[str, str]]:
    """Yield pairs of paths at which git had the same blob."""
    first: dict[str, str] = {}
    for version in versions:
        path = first.setdefault(version.blob, version.path)
        if path != version.path:
            yield path, version.path


def moves(
    swap: Swap, digests: Mapping[tuple[str, str], frozenset[Digest]]
) -> Iterator[tuple[str, str]]:
    """Yield pairs of paths between which a commit moved at least half of the values.

    `digests` are those of each file's values, by (path, blob).
    """
    for old in swap.deleted:
        for new in swap.added:
            had, has = digests.get(old), digests.get(new)
            if had and has and 2 * len(had & has) >= min(len(had), len(has)):
                yield old[0], new[0]


def small(swap: Swap) -> bool:
    """Return whether a commit moved few enough files to compare each pair."""
    return max(len(swap.deleted), len(swap.added)) <= _MOST_MOVED


def digests_of(pieces: Iterable[Piece]) -> frozenset[Digest]:
    """Return the digests of a file's opened, non-empty values."""
    values = ((piece.plaintext or b"").strip() for piece in pieces)
    return frozenset(_digest(value) for value in values if value)
