"""Who changed a file on one side of a merge, and when."""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from nixsecrets.frozen import NamedTuple
from nixsecrets.repo.gitrun import run

_MOST = 200  # commits


class Change(NamedTuple):
    """A commit's change of a file: its author, the day (UTC), the blobs.

    `author` is untrusted text; `old` and `new` are "" where there is no file.
    """

    author: str
    day: str
    old: str
    new: str


def changes(
    folder: Path, base: str | None, side: str, paths: Sequence[str]
) -> dict[str, list[Change]]:
    """Return what the commits of a side changed in `paths`, newest first.

    `base` is where the side began, None if it has no commit in common with the other;
    `paths` are relative to `folder`.
    """
    reach = (side,) if base is None else (side, f"^{base}")
    shown = ("--raw", "-z", "--no-abbrev", "--no-renames", "--relative", f"-n{_MOST}")
    head = ("--no-show-signature", "--format=tformat:%x01%at %an")
    found: dict[str, list[Change]] = {}
    result = run(("log", *head, *shown, *reach, "--", *paths), folder)
    seconds = author = ""
    words = iter(os.fsdecode(result.stdout).split("\0"))
    for word in words:
        text = word.lstrip("\n")
        if text.startswith("\1"):
            seconds, _, author = text[1:].partition(" ")
        elif text.startswith(":"):
            _, _, old, new, _ = text[1:].split(" ")
            blobs = (oid if oid.strip("0") else "" for oid in (old, new))
            change = Change(author, day(seconds), *blobs)
            found.setdefault(next(words), []).append(change)
    return found


def day(seconds: str) -> str:
    """Return the date (UTC) of a Unix time; a commit may contain any number."""
    try:
        made = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return "no date"
    return made.date().isoformat()
