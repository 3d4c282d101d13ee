"""Where git keeps a repository: what `git rev-parse` answers, read with certainty."""

import os
from pathlib import Path

from nixsecrets.errors import ProgramError


def two_places(text: str) -> tuple[Path, Path]:
    """Split two paths at the line feed between them; they may contain line feeds, too.

    They are the git folder that all work trees share and the one of this work tree,
    which is the same one or a folder below its `worktrees`.
    """
    middle = len(text) // 2  # where the separator is if both are equal
    if text[:middle] == text[middle + 1 :]:
        return Path(text[:middle]).resolve(), Path(text[:middle]).resolve()
    end = text.find("\n")
    while end != -1 and not text.startswith(text[:end] + "/worktrees/", end + 1):
        end = text.find("\n", end + 1)
    if end == -1:
        raise ProgramError(
            "git rev-parse gives paths that do not fit together",
            "see `git rev-parse --git-common-dir --git-dir` in this folder",
        )
    return Path(text[:end]).resolve(), Path(text[end + 1 :]).resolve()


def without_commit(text: str) -> tuple[str, str | None]:
    """Split off the commit in the last line of a text, None if there is none.

    A path cannot be such a line: git answers absolute ones.
    """
    rest, _, last = text.rpartition("\n")
    commit = len(last) in (40, 64) and not set(last) - set("0123456789abcdef")
    return (rest, last) if commit else (text, None)


def has_git_folder(folder: Path) -> bool:
    """Return whether a `.git` lies in a folder or above it."""
    return any(os.path.lexists(place / ".git") for place in (folder, *folder.parents))
