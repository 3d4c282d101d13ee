"""Which values of today's files stood in an earlier version of any file.

Ciphertext that is equal, or a value that is equal once both are opened.  Any value
counts within a file and what it was moved from or to; across files that have nothing to
do with each other only one that nobody writes twice by chance.  Holds hashes under a
key of this process, no plaintext.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nixsecrets.files.pieces import Piece
from nixsecrets.repo.history import Swap, Version

Digest = bytes
_SALT = os.urandom(32)
_SHORTEST = 8  # bytes, of a value that is taken for the same wherever it stands
_CLASSES = (re.compile(rb"[a-z]"), re.compile(rb"[A-Z]"), re.compile(rb"[0-9]"))
_OTHER = re.compile(rb"[^a-zA-Z0-9]")
_ASSIGNED = re.compile(rb"[^\s:=]+(?:\s*=\s*|:\s+)(.*)")
_MOST_MOVED = 200  # files in one commit, beyond which moves are not looked for


class Place(NamedTuple):
    """A value of today: its file, and its number among the pieces of that file.

    With no number it is a line of an age file, which is one value.
    """

    path: str
    number: int | None


class Share(NamedTuple):
    """A value of an earlier version that can be compared, and its keys there."""

    digest: Digest
    keys: tuple[str, ...]
    telling: bool
    line: bool = False


def shares(piece: Piece) -> Iterator[Share]:
    """Yield an opened value, and of one without keys also what its lines hold.

    A line `NAME=value` or `name: value` holds the value: so is a secret found again
    that was put into a file of another kind.
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
    """Return whether two places hold `value` for one reason: one copied it."""
    if len(value) < _SHORTEST:
        return False
    return sum(bool(kind.search(value)) for kind in (*_CLASSES, _OTHER)) > 1


@dataclass
class Today:
    """The values of the files as they are, to be found by ciphertext or by value."""

    pieces: dict[str, tuple[Piece, ...]] = field(default_factory=dict)
    _tokens: dict[str, list[Place]] = field(default_factory=dict, repr=False)
    _digests: dict[Digest, list[Place]] = field(default_factory=dict, repr=False)

    def add(self, path: str, pieces: Sequence[Piece]) -> None:
        """Take a file; its pieces may be sealed."""
        self.pieces[path] = tuple(pieces)
        for number, piece in enumerate(pieces):
            self._tokens.setdefault(piece.token, []).append(Place(path, number))
            for share in shares(piece):
                place = Place(path, None if share.line else number)
                self._digests.setdefault(share.digest, []).append(place)

    def with_token(self, piece: Piece) -> Sequence[Place]:
        """Return where the very ciphertext of an earlier value stands."""
        return self._tokens.get(piece.token, ())

    def with_value(
        self, share: Share, path: str, families: "Families"
    ) -> Iterator[Place]:
        """Yield where the value of an earlier version of `path` stands."""
        for place in self._digests.get(share.digest, ()):
            if place.number is None:
                fits = not share.line  # two keys have lines in common
            else:
                keys = self.pieces[place.path][place.number].path
                same = keys == share.keys or not (keys and share.keys)
                fits = share.telling or (same and families.related(place.path, path))
            if fits:
                yield place


class Families:
    """Which paths belong together, because files were moved or copied between them."""

    def __init__(self) -> None:
        """Begin with every path by itself."""
        self._parents: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        """Note that content went from one path to the other."""
        self._parents[self._root(one)] = self._root(other)

    def related(self, one: str, other: str) -> bool:
        """Return whether content went between the two."""
        return one == other or self._root(one) == self._root(other)

    def name(self, path: str) -> str:
        """Return what all related paths, and only they, have in common."""
        return self._root(path)

    def _root(self, path: str) -> str:
        while (parent := self._parents.get(path, path)) != path:
            path = parent
        return path


def same_blobs(versions: Iterable[Version]) -> Iterator[tuple[str, str]]:
    """Yield the paths that had one and the same file."""
    first: dict[str, str] = {}
    for version in versions:
        path = first.setdefault(version.blob, version.path)
        if path != version.path:
            yield path, version.path


def moves(
    swap: Swap, digests: Mapping[tuple[str, str], frozenset[Digest]]
) -> Iterator[tuple[str, str]]:
    """Yield the paths between which a commit moved most of the values of a file.

    `digests` are those of the files' values, by (path, blob).
    """
    for old in swap.deleted:
        for new in swap.added:
            had, has = digests.get(old), digests.get(new)
            if had and has and 2 * len(had & has) >= min(len(had), len(has)):
                yield old[0], new[0]


def small(swap: Swap) -> bool:
    """Return whether a commit moved so few files that each pair can be looked at."""
    return max(len(swap.deleted), len(swap.added)) <= _MOST_MOVED


def digests_of(pieces: Iterable[Piece]) -> frozenset[Digest]:
    """Return what `moves` compares of a file."""
    values = ((piece.plaintext or b"").strip() for piece in pieces)
    return frozenset(_digest(value) for value in values if value)
