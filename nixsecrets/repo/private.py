"""Private folders in memory: the only places for plaintext files.

Without a memory file system (macOS), the user can allow a folder on disk
(`ALLOW_DISK`).  Its files are overwritten before they are removed, which wear leveling,
snapshots and backups can defeat.

The files are not encrypted, and the system may swap out a tmpfs: use encrypted swap.
"""

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo import files, fsops
from nixsecrets.repo.locking import held
from nixsecrets.repo.signals import deferred, termination_raises

ALLOW_DISK = "NIXSECRETS_ALLOW_DISK"
"""Environment variable that allows plaintext on disk without a memory file system."""

_MEMORY = frozenset({"tmpfs", "ramfs"})
_PREFIX = "nixsecrets-private-"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (the names made in it are unpredictable)
_ZEROS = 1 << 20  # bytes written at once
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def private_folder(env: Mapping[str, str]) -> Iterator[Path]:
    """Yield a new empty folder (mode 0700) in memory; remove it after the block.

    It is also removed after errors, Ctrl-C, SIGTERM and SIGHUP; after `kill -9` by the
    next call.

    Raises:
        NixsecretsError: there is no writable memory file system.
    """
    remove_leftovers(env)
    with termination_raises(), contextlib.ExitStack() as stack:
        with deferred():
            folder = stack.enter_context(_locked_folder(_memory_folder(env)))
        yield folder


def remove_leftovers(env: Mapping[str, str]) -> int:
    """Remove the private folders whose process is dead; return their number.

    A live process holds a flock(2) on its folder, which works across process id
    namespaces and is safe against reused process ids.
    """
    return sum(
        _remove_if_dead(place)
        for parent in _possible_parents(env)
        for place in parent.glob(_PREFIX + "*")
    )


def lock_of(folder: Path) -> int:
    """Return the locked descriptor of a private folder of this process.

    A program that inherits it keeps the folder from being removed while it runs.
    """
    return _locks[folder]


_locks: dict[Path, int] = {}


@contextmanager
def _locked_folder(parent: Path) -> Iterator[Path]:
    folder, descriptor = _make_locked(parent)
    _locks[folder] = descriptor
    try:
        with held(descriptor):
            yield folder
    finally:
        del _locks[folder]
        try:
            with deferred():
                _remove_tree(str(folder))
        except OSError as error:
            name = str(folder)
            raise files.explained(error, "remove the private folder", name) from error
        finally:
            os.close(descriptor)


def _make_locked(parent: Path) -> tuple[Path, int]:
    """Make and lock a folder; retry if `remove_leftovers` of another process won."""
    while True:
        folder = parent / (_PREFIX + os.urandom(16).hex())
        try:
            fsops.ops.mkdir(str(folder), 0o700)
        except OSError as error:
            raise files.explained(
                error, "make a private folder in", str(parent)
            ) from error
        try:
            descriptor = os.open(folder, _FOLDER)
        except FileNotFoundError:
            continue  # already removed
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(folder.stat(), os.fstat(descriptor)):
                return folder, descriptor
        os.close(descriptor)


def _remove_if_dead(place: Path) -> bool:
    try:
        descriptor = os.open(place, _FOLDER)
    except OSError:
        return False  # another user's, or removed meanwhile
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_uid != os.geteuid():
            return False
        _remove_tree(str(place))
    except OSError:
        return False  # its process is alive
    finally:
        os.close(descriptor)
    return True


def _remove_tree(folder: str) -> None:
    """Remove a folder with its content, without following links."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(entry.path)
        else:
            _overwrite(entry)
            fsops.ops.unlink(entry.path)
    fsops.ops.rmdir(folder)


def _overwrite(entry: "os.DirEntry[str]") -> None:
    """Overwrite a file on disk with zeros and flush it; files in memory are skipped."""
    if not entry.is_file(follow_symlinks=False):
        return
    if _file_system(Path(entry.path)) in _MEMORY:
        return
    descriptor = os.open(entry.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        left = os.fstat(descriptor).st_size
        while left > 0:
            left -= fsops.ops.write(descriptor, bytes(min(left, _ZEROS)))
        fsops.ops.fsync(descriptor)
    finally:
        os.close(descriptor)


def memory_folders(env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the writable folders on a memory file system, best first."""
    for place in _candidates(env):
        if _file_system(place) in _MEMORY and os.access(place, os.W_OK | os.X_OK):
            yield place


