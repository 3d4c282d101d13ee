"""Versions of files in the git history: which blobs, and which commits changed them.

Reads a bounded number of the commits that HEAD reaches, newest first; never the content
of a file.
"""

import datetime
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from nixsecrets.frozen import NamedTuple
from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import failure, run, started

MAX_COMMITS = 20_000
LONGEST_BLOB = 32 << 20
"""Bytes; a longer version of a file is skipped and reported."""

_COMMIT = rb"([0-9a-f]{40,64}) (-?[0-9]+)"
_REGULAR = (b"100644", b"100755")


class Version(NamedTuple):
    """The version of a file in one commit; `seconds` is the commit's Unix time.

    `order` numbers the commits, from 0 for the newest.
    """

    path: str
    blob: str
    commit: str
    seconds: int
    order: int = 0


class Swap(NamedTuple):
    """The (path, blob) pairs that one commit deleted and added; perhaps moved files."""

    deleted: tuple[tuple[str, str], ...]
    added: tuple[tuple[str, str], ...]


class History(NamedTuple):
    """The versions of each path, newest first, each blob once.

    `commits` is the number of commits that were read.  The clone is `shallow` if it
    does not have all commits; `cut` if the limit left some unread.
    """

    versions: Mapping[str, tuple[Version, ...]]
    swaps: tuple[Swap, ...]
    commits: int
    shallow: bool
    cut: bool


def read_history(git: Git, root: Path, *, limit: int = MAX_COMMITS) -> History:
    """Return the history of the files below `root`, from at most `limit` commits."""
    raw = _raw_log(git, root, limit + 1)  # one more, to know whether there are more
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
# refs/replace exists in this clone only: others have the history without it
_NO_REPLACING = "--no-replace-objects"


def _raw_log(git: Git, folder: Path, limit: int) -> bytes:
    """Return the changes below `folder` of up to `limit` commits, newest first.

    NUL-separated: `COMMIT SECONDS`, then for each change `:MODES OLD NEW STATUS` and
    its path, relative to `folder`.  A merge is listed once for each parent.  Empty if
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
    """Return whether the clone lacks older commits."""
    return (git.common / "shallow").exists()


_Change = tuple[str, str, str]
"""A path, and its blob before and after; "" if there is no regular file."""


def _swap(changes: Sequence[_Change]) -> Iterator[Swap]:
    deleted = tuple((path, old) for path, old, new in changes if old and not new)
    added = tuple((path, new) for path, old, new in changes if new and not old)
    if deleted and added:
        yield Swap(deleted, added)


def _compared(raw: bytes) -> Iterator[tuple[str, int, list[_Change]]]:
    """Yield (commit, Unix time, changes); a merge once for each of its parents."""
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
        elif head := re.fullmatch(_COMMIT, word):
            if commit:
                yield commit, seconds, changes
            commit, seconds, changes = head[1].decode(), int(head[2]), []
    if commit:
        yield commit, seconds, changes


MAX_CHANGES = 5_000
_MARKED = rb"([<>])([0-9a-f]{40,64}) (-?[0-9]+)((?: [0-9a-f]{40,64})*)"
_NONE = "0+"


class Change(NamedTuple):
    """A commit's change of a file against one of its parents; blobs, "" if absent."""

    commit: str
    seconds: int
    merge: bool
    old: str
    new: str


@contextmanager
def file_log(
    folder: Path, path: str, limit: int, since: str = ""
) -> Iterator[Callable[[], bytes | None]]:
    """Start to read the log of one file below `folder`; the function waits for it.

    It returns text for `read_changes`, or None if there is no HEAD or no commit
    `since`.  `since` limits the log to newer commits.  Both sides of every merge are
    included (`--full-history`).
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
    """Parse the output of `file_log`, newest change first.

    With `since`, None if HEAD does not reach that commit (the history was rewritten).
    """
    found: list[Change] = []
    commit, seconds, merge = "", 0, False
    for word in raw.split(b"\0"):
        word = word.removeprefix(b"\n")
        if head := re.fullmatch(_MARKED, word):
            if since and head[1] == b">":  # a commit that only `since` reaches
                return None
            commit, seconds = head[2].decode(), int(head[3])
            merge = head[4].count(b" ") > 1  # two or more parents, each after a blank
        elif word.startswith(b":"):
            _, _, old, new, _ = word[1:].decode().split(" ")
            blobs = ("" if re.fullmatch(_NONE, blob) else blob for blob in (old, new))
            found.append(Change(commit, seconds, merge, *blobs))
    return found


RECENT = 1_000
"""Number of commits in which to look for versions that were restored later."""


class Replaced(NamedTuple):
    """A version of a file, and the commit that replaced it, with its day (UTC).

    `commit` and `day` are "" for the version in HEAD.
    """

    blob: str
    commit: str
    day: str


@contextmanager
def recent_log(folder: Path) -> Iterator[Callable[[], Mapping[str, list[Replaced]]]]:
    """Start to read the recent versions of changed files; the function waits for them.

    It returns the versions by path (relative to `folder`), newest first; the paths of
    the newest commits come first.  Follows the first parents of HEAD only.  Empty if
    there is no commit.
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
