"""Cleaning up when a signal ends the program.

The exit code is that of a shell: 128 + signal number.  `signal` makes enumerations of
all names, in half a millisecond, and most commands change no handler.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def _end(number: int, _frame: FrameType | None) -> None:
    import signal

    # a second signal must not interrupt the clean-up
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


@contextmanager
def termination_raises() -> Iterator[None]:
    """Turn SIGTERM, SIGHUP and SIGQUIT into `SystemExit`, so that `finally` runs.

    The exit codes are 143, 129 and 131.  Other handlers stay, and so do signals that
    are ignored (`nohup`).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    import signal

    ending = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    changed = [n for n in ending if signal.getsignal(n) == signal.SIG_DFL]
    for number in changed:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def deferred() -> Iterator[None]:
    """Block SIGINT, SIGTERM, SIGHUP and SIGQUIT until the block ends."""
    import signal

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, names)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
