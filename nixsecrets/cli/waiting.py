"""The line that says on a terminal what takes its time, while nothing else is printed.

A signal handler writes it: a thread would be there while worker processes are forked.
It goes straight to the descriptor, since the handler may interrupt a write to `stderr`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS = 0.4  # of silence before it appears; then it is redrawn as often
_CLEAR = b"\r\x1b[K"


class _Line:
    """What is going on, outermost first, and whether the line is on the screen."""

    def __init__(self) -> None:
        self.going_on: list[str] = []
        self.shown = False
        self.paused = False

    def show(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Write the line if it is not there."""
        if self.shown or self.paused or not self.going_on:
            return
        text = f"{self.going_on[-1]} …"
        if os.environ.get("TERM", "dumb") == "dumb":  # it cannot take a line back
            text, self.going_on[:] = f"{text}\n", []
        else:
            self.shown = True
        encoding = sys.stderr.encoding or "utf-8"
        os.write(sys.stderr.fileno(), text.encode(encoding, "replace"))

    def clear(self) -> None:
        """Take the line away, before anything else is written."""
        if self.shown:
            self.shown = False
            os.write(sys.stderr.fileno(), _CLEAR)


_line = _Line()
clear = _line.clear


@contextmanager
def waiting(what: str, *, at_once: bool = False) -> Iterator[None]:
    """Show on a terminal what is going on, once it takes longer than a moment.

    `at_once` is for work that runs no Python until it ends, and so no handler.
    """
    if not sys.stderr.isatty():
        yield
        return
    import signal  # --version never waits

    outermost = not _line.going_on
    before = signal.signal(signal.SIGALRM, _line.show) if outermost else None
    clear()
    _line.going_on.append(what)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
    try:
        if at_once:
            _line.show()
        yield
    finally:
        del _line.going_on[-1:]
        if outermost:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        clear()


@contextmanager
def paused() -> Iterator[None]:
    """Keep the terminal free for a question."""
    was, _line.paused = _line.paused, True
    clear()
    try:
        yield
    finally:
        _line.paused = was
