"""The pool of worker processes, forked with all the state of the parent.

No secret appears on a command line, in the environment or on disk: workers inherit what
they need, and tasks and answers go through pipes.  Workers do not get Ctrl-C; the
parent does, and kills them with whatever they started.  A worker dies with its parent.
docs/adr/0023 has the reasons against `concurrent.futures`.
"""

import contextlib
import gc
import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo.signals import deferred

T = TypeVar("T")

Share = tuple[int, Sequence[str], list[T] | NixsecretsError]
"""A part of the items: its number, the items, and the results or the error."""
Frame = tuple[str, int | None, str]
"""File, line and function."""

_TURNS = 32  # shares for each process, so that all end at nearly the same time
_TICKET = 2  # bytes; 65,536 shares are enough, and all tickets fit in a pipe
_LENGTH = 8  # bytes of the length before a message
_WIDE = 1 << 20  # bytes; so a worker rarely blocks until the parent reads its answers
_MOST = 64  # processes; the parent has two pipes to each, and macOS allows 256 files
_TOO_LARGE = (MemoryError, RecursionError)  # caused by a file, not by a bug


class WorkerBugError(Exception):
    """A worker raised an unexpected exception: a bug.

    `frames` is the worker's traceback: files, lines and functions, no values.
    """

    def __init__(self, kind: str, frames: Sequence[Frame] = ()) -> None:
        """Store the name of the exception's class and the traceback."""
        super().__init__(kind)
        self.frames = tuple(frames)


class Worker:
    """A child process, and the descriptors of the pipes to it and from it.

    `waiting` is the number of its unfinished tasks.
    """

    def __init__(self, pid: int, tasks: int, answers: int) -> None:
        """Take the process and the two ends that are ours."""
        self.pid = pid
        self.tasks = tasks
        self.answers = answers
        self.waiting = 0

    def assign(self, task: object) -> None:
        """Send it a task; it does its tasks one after the other.

        Raises:
            NixsecretsError: the worker has ended.
        """
        self.waiting += 1
        try:
            send(self.tasks, task)
        except OSError:
            raise_died()


Work = Callable[[Any], Iterable[object]]
"""The function of a worker: yields the answers to one task."""


@contextlib.contextmanager
def started(work: Work, number: int) -> Iterator[list[Worker]]:
    """Fork `number` workers; they are killed at the end of the block, busy or not."""
    workers: list[Worker] = []
    if not number:
        yield workers
        return
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
    """Yield (worker, answer) in the order of arrival, until no task is left.

    Without `wait`, only the answers that have already arrived.

    Raises:
        WorkerBugError: a task raised an unexpected exception.
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
                raise_died()
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
    """Do tasks until the parent closes its end of the pipe, or is gone.

    An answer is sent as a tuple of one, the end of a task as an empty tuple.
    """
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
        import traceback  # 5 ms at every start, for a bug

        found = traceback.extract_tb(error.__traceback__)
        frames = [(frame.filename, frame.lineno, frame.name) for frame in found]
        yield WorkerBugError(type(error).__name__, frames)


def cores() -> int:
    """Return the number of processes to use: the cores available to us, at most 64."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux, some BSDs
    return min(_MOST, len(allowed(0)) if allowed else os.cpu_count() or 1)


