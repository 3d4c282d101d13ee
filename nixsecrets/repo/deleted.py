"""Files that commands of ours deleted and that the index still has.

git sees no difference between these and what somebody removed by hand, or left out of
a sparse checkout.  The note, in the staging folder of the work tree, says for which
version of a file (its blob) the deletion was meant; git's next commit makes it moot.
"""

import contextlib
import os
from collections.abc import Iterable

from nixsecrets.repo import files
from nixsecrets.repo.changes import Entry
from nixsecrets.repo.worktree import Repo

_NAME = "deleted"
_LARGEST = 16 << 20  # bytes

Deleted = tuple[str, str]
"""A path below the top of the work tree, and its blob in the index."""


def noted(repo: Repo) -> frozenset[Deleted]:
    """Return what was deleted; nothing where that cannot be read."""
    data: bytes | None = None
    with contextlib.suppress(OSError):
        data = files.read_up_to(str(repo.staging / _NAME), _LARGEST)
    lines = os.fsdecode(data or b"").split("\0")
    pairs = (line.partition(" ") for line in lines if line)
    return frozenset((path, oid) for oid, _, path in pairs)


def note(repo: Repo, paths: Iterable[str]) -> None:
    """Note that a command deleted `paths` (below the map), where git tracks them.

    The repository's lock is held.  Raises `NixsecretsError` where it cannot be written.
    """
    fresh = {below_top(repo, path) for path in paths}
    if repo.git is None or not fresh:
        return
    had = noted(repo)
    entries = repo.git.entries(sorted(fresh | {path for path, _ in had}))
    kept = {e for e in map(_deleted, entries) if e in had or e[0] in fresh}
    if kept == had:
        return
    data = "".join(f"{oid} {path}\0" for path, oid in sorted(kept))
    place = str(repo.staging / _NAME)
    try:
        files.write_durably(place, os.fsencode(data))
    except OSError as error:
        raise files.explained(error, "write", place) from error


def tracked(repo: Repo, paths: Iterable[str]) -> list[Entry]:
    """Return the regular files that git tracks at `paths`, but for those `noted`.

    The paths are relative to the map's folder, there and in the answer.
    """
    wanted = sorted(below_top(repo, path) for path in paths)
    if repo.git is None or not wanted:
        return []
    meant, known = noted(repo), frozenset(wanted)
    below = len(below_top(repo, ""))
    return [
        entry._replace(path=entry.path[below:])
        for entry in repo.git.entries(wanted)
        if entry.regular and entry.path in known and _deleted(entry) not in meant
    ]


def below_top(repo: Repo, path: str) -> str:
    """Return a path below the map as git has it, relative to the top."""
    return repo.relative_to_top(f"{repo.root}/") + path


def _deleted(entry: Entry) -> Deleted:
    return entry.path, entry.oid
