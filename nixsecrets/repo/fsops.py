"""The one seam through which we touch the disk: each operation is one method.

Everything in `repo` that creates, writes, renames, removes or flushes goes through
`ops`, so that a test can end the process, tear a write or raise an `OSError` at the
n-th operation (`use`).  Nothing here decides or translates: plain `OSError` comes out.
"""

# thousands of names pass through here, and a Path costs more than the call it wraps
# ruff: noqa: PTH102, PTH105, PTH106, PTH108

import fcntl
import os
import sys
from collections.abc import Callable
from functools import cache

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that stands where a file should must not make us wait for a writer
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class FileOps:
    """The operations; a fault injector overrides `step`, or `write` to tear one."""

    def step(self, operation: str, path: str | int) -> None:
        """Do nothing: called before each operation on `path` (or descriptor)."""

    def open(self, path: str) -> int:
        """Open `path` for reading, following no link in its last part."""
        self.step("open", path)
        return os.open(path, _OLD)

    def create(self, path: str, mode: int) -> int:
        """Make the new file `path` (mode less the umask) and open it for writing."""
        self.step("create", path)
        return os.open(path, _NEW, mode)

    def open_lock(self, path: str) -> int:
        """Open `path` for reading and writing; make it, empty, where it is missing."""
        self.step("open_lock", path)
        return os.open(path, _LOCK, 0o600)

    def overwrite(self, descriptor: int, data: bytes) -> None:
        """Make a few bytes the whole content of a file that is never renamed."""
        self.step("overwrite", descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write some of `data`; return how many bytes were taken."""
        self.step("write", descriptor)
        return os.write(descriptor, data)

    def chmod(self, descriptor: int, mode: int) -> None:
        """Set the permission bits."""
        self.step("chmod", descriptor)
        os.fchmod(descriptor, mode)

    def chown(self, descriptor: int, owner: int, group: int) -> None:
        """Set owner and group; -1 leaves one as it is."""
        self.step("chown", descriptor)
        os.fchown(descriptor, owner, group)

    def replace(self, source: str, target: str) -> None:
        """Rename, over whatever file is there."""
        self.step("replace", target)
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        """Remove one file or link."""
        self.step("unlink", path)
        os.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        """Make one folder (mode less the umask)."""
        self.step("mkdir", path)
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        """Remove one empty folder."""
        self.step("rmdir", path)
        os.rmdir(path)

    def fsync(self, descriptor: int) -> None:
        """Make one file or folder durable."""
        self.step("fsync", descriptor)
        if sys.platform == "darwin":
            # there fsync stops at the drive's cache
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)

    def syncfs(self, descriptor: int) -> bool:
        """Make the whole file system durable; False where the system cannot."""
        function = _libc_syncfs()
        if function is None:
            return False
        self.step("syncfs", descriptor)
        number = function(descriptor)
        if number:
            raise OSError(number, os.strerror(number))
        return True


@cache
def _libc_syncfs() -> Callable[[int], int] | None:
    """Return the C library's `syncfs` as a function that gives 0 or the errno."""
    import ctypes  # costs start-up time, and only writing needs it

    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None

    def call(descriptor: int) -> int:
        return ctypes.get_errno() if function(descriptor) else 0

    return call


ops: FileOps = FileOps()


def use(replacement: FileOps) -> FileOps:
    """Put `replacement` in the place of `ops` for this process; return the old one."""
    global ops
    before, ops = ops, replacement
    return before
