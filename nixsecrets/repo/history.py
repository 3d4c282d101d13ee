"""What the git history holds of the files below a map: which versions, since when.

Reads commits that HEAD reaches, newest first, a bounded number of them; what a version
says is not looked at here.
"""

import datetime
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import failure, run, started

MAX_COMMITS = 20_000
LONGEST_BLOB = 32 << 20
"""Bytes; a longer version of a file is passed over, and said to be."""

_COMMIT = re.compile(rb"([0-9a-f]{40,64}) (-?[0-9]+)")
_REGULAR = (b"100644", b"100755")


class Version(NamedTuple):
    """A file as one commit left it: the blob's id, the commit, its time (Unix).

    `order` counts the commits that were read from the newest, which has 0.
    """

    path: str
    blob: str
    commit: str
    seconds: int
    order: int = 0


class Swap(NamedTuple):
    """What one commit deleted and added: (path, blob) pairs, perhaps moved files."""

    deleted: tuple[tuple[str, str], ...]
    added: tuple[tuple[str, str], ...]


class History(NamedTuple):
    """The versions of each path, newest first, each blob once.

    `commits` counts the commits that were read; `shallow` tells that the clone has not
    all, `cut` that there are more than were read.
    """

    versions: Mapping[str, tuple[Version, ...]]
    swaps: tuple[Swap, ...]
    commits: int
    shallow: bool
    cut: bool


def read_history(git: Git, root: Path, *, limit: int = MAX_COMMITS) -> History:
    """Return the history of the files below `root`, of at most `limit` commits."""
    raw = _raw_log(git, root, limit + 1)
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
        versions, tuple(swaps), min(number, limit), is_shallow(git), number > limit
    )


_LOG = (
    *("--raw", "-z", "-m", "--no-abbrev", "--no-renames"),
    *("--no-color", "--no-show-signature"),
)
# a replaced commit would show another history than the one others have
_NO_REPLACING = "--no-replace-objects"


def _raw_log(git: Git, folder: Path, limit: int) -> bytes:
    """Return the changes below `folder` of up to `limit` commits, newest first.

    NUL-separated: `COMMIT SECONDS`, then for each change `:… OLD NEW STATUS` and its
    path, relative to `folder`.  A merge is listed against each parent.  Empty where
    there is no commit.
    """
    if git.head() is None:
        return b""
    shown = ("--relative", "--format=tformat:%H %ct", f"--max-count={limit}")
    result = run((_NO_REPLACING, "log", *_LOG, *shown, "HEAD", "--"), folder)
    if result.returncode != 0:
        raise failure("log", result)
    return result.stdout


def is_shallow(git: Git) -> bool:
    """Return whether older commits were left out when the repository was cloned."""
    return (git.common / "shallow").exists()


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


MAX_CHANGES = 5_000
_MARKED = re.compile(rb"([<>])([0-9a-f]{40,64}) (-?[0-9]+)((?: [0-9a-f]{40,64})*)")
_NONE = re.compile("0+")


class Change(NamedTuple):
    """What one commit made of a file against one of its parents: blobs, "" for none."""

    commit: str
    seconds: int
    merge: bool
    old: str
    new: str


@contextmanager
def file_log(
    folder: Path, path: str, limit: int, since: str = ""
) -> Iterator[Callable[[], bytes | None]]:
    """Start to read what changed one file below `folder`, for the function to give.

    For `read_changes`.  None where there is no HEAD, or no commit `since`, which is
    one up to which all is known.  No side of a merge is left out, whatever the merge
    made of it.
    """
    shown = ("--full-history", "--format=tformat:%m%H %ct %P", f"--max-count={limit}")
    reach = ("--left-right", f"HEAD...{since}") if since else ("HEAD",)
    asked = (_NO_REPLACING, "log", *_LOG, *shown, *reach, "--", path)
    with started(asked, folder) as finished:

        def said() -> bytes | None:
            result = finished()
            return None if result.returncode else result.stdout

        yield said


def read_changes(raw: bytes, *, since: bool) -> list[Change] | None:
    """Return what `file_log` found, the newest first.

    None where it looked `since` a commit that is not one that HEAD reaches.
    """
    found: list[Change] = []
    commit, seconds, merge = "", 0, False
    for word in raw.split(b"\0"):
        word = word.removeprefix(b"\n")
        if head := _MARKED.fullmatch(word):
            if since and head[1] == b">":
                return None
            commit, seconds = head[2].decode(), int(head[3])
            merge = head[4].count(b" ") > 1
        elif word.startswith(b":"):
            _, _, old, new, _ = word[1:].decode().split(" ")
            blobs = ("" if _NONE.fullmatch(blob) else blob for blob in (old, new))
            found.append(Change(commit, seconds, merge, *blobs))
    return found


RECENT = 1_000
"""Commits, in which versions of files are looked for that were put back."""


class Replaced(NamedTuple):
    """A version of a file, and the commit that replaced it, with its day.

    Nothing replaced the version of the last commit, which is the first.
    """

    blob: str
    commit: str
    day: str


@contextmanager
def recent_log(folder: Path) -> Iterator[Callable[[], Mapping[str, list[Replaced]]]]:
    """Start to read the recent versions of the files below `folder` that changed.

    For the function to give, by path, each path's newest first; the paths of the
    newest commits come first.  Along the first parents of HEAD: what merges brought is
    theirs.  Without a commit there is none.
    """
    shown = ("--relative", "--format=tformat:%H %ct", f"--max-count={RECENT}")
    only = ("--first-parent", "--diff-filter=M", "--min-parents=1")
    asked = (_NO_REPLACING, "log", *_LOG, *shown, *only, "HEAD", "--")
    with started(asked, folder) as finished:
        yield lambda: _replaced(finished().stdout)


def _replaced(raw: bytes) -> dict[str, list[Replaced]]:
    found: dict[str, list[Replaced]] = {}
    for commit, seconds, changes in _compared(raw):
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        day = moment.date().isoformat()
        for path, old, new in changes:
            versions = found.setdefault(path, [Replaced(new, "", "")])
            if old:
                versions.append(Replaced(old, commit, day))
    return found


def blob_id(data: bytes, like: str) -> str:
    """Return what git calls a content, in a repository that has the id `like`."""
    kind = hashlib.sha256 if len(like) == 64 else hashlib.sha1
    return kind(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
