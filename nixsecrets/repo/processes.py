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

_TURNS = 16  # of each process, so that all end at nearly the same time
_TICKET = 2  # bytes: as many tickets as anybody has cores for, and they fit in a pipe


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

    Whoever is free takes the next few of them; no process is started for fewer than
    `each`.  Raises what `work` raises, that of the first items where several fail;
    results and errors are copied from one process to another.
    """
    with spreading(work, items, each=each) as finished:
        return finished()


@contextlib.contextmanager
def spreading(
    work: Callable[[Sequence[str]], list[T]], items: Sequence[str], *, each: int
) -> Iterator[Callable[[], list[T]]]:
    """Have others begin with it, and give the function that `spread` would be.

    It does what is left to do; who never calls it ends the others.
    """
    processes = max(1, min(cores(), len(items) // each))
    if processes == 1:
        yield lambda: work(items)
        return
    size = -(-len(items) // (processes * _TURNS))
    shares = [items[at : at + size] for at in range(0, len(items), size)]
    with _tickets(len(shares)) as tickets:
        take = partial(_taken, work, shares, tickets)
        with _children(take, processes - 1) as answers:

            def finished() -> list[T]:
                done = take()
                for answer in answers():
                    done |= answer
                return [one for at in range(len(shares)) for one in _kept(done[at])]

            yield finished


@contextlib.contextmanager
def _tickets(number: int) -> Iterator[int]:
    """Give a pipe of numbers from 0, of which each reader gets the next one."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as stream:
            for ticket in range(number):
                stream.write(ticket.to_bytes(_TICKET, "big"))
        yield reading
    finally:
        os.close(reading)


def _taken(
    work: Callable[[Sequence[str]], list[T]],
    shares: Sequence[Sequence[str]],
    tickets: int,
) -> dict[int, "list[T] | NixsecretsError"]:
    """Do one share after the other as long as there are any."""
    done: dict[int, list[T] | NixsecretsError] = {}
    while ticket := os.read(tickets, _TICKET):
        number = int.from_bytes(ticket, "big")
        try:
            done[number] = work(shares[number])
        except NixsecretsError as error:
            done[number] = error
    return done


def _kept(result: "list[T] | NixsecretsError") -> list[T]:
    if isinstance(result, NixsecretsError):
        raise result
    return result


@contextlib.contextmanager
def _children(
    work: Callable[[], object], number: int
) -> Iterator[Callable[[], Iterator[Any]]]:
    """Do the same work in children; give the function that yields their answers.

    Those that nobody asked end with the block.
    """
    children: list[
        tuple[int, int]
    ] = []  # each with the pipe that its answer comes from

    def answers() -> Iterator[Any]:
        while children:
            yield _received(children[-1][1])
            _end(*children.pop())

    try:
        with deferred():
            for _ in range(number):
                reading, writing = os.pipe()
                children.append((fork(partial(_answer, work, writing)), reading))
                os.close(writing)
        yield answers
    finally:
        while children:
            _end(*children.pop())


def _end(child: int, pipe: int) -> None:
    os.close(pipe)
    kill(child)
    os.waitpid(child, 0)


def _answer(work: Callable[[], object], pipe: int, _parent: int) -> None:
    with os.fdopen(pipe, "wb") as stream:
        pickle.dump(work(), stream, pickle.HIGHEST_PROTOCOL)


def _received(pipe: int) -> Any:
    try:
        with os.fdopen(pipe, "rb", closefd=False) as stream:
            return pickle.load(stream)  # noqa: S301 (our own child wrote it)
    except (EOFError, pickle.UnpicklingError):
        died()


def died() -> NoReturn:
    """Raise the error for a child that ended without an answer."""
    raise NixsecretsError(
        "a worker process ended without an answer; nothing was changed",
        "look at the system's log (was it out of memory?) and run the command again",
    )
