"""A background process that answers requests while one other process runs.

git starts a program for each file that it shows; these processes do not know of each
other.  The first one leaves a keeper behind, which answers the later ones.

A keeper belongs to one *owner* (a git process), exits with it, and answers only
processes that the owner started, of the same user.  Its socket is in a private folder
in memory; nothing else about it is in a file, on a command line or in an environment.
"""

import contextlib
import os
import select
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from nixsecrets.frozen import NamedTuple
from nixsecrets.repo.gitunlock import client, proctable

_READY_SECONDS = 10.0

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


class Left(NamedTuple):
    """A keeper that was left behind, or could not be."""

    said: int  # a pipe

    def ready(self) -> bool:
        """Wait until it answers; return whether it will.  Only once."""
        try:
            waited, _, _ = select.select([self.said], [], [], _READY_SECONDS)
            return bool(waited) and os.read(self.said, 1) == b"+"
        finally:
            os.close(self.said)


def leave(
    env: Mapping[str, str],
    belongs_to: Owner,
    begin: Callable[[Path], Answer],
    mark: str = "",
) -> Left:
    """Leave a keeper behind.

    `begin` returns the function that answers, given a private folder of the keeper.
    Clients have to know `mark`.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _become_keeper(env, belongs_to, begin, mark, writing)
    os.close(writing)
    os.waitpid(child, 0)
    return Left(reading)


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
            with contextlib.suppress(Exception):  # there is nobody to report it to
                # half of what the parent loads, which does not need it
                from nixsecrets.repo.gitunlock import serving

                serving.serve(env, belongs_to, begin, mark, ready)
    finally:
        os._exit(0)


def _leave_streams() -> None:
    """Close stdin, stdout and stderr: git waits until its pipe is closed."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
