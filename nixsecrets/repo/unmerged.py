"""Unmerged paths of an unfinished merge, rebase, cherry-pick or revert, and its sides.

Reads the index and the small files with git's state.  Stage 1 is the merge base, 2 is
ours, 3 is theirs; in a rebase, ours is the branch that is rebased onto.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from nixsecrets.errors import quoted
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import run
from nixsecrets.untrusted import inputs

OURS, THEIRS = 2, 3
GITHEAD = "GITHEAD_"
"""git-merge exports it with the id of the commit that it merges."""


class Activity(StrEnum):
    """What git does with two sides."""

    MERGE = "merge"
    REBASE = "rebase"
    CHERRY_PICK = "cherry-pick"
    REVERT = "revert"
    OTHER = "stash"


# a rebase first: it picks commits
_STATES = {
    "rebase-merge": Activity.REBASE,
    "rebase-apply": Activity.REBASE,
    "MERGE_HEAD": Activity.MERGE,
    "CHERRY_PICK_HEAD": Activity.CHERRY_PICK,
    "REVERT_HEAD": Activity.REVERT,
}
_OID = r"[0-9a-f]{40,64}"

Stages = Mapping[int, str]
"""The blobs of an unmerged path by stage: 1 to 3, without those that do not exist."""
NO_STAGES: Stages = {}


class Sides(NamedTuple):
    """The names of the two sides of a merge, for messages."""

    ours: str
    theirs: str


class Conflict(NamedTuple):
    """A file with a conflict: a message, and its versions in git.

    `stages` is empty if git has no record of it; then the file has conflict markers
    from `line` on.
    """

    message: str
    stages: Stages = NO_STAGES
    line: int = 0

    @property
    def both(self) -> bool:
        """Whether both sides have a version of the file."""
        return {OURS, THEIRS} <= self.stages.keys()


def conflict(stages: Stages, names: Sides) -> Conflict:
    """Return the conflict of an unmerged path."""
    ours, theirs = f"{names.ours} (ours)", f"{names.theirs} (theirs)"
    if OURS not in stages:
        what = f"{theirs} changed it, {ours} has it no more"
    elif THEIRS not in stages:
        what = f"{ours} changed it, {theirs} has it no more"
    else:
        what = f"{ours} and {theirs} both changed it"
    return Conflict(f"git could not merge it: {what}", stages)


def unmerged(git: Git, folder: Path) -> dict[str, Stages]:
    """Return the unmerged paths below `folder`, relative to it, with their stages."""
    listed = run(("ls-files", "-u", "-z"), folder, index_file=git.index_file)
    found: dict[str, dict[int, str]] = {}
    for line in os.fsdecode(listed.stdout).split("\0")[:-1]:
        head, _, path = line.partition("\t")
        _, oid, stage = head.split(" ")
        found.setdefault(path, {})[int(stage)] = oid
    return dict(found)


def merging(git: Git) -> bool:
    """Return whether a merge, rebase, cherry-pick or revert is unfinished."""
    return activity(git) is not Activity.OTHER


def activity(git: Git) -> Activity:
    """Return what git has not finished: `OTHER` for a stash, a patch, or nothing."""
    folder = git.folder
    found = (one for name, one in _STATES.items() if (folder / name).exists())
    return next(found, Activity.OTHER)


def sides(git: Git) -> Sides:
    """Return the names of both sides: branches if known, else commits."""
    folder = git.folder
    for name in ("rebase-merge", "rebase-apply"):
        if (folder / name).is_dir():
            # git's own files (builtin/rebase.c): the new base, the rebased branch
            onto = named(git, _line(folder / name / "onto"))
            head = _line(folder / name / "head-name").removeprefix("refs/heads/")
            return Sides(onto or "the new base", _shown(head) or "what is rebased")
    head = _line(folder / "HEAD").removeprefix("ref: refs/heads/")
    ours = named(git, head) if re.fullmatch(_OID, head) else _shown(head)
    for name, prefix in (
        ("MERGE_HEAD", ""),
        ("CHERRY_PICK_HEAD", ""),
        ("REVERT_HEAD", "the revert of "),
    ):
        theirs = named(git, _line(folder / name))
        if theirs:
            return Sides(ours or "HEAD", prefix + theirs)
    return Sides(ours or "HEAD", "what was applied (a stash or a patch)")


def _line(path: Path) -> str:
    try:
        return inputs.read_text(path, errors="replace").partition("\n")[0]
    except OSError:
        return ""


def named(git: Git, oid: str) -> str:
    """Return a branch that points at a commit, else `commit` and its abbreviated id."""
    if not re.fullmatch(_OID, oid):
        return ""
    flags = ("--count=1", "--format=%(refname:short)", f"--points-at={oid}")
    found = run(("for-each-ref", *flags, "refs/heads", "refs/remotes"), git.top)
    return _shown(os.fsdecode(found.stdout).strip()) or f"commit {oid[:10]}"


def _shown(name: str) -> str:
    return name if name.isprintable() else quoted(name)
