"""Exposed: the values that a retired key could read and that have not changed since.

Every version in the git history that a retired key could read is compared with today's
files value by value, wherever a value has moved since.  Equal ciphertext needs no
identity; everything else is opened.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from nixsecrets.errors import NixsecretsError, SecretFileError
from nixsecrets.files import pieces
from nixsecrets.files.kind import looks_secret
from nixsecrets.files.pieces import Piece
from nixsecrets.frozen import frozen
from nixsecrets.generated.lock import Lock
from nixsecrets.map.model import Retired
from nixsecrets.repo.history import History, Swap, Version
from nixsecrets.values.access import Access, could_read, is_tagged
from nixsecrets.values.known import (
    Families,
    Today,
    digests_of,
    moves,
    same_blobs,
    shares,
    small,
)
from nixsecrets.values.past import Past
from nixsecrets.world.world import World

Key = tuple[str, ...]
Keys = tuple[Key, ...]


class Open(Protocol):
    """Opens secret files."""

    def __call__(self, path: str, data: bytes, *, asking: bool) -> Sequence[Piece]:
        """Return a file's values; NixsecretsError if no identity opens it.

        Without `asking`, no identity that may prompt is used.
        """


class State(StrEnum):
    """What became of the values that a key could read."""

    UNCHANGED = "unchanged"
    PARTLY = "partly"
    CHANGED = "changed"
    UNKNOWN = "unknown"
    GONE = "gone"


@frozen
class Comparison:
    """The result of comparing a file's earlier version with today's.

    `keys` are the key paths of unchanged values of a sops file, as `--key` takes them
    split at `/`; `unnamed` counts unchanged values that `--key` cannot name; `reason`
    says why the state is unknown.
    """

    state: State
    keys: Keys = ()
    unnamed: int = 0
    reason: str | None = None


@frozen
class Exposure:
    """One retired key and one file, which may be gone by now.

    `version` is the newest one that the key could read and that has a value in common
    with the file, else the newest one that it could read; it may have another path.
    """

    path: str
    retired: Retired
    access: Access
    version: Version
    found: Comparison

    @property
    def open(self) -> bool:
        """Whether values may still have to be changed."""
        return self.found.state in (State.UNCHANGED, State.PARTLY, State.UNKNOWN)


@frozen
class Report:
    """Every exposure by path, and notes on what the history does not show."""

    exposures: tuple[Exposure, ...]
    notes: tuple[str, ...] = ()


def find_exposed(
    world: World,
    history: History,
    blob: Callable[[str], bytes],
    opener: Open,
    removed: Iterable[Retired] = (),
) -> Report:
    """Return what retired keys could read, compared with today's files.

    The keys are the map's `[[retired]]` entries and `removed` ones that it does not
    list, except keys that are in use again.
    """
    past = Past(history, blob)
    used = world.map.keys_in_use
    every = {one.key.key_id: one for one in (*removed, *world.map.retired)}
    retired = [one for key_id, one in every.items() if key_id not in used]
    if not retired:
        return Report((), tuple(_foreign_notes(world)))
    lock = past.lock() if any(not is_tagged(r.key) for r in retired) else Lock()
    readable = list(_readable(world, past, retired, lock))
    judge = _Judge(world, past, opener)
    exposures = judge.exposures(readable) if readable else ()
    unseen = past.never_in_use(retired)
    notes = _notes(past, unseen, judge.unopened)
    return Report(tuple(exposures), (*notes, *_foreign_notes(world)))


@frozen
class _Readable:
    """A version that retired keys could read: YES or PERHAPS for each key."""

    version: Version
    access: Mapping[Retired, Access]


def _readable(
    world: World, past: Past, retired: Sequence[Retired], lock: Lock
) -> Iterator[_Readable]:
    for path, versions in past.history.versions.items():
        if world.policy.never_secret(path):
            continue
        for version in versions:
            data = past.read(version.blob)
            if data is None or not looks_secret(path, data):
                continue
            access = {one: could_read(path, data, one.key, lock) for one in retired}
            able = {one: how for one, how in access.items() if how is not Access.NO}
            if able:
                yield _Readable(version, able)


def _notes(past: Past, unseen: Sequence[Retired], unopened: int) -> Iterator[str]:
    history = past.history
    if history.shallow:
        yield (
            "this clone is shallow: older versions were not searched "
            "(git fetch --unshallow)"
        )
    if history.cut:
        yield f"only the newest {history.commits} commits were read (--max-commits)"
    if past.missing:
        yield (
            f"{past.missing} versions are missing here or too long,"
            " and were not searched"
        )
    if unopened:
        yield (
            f"{unopened} older versions could not be opened: a value that was set back"
            " to one of them is not detected"
        )
    for one in unseen:
        yield (
            f"the history never shows the key of {one.name} ({one.key.fingerprint}) in "
            "use: it was rewritten or begins later, and what the key read is not known"
        )


def _foreign_notes(world: World) -> Iterator[str]:
    """Yield a note on each recipient that is not an age key: no map can retire it."""
    found: dict[str, list[str]] = {}
    for path, actual in world.secrets.items():
        for key in actual.others:
            found.setdefault(str(key), []).append(path)
    for name, paths in found.items():
        files = "1 file" if len(paths) == 1 else f"{len(paths)} files"
        yield f"{name}, which is not in the map, can read {files}: nixsecrets rekey"


@frozen
class _Hit:
    """The newest version from which a key knows a value of today."""

    version: Version
    access: Access


@dataclass
class _Judge:
    """Compares versions with the files of today.

    `_closed` has, by path, why a file could not be opened.  `_hits` has, for each file
    and key, the known values by their index among the file's pieces (None: a line).
    """

    world: World
    past: Past
    opener: Open
    unopened: int = 0
    today: Today = field(default_factory=Today, repr=False)
    families: Families = field(default_factory=Families, repr=False)
    _closed: dict[str, str] = field(default_factory=dict)
    _hits: dict[tuple[str, Retired], dict[int | None, _Hit]] = field(
        default_factory=dict, repr=False
    )

    def exposures(self, readable: Sequence[_Readable]) -> list[Exposure]:
        """Return what each key knows of each file, sorted by path."""
        self._read_today({one.version.path for one in readable})
        self._find_families(readable)
        newest_first = sorted(readable, key=lambda one: one.version.order)
        seen: set[str] = set()
        for one in newest_first:
            self._compare(one, newest=one.version.path not in seen)
            seen.add(one.version.path)
        return sorted(
            self._judged(newest_first), key=lambda e: (e.path, e.retired.name)
        )

    def _read_today(self, readable: Collection[str]) -> None:
        """Open today's files; prompt only for those that a retired key could read."""
        for path in self.world.secrets:
            data = self.world.repo.read_if_there(path) or b""
            try:
                found = self.opener(path, data, asking=path in readable)
            except NixsecretsError as error:
                self._closed[path] = error.message
                try:
                    found = pieces.sealed(path, data)
                except SecretFileError:
                    found = ()
            self.today.add(path, found)

    def _compare(self, one: _Readable, *, newest: bool) -> None:
        """Find the values of one version in today's files; `newest` may prompt."""
        path = one.version.path
        data = self.past.read(one.version.blob)
        if data is None:
            return
        try:
            for piece in pieces.sealed(path, data):
                for place in self.today.with_token(piece):
                    self._note(place.path, place.number, one)
            opened = self.opener(path, data, asking=newest)
        except NixsecretsError as error:
            if newest:
                self._closed.setdefault(path, error.message)
            else:
                self.unopened += 1
            return
        for piece in opened:
            for share in shares(piece):
                for place in self.today.with_value(share, path, self.families):
                    self._note(place.path, place.number, one)

    def _note(self, path: str, number: int | None, one: _Readable) -> None:
        for retired, access in one.access.items():
            hits = self._hits.setdefault((path, retired), {})
            known = hits.get(number)
            if known is None or (access is Access.YES and known.access is not access):
                hits[number] = _Hit(one.version, access)

    # -- which paths belong together

    def _find_families(self, readable: Sequence[_Readable]) -> None:
        every = (
            v for versions in self.past.history.versions.values() for v in versions
        )
        for one, other in same_blobs(every):
            self.families.join(one, other)
        known = {one.version.path for one in readable}
        for swap in (*reversed(self.past.history.swaps), self._uncommitted()):
            if small(swap) and any(path in known for path, _ in swap.deleted):
                files = (*swap.deleted, *swap.added)
                for one, other in moves(swap, {f: self._digests(*f) for f in files}):
                    self.families.join(one, other)
                    known.add(other)

    def _uncommitted(self) -> Swap:
        """Return what was deleted and added since the last commit."""
        world, versions = self.world, self.past.history.versions
        git = world.repo.git
        committed = git.committed_ids(world.repo.root).keys() if git else set()
        gone = committed & versions.keys() - world.files.keys()
        deleted = ((path, versions[path][0].blob) for path in sorted(gone))
        added = ((path, "") for path in sorted(world.secrets.keys() - committed))
        return Swap(tuple(deleted), tuple(added))

    def _digests(self, path: str, blob: str) -> frozenset[bytes]:
        if not blob:
            return digests_of(self.today.pieces.get(path, ()))
        data = self.past.read(blob)
        if data is None or not looks_secret(path, data):
            return frozenset()
        try:
            return digests_of(self.opener(path, data, asking=False))
        except NixsecretsError:
            return frozenset()

    # -- the verdict

    def _judged(self, newest_first: Sequence[_Readable]) -> Iterator[Exposure]:
        """Yield the exposures of every file that a key could read, or a relative of it.

        The newest readable version of a file's family stands in for its own.
        """
        own: dict[tuple[str, Retired], _Hit] = {}
        of_family: dict[tuple[str, Retired], _Hit] = {}
        for one in newest_first:
            path = one.version.path
            for retired, access in one.access.items():
                hit = _Hit(one.version, access)
                own.setdefault((path, retired), hit)
                of_family.setdefault((self.families.family(path), retired), hit)
        retired_ones = dict.fromkeys(retired for _, retired in own)
        for path in {path for path, _ in own} | self.world.secrets.keys():
            family = self.families.family(path)
            for retired in retired_ones:
                newest = own.get((path, retired))
                if newest is None and path in self.world.secrets:
                    newest = of_family.get((family, retired))
                yield from self._exposure(path, retired, newest)

    def _exposure(
        self, path: str, retired: Retired, newest: _Hit | None
    ) -> Iterator[Exposure]:
        hits = self._hits.get((path, retired), {})
        shown = min(hits.values(), key=lambda hit: hit.version.order, default=newest)
        if shown is None:
            return
        found = self._verdict(path, hits, newest)
        sure = any(hit.access is Access.YES for hit in hits.values())
        access = Access.YES if sure else shown.access
        yield Exposure(path, retired, access, shown.version, found)

    def _verdict(
        self, path: str, hits: Mapping[int | None, _Hit], newest: _Hit | None
    ) -> Comparison:
        if path not in self.today.pieces:
            if self.world.repo.read_if_there(path) is None:
                return Comparison(State.GONE)
            reason = "it is no longer a secret file"
            return Comparison(State.UNKNOWN, reason=reason)
        present = self.today.pieces[path]
        known = [piece for number, piece in enumerate(present) if number in hits]
        named = [piece.place for piece in known if piece.path and piece.place]
        keys = tuple(dict.fromkeys(named))
        unnamed = sum(bool(piece.path) and not piece.place for piece in known)
        whole = len(known) == len(present)
        closed = self._closed.get(path) or (
            self._closed.get(newest.version.path) if newest else None
        )
        if closed and not whole:
            return Comparison(State.UNKNOWN, keys, unnamed, closed)
        if not hits:
            return Comparison(State.CHANGED)
        state = State.UNCHANGED if whole and present else State.PARTLY
        return Comparison(state, keys, unnamed)