def plaintext_folders(env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders allowed for plaintext, best first; on disk only if allowed."""
    yield from memory_folders(env)
    disk = _on_disk(env)
    allowed = env.get(ALLOW_DISK, "") not in {"", "0"} and _is_safe(disk)
    if allowed and os.access(disk, os.W_OK | os.X_OK):
        yield disk


def disk_in_use(env: Mapping[str, str]) -> Path | None:
    """Return the folder on disk that plaintext goes to, None if memory is used."""
    place = next(plaintext_folders(env), None)
    in_memory = place is None or _file_system(place) in _MEMORY
    return None if in_memory else place


def _on_disk(env: Mapping[str, str]) -> Path:
    """Return the folder for temporary files."""
    named = env.get("TMPDIR", "")  # on macOS a folder of this user alone
    return Path(named if named.startswith("/") else "/tmp")  # noqa: S108 (0700 in it)


def lasting_folder(env: Mapping[str, str], name: str) -> Path:
    """Make a private folder `name` in memory, which nothing removes automatically.

    Raises:
        NixsecretsError: there is no writable memory file system, or it exists.
    """
    folder = _memory_folder(env) / name
    try:
        fsops.ops.mkdir(str(folder), 0o700)
    except OSError as error:
        raise files.explained(error, "make a private folder", str(folder)) from error
    return folder


def _memory_folder(env: Mapping[str, str]) -> Path:
    for place in plaintext_folders(env):
        return place
    raise NixsecretsError(
        "no memory file system for plaintext: neither XDG_RUNTIME_DIR nor /dev/shm is"
        " one that can be written",
        (_MAKE_MEMORY_DISK if sys.platform == "darwin" else _MOUNT_TMPFS) + _RISK,
    )


_RISK = (
    "\nor allow plaintext on disk during the command, where it may be recovered later:"
    f" nixsecrets --allow-disk COMMAND, or {ALLOW_DISK}=1"
)
_MOUNT_TMPFS = "mount a tmpfs that only you can enter and set XDG_RUNTIME_DIR to it"
_MAKE_MEMORY_DISK = (
    "make one: mkdir -m 700 ~/.memory && sudo mount_tmpfs -s 64M ~/.memory"
    ' && sudo chown "$USER" ~/.memory && export XDG_RUNTIME_DIR=~/.memory'
)


def _candidates(env: Mapping[str, str]) -> list[Path]:
    """Return the folders to try, best first; only safe ones (`_is_safe`)."""
    runtime = env.get("XDG_RUNTIME_DIR", "")
    places = [Path(runtime)] if runtime.startswith("/") else []
    return [place for place in (*places, _SHARED_MEMORY) if _is_safe(place)]


def _possible_parents(env: Mapping[str, str]) -> list[Path]:
    """Return every folder that may contain private folders, of earlier runs as well."""
    disk = _on_disk(env)
    return [*_candidates(env), *([disk] if _is_safe(disk) else [])]


def _is_safe(place: Path) -> bool:
    """Return whether only root and this user can rename what we create in `place`."""
    try:
        found = place.stat()
    except OSError:
        return False
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid in {0, os.geteuid()}
        and (not others_write or bool(found.st_mode & stat.S_ISVTX))
    )


def _file_system(place: Path) -> str | None:
    """Return the type of the file system that `place` is on, None if unknown."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return _type_from_mount(place)
    device = place.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    # `ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS… - TYPE SOURCE …` (proc(5))
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ")[2] == number:
            return after.split(" ")[0]
    return None


def _type_from_mount(place: Path) -> str | None:
    """Return the file system type from mount(8), for macOS and the BSDs."""
    # 5 ms, and Linux has no use for it
    import subprocess

    folder = place.resolve()
    while not folder.is_mount():
        folder = folder.parent
    try:
        result = subprocess.run(
            ["/sbin/mount"], capture_output=True, check=False, text=True
        )
    except OSError:
        return None
    return type_in_mount_list(result.stdout, folder)


def type_in_mount_list(text: str, folder: Path) -> str | None:
    """Return the type of the mount at `folder` from the output of mount(8).

    Its lines are `DEVICE on FOLDER (TYPE, options)`.
    """
    marker = f" on {folder} ("
    for line in text.splitlines():
        if marker in line:
            return line.rpartition(marker)[2].split(",")[0].rstrip(")")
    return None
