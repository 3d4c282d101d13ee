"""Reading, hashing and writing single files, without following links.

Paths are `str` with surrogate escapes for bytes that are not UTF-8.  These functions
raise plain `OSError`; `explained` converts it for the user.  `staging` and `journal`
replace several files together.
"""

# thousands of names pass through here, and a Path costs more than the call it wraps
# ruff: noqa: PTH116, PTH118, PTH120

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo import fsops
from nixsecrets.untrusted import inputs

_CHUNK = 1 << 20
# up to this number, fsync for each file is cheaper than one syncfs, which also waits
# for the dirty pages of other programs
_SINGLE_FSYNCS = 8

STAGED_NAME = r"\.nixsecrets-[0-9a-f]{32}"

CHOWN_REFUSED = frozenset({errno.EPERM, errno.EINVAL})
"""What chown(2) fails with if the new owner is not allowed; EINVAL for unmapped ids."""

_NOT_REGULAR_HINT = "put the file itself there, or remove what is in its place"
_HINTS = {
    errno.ENOSPC: "free some space on that disk and run the command again",
    errno.EDQUOT: "free some space in your quota and run the command again",
    errno.EROFS: "that file system is mounted read-only: mount it writable first",
    errno.EACCES: "check the owner and mode of the file and of its folder",
    errno.EPERM: "check the owner and attributes of the file and of its folder",
    errno.EIO: "the disk reports an error: check the system log before going on",
}


def explained(error: OSError, doing: str, path: str) -> NixsecretsError:
    """Return the error to show: `cannot DOING "PATH": reason`, with a hint."""
    number = error.errno or 0
    reason = os.strerror(number).lower() if number else "unknown reason"
    if isinstance(error, inputs.NotRegularError):
        reason = error.reason
        return NixsecretsError(
            f"cannot {doing} {quoted(path)}: {reason}", _NOT_REGULAR_HINT
        )
    return NixsecretsError(
        f"cannot {doing} {quoted(path)}: {reason}", _HINTS.get(number)
    )


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in lower-case hex."""
    import hashlib  # loads OpenSSL, 3 ms, and reading a file hashes nothing

    return hashlib.sha256(data).hexdigest()


def blob_id(data: bytes, like: str) -> str:
    """Return the id of a git blob, in the repository that has the object id `like`.

    The length of `like` says whether its ids are SHA-1 or SHA-256.
    """
    import hashlib  # as above

    kind = hashlib.sha256 if len(like) == 64 else hashlib.sha1
    return kind(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def read_bytes_nofollow(path: str) -> bytes:
    """Return the content of the regular file `path`.

    Raises:
        OSError: it cannot be read; `ELOOP` if its last component is a link, `EINVAL` if
            it is not a regular file.
    """
    descriptor = fsops.ops.open(path)
    try:
        return _read_all(descriptor, inputs.require_regular(descriptor).st_size)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, size: int) -> bytes:
    """Read to the end of a file, which is expected after `size` bytes."""
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    # it grew, or the kernel returned less than requested (above 2 GiB, network disks)
    parts = [data]
    while part := os.read(descriptor, _CHUNK):
        parts.append(part)
    return b"".join(parts)


def read_up_to(path: str, most: int) -> bytes | None:
    """Return the content of the regular file `path`, None if it has over `most` bytes.

    Raises:
        OSError: it cannot be read; `ELOOP` if its last component is a link, `EINVAL` if
            it is not a regular file.
    """
    descriptor = fsops.ops.open(path)
    try:
        size = inputs.require_regular(descriptor).st_size
        return None if size > most else _read_all(descriptor, size)
    finally:
        os.close(descriptor)


class Start(NamedTuple):
    """The start of a large file; `size` (bytes) and `sha256` (hex) of all of it."""

    data: bytes
    size: int
    sha256: str

    def __repr__(self) -> str:
        """Return it without any content."""
        return f"Start(size={self.size}, sha256={self.sha256!r})"


def read_or_start(
    path: str, length: int, enough: Callable[[bytes], bool]
) -> bytes | Start:
    """Return a file, or only its start if it is longer and `enough(start)` holds.

    The start is `length` bytes; the rest is hashed and not kept in memory.

    Raises:
        OSError: it cannot be read; `ELOOP` if its last component is a link, `EINVAL` if
            it is not a regular file.
    """
    import hashlib  # as above

    descriptor = fsops.ops.open(path)
    try:
        found = inputs.require_regular(descriptor).st_size
        if found <= length:
            return _read_all(descriptor, found)
        start = os.read(descriptor, length)
        if not enough(start):
            return start + _read_all(descriptor, found - len(start))
        digest, size = hashlib.sha256(start), len(start)
        while part := os.read(descriptor, _CHUNK):
            digest.update(part)
            size += len(part)
        return Start(start, size, digest.hexdigest())
    finally:
        os.close(descriptor)


def hash_file(path: str) -> str | None:
    """Return the SHA-256 (hex) of the regular file `path`, None if it does not exist.

    Raises:
        OSError: it cannot be read; `ELOOP` if its last component is a link, `EINVAL` if
            it is not a regular file.
    """
    import hashlib  # as above

    try:
        descriptor = fsops.ops.open(path)
    except FileNotFoundError:
        return None
    try:
        inputs.require_regular(descriptor)
        digest = hashlib.sha256()
        while part := os.read(descriptor, _CHUNK):
            digest.update(part)
        return digest.hexdigest()
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`."""
    left = memoryview(data)
    while left:
        left = left[fsops.ops.write(descriptor, left) :]


