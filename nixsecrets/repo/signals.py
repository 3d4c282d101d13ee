"""Let a program that is told to end clean up first.

Exit codes stay the shell's (`128 + number`).  What is cleaned up, and when that would
be too late, the callers know.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_DEFERRED = (signal.SIGINT, *_ENDING)


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(
        number, signal.SIG_IGN
    )  # a second one must not cut the cleaning short
    raise SystemExit(128 + number)


@contextmanager
def termination_raises() -> Iterator[None]:
    """Turn SIGTERM, SIGHUP and SIGQUIT into `SystemExit`, so that `finally` runs.

    The exit codes are 143, 129 and 131.

    Handlers that somebody else installed stay, and so does `nohup`'s ignoring.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    changed = [n for n in _ENDING if signal.getsignal(n) == signal.SIG_DFL]
    for number in changed:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def deferred() -> Iterator[None]:
    """Hold back Ctrl-C and what `termination_raises` turns, until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFERRED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
