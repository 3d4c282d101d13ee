"""Processes of our own: forked, so that they know everything and nobody tells them.

A child belongs to its parent alone: it gets no Ctrl-C (the parent does, and ends it
with whatever it started), and does not outlive a parent that is killed.
"""

import contextlib
import fcntl
import gc
import os
import pickle
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo.signals import deferred

T = TypeVar("T")

Share = tuple[int, Sequence[str], list[T] | NixsecretsError]
"""Some of the items: the number of the share, the items, what was made of them."""
Made = tuple[int, list[T] | NixsecretsError]
"""The same as it is sent from one process to another."""

_TURNS = 32  # of each process, so that all end at nearly the same time
_TICKET = 2  # bytes: as many tickets as anybody has cores for, and they fit in a pipe
_LENGTH = 8  # bytes before an answer, that say how long it is
_WIDE = 1 << 20  # bytes: a child need not wait for whoever reads its answers
# Each takes two pipes of its parent, who may have 256 descriptors on a Mac.
_MOST = 64


def cores() -> int:
    """Return how many processes are worth having: the cores we may use, 64 at most."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux, some BSDs
    return min(_MOST, len(allowed(0)) if allowed else os.cpu_count() or 1)


def fork(body: Callable[[int], object]) -> int:
    """Run `body` in a child, with the parent's number; return the child's.

    The child ends when `body` does, without unwinding anything of the parent's.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "linux":
        import ctypes  # noqa: F401 (here, and not in every child)
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
    with spreading(work, items, each=each) as results:
        done = {number: made for number, _, made in results()}
    return [one for number in sorted(done) for one in kept(done[number])]


@contextlib.contextmanager
def spreading(
    work: Callable[[Sequence[str]], list[T]], items: Sequence[str], *, each: int
) -> "Iterator[Callable[[], Iterator[Share[T]]]]":
    """Have others begin with it, and give the function that does what is left to do.

    It yields the shares as they are ready, whoever did them.  Others that were not
    waited for end with the block.
    """
    processes = max(1, min(cores(), len(items) // each))
    size = max(1, -(-len(items) // (processes * _TURNS)))
    shares = [items[at : at + size] for at in range(0, len(items), size)]
    with _tickets(len(shares)) as tickets:
        done = partial(_done, work, shares, tickets)
        with _children(done, processes - 1) as pipes:

            def results() -> Iterator[Share[T]]:
                for number, made in _joined(done(), len(shares), pipes):
                    yield number, shares[number], made

            yield results


def _done(
    work: Callable[[Sequence[str]], list[T]],
    shares: Sequence[Sequence[str]],
    tickets: int,
) -> "Iterator[Made[T]]":
    """Do one share after the other as long as there are any."""
    while ticket := os.read(tickets, _TICKET):
        number = int.from_bytes(ticket, "big")
        made: list[T] | NixsecretsError
        try:
            made = work(shares[number])
        except NixsecretsError as error:
            made = error
        yield number, made


def _joined(
    own: "Iterator[Made[T]]", number: int, pipes: Sequence[int]
) -> "Iterator[Made[T]]":
    """Yield the shares done here and those of the children, `number` of them."""
    others, count = list(pipes), 0
    for mine in own:
        for share in (mine, *_arrived(others, wait=False)):
            count += 1
            yield share
    for share in _arrived(others, wait=True):
        count += 1
        yield share
    if count < number:
        died()


def _arrived(pipes: list[int], *, wait: bool) -> Iterator[Any]:
    """Yield what there is to read from pipes; with `wait` until all have ended.

    Those that have ended are removed.
    """
    while pipes:
        ready = readable(pipes, wait=wait)
        if not ready:
            return
        for pipe in ready:
            try:
                yield received(pipe)
            except EOFError:
                pipes.remove(pipe)


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


def kept(result: list[T] | NixsecretsError) -> list[T]:
    """Return what was made of a share; raises what `work` raised."""
    if isinstance(result, NixsecretsError):
        raise result
    return result


@contextlib.contextmanager
def _children(
    answers: Callable[[], Iterator[object]], number: int
) -> Iterator[list[int]]:
    """Have children work; give the pipes that their answers come from."""
    children: list[int] = []
    pipes: list[int] = []
    try:
        with deferred():
            for _ in range(number):
                reading, writing = os.pipe()
                pipes.append(reading)
                children.append(fork(partial(_answer, answers, writing)))
                os.close(writing)
        yield pipes
    finally:
        for reading in pipes:
            os.close(reading)
        for child in children:  # one that has answered is at its end anyway
            kill(child)
            os.waitpid(child, 0)


def _answer(answers: Callable[[], Iterator[object]], pipe: int, _parent: int) -> None:
    """Send one answer after the other."""
    gc.disable()  # nothing here lives longer than its answer
    widen(pipe)
    with contextlib.suppress(OSError):
        for answer in answers():
            send(pipe, answer)
    os.close(pipe)


def widen(pipe: int) -> None:
    """Let more be written to a pipe than anybody has read, where that can be told."""
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _WIDE)


def readable(pipes: Sequence[int], *, wait: bool) -> list[int]:
    """Return the pipes that something can be read from, or that have ended."""
    poll = select.poll()  # `select` refuses descriptors from 1024 up
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    return [pipe for pipe, _ in poll.poll(None if wait else 0)]


def send(pipe: int, message: object) -> None:
    """Write a message to another of our processes.  Raises `OSError`."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    length = len(data).to_bytes(_LENGTH, "big")
    for part in (length + data,) if len(data) < _WIDE else (length, data):
        left = memoryview(part)
        while left:
            left = left[os.write(pipe, left) :]


def received(pipe: int) -> Any:
    """Return the next message from another of our processes.

    Raises `EOFError` where it has sent its last.
    """
    length = _read(pipe, _LENGTH)
    if not length:
        raise EOFError
    data = _read(pipe, int.from_bytes(length, "big"))
    try:
        return pickle.loads(data)  # noqa: S301 (our own process wrote it)
    except (EOFError, pickle.UnpicklingError):
        died()


def _read(pipe: int, size: int) -> bytes | bytearray:
    """Return `size` bytes, fewer only where the other process ended."""
    data = os.read(pipe, min(size, _WIDE))
    if len(data) == size:
        return data
    whole = bytearray(data)  # which grows in place: a file of many megabytes may come
    while part := os.read(pipe, min(size - len(whole), _WIDE)):
        whole += part
    return whole


def died() -> NoReturn:
    """Raise the error for a child that ended without an answer."""
    raise NixsecretsError(
        "a worker process ended without an answer; nothing was changed",
        "look at the system's log (was it out of memory?) and run the command again",
    )
