"""Opening a file that is expected to be a regular one: never waiting for another kind.

A FIFO, a device, a socket or a folder can stand wherever a secret, a map, a key or an
edited text is expected.  Opening a FIFO waits for a writer, reading a device may never
end.  What is opened here is looked at first, on the descriptor itself.
"""

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# `/dev/stdin`, and what a shell makes of `<(…)`: the person handed this program a pipe
_HANDED = re.compile(r"/dev/stdin|(/dev|/proc/self|/proc/\d+)/fd/\d+")
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class NotRegularError(OSError):
    """A file of another kind stands where a regular one is expected."""

    def __init__(self, mode: int) -> None:
        """Say which kind it is; `mode` is that of `stat`."""
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        self.reason = f"not a regular file but {kind}"
        super().__init__(errno.EINVAL, self.reason)


def insist_regular(descriptor: int) -> os.stat_result:
    """Return what `fstat` says of a regular file.

    Raises `NotRegularError`.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise NotRegularError(found.st_mode)
    return found


def opened(path: str | Path, *, handed: bool = False) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    `handed` is for what a person named on the command line or in a variable: there a
    pipe or a file that the shell opened for this program (`/dev/stdin`, `<(…)`) is
    read to its end.

    Raises `OSError`, `NotRegularError` where it is of another kind, `ValueError` for a
    NUL in the name.
    """
    path = os.fspath(path)
    if handed and _HANDED.fullmatch(path):
        return open(path, "rb")  # noqa: PTH123 - handed on open
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        # a socket cannot be opened at all
        mode = os.stat(path).st_mode  # noqa: PTH116
        if not stat.S_ISREG(mode):
            raise NotRegularError(mode) from None
        raise
    try:
        insist_regular(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read(path: str | Path, *, handed: bool = False) -> bytes:
    """Return the content of a file; as `opened`."""
    with opened(path, handed=handed) as file:
        return file.read()


def read_text(path: str | Path, *, handed: bool = False, errors: str = "strict") -> str:
    """Return the content of a UTF-8 file with line ends as LF; as `opened`.

    Raises `UnicodeDecodeError`, too.
    """
    text = read(path, handed=handed).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")
