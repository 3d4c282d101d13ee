"""A background process that answers requests while one other process runs.

git starts a program for each file that it shows; these processes do not know of each
other.  The first one leaves a keeper behind, which answers the later ones.

A keeper belongs to one *owner* (a git process), exits with it, and answers only
processes that the owner started, of the same user.  Its socket is in a private folder
in memory; nothing else about it is in a file, on a command line or in an environment.
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
_POLL_SECONDS = 0.5  # if the system cannot notify us of the owner's exit
_READY_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
_BLOCK = 1 << 18
_NOT_DUMPABLE = (4, 0)  # PR_SET_DUMPABLE, <linux/prctl.h>


Answer = Callable[[bytes], bytes]
"""Returns the answer to a request."""


class Owner(NamedTuple):
    """A process: its id and start time, since ids are reused."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether it is still running."""
        found = proctable.look_at(self.pid)
        return found is not None and found.started == self.started

    @property
    def door(self) -> str:
        """The name of its keeper's socket."""
        return f"{client.PREFIX}{self.pid}-{self.started}"


def owner(program: str) -> Owner | None:
    """Return our nearest ancestor process with the name `program`, None if none."""
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
    """Leave a keeper behind; return whether it is running.

    `begin` returns the function that answers, given a private folder of the keeper.
    Clients have to know `mark`.
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
    """Detach from parent, terminal and streams; answer until the owner exits."""
    try:
        os.setsid()
        if os.fork() == 0:
            _leave_streams()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _forbid_memory_access()
            with (
                contextlib.suppress(Exception),  # nobody to report it to
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
    """Close stdin, stdout and stderr: git waits until its pipe is closed."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _forbid_memory_access() -> None:
    """Prevent other processes of the same user from reading our memory (Linux)."""
    if sys.platform == "linux":
        import ctypes  # 3 ms, which only the first process of a git command pays

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
    except Exception:  # noqa: BLE001 - the client tries itself, and reports it
        return client.FAILED


def _heard(caller: socket.socket) -> bytes:
    """Return a request of a trusted client, which may have a large file."""
    parts = []
    while part := caller.recv(_BLOCK):
        parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def _listening(folder: Path, name: str) -> Iterator[socket.socket]:
    """Yield a listening socket in `folder`."""
    here = Path.cwd()  # bind a relative path: paths of sockets are limited to 100 bytes
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        before = os.umask(0o177)
        door.bind(name)
        os.umask(before)
        os.chdir(here)
        door.listen()
        yield door


def _callers(door: socket.socket, belongs_to: Owner) -> Iterator[socket.socket]:
    """Yield connections, until the owner exits or nobody has connected for long."""
    with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as stack:
        waiting.register(door, selectors.EVENT_READ)
        end = _end_of(belongs_to, stack)
        if end is not None:
            waiting.register(end, selectors.EVENT_READ)
        until = time.monotonic() + _IDLE_SECONDS
        while belongs_to.alive and time.monotonic() < until:
            left = until - time.monotonic() if end is not None else _POLL_SECONDS
            for key, _ in waiting.select(left):
                if key.fileobj is not door:
                    return
                until = time.monotonic() + _IDLE_SECONDS
                yield door.accept()[0]


def _end_of(belongs_to: Owner, stack: contextlib.ExitStack) -> int | None:
    """Return a descriptor that is readable when the owner exits, None if impossible."""
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
    """Return whether the owner started the client."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder already excludes other users
    pid, uid = client.peer(caller)
    if uid != os.geteuid():
        return False
    return belongs_to in (Owner(one.pid, one.started) for one in proctable.above(pid))