def fork(body: Callable[[int], object]) -> int:
    """Run `body` in a child process with the parent's process id; return the child's.

    The child exits when `body` returns, without unwinding the parent's stack.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "linux":
        import ctypes  # noqa: F401 - for `_detach`, once and not in every child
    parent = os.getpid()
    child = os.fork()
    if child:
        # the child calls it, too: whichever comes first, both see the new group
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        return child
    code = 1
    try:
        _detach(parent)
        body(parent)
        code = 0
    finally:
        os._exit(code)


def _detach(parent: int) -> None:
    """Become a process group that only the parent ends, and that dies with it."""
    import signal  # for workers alone

    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes  # 3 ms, which a start without workers must not pay

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG, <linux/prctl.h>
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if os.getppid() != parent:  # it died before prctl took effect
        os._exit(1)


def kill(child: int) -> None:
    """Kill a child and its process group."""
    import signal  # as above

    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(child, signal.SIGKILL)


def spread(
    work: Callable[[Sequence[str]], list[T]], items: Sequence[str], *, each: int
) -> list[T]:
    """Return `work(items)`, computed in shares on all cores, in the order of `items`.

    A process is started only for every `each` items.  Results are pickled.

    Raises:
        NixsecretsError: `work` raised it; of several errors that of the first items.
    """
    with spreading(work, items, each=each) as results:
        done = {number: made for number, _, made in results()}
    return [one for number in sorted(done) for one in result_of(done[number])]


@contextlib.contextmanager
def spreading(
    work: Callable[[Sequence[str]], list[T]], items: Sequence[str], *, each: int
) -> "Iterator[Callable[[], Iterator[Share[T]]]]":
    """Start workers on shares of `items`; yield a function that joins in and collects.

    That function yields each share when it is done, by a worker or by this process.  A
    process is started only for every `each` items.  Workers that are still busy are
    killed at the end of the block.
    """
    processes = max(1, min(cores(), len(items) // each))
    size = max(1, -(-len(items) // (processes * _TURNS)))  # rounded up
    shares = [items[at : at + size] for at in range(0, len(items), size)]

    def done() -> "Iterator[Share[T]]":
        """Do one share after the other as long as there are tickets."""
        while ticket := os.read(tickets, _TICKET):
            number = int.from_bytes(ticket, "big")
            made: list[T] | NixsecretsError
            try:
                made = work(shares[number])
            except NixsecretsError as error:
                made = error
            yield number, shares[number], made

    def others_done(_task: None) -> "Iterator[Share[T]]":
        gc.disable()  # no result lives longer than its answer
        return done()

    with (
        _tickets(len(shares)) as tickets,
        started(others_done, processes - 1) as workers,
    ):
        for worker in workers:
            worker.assign(None)

        def results() -> "Iterator[Share[T]]":
            for mine in done():
                yield mine
                yield from (share for _, share in answers(workers, wait=False))
            yield from (share for _, share in answers(workers))

        yield results


@contextlib.contextmanager
def _tickets(number: int) -> Iterator[int]:
    """Yield a pipe with the numbers from 0; all processes read from the same pipe.

    A read of `_TICKET` bytes is atomic, so each number goes to exactly one of them.
    """
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as stream:
            for ticket in range(number):
                stream.write(ticket.to_bytes(_TICKET, "big"))
        yield reading
    finally:
        os.close(reading)


def result_of(result: list[T] | NixsecretsError) -> list[T]:
    """Return the results of a share, or raise its error."""
    if isinstance(result, NixsecretsError):
        raise result
    return result


def _widen(pipe: int) -> None:
    """Enlarge the buffer of a pipe, on Linux."""
    import fcntl  # 0.5 ms, for workers alone

    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _WIDE)


def readable(pipes: Sequence[int], *, wait: bool) -> list[int]:
    """Return the pipes that have data or have been closed; without `wait`, at once."""
    poll = select.poll()  # `select` refuses descriptors from 1024 up
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    return [pipe for pipe, _ in poll.poll(None if wait else 0)]


def send(pipe: int, message: object) -> None:
    """Write a message to a pipe.

    Raises:
        OSError: the other end is closed.
    """
    import pickle  # 2 ms, and few files are looked at without it

    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    length = len(data).to_bytes(_LENGTH, "big")
    # one write for both, unless joining them would copy much
    for part in (length + data,) if len(data) < _WIDE else (length, data):
        left = memoryview(part)
        while left:
            left = left[os.write(pipe, left) :]


def received(pipe: int) -> Any:
    """Read the next message from a pipe.

    Raises:
        EOFError: the other end is closed.
        NixsecretsError: it was closed in the middle of the message.
    """
    import pickle  # as above

    length = _read(pipe, _LENGTH)
    if not length:
        raise EOFError
    data = _read(pipe, int.from_bytes(length, "big"))
    try:
        return pickle.loads(data)  # noqa: S301 (our own process wrote it)
    except (EOFError, pickle.UnpicklingError):
        raise_died()


def _read(pipe: int, size: int) -> bytes | bytearray:
    """Return `size` bytes, fewer only if the other end is closed."""
    data = os.read(pipe, min(size, _WIDE))
    if len(data) == size:
        return data
    message = bytearray(data)  # grows in place: it may be a file of many megabytes
    while part := os.read(pipe, min(size - len(message), _WIDE)):
        message += part
    return message


def raise_died() -> NoReturn:
    """Raise the error for a worker that ended without an answer."""
    raise NixsecretsError(
        "a worker process ended without an answer; nothing was changed",
        "check the system log (was it out of memory?) and run the command again",
    )
