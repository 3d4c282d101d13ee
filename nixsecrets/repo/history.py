"""What the git history holds of the files below a map: which versions, since when.

Reads commits that HEAD reaches, newest first, a bounded number of them; what a version
says is not looked at here.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nixsecrets.repo.git import Git

MAX_COMMITS = 20_000
LONGEST_BLOB = 32 << 20
"""Bytes; a longer version of a file is passed over, and said to be."""

_COMMIT = re.compile(rb"([0-9a-f]{40,64}) (-?[0-9]+)")
_REGULAR = (b"100644", b"100755")


@dataclass(frozen=True, slots=True)
class Version:
    """A file as one commit left it: the blob's id, the commit, its time (Unix).

    `order` counts the commits that were read from the newest, which has 0.
    """

    path: str
    blob: str
    commit: str
    seconds: int
    order: int = 0


@dataclass(frozen=True, slots=True)
class Swap:
    """What one commit deleted and added: (path, blob) pairs, perhaps moved files."""

    deleted: tuple[tuple[str, str], ...]
    added: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class History:
    """The versions of each path, newest first, each blob once.

    `commits` counts the commits that were read; `shallow` tells that the clone has not
    all, `cut` that there are more than were read.
    """

    versions: Mapping[str, tuple[Version, ...]] = field(repr=False)
    swaps: tuple[Swap, ...] = field(repr=False)
    commits: int
    shallow: bool
    cut: bool


def read_history(git: Git, root: Path, *, limit: int = MAX_COMMITS) -> History:
    """Return the history of the files below `root`, of at most `limit` commits."""
    raw = git.raw_log(root, limit + 1)
    found: dict[str, dict[str, Version]] = {}
    swaps: list[Swap] = []
    commits: dict[str, int] = {}
    for commit, seconds, changes in _compared(raw):
        order = commits.setdefault(commit, len(commits))
        if order >= limit:
            continue
        for path, _, blob in changes:
            if blob:
                version = Version(path, blob, commit, seconds, order)
                found.setdefault(path, {}).setdefault(blob, version)
        swaps += _swap(changes)
    versions = {path: tuple(blobs.values()) for path, blobs in found.items()}
    number = len(commits)
    return History(
        versions, tuple(swaps), min(number, limit), git.is_shallow(), number > limit
    )


_Change = tuple[str, str, str]
"""A path, and its blob before and after; empty where there was no regular file."""


def _swap(changes: Sequence[_Change]) -> Iterator[Swap]:
    deleted = tuple((path, old) for path, old, new in changes if old and not new)
    added = tuple((path, new) for path, old, new in changes if new and not old)
    if deleted and added:
        yield Swap(deleted, added)


def _compared(raw: bytes) -> Iterator[tuple[str, int, list[_Change]]]:
    """Yield each commit with its changes; a merge once for each of its parents."""
    commit, seconds = "", 0
    changes: list[_Change] = []
    words = iter(raw.split(b"\0"))
    for word in words:
        word = word.removeprefix(b"\n")
        if word.startswith(b":"):
            path = os.fsdecode(next(words))
            was, mode, old, new, _ = word[1:].split(b" ")
            before = old.decode() if was in _REGULAR else ""
            changes.append((path, before, new.decode() if mode in _REGULAR else ""))
        elif head := _COMMIT.fullmatch(word):
            if commit:
                yield commit, seconds, changes
            commit, seconds, changes = head[1].decode(), int(head[2]), []
    if commit:
        yield commit, seconds, changes
