"""Reading, hashing and writing single files, without following links.

Paths are strings as `os` takes them (odd bytes as surrogate escapes).  These helpers
raise plain `OSError`; `explained` turns one into an error for a person.  What is
replaced together, and in which order, is the business of `staging` and `journal`.
"""

# thousands of names pass through here, and a Path costs more than the call it wraps
# ruff: noqa: PTH116, PTH118, PTH120

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.repo import fsops
from nixsecrets.untrusted import inputs

_CHUNK = 1 << 20
# Up to here single fsyncs are cheaper than a syncfs, which also waits for the dirty
# pages of every other program.
_SINGLE_FSYNCS = 8

STAGED_NAME = re.compile(r"\.nixsecrets-[0-9a-f]{32}")

MAY_NOT_GIVE = frozenset({errno.EPERM, errno.EINVAL})

_ODD_HINT = "put the file itself there, or remove what is in its place"
_HINTS = {
    errno.ENOSPC: "free some space on that disk and run the command again",
    errno.EDQUOT: "free some space in your quota and run the command again",
    errno.EROFS: "that file system is mounted read-only: mount it writable first",
    errno.EACCES: "check the owner and mode of the file and of its folder",
    errno.EPERM: "check the owner and attributes of the file and of its folder",
    errno.EIO: "the disk reports an error: check the system log before going on",
}


def explained(error: OSError, doing: str, path: str) -> NixsecretsError:
    """Return the error for a person: `cannot DOING "PATH": reason`, and a hint."""
    number = error.errno or 0
    reason = os.strerror(number).lower() if number else "unknown reason"
    if isinstance(error, inputs.NotRegularError):
        reason = error.reason
        return NixsecretsError(f"cannot {doing} {quoted(path)}: {reason}", _ODD_HINT)
    return NixsecretsError(
        f"cannot {doing} {quoted(path)}: {reason}", _HINTS.get(number)
    )


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def read_bytes_nofollow(path: str) -> bytes:
    """Return the content of the regular file `path`.

    Raises `OSError`: `ELOOP` where its last part is a link, `EINVAL` where it is no
    regular file.
    """
    descriptor = fsops.ops.open(path)
    try:
        return _read_all(descriptor, inputs.require_regular(descriptor).st_size)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, size: int) -> bytes:
    """Return what is left of a file, which should be `size` bytes."""
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    # it grew, or the kernel gave less than asked (above 2 GiB, some network disks)
    parts = [data]
    while part := os.read(descriptor, _CHUNK):
        parts.append(part)
    return b"".join(parts)


def read_up_to(path: str, most: int) -> bytes | None:
    """Return a file as `read_bytes_nofollow` does, None where it is larger."""
    descriptor = fsops.ops.open(path)
    try:
        size = inputs.require_regular(descriptor).st_size
        return None if size > most else _read_all(descriptor, size)
    finally:
        os.close(descriptor)


class Start(NamedTuple):
    """The start of a large file, its size in bytes, and the SHA-256 of it all."""

    data: bytes
    size: int
    sha256: str

    def __repr__(self) -> str:
        """Return it without any content."""
        return f"Start(size={self.size}, sha256={self.sha256!r})"


def read_or_start(
    path: str, length: int, enough: Callable[[bytes], bool]
) -> bytes | Start:
    """Return a file, or its first `length` bytes if it is longer and they are `enough`.

    The rest is hashed then, and not kept.  Raises `OSError` as `read_bytes_nofollow`.
    """
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
    """Return the SHA-256 of the regular file `path`, None where nothing is there.

    Raises `OSError` as `read_bytes_nofollow` does.
    """
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


def is_blob(path: str, oid: str | None) -> bool:
    """Return whether a regular file has the content of a git blob, but for line ends.

    `oid` is the blob's id, SHA-1 or SHA-256 by its length.
    """
    if oid is None:
        return False
    try:
        data = read_bytes_nofollow(path)
    except OSError:
        return False
    digest = hashlib.sha1 if len(oid) == 40 else hashlib.sha256
    return any(
        digest(b"blob %d\0%s" % (len(text), text)).hexdigest() == oid
        for text in dict.fromkeys((data, data.replace(b"\r\n", b"\n")))
    )


def write_all(descriptor: int, data: bytes) -> None:
    """Write the whole of `data`."""
    left = memoryview(data)
    while left:
        left = left[fsops.ops.write(descriptor, left) :]


class Descriptor:
    """An open descriptor, to be written to as a file is."""

    def __init__(self, descriptor: int) -> None:
        """Write to `descriptor`, which the caller closes."""
        self._descriptor = descriptor

    def write(self, data: bytes, /) -> int:
        """Write the whole of `data`."""
        write_all(self._descriptor, data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


def write_durably(path: str, data: bytes) -> None:
    """Put `data` at `path`, as `written_durably` does."""
    with written_durably(path) as descriptor:
        write_all(descriptor, data)


@contextmanager
def written_durably(path: str) -> Iterator[int]:
    """Give a descriptor to write to; put that at `path` in one move, on the disk.

    A reader sees the old file or the whole new one; a failure leaves the old one and
    nothing else.  Made by root, the file belongs to the owner of its folder.
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
    """Return a name for a file that waits: a dot, `nixsecrets-`, 128 random bits."""
    return f".nixsecrets-{os.urandom(16).hex()}"


def give_to_folder_owner(descriptor: int, path: str) -> None:
    """Hand what was made at `path` to the owner of the folder around, as `give_new`."""
    give_new(descriptor, os.stat(os.path.dirname(path)))


def give_new(descriptor: int, folder: os.stat_result) -> None:
    """Make what is new belong to whom its folder belongs to, where we are root.

    With `sudo` in somebody's repository that is them.  For others than root the group
    of a folder with the setgid bit counts, as it would for a file made in it.  What the
    system does not allow (root of a user namespace) stays as it is.
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
        if error.errno not in MAY_NOT_GIVE:
            raise


def make_folder(path: str, mode: int) -> None:
    """Make one folder; made by root, it belongs to the owner of the one around it."""
    fsops.ops.mkdir(path, mode)
    if os.geteuid() == 0:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            give_to_folder_owner(descriptor, path)
        finally:
            os.close(descriptor)


def fsync_path(path: str) -> None:
    """Make the file or folder `path` durable."""
    descriptor = fsops.ops.open(path)
    try:
        fsops.ops.fsync(descriptor)
    except OSError as error:
        # some network and FUSE file systems cannot flush a folder and say so
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def flush(files: Collection[str], folders: Iterable[str]) -> None:
    """Make `files` and the entries of `folders` (which hold the files) durable.

    Many are flushed by one `syncfs` for each file system, where the system has it.
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
