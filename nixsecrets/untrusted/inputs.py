"""Opening regular files without ever blocking on a file of another type.

A FIFO, a device, a socket or a folder can be in place of a secret, a map, a key or an
edited text.  Opening a FIFO waits for a writer, and reading a device may never end.  So
files are opened with `O_NONBLOCK`, and the type is checked on the open descriptor,
where it cannot change any more.
"""

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# `/dev/stdin`, and what a shell substitutes for `<(…)`: a pipe passed on purpose
_PASSED_PIPE = r"/dev/stdin|(/dev|/proc/self|/proc/\d+)/fd/\d+"
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class NotRegularError(OSError):
    """The path is a FIFO, device, socket or folder, not a regular file.

    `reason` names the type, for a message.
    """

    def __init__(self, mode: int) -> None:
        """Name the file type of `mode`, the `st_mode` of `stat`."""
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        self.reason = f"not a regular file but {kind}"
        super().__init__(errno.EINVAL, self.reason)


def require_regular(descriptor: int) -> os.stat_result:
    """Return the `fstat` result of an open regular file.

    Raises:
        NotRegularError: the descriptor is of another file type.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise NotRegularError(found.st_mode)
    return found


def open_regular(path: str | Path, *, pipes: bool = False) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    `pipes` also accepts what the shell opened for this program (`/dev/stdin`, `<(…)`);
    it is for paths that the user named on the command line or in a variable.

    Raises:
        OSError: the file cannot be opened.
        NotRegularError: it is not a regular file.
        ValueError: the name contains a NUL.
    """
    path = os.fspath(path)
    if pipes and re.fullmatch(_PASSED_PIPE, path):
        return open(path, "rb")  # noqa: PTH123 - a string, as `os.open` takes it
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        # open(2) fails on a socket with ENXIO, which says nothing to the user
        mode = os.stat(path).st_mode  # noqa: PTH116
        if not stat.S_ISREG(mode):
            raise NotRegularError(mode) from None
        raise
    try:
        require_regular(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read(path: str | Path, *, pipes: bool = False) -> bytes:
    """Return the content of a regular file; with `pipes`, also of `/dev/stdin` etc.

    Raises:
        OSError: the file cannot be read, or (`NotRegularError`) is not a regular file.
        ValueError: the name contains a NUL.
    """
    with open_regular(path, pipes=pipes) as file:
        return file.read()


def read_text(path: str | Path, *, pipes: bool = False, errors: str = "strict") -> str:
    """Return the content of a UTF-8 file, with CRLF and CR line ends as LF.

    `errors` is the error handler of `bytes.decode`; `pipes` also accepts `/dev/stdin`
    and `<(…)`.

    Raises:
        OSError: the file cannot be read, or (`NotRegularError`) is not a regular file.
        UnicodeDecodeError: it is not UTF-8.
        ValueError: the name contains a NUL.
    """
    text = read(path, pipes=pipes).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")
