"""Which commit introduced each line of a file in HEAD."""

from collections.abc import Iterator
from pathlib import Path

from nixsecrets.errors import ProgramError
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo.gitrun import run
from nixsecrets.repo.sidelog import day

_SECONDS = 20.0


class Origin(NamedTuple):
    """The commit that introduced a line; author and subject are untrusted text.

    `date` is the author's day in UTC (ISO 8601), or "no date".
    """

    commit: str
    author: str
    date: str
    subject: str


def blame(folder: Path, name: str) -> list[tuple[str, Origin]]:
    """Return each line of the file `name` in `folder` with the commit it comes from.

    Empty if HEAD has no such file, or if `git blame` takes more than 20 seconds.
    """
    flags = ("--line-porcelain", "--ignore-revs-file=")
    arguments = ("blame", *flags, "HEAD", "--", name)
    try:
        result = run(arguments, folder, seconds=_SECONDS)
    except ProgramError:
        return []
    if result.returncode != 0:
        return []
    return list(_origins(result.stdout.decode(errors="replace")))


def _origins(porcelain: str) -> Iterator[tuple[str, Origin]]:
    """Yield the text and the origin of each entry of `blame --line-porcelain`.

    An entry is a line with the commit's id, lines of `key value`, and a tab with the
    text (git-blame(1), "The porcelain format").
    """
    head: dict[str, str] = {}
    for line in porcelain.split("\n"):
        if line.startswith("\t"):
            who, what = head.get("author", ""), head.get("summary", "")
            date = day(head.get("author-time", ""))
            yield line[1:], Origin(head["commit"], who, date, what)
            head = {}
        elif not head:
            head["commit"] = line.partition(" ")[0]
        else:
            name, _, value = line.partition(" ")
            head[name] = value
