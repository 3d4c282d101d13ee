"""One writer at a time: flock(2) on a file that is never renamed or removed.

The kernel releases the lock when its holder dies.  Readers never take it.
"""

# ruff: noqa: PTH116, PTH120 (strings, as in `files`)

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.repo import files, fsops, owned

if TYPE_CHECKING:  # the private folder of a secret is locked without git
    from nixsecrets.repo.worktree import Repo

LOCK_NAME = "lock"

_held: set[int] = set()


def _close_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


# A forked worker that outlives us would keep the inherited lock.  Closing its copy of
# the descriptor does not unlock ours.
os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def held(descriptor: int) -> Iterator[None]:
    """Close a locked descriptor in every process that is forked inside the block."""
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)


@contextmanager
def exclusive(
    repo: "Repo", on_wait: Callable[[str], None] | None = None, *, wait: bool = True
) -> Iterator[None]:
    """Hold the lock of `repo`'s work tree during the block; creates the staging folder.

    If another run holds it, `on_wait` gets a message, and we wait.

    Raises:
        NixsecretsError: another run holds the lock and `wait` is False, or the staging
            folder cannot be used.
    """
    prepare_staging(repo)
    with locked(str(repo.staging / LOCK_NAME), on_wait, wait=wait):
        yield


@contextmanager
def locked(
    path: str, on_wait: Callable[[str], None] | None = None, *, wait: bool = True
) -> Iterator[None]:
    """Hold the lock file `path` during the block; creates it if missing.

    If another run holds it, `on_wait` gets a message, and we wait.

    Raises:
        NixsecretsError: another run holds the lock and `wait` is False, or the file
            cannot be opened.
    """
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
            with contextlib.suppress(OSError):  # only for the message of other runs
                fsops.ops.overwrite(descriptor, b"%d\n" % os.getpid())
            yield
    finally:
        os.close(descriptor)


def prepare_staging(repo: "Repo") -> None:
    """Create the staging folder (mode 0700), or check the existing one.

    The next run replaces files by what it finds there.

    Raises:
        NixsecretsError: it is a link or a file, belongs to another user, or others can
            write to it.
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


def staging_objection(repo: "Repo") -> str | None:
    """Return why the staging folder cannot be trusted, None if it can.

    Raises:
        OSError: it does not exist.
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
    """Return ` (process N)` if the holder of the lock has written its process id."""
    number = os.pread(descriptor, 20, 0).strip()
    return f" (process {number.decode()})" if number.isdigit() else ""
