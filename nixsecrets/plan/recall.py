"""What the git history and this clone record: removed keys, earlier versions of files.

Reading the history takes a while: `recalling` and `comparing` start git and yield a
function that waits for the result, so that a command can do other work in between.
"""

import contextlib
import datetime
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, ProgramError
from nixsecrets.files.sops.token import any_retyped
from nixsecrets.findings.catalogue import Finding
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import recipient_of
from nixsecrets.plan.removals import Removal, Removals, one_per_key, removals_between
from nixsecrets.repo.clone import Clone
from nixsecrets.repo.files import blob_id
from nixsecrets.repo.git import Git
from nixsecrets.repo.history import (
    MAX_CHANGES,
    Change,
    Replaced,
    file_log,
    is_shallow,
    read_changes,
    recent_log,
)
from nixsecrets.repo.remembered import Remembered, Removed, Scanned, Seen
from nixsecrets.repo.worktree import MAP_NAME, Repo
from nixsecrets.world.world import World

if TYPE_CHECKING:  # what reads earlier versions is loaded where there are some
    from nixsecrets.map.pastkeys import PastMap

Recall = Callable[[World], Removals]
_LARGEST_MAP = 8 << 20  # bytes
_LARGEST_FILE = 1 << 20
_MOST_FILES = 2_000
# The clone keeps what was found, for the next run, once the map changed this often or
# git took this many seconds.
_MANY = 50
_WORTH_KEEPING = 0.05


def recall(world: World) -> Removals:
    """Return every removed key that history, clone and map record."""
    with recalling(world.repo) as found:
        return found(world)


@contextlib.contextmanager
def recalling(repo: Repo) -> Iterator[Recall]:
    """Start git on the map's history; yield the function that returns the removals."""
    clone = Clone.of(repo, os.environ)
    kept = clone.read()
    git = repo.git
    if git is None:
        looked = "removals: no git history to search"
        yield lambda world: _together(world, (), kept, looked)
        return
    since = kept.scanned[0].commit if kept.scanned else ""
    begun = time.monotonic()
    with file_log(repo.root, MAP_NAME, MAX_CHANGES, since) as said:
        yield lambda world: _looked(
            world, git, clone, kept, said(), time.monotonic() - begun
        )


def _looked(
    world: World,
    git: Git,
    clone: Clone,
    kept: Remembered,
    said: bytes | None,
    seconds: float,
) -> Removals:
    """Return the removals, from what git `said` of the commits since the last search.

    `kept` has what earlier searches found; `seconds` is how long git took.
    """
    known = [_removal(one) for one in sorted(kept.seen, key=lambda one: one.number)]
    changes = None if said is None else read_changes(said, since=bool(kept.scanned))
    if changes is None and kept.scanned:  # another branch, or a rewritten one
        known = []
        with file_log(world.repo.root, MAP_NAME, MAX_CHANGES) as again:
            said = again()
        changes = None if said is None else read_changes(said, since=False)
    changes = changes or []
    try:
        fresh = _read(git, changes)
    except ProgramError:  # a partial clone
        looked = "removals: this clone does not have the earlier maps (git fetch)"
        return _together(world, known, kept, looked)
    found = [*fresh, *(one for one in known if one is not None)]
    if changes and (seconds > _WORTH_KEEPING or len(changes) >= _MANY):
        _keep(git, clone, found)
    return _together(world, found, kept, _where(git, changes))


def _where(git: Git, changes: Sequence[Change]) -> str:
    if is_shallow(git):
        return (
            "removals: this clone is shallow, and earlier removals are not detected"
            " (git fetch --unshallow; in CI fetch-depth: 0)"
        )
    if len(changes) >= MAX_CHANGES:
        return f"removals: only the newest {MAX_CHANGES} changes of the map were read"
    return "removals: the whole history of the map was searched"


def _read(git: Git, changes: Sequence[Change]) -> list[Removal]:
    """Return the removals in `changes` of the map, newest first, merges last."""
    found: list[tuple[bool, Removal]] = []
    maps: dict[str, PastMap | None] = {}
    if not changes:
        return []
    from nixsecrets.map.pastkeys import may_remove_a_key

    with git.reader(limit=_LARGEST_MAP) as blob:
        texts: dict[str, bytes] = {"": b""}

        def text(oid: str) -> bytes:
            if oid not in texts:
                texts[oid] = blob(oid)
            return texts[oid]

        for change in reversed(changes):
            old, new = text(change.old), text(change.new)
            if not (change.old and change.new and may_remove_a_key(old, new)):
                continue
            before = _past(maps, change.old, old, None)
            after = _past(maps, change.new, new, before)
            if before is None or after is None:
                continue
            day = datetime.datetime.fromtimestamp(change.seconds, datetime.UTC)
            date = day.date().isoformat()
            for one in removals_between(before, after, change.commit, date):
                found.append((change.merge, one))
    found.reverse()
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _past(
    maps: "dict[str, PastMap | None]", oid: str, data: bytes, before: "PastMap | None"
) -> "PastMap | None":
    """Return the keys of an earlier map, cached by blob id in `maps`.

    A map that cannot be read counts as unchanged: it gives the keys of `before`.
    """
    if oid not in maps:
        from nixsecrets.map.pastkeys import read_past

        maps[oid] = read_past(data) or before
    return maps[oid]


