"""Which files differ from the last commit, by blob id.

git itself is not asked to compare, because it would run the filters of the repository;
its index, and the times and sizes in it, do not matter.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nixsecrets.repo.files import blob_id
from nixsecrets.repo.gitrun import started

_HEAD = len("100644 blob ")  # prefix of a regular file's line in `ls-tree`


class Committed:
    """The files below a folder in the last commit: path and content of each."""

    def __init__(self, listed: bytes = b"") -> None:
        """Parse the output of `ls-tree -r -z`."""
        # only compared as text: `OID<tab>PATH`
        lines = os.fsdecode(listed).removesuffix("\0").split("\0")
        self._files = frozenset(line[_HEAD:] for line in lines)
        self._oid = lines[0][_HEAD:].partition("\t")[0]

    def has(self, path: str, data: bytes) -> bool:
        """Return whether the commit has this content at `path`.

        CRLF and LF count as equal: git may have converted them (`core.autocrlf`).
        """
        if f"{blob_id(data, self._oid)}\t{path}" in self._files:
            return True
        return b"\r\n" in data and self.has(path, data.replace(b"\r\n", b"\n"))


@contextmanager
def committed(folder: Path) -> Iterator[Callable[[], Committed]]:
    """Start to list the files in HEAD below `folder`; the function waits for them.

    Empty if there is no commit.
    """
    with started(("ls-tree", "-r", "-z", "HEAD"), folder) as finished:
        yield lambda: Committed(finished().stdout)
