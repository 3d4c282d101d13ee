"""The keeper's part of `keeper`: listening, who is answered, and when it ends."""

import contextlib
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from nixsecrets.repo import private
from nixsecrets.repo.gitunlock import client, proctable
from nixsecrets.repo.gitunlock.keeper import Answer, Owner

_IDLE_SECONDS = 30 * 60.0
_POLL_SECONDS = 0.5  # if the system cannot notify us of the owner's exit
_ANSWER_SECONDS = 10.0
_BLOCK = 1 << 18
_NOT_DUMPABLE = (4, 0)  # PR_SET_DUMPABLE, <linux/prctl.h>


def serve(
    env: Mapping[str, str],
    belongs_to: Owner,
    begin: Callable[[Path], Answer],
    mark: str,
    ready: int,
) -> None:
    """Answer until the owner ends; say on the pipe `ready` that callers may come."""
    _forbid_memory_access()
    with (
        private.private_folder(env) as folder,
        _listening(folder, belongs_to.door + mark) as door,
    ):
        os.write(ready, b"+")
        os.close(ready)
        answer = begin(folder)
        for caller in _callers(door, belongs_to):
            with caller, contextlib.suppress(OSError):
                caller.settimeout(_ANSWER_SECONDS)
                if _may_ask(caller, belongs_to):
                    caller.sendall(_answered(_heard(caller), answer))


def _forbid_memory_access() -> None:
    """Prevent other processes of the same user from reading our memory (Linux)."""
    if sys.platform == "linux":
        import ctypes  # 3 ms, which only the first process of a git command pays

        ctypes.CDLL(None).prctl(*_NOT_DUMPABLE)


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
