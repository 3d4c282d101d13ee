"""A line that is typed and not shown: a passphrase, or the value of a secret.

It is read key by key: the terminal's own line editing cuts a line at 4,095 bytes, and a
pasted key at its first line feed, without a word.  The terminal shows nothing
meanwhile, also after Ctrl-Z and `fg`, and is left as it was, whatever ends the program.
"""

import contextlib
import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nixsecrets.errors import DeclinedError
from nixsecrets.repo.signals import termination_raises

FROM_ELSEWHERE = "give it with --from-file FILE, or on stdin"
_LOCAL, _INPUT, _CHARS = 3, 0, 6  # indices into what tcgetattr returns
# Terminals that know bracketed paste put what is pasted between these.
_PASTE_ON, _PASTE_OFF = b"\x1b[?2004h", b"\x1b[?2004l"
_PASTED, _PASTE_END = b"\x1b[200~", b"\x1b[201~"
_MORE_SECONDS = 0.05  # what is pasted arrives faster than anybody types
_BLOCK = 1 << 16


def hidden(question: str, hint: str | None = None) -> bytes:
    """Ask at the terminal for a line that is not shown; return it without its end.

    Raises:
        DeclinedError: there was no answer, or more than one line (`hint` then says how
            else to give it).
    """
    sys.stderr.flush()
    return hidden_at(sys.stdin.fileno(), sys.stderr.fileno(), question, hint)


def hidden_at(terminal: int, out: int, question: str, hint: str | None = None) -> bytes:
    """Do what `hidden` does with the question written to the descriptor `out`."""
    with _unseen(terminal, out, question):
        typed = _typed(terminal)
        if typed is not None and b"\n" not in typed and not _more(terminal):
            return typed
        _drain(terminal)
    if typed is None:
        raise DeclinedError("nothing was changed: there was no answer")
    raise DeclinedError("nothing was changed: more than one line was typed", hint)


def _typed(terminal: int) -> bytes | None:
    """Return what is typed up to Enter, None where the input ends before that.

    A line feed in it was pasted.
    """
    cc = termios.tcgetattr(terminal)[_CHARS]
    erase = {cc[termios.VERASE], b"\x7f", b"\b"}
    text, pasting = bytearray(), False
    while block := os.read(terminal, _BLOCK):
        for place, number in enumerate(block, 1):
            key = bytes([number])
            if not pasting and key in {b"\n", b"\r", cc[termios.VEOF]}:
                if key == cc[termios.VEOF] and not text:
                    return None
                # what came in one piece with more behind Enter was pasted, too
                return bytes(text) + (b"\n" if block[place:] else b"")
            if not pasting and key == cc[termios.VKILL]:
                text.clear()
            elif not pasting and key in erase:
                _rub_out(text)
            else:
                text += key
            if text.endswith((_PASTED, _PASTE_END)):
                pasting = text.endswith(_PASTED)
                del text[-len(_PASTED) :]
    return None


def _rub_out(text: bytearray) -> None:
    """Take the last character away, of however many bytes."""
    whole = text.decode("utf-8", "surrogateescape")[:-1]
    text[:] = whole.encode("utf-8", "surrogateescape")


def _more(terminal: int) -> bool:
    """Return whether more keys are waiting already."""
    return bool(select.select([terminal], [], [], _MORE_SECONDS)[0])


def _drain(terminal: int) -> None:
    """Drop what is still arriving, so that a shell does not take it for commands."""
    while _more(terminal) and os.read(terminal, _BLOCK):
        pass
    termios.tcflush(terminal, termios.TCIFLUSH)


@contextmanager
def _unseen(terminal: int, out: int, question: str) -> Iterator[None]:
    """Show the question and not what is typed, until the block ends."""
    before = termios.tcgetattr(terminal)
    brackets = os.environ.get("TERM", "dumb") != "dumb"

    def hide() -> None:
        mode: list[Any] = termios.tcgetattr(terminal)
        mode[_INPUT] |= termios.ICRNL
        mode[_LOCAL] |= termios.ISIG
        mode[_LOCAL] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON)
        mode[_CHARS] = list(mode[_CHARS])
        mode[_CHARS][termios.VMIN], mode[_CHARS][termios.VTIME] = 1, 0
        termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)
        os.write(out, (_PASTE_ON if brackets else b"") + question.encode())

    def leave() -> None:
        os.write(out, _PASTE_OFF if brackets else b"")
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)

    def stop(number: int, _frame: FrameType | None) -> None:
        leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # until `fg`, which sends SIGCONT
        signal.signal(number, stop)

    def go_on(_number: int, _frame: FrameType | None) -> None:
        hide()

    with termination_raises(), contextlib.ExitStack() as stack:
        for number, handler in ((signal.SIGTSTP, stop), (signal.SIGCONT, go_on)):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, handler)
                stack.callback(signal.signal, number, signal.SIG_DFL)
        stack.callback(leave)
        hide()
        yield
