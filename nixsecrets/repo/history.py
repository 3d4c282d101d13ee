"""What the git history holds of the files below a map: which versions, since when.

Reads commits that HEAD reaches, newest first, a bounded number of them; what a version
says is not looked at here.
"""

import os
import re
from collections.abc import Iterator, Mapping
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
    """A file as one commit left it: the blob's id, the commit, its time (Unix)."""

    blob: str
    commit: str
    seconds: int


@dataclass(frozen=True, slots=True)
class History:
    """The versions of each path, newest first, each blob once.

    `commits` counts the commits that were read; `shallow` tells that the clone has not
    all, `cut` that there are more than were read.
    """

    versions: Mapping[str, tuple[Version, ...]] = field(repr=False)
    commits: int
    shallow: bool
    cut: bool


def read_history(git: Git, root: Path, *, limit: int = MAX_COMMITS) -> History:
    """Return the history of the files below `root`, of at most `limit` commits."""
    raw = git.raw_log(root, limit + 1)
    found: dict[str, dict[str, Version]] = {}
    commits: set[str] = set()
    for path, version in _changes(raw, commits):
        if len(commits) <= limit:
            found.setdefault(path, {}).setdefault(version.blob, version)
    versions = {path: tuple(blobs.values()) for path, blobs in found.items()}
    cut = len(commits) > limit
    return History(versions, min(len(commits), limit), git.is_shallow(), cut)


def _changes(raw: bytes, commits: set[str]) -> Iterator[tuple[str, Version]]:
    """Yield each change that left a regular file; note the commits that are read."""
    commit, seconds = "", 0
    words = iter(raw.split(b"\0"))
    for word in words:
        word = word.removeprefix(b"\n")
        if word.startswith(b":"):
            path = os.fsdecode(next(words))
            _, mode, _, blob, _ = word.split(b" ")
            if mode in _REGULAR:
                yield path, Version(blob.decode(), commit, seconds)
        elif head := _COMMIT.fullmatch(word):
            commit, seconds = head[1].decode(), int(head[2])
            commits.add(commit)
