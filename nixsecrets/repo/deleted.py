"""Files that nixsecrets deleted and that the index still has.

git cannot distinguish these from files removed by hand, or missing from a sparse
checkout.  So a note in the staging folder of the work tree lists them, with the blob of
the version that was deleted.  An entry is obsolete once the deletion is committed.
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
"""A path relative to the top of the work tree, and its blob in the index."""


def noted(repo: Repo) -> frozenset[Deleted]:
    """Return the deleted files; empty if the note is missing or cannot be read."""
    data: bytes | None = None
    with contextlib.suppress(OSError):
        data = files.read_up_to(str(repo.staging / _NAME), _LARGEST)
    lines = os.fsdecode(data or b"").split("\0")
    pairs = (line.partition(" ") for line in lines if line)
    return frozenset((path, oid) for oid, _, path in pairs)


def note(repo: Repo, paths: Iterable[str]) -> None:
    """Record that a command deleted `paths` (relative to the map), if git tracks them.

    The caller holds the repository's lock.

    Raises:
        NixsecretsError: the note cannot be written.
    """
    fresh = {below_top(repo, path) for path in paths}
    if repo.git is None or not fresh:
        return
    had = noted(repo)
    entries = repo.git.entries(sorted(fresh | {path for path, _ in had}))
    # entries that left the index, or have another blob there, are obsolete
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
    """Return the regular files that git tracks at `paths`, except the `noted` ones.

    Paths, also of the result, are relative to the map's folder.
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
    """Convert a path relative to the map's folder to one relative to the top."""
    return repo.relative_to_top(f"{repo.root}/") + path


def _deleted(entry: Entry) -> Deleted:
    return entry.path, entry.oid
