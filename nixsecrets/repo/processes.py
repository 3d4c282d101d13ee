"""Processes of our own: forked, so that they know everything and nobody tells them.

A child belongs to its parent alone: it gets no Ctrl-C (the parent does, and ends it
with whatever it started), and does not outlive a parent that is killed.
"""

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo.signals import deferred

T = TypeVar("T")


def cores() -> int:
    """Return the number of cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux, some BSDs
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def fork(body: Callable[[int], object]) -> int:
    """Run `body` in a child, with the parent's number; return the child's.

    The child ends when `body` does, without unwinding anything of the parent's.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child:
        with contextlib.suppress(OSError):  # the child does it too: whoever is first
            os.setpgid(child, child)
        return child
    code = 1
    try:
        _settle(parent)
        body(parent)
        code = 0
    finally:
        os._exit(code)


def _settle(parent: int) -> None:
    """Become a process that the parent alone ends, along with what it started."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG, <linux/prctl.h>
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if os.getppid() != parent:
        os._exit(1)


def kill(child: int) -> None:
    """End a child, and what it started."""
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(child, signal.SIGKILL)


def spread(
    work: Callable[[Sequence[str]], list[T]], items: Sequence[str], *, each: int
) -> list[T]:
    """Return what `work` makes of `items`, in their order, done on all cores.

    No process gets fewer than `each` items.  Raises what `work` raises; results and
    errors are copied from one process to another.
    """
    processes = max(1, min(cores(), len(items) // each))
    size = -(-len(items) // processes)
    others = [items[at : at + size] for at in range(size, len(items), size or 1)]
    with _children(work, others) as pipes:
        found = work(items[:size])
        for pipe in pipes:
            found += _received(pipe)
        return found


@contextlib.contextmanager
def _children(
    work: Callable[[Sequence[str]], list[T]], shares: Sequence[Sequence[str]]
) -> Iterator[list[int]]:
    """Do each share in a child; give the descriptors that their results come from."""
    children: list[int] = []
    pipes: list[int] = []
    try:
        with deferred():
            for share in shares:
                reading, writing = os.pipe()
                pipes.append(reading)
                children.append(fork(partial(_answer, work, share, writing)))
                os.close(writing)
        yield pipes
    except BaseException:
        for child in children:
            kill(child)
        raise
    finally:
        for reading in pipes:
            os.close(reading)
        for child in children:
            os.waitpid(child, 0)


def _answer(
    work: Callable[[Sequence[str]], list[T]],
    share: Sequence[str],
    pipe: int,
    _parent: int,
) -> None:
    try:
        result: object = work(share)
    except NixsecretsError as error:
        result = error
    with os.fdopen(pipe, "wb") as stream:
        pickle.dump(result, stream, pickle.HIGHEST_PROTOCOL)


def _received(pipe: int) -> list[Any]:
    try:
        with os.fdopen(pipe, "rb", closefd=False) as stream:
            result = pickle.load(stream)  # noqa: S301 (our own child wrote it)
    except (EOFError, pickle.UnpicklingError):
        died()
    if isinstance(result, NixsecretsError):
        raise result
    found: list[Any] = result
    return found


def died() -> NoReturn:
    """Raise the error for a child that ended without an answer."""
    raise NixsecretsError(
        "a worker process ended without an answer; nothing was changed",
        "look at the system's log (was it out of memory?) and run the command again",
    )
