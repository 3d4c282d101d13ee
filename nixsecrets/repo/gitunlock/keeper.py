"""A process that answers questions for as long as one other process runs.

git starts a program for each file that it shows, and none of them knows of the others.
The first one leaves a keeper behind: a process that answers whoever git starts later.
What questions and answers mean is the caller's.

A keeper belongs to one *owner* (git), ends with it, and answers nobody but what the
owner started, as the same person.  Its socket lies in a private folder in memory;
nothing else of it is in any file, on a command line or in an environment.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from nixsecrets.repo import private
from nixsecrets.repo.gitunlock import client, proctable

_IDLE_SECONDS = 30 * 60.0
_LOOK_SECONDS = 0.5  # how often, where the system does not tell of an end
_READY_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
_BLOCK = 1 << 18
_NOT_DUMPABLE = (4, 0)  # PR_SET_DUMPABLE, <linux/prctl.h>


Answer = Callable[[bytes], bytes]
"""Returns the answer to a request."""


class Owner(NamedTuple):
    """A process: its number, and when it started, for numbers are used again."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        found = proctable.look_at(self.pid)
        return found is not None and found.started == self.started

    @property
    def door(self) -> str:
        """The name of its keeper's socket."""
        return f"{client.PREFIX}{self.pid}-{self.started}"


def owner(program: str) -> Owner | None:
    """Return the nearest process above us that is called `program`, if there is one."""
    for process in proctable.above(os.getpid()):
        if process.name == program:
            return Owner(process.pid, process.started)
    return None


def leave(
    env: Mapping[str, str],
    belongs_to: Owner,
    begin: Callable[[Path], Answer],
    mark: str = "",
) -> bool:
    """Leave a keeper behind; return whether it is there.

    `begin` makes what answers from a private folder that the keeper has.  Only who
    knows `mark` is answered.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _become_keeper(env, belongs_to, begin, mark, writing)
    os.close(writing)
    try:
        os.waitpid(child, 0)
        return _said(reading)
    finally:
        os.close(reading)


def _said(pipe: int) -> bool:
    with selectors.DefaultSelector() as waiting:
        waiting.register(pipe, selectors.EVENT_READ)
        return bool(waiting.select(_READY_SECONDS)) and os.read(pipe, 1) == b"+"


def _become_keeper(
    env: Mapping[str, str],
    belongs_to: Owner,
    begin: Callable[[Path], Answer],
    mark: str,
    ready: int,
) -> NoReturn:
    """Leave the parent, the terminal and its streams; answer until the owner ends."""
    try:
        os.setsid()
        if os.fork() == 0:
            _leave_streams()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _forbid_looking_in()
            with (
                contextlib.suppress(Exception),  # there is nobody to report it to
                private.private_folder(env) as folder,
                _listening(folder, belongs_to.door + mark) as door,
            ):
                answer = begin(folder)
                os.write(ready, b"+")
                os.close(ready)
                _serve(door, belongs_to, answer)
    finally:
        os._exit(0)


def _leave_streams() -> None:
    """Let go of stdin, stdout, stderr: git waits for the end of what it reads."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _forbid_looking_in() -> None:
    """Let no other process of the same person read our memory (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(*_NOT_DUMPABLE)


def _serve(door: socket.socket, belongs_to: Owner, answer: Answer) -> None:
    for caller in _callers(door, belongs_to):
        with caller, contextlib.suppress(OSError):
            caller.settimeout(_ANSWER_SECONDS)
            if _may_ask(caller, belongs_to):
                caller.sendall(_answered(_heard(caller), answer))


def _answered(said: bytes, answer: Answer) -> bytes:
    try:
        return answer(said)
    except Exception:  # noqa: BLE001 - at the caller's it fails again, and is reported
        return client.FAILED


def _heard(caller: socket.socket) -> bytes:
    """Return a request; only who may ask is listened to, so it may be a large file."""
    parts = []
    while part := caller.recv(_BLOCK):
        parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def _listening(folder: Path, name: str) -> Iterator[socket.socket]:
    """Give a socket in `folder`, from within it: a path has 100 bytes."""
    here = Path.cwd()
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        before = os.umask(0o177)
        door.bind(name)
        os.umask(before)
        os.chdir(here)
        door.listen()
        yield door


def _callers(door: socket.socket, belongs_to: Owner) -> Iterator[socket.socket]:
    """Yield who calls, until the owner ends or nobody has called for long."""
    with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as stack:
        waiting.register(door, selectors.EVENT_READ)
        end = _end_of(belongs_to, stack)
        if end is not None:
            waiting.register(end, selectors.EVENT_READ)
        until = time.monotonic() + _IDLE_SECONDS
        while belongs_to.alive and time.monotonic() < until:
            left = until - time.monotonic() if end is not None else _LOOK_SECONDS
            for key, _ in waiting.select(left):
                if key.fileobj is not door:
                    return
                until = time.monotonic() + _IDLE_SECONDS
                yield door.accept()[0]


def _end_of(belongs_to: Owner, stack: contextlib.ExitStack) -> int | None:
    """Return a descriptor that tells of the owner's end, None where there is none."""
    opener = getattr(os, "pidfd_open", None)  # Linux 5.3
    if opener is None:
        return None
    try:
        descriptor: int = opener(belongs_to.pid)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor


def _may_ask(caller: socket.socket, belongs_to: Owner) -> bool:
    """Return whether the owner started who calls; the folder lets nobody else come."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    pid, uid = client.peer(caller)
    if uid != os.geteuid():
        return False
    return belongs_to in (Owner(one.pid, one.started) for one in proctable.above(pid))