def _together(
    world: World, found: Iterable[Removal | None], kept: Remembered, looked: str
) -> Removals:
    """Combine removals from the history, the map and the clone, in that order."""
    history = one_per_key(one for one in found if one is not None)
    here = (_removal(one) for one in kept.removed)
    listed = [
        Removal(one.name, one.key, one.date or "", reason=one.reason or "")
        for one in reversed(world.map.retired)
    ]
    by_key = one_per_key(
        one for one in (*history.values(), *listed, *here) if one is not None
    )
    returned = {
        key.key_id
        for one in kept.returned
        if (key := recipient_of(one.key)) is not None
        and key.key_id in by_key
        and by_key[key.key_id].commit in ("", one.commit)
    }
    return Removals(by_key, returned, looked)


def _removal(one: Seen | Removed) -> Removal | None:
    key = recipient_of(one.key)
    if key is None:
        return None
    entries = int(one.entries) if isinstance(one, Seen) and one.entries.isdigit() else 0
    return Removal(one.name, key, one.date, one.commit, entries=entries)


# --- files that were put back ---------------------------------------------------------


class Compared(NamedTuple):
    """What earlier versions of secrets show.

    `older` are findings on files that equal an earlier version.  `types` are findings
    on values of another type than before; each replaces the less specific finding that
    is its key.
    """

    older: list[Finding]
    types: dict[Finding, Finding]


@contextlib.contextmanager
def comparing(repo: Repo) -> Iterator[Callable[[World], Compared]]:
    """Start git on recent versions of secrets; yield the function that compares."""
    git = repo.git
    if git is None:
        yield lambda _: Compared([], {})
        return
    with recent_log(repo.root) as log:
        yield lambda world: _put_back(world, git, log())


def _put_back(world: World, git: Git, recent: Mapping[str, list[Replaced]]) -> Compared:
    paths = [path for path in recent if path in world.secrets][:_MOST_FILES]
    found = Compared([], {})
    if not paths:
        return found
    from nixsecrets.plan.rollback import COMPARED, rolled_back

    with git.reader(limit=_LARGEST_FILE) as blob:
        read = functools.lru_cache(maxsize=2 * COMPARED)(blob)
        for path in paths:
            data = world.repo.read_quickly(path, _LARGEST_FILE)
            if data is None:
                continue
            versions = recent[path]
            oid = blob_id(data, versions[0].blob)
            if b"\r\n" in data and all(oid != one.blob for one in versions):
                # checked out with core.autocrlf: git stored the file with LF
                oid = blob_id(data.replace(b"\r\n", b"\n"), oid)
            with contextlib.suppress(ProgramError):  # a partial clone
                one = rolled_back(path, data, oid, versions, read)
                found.older.extend([] if one is None else [one])
                if world.secrets[path].backend is Backend.SOPS:
                    blobs = [v.blob for v in reversed(versions[:COMPARED])]
                    old = (data if v == oid else read(v) for v in blobs)
                    found.types.update(_retyped(path, b"\n".join(old), data))
    return found


def _retyped(path: str, old: bytes, data: bytes) -> dict[Finding, Finding]:
    """Return findings on values of another type than in `old`, several versions joined.

    Each replaces the less specific finding that is its key.
    """
    if not any_retyped(old, data):
        return {}
    from nixsecrets.files.faults import retyped  # 15 ms, needed for few files

    return retyped(path, old, data)


# --- what is written down ------------------------------------------------------------


def _keep(git: Git, clone: Clone, found: Sequence[Removal]) -> None:
    """Store the removals in the clone: the next search reads only newer commits."""
    head = git.head()
    if head is None:
        return
    seen = tuple(
        Seen(f"{n:06}", r.name, r.key.text, r.date, r.commit, str(r.entries))
        for n, r in enumerate(one_per_key(found).values())
    )
    with contextlib.suppress(NixsecretsError):  # a read-only clone
        clone.change(lambda now: now._replace(scanned=(Scanned(head),), seen=seen))
