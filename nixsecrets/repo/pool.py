"""The pool of worker processes: forked, so that they know everything the parent knows.

Nothing secret crosses a command line, the environment or the disk: what a worker needs
it has from before the fork, tasks and answers go through pipes.  A worker belongs to
its parent alone: it gets no Ctrl-C (the parent does, and ends it with whatever it
started), and does not outlive a parent that is killed.  docs/adr/0023 says why this is
not `concurrent.futures`.
"""

import contextlib
import fcntl
import gc
import os
import pickle
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo.signals import deferred

T = TypeVar("T")

Share = tuple[int, Sequence[str], list[T] | NixsecretsError]
"""Some of the items: the number of the share, the items, what was made of them."""
Frame = tuple[str, int | None, str]
"""File, line and function."""

_TURNS = 32  # of each process, so that all end at nearly the same time
_TICKET = 2  # bytes: as many tickets as anybody has cores for, and they fit in a pipe
_LENGTH = 8  # bytes before a message, that say how long it is
_WIDE = 1 << 20  # bytes: a worker need not wait for the parent to read its answers
# Each takes two pipes of its parent, who may have 256 descriptors on a Mac.
_MOST = 64
_TOO_LARGE = (MemoryError, RecursionError)  # a file's fault, not ours


class WorkerBugError(Exception):
    """A worker met an exception that is nobody's fault but ours.

    `frames` are those of the worker: file, line and function, never any value.
    """

    def __init__(self, kind: str, frames: Sequence[Frame] = ()) -> None:
        """Keep the exception's class name and where it was raised."""
        super().__init__(kind)
        self.frames = tuple(frames)


class Worker:
    """One child process, and the pipes to and from it.

    `waiting` counts the tasks that it has not finished.
    """

    def __init__(self, pid: int, tasks: int, answers: int) -> None:
        """Take the process and the two ends that are ours."""
        self.pid = pid
        self.tasks = tasks
        self.answers = answers
        self.waiting = 0

    def tell(self, task: object) -> None:
        """Give it a task; it does them one after the other."""
        self.waiting += 1
        try:
            send(self.tasks, task)
        except OSError:
            died()


Work = Callable[[Any], Iterable[object]]
"""What a worker does: yields the answers to one task."""


@contextlib.contextmanager
def started(work: Work, number: int) -> Iterator[list[Worker]]:
    """Give `number` workers, forked now; they end with the block, busy or not."""
    workers: list[Worker] = []
    try:
        with deferred():
            for _ in range(number):
                workers.append(_start(work, workers))
        yield workers
    finally:
        for worker in workers:
            os.close(worker.tasks)
            os.close(worker.answers)
            kill(worker.pid)
        for worker in workers:
            with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored
                os.waitpid(worker.pid, 0)


def answers(
    workers: Sequence[Worker], *, wait: bool = True
) -> Iterator[tuple[Worker, Any]]:
    """Yield the answers of workers as they come, until no task is left.

    Without `wait` only what is there already.

    Raises:
        WorkerBugError: a task raised what is no error of ours.
        MemoryError, RecursionError: a task raised it.
        NixsecretsError: a worker ended before its task.
    """
    while busy := {worker.answers: worker for worker in workers if worker.waiting}:
        ready = readable(list(busy), wait=wait)
        if not ready:
            return
        for pipe in ready:
            try:
                message = received(pipe)
            except EOFError:
                died()
            if not message:  # the end of a task
                busy[pipe].waiting -= 1
                continue
            (answer,) = message
            if isinstance(answer, (WorkerBugError, *_TOO_LARGE)):
                raise answer
            yield busy[pipe], answer


def _start(work: Work, others: Sequence[Worker]) -> Worker:
    to_do, tasks = os.pipe()
    answers, done = os.pipe()
    not_its_own = [tasks, answers, *(p for o in others for p in (o.tasks, o.answers))]

    def body(parent: int) -> None:
        for pipe in not_its_own:
            os.close(pipe)
        _serve(work, to_do, done, parent)

    _widen(done)
    pid = fork(body)
    os.close(to_do)
    os.close(done)
    return Worker(pid, tasks, answers)


def _serve(work: Work, to_do: int, done: int, parent: int) -> None:
    """Answer until the parent closes its end, or is gone."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            for answer in _answered(work, received(to_do)):
                if os.getppid() != parent:
                    return
                send(done, (answer,))
            send(done, ())


def _answered(work: Work, task: object) -> Iterator[object]:
    try:
        yield from work(task)
    except _TOO_LARGE as error:
        yield type(error)()
    except Exception as error:  # noqa: BLE001 (the parent reports it)
        import traceback  # 2 ms at every start, for a bug

        found = traceback.extract_tb(error.__traceback__)
        frames = [(frame.filename, frame.lineno, frame.name) for frame in found]
        yield WorkerBugError(type(error).__name__, frames)


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
    """Have workers begin with it, and give the function that does what is left to do.

    It yields the shares as they are ready, whichever process did them.  Workers that
    were not waited for end with the block.
    """
    processes = max(1, min(cores(), len(items) // each))
    size = max(1, -(-len(items) // (processes * _TURNS)))
    shares = [items[at : at + size] for at in range(0, len(items), size)]

    def done() -> "Iterator[Share[T]]":
        """Do one share after the other as long as there are any."""
        while ticket := os.read(tickets, _TICKET):
            number = int.from_bytes(ticket, "big")
            made: list[T] | NixsecretsError
            try:
                made = work(shares[number])
            except NixsecretsError as error:
                made = error
            yield number, shares[number], made

    def others_done(_task: None) -> "Iterator[Share[T]]":
        gc.disable()  # nothing here lives longer than its answer
        return done()

    with (
        _tickets(len(shares)) as tickets,
        started(others_done, processes - 1) as workers,
    ):
        for worker in workers:
            worker.tell(None)

        def results() -> "Iterator[Share[T]]":
            for mine in done():
                yield mine
                yield from (share for _, share in answers(workers, wait=False))
            yield from (share for _, share in answers(workers))

        yield results


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


def _widen(pipe: int) -> None:
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
        "check the system log (was it out of memory?) and run the command again",
    )