class Descriptor:
    """A writable binary stream without a buffer, over an open descriptor."""

    def __init__(self, descriptor: int) -> None:
        """Write to `descriptor`, which the caller closes."""
        self._descriptor = descriptor

    def write(self, data: bytes, /) -> int:
        """Write all of `data`; return its length."""
        write_all(self._descriptor, data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


def write_durably(path: str, data: bytes) -> None:
    """Replace the content of `path` atomically and flush it to disk; mode 0600.

    Raises:
        OSError: it cannot be written; the old file is still in place then.
    """
    with durable_writer(path) as descriptor:
        write_all(descriptor, data)


@contextmanager
def durable_writer(path: str) -> Iterator[int]:
    """Yield a descriptor for the new content of `path`, which replaces it at the end.

    Readers see the old or the new file, never a part; after an error the old file is
    still in place.  The new file is flushed to disk, has mode 0600 and, if root writes
    it, belongs to the owner of its folder.

    Raises:
        OSError: the file cannot be written.
    """
    folder = os.path.dirname(path)
    staged = os.path.join(folder, staged_name())
    try:
        descriptor = fsops.ops.create(staged, 0o600)
        try:
            give_to_folder_owner(descriptor, staged)
            yield descriptor
            fsops.ops.fsync(descriptor)
        finally:
            os.close(descriptor)
        fsops.ops.replace(staged, path)
    except BaseException:
        with contextlib.suppress(OSError):
            fsops.ops.unlink(staged)
        raise
    fsync_path(folder)


def staged_name() -> str:
    """Return a random name for a staged file, which `STAGED_NAME` matches."""
    return f".nixsecrets-{os.urandom(16).hex()}"


def give_to_folder_owner(descriptor: int, path: str) -> None:
    """As root, make the owner of its folder the owner of a file made at `path`."""
    give_to_owner_of(os.stat(os.path.dirname(path)), descriptor)


def give_to_owner_of(folder: os.stat_result, descriptor: int) -> None:
    """As root, make the owner of `folder` the owner of a newly made file.

    So with `sudo` in another user's repository, the files belong to that user.  For
    other users than root only the group is set, if the folder has the setgid bit.  What
    the system refuses (to root in a user namespace) stays as it is.
    """
    root = os.geteuid() == 0
    made = os.fstat(descriptor)
    owner = folder.st_uid if root else made.st_uid
    group = folder.st_gid if root or folder.st_mode & stat.S_ISGID else made.st_gid
    if (owner, group) == (made.st_uid, made.st_gid):
        return
    try:
        fsops.ops.chown(descriptor, owner, group)
    except OSError as error:
        if error.errno not in CHOWN_REFUSED:
            raise


def make_folder(path: str, mode: int) -> None:
    """Make one folder; if root makes it, it belongs to the owner of its parent."""
    fsops.ops.mkdir(path, mode)
    if os.geteuid() == 0:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            give_to_folder_owner(descriptor, path)
        finally:
            os.close(descriptor)


def fsync_path(path: str) -> None:
    """Flush the file or folder `path` to disk."""
    descriptor = fsops.ops.open(path)
    try:
        fsops.ops.fsync(descriptor)
    except OSError as error:
        # some network and FUSE file systems cannot flush a folder
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def flush(files: Collection[str], folders: Iterable[str]) -> None:
    """Flush `files`, and the entries of `folders` that contain them, to disk.

    Many are flushed with one `syncfs` per file system, where the system has it.
    """
    folders = sorted(set(folders))
    if len(files) + len(folders) > _SINGLE_FSYNCS and _flush_file_systems(folders):
        return
    for path in (*files, *folders):
        fsync_path(path)


def _flush_file_systems(folders: Iterable[str]) -> bool:
    for folder in {os.stat(folder).st_dev: folder for folder in folders}.values():
        descriptor = fsops.ops.open(folder)
        try:
            if not fsops.ops.syncfs(descriptor):
                return False
        finally:
            os.close(descriptor)
    return True
