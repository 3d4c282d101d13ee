"""Hidden input at the terminal: a passphrase, or the value of a secret.

It is read key by key: the terminal's own line editing silently cuts a line at 4,095
bytes, and a pasted key at its first newline.  Nothing is echoed, even after Ctrl-Z and
`fg`, and the terminal's mode is restored however the program ends.
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
_LOCAL, _INPUT, _CHARS = 3, 0, 6  # indices into the list from tcgetattr
# Bracketed paste: switched on and off, and the marks around pasted text.
_PASTE_ON, _PASTE_OFF = b"\x1b[?2004h", b"\x1b[?2004l"
_PASTED, _PASTE_END = b"\x1b[200~", b"\x1b[201~"
_MORE_SECONDS = 0.05  # pasted text arrives faster than anybody types
_BLOCK = 1 << 16


def hidden(question: str, hint: str | None = None) -> bytes:
    """Ask at the terminal for a hidden line; return it without its newline.

    Raises:
        DeclinedError: the input ended, or had more than one line (`hint` then says how
            else to provide it).
    """
    sys.stderr.flush()
    return hidden_at(sys.stdin.fileno(), sys.stderr.fileno(), question, hint)


def hidden_at(terminal: int, out: int, question: str, hint: str | None = None) -> bytes:
    """Ask for a hidden line at the descriptor `terminal`; write the question to `out`.

    Raises:
        DeclinedError: the input ended, or had more than one line (`hint` then says how
            else to provide it).
    """
    with _unseen(terminal, out, question):
        typed = _typed(terminal)
        if typed is not None and b"\n" not in typed and not _more(terminal):
            return typed
        _drain(terminal)
    if typed is None:
        raise DeclinedError("nothing was changed: there was no answer")
    raise DeclinedError("nothing was changed: more than one line was typed", hint)


def _typed(terminal: int) -> bytes | None:
    """Return what is typed up to Enter, None if the input ends before that.

    A newline in the result was pasted.
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
                # more bytes in the same read: it was pasted, without brackets
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
    """Remove the last character, which may have several bytes."""
    whole = text.decode("utf-8", "surrogateescape")[:-1]
    text[:] = whole.encode("utf-8", "surrogateescape")


def _more(terminal: int) -> bool:
    """Return whether more input is available."""
    return bool(select.select([terminal], [], [], _MORE_SECONDS)[0])


def _drain(terminal: int) -> None:
    """Discard remaining input, so that the shell does not run it as commands."""
    while _more(terminal) and os.read(terminal, _BLOCK):
        pass
    termios.tcflush(terminal, termios.TCIFLUSH)


@contextmanager
def _unseen(terminal: int, out: int, question: str) -> Iterator[None]:
    """Show the question and switch off echo until the block ends."""
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
