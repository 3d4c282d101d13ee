"""The seam between nixsecrets and the disk: one method for each operation.

Everything in `repo` that creates, writes, renames, removes or flushes goes through
`ops`, so that a test can kill the process, tear a write or raise an `OSError` at the
n-th operation (`use`).  Errors are plain `OSError`.
"""

# thousands of names pass through here, and a Path costs more than the call it wraps
# ruff: noqa: PTH102, PTH105, PTH106, PTH108

import os
import sys
from collections.abc import Callable
from functools import cache

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO in place of a file must not wait for a writer
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class FileOps:
    """The operations; tests override `step` to inject faults, or `write` to tear it."""

    def step(self, operation: str, path: str | int) -> None:
        """Do nothing; called before each operation on a path or descriptor."""

    def open(self, path: str) -> int:
        """Open `path` for reading; fail with ELOOP if its last component is a link."""
        self.step("open", path)
        return os.open(path, _OLD)

    def create(self, path: str, mode: int) -> int:
        """Create the new file `path` (mode minus the umask) and open it for writing."""
        self.step("create", path)
        return os.open(path, _NEW, mode)

    def open_lock(self, path: str) -> int:
        """Open `path` for reading and writing; create it, empty, if missing."""
        self.step("open_lock", path)
        return os.open(path, _LOCK, 0o600)

    def overwrite(self, descriptor: int, data: bytes) -> None:
        """Replace the content of an open file by a few bytes, not atomically."""
        self.step("overwrite", descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write some of `data`; return how many bytes were written."""
        self.step("write", descriptor)
        return os.write(descriptor, data)

    def chmod(self, descriptor: int, mode: int) -> None:
        """Set the permission bits."""
        self.step("chmod", descriptor)
        os.fchmod(descriptor, mode)

    def chown(self, descriptor: int, owner: int, group: int) -> None:
        """Set owner and group; -1 keeps the current one."""
        self.step("chown", descriptor)
        os.fchown(descriptor, owner, group)

    def replace(self, source: str, target: str) -> None:
        """Rename `source` to `target`, replacing an existing file."""
        self.step("replace", target)
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        """Remove one file or link."""
        self.step("unlink", path)
        os.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        """Make one folder (mode minus the umask)."""
        self.step("mkdir", path)
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        """Remove one empty folder."""
        self.step("rmdir", path)
        os.rmdir(path)

    def fsync(self, descriptor: int) -> None:
        """Flush one file or folder to disk."""
        self.step("fsync", descriptor)
        if sys.platform == "darwin":
            # fsync of macOS does not flush the drive's cache
            import fcntl  # only there

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)

    def syncfs(self, descriptor: int) -> bool:
        """Flush a whole file system to disk; return False if there is no syncfs."""
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
    """Return syncfs(2) as a function from a descriptor to 0 or the errno."""
    import ctypes  # 3 ms, which only a command that writes many files needs

    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None

    def call(descriptor: int) -> int:
        return ctypes.get_errno() if function(descriptor) else 0

    return call


ops: FileOps = FileOps()


def use(replacement: FileOps) -> FileOps:
    """Replace `ops` for this process; return the previous object."""
    global ops
    before, ops = ops, replacement
    return before
