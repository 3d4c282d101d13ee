"""Which files differ from the last commit, by what git would call their content.

Nothing of the index counts, no time of a file and no size.  git is not asked to
compare: it would run the filters of the repository over what it reads.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nixsecrets.repo.gitrun import started
from nixsecrets.repo.history import blob_id

_HEAD = len("100644 blob ")  # of a line of `ls-tree` that names a regular file


class Committed:
    """The files below a folder in the last commit: path and content of each."""

    def __init__(self, listed: bytes = b"") -> None:
        """Take the output of `ls-tree -r -z`."""
        lines = os.fsdecode(listed).removesuffix("\0").split("\0")
        self._files = frozenset(line[_HEAD:] for line in lines)
        self._oid = lines[0][_HEAD:].partition("\t")[0]

    def has(self, path: str, data: bytes) -> bool:
        """Return whether `path` has this content there, but for the ends of its lines.

        A clone with `core.autocrlf` has other ones.
        """
        if f"{blob_id(data, self._oid)}\t{path}" in self._files:
            return True
        return b"\r\n" in data and self.has(path, data.replace(b"\r\n", b"\n"))


@contextmanager
def committed(folder: Path) -> Iterator[Callable[[], Committed]]:
    """Start to list what HEAD holds below `folder`, for the function to give.

    Nothing where there is no commit.
    """
    with started(("ls-tree", "-r", "-z", "HEAD"), folder) as finished:
        yield lambda: Committed(finished().stdout)
