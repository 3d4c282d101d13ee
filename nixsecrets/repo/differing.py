"""Which files differ from the last commit: from git's own record of each file.

git notes size and times of what it checked out or added.  A file that still has them,
and whose entry in the index is that of the last commit, is not read.  The rest is read
and hashed here: git would run the filters of the repository over it.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nixsecrets.repo import files
from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import run, started

# as `ls-files --debug` prints an entry; what it prints otherwise is read and hashed
_ENTRY = re.compile(
    rb"([^\0]+)\0  ctime: \d+:\d+\n  mtime: (\d+):(\d+)\n  dev: \d+\tino: \d+\n"
    rb"  uid: \d+\tgid: \d+\n  size: (\d+)\tflags: \w+\n"
)


@contextmanager
def listing(git: Git, folder: Path) -> Iterator[Callable[[Sequence[str]], list[str]]]:
    """Start to ask git; give what returns those of some paths that differ from HEAD.

    The paths are relative to `folder`; what HEAD has not, differs.
    """
    arguments = ("ls-files", "-z", "--debug", "--cached")
    with started(arguments, folder, git.index_file) as finished:
        yield lambda paths: _differing(git, folder, paths, finished().stdout)


def _differing(
    git: Git, folder: Path, paths: Sequence[str], listed: bytes
) -> list[str]:
    if not paths:
        return []
    known = {
        os.fsdecode(path): (int(seconds) * 1_000_000_000 + int(nanos), int(size))
        for path, seconds, nanos, size in _ENTRY.findall(listed)
    }
    staged = _staged(git, folder)
    try:
        written = (git.staging.parent / "index").stat().st_mtime_ns
    except OSError:
        written = 0
    suspects = []
    for path in paths:
        try:
            found = os.stat(f"{folder}/{path}")  # noqa: PTH116 - thousands
        except OSError:
            continue
        same = known.get(path) == (found.st_mtime_ns, found.st_size)
        # what was written in the same moment as the index may have changed since
        if not same or found.st_mtime_ns >= written or path in staged:
            suspects.append(path)
    if not suspects:
        return []
    ids = git.committed_ids(folder)
    return [
        path
        for path in suspects
        if not files.is_blob(f"{folder}/{path}", ids.get(path))
    ]


def _staged(git: Git, folder: Path) -> frozenset[str]:
    """Return the paths whose entry in the index is not that of HEAD."""
    flags = ("--cached", "--name-only", "-z", "--no-renames", "--relative")
    found = run(("diff-index", *flags, "HEAD", "--"), folder, b"", git.index_file)
    return frozenset(os.fsdecode(found.stdout).split("\0"))
