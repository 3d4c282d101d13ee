"""One writer at a time: `flock` on a file that is never renamed or removed.

The kernel drops the lock when its holder dies.  Readers never take it.
"""

# ruff: noqa: PTH116, PTH120 (strings, as in `files`)

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.repo import files, fsops, owned
from nixsecrets.repo.worktree import Repo

LOCK_NAME = "lock"

_held: set[int] = set()


def _close_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


# A worker process that outlives us would keep a lock it inherited; to close a copy of
# the descriptor does not unlock.
os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def held(descriptor: int) -> Iterator[None]:
    """Keep a locked descriptor out of every process forked inside of the block."""
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)


@contextmanager
def exclusive(
    repo: Repo, on_wait: Callable[[str], None] | None = None, *, wait: bool = True
) -> Iterator[None]:
    """Be the only writer of `repo`'s work tree inside of the block.

    Where another run holds the lock: with `wait`, `on_wait` gets a message and we wait;
    without, `NixsecretsError`.  Makes the staging folder.
    """
    prepare_staging(repo)
    with locked(str(repo.staging / LOCK_NAME), on_wait, wait=wait):
        yield


@contextmanager
def locked(
    path: str, on_wait: Callable[[str], None] | None = None, *, wait: bool = True
) -> Iterator[None]:
    """Hold the lock file `path`, which is made where it is missing; as `exclusive`."""
    try:
        descriptor = fsops.ops.open_lock(path)
    except OSError as error:
        raise files.explained(error, "lock", path) from error
    try:
        with held(descriptor):
            try:
                files.give_to_folder_owner(descriptor, path)
                _acquire(descriptor, on_wait, wait=wait)
            except OSError as error:
                raise files.explained(error, "lock", path) from error
            with contextlib.suppress(OSError):  # only for the message to others
                fsops.ops.overwrite(descriptor, b"%d\n" % os.getpid())
            yield
    finally:
        os.close(descriptor)


def prepare_staging(repo: Repo) -> None:
    """Make the staging folder, mode 0700, or make sure that it is ours alone.

    Raises `NixsecretsError` where it is a link or a file, another user's, or others may
    write to it: what lies in it decides what the next run puts in place.
    """
    path = str(repo.staging)
    try:
        with contextlib.suppress(FileExistsError):
            files.make_folder(path, 0o700)
        objection = staging_objection(repo)
    except OSError as error:
        raise files.explained(error, "make the folder", path) from error
    if objection is not None:
        raise NixsecretsError(
            f"the staging folder {quoted(path)} cannot be trusted: {objection}",
            "inspect it, then remove it or restrict it to yourself (chmod 700)",
        )


def staging_objection(repo: Repo) -> str | None:
    """Return why the staging folder is not to be trusted, None if it is.

    Raises `OSError` where there is none.
    """
    path = str(repo.staging)
    around = os.stat(os.path.dirname(path))
    return owned.objection(os.lstat(path), folder=True, around=around)


def _acquire(
    descriptor: int, on_wait: Callable[[str], None] | None, *, wait: bool
) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        message = f"another run is active here{_holder(descriptor)}"
        if not wait:
            raise NixsecretsError(message, "try again when it has finished") from None
        if on_wait is not None:
            on_wait(message + ", waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _holder(descriptor: int) -> str:
    """Return ` (process N)` where the holder has already written its number."""
    number = os.pread(descriptor, 20, 0).strip()
    return f" (process {number.decode()})" if number.isdigit() else ""
