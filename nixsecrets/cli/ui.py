"""Terminal input and output: results on stdout, messages and questions on stderr.

No other module prints.  Colors and progress appear only on a terminal.

Any text may contain names and messages from elsewhere: a repository, a host, another
program.  Each line goes through `printable`, so that only our own colors send escape
sequences.  Newlines within a line are escaped too, so that a name cannot forge a line
of ours; only further lines of an error and lines of a document are broken.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Protocol, TextIO

from nixsecrets.cli import waiting as live
from nixsecrets.cli.waiting import waiting as waiting
from nixsecrets.errors import DeclinedError, NixsecretsError, printable

REFRESH_SECONDS = 0.1


class Tick(Protocol):
    """The function that counts one finished file."""

    def __call__(self) -> None:
        """Count one more."""


def answer(line: str) -> None:
    """Write one line of the command's result to stdout."""
    _put(sys.stdout, printable(line) + "\n")


def answer_text(text: str) -> None:
    """Write a result of many lines to stdout: JSON, a map, a script, help."""
    for line in text.removesuffix("\n").split("\n"):
        _put(sys.stdout, "\t".join(map(printable, line.split("\t"))) + "\n")


def answer_bytes(data: bytes) -> None:
    """Write a result to stdout byte for byte."""
    whole = Answer()
    whole.write(data)
    whole.end()


class Answer:
    """A result that is written to stdout byte for byte, in several pieces."""

    def __init__(self) -> None:
        """Start after flushing what was written before."""
        sys.stdout.flush()
        self.size = 0
        self._last = b""

    def write(self, data: bytes, /) -> int:
        """Write one piece."""
        live.clear()
        self.size += len(data)
        self._last = data[-1:] or self._last
        try:
            return sys.stdout.buffer.write(data)
        except BrokenPipeError:
            raise  # its reader has enough (`| head`)
        except OSError as error:
            raise stdout_error(error) from error

    def flush(self) -> None:
        """Flush stdout."""
        sys.stdout.buffer.flush()

    def end(self) -> None:
        """Finish the result.

        On a terminal, a result without final newline gets one on stderr, so that the
        shell's prompt is on its own line.
        """
        self.flush()
        if sys.stdout.isatty() and self.size and self._last != b"\n":
            say()


def stdout_error(error: OSError) -> NixsecretsError:
    """Return the error for output that stdout does not take."""
    reason = (error.strerror or "unknown reason").lower()
    return NixsecretsError(f"cannot write to stdout: {reason}")


def given_stream() -> BinaryIO | None:
    """Return stdin, None if it is a terminal."""
    return None if sys.stdin.isatty() else sys.stdin.buffer


def ask_secret(question: str) -> bytes:
    """Ask twice for a hidden value.

    Raises:
        DeclinedError: there is no terminal, or the answers differ.
    """
    from nixsecrets.cli import prompt  # 2 ms, which the hook has no use for

    if not has_terminal():
        raise DeclinedError("cannot prompt: no terminal", prompt.FROM_ELSEWHERE)
    first = hidden(f"{question}: ", prompt.FROM_ELSEWHERE)
    if hidden("once more: ", prompt.FROM_ELSEWHERE) != first:
        raise DeclinedError("nothing was changed: the two entries do not match")
    return first


def hidden(question: str, hint: str | None = None) -> bytes:
    """Ask for a hidden line, and write the newline that was not echoed.

    Raises:
        DeclinedError: the input ended, or had more than one line (`hint` then says how
            else to provide it).
    """
    from nixsecrets.cli import prompt  # 2 ms, which the hook has no use for

    try:
        with live.paused():
            return prompt.hidden(printable(question), hint)
    finally:
        say()


def say(line: str = "") -> None:
    """Write one line of message to stderr."""
    _put(sys.stderr, printable(line) + "\n")


def ask_line(question: str) -> str:
    """Ask for a line; "" at the end of the input.

    Bytes that are not UTF-8 become U+FFFD, which no name and no answer has.
    """
    _put(sys.stderr, printable(question))
    sys.stderr.flush()
    with live.paused():
        return sys.stdin.buffer.readline().decode("utf-8", "replace")


def _put(stream: TextIO, text: str) -> None:
    """Write printable text; characters that the encoding lacks are escaped."""
    live.clear()
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def say_lines(lines: Iterable[str]) -> None:
    """Write lines of messages to stderr."""
    for line in lines:
        say(line)


def warn(message: str, hint: str | None = None) -> None:
    """Write a warning and its hint to stderr."""
    _say_styled("warning", "33", message)
    _say_hint(hint)


def warn_unfinished() -> None:
    """Warn that another run is replacing files, or was interrupted doing so."""
    warn(
        "another run is replacing files, or was interrupted while doing so",
        "if none is running: nixsecrets recover",
    )


def report_error(error: NixsecretsError) -> None:
    """Write an error and its hint to stderr."""
    _say_styled("error", "31", error.message)
    _say_hint(error.hint)


def _say_hint(hint: str | None) -> None:
    for line in (hint or "").split("\n") if hint else ():
        _say_styled("hint", "36", line)


def _say_styled(word: str, code: str, message: str) -> None:
    """Write `nixsecrets: WORD: MESSAGE` to stderr; further lines are indented."""
    first, *rest = message.split("\n")
    lines = [
        printable(first),
        *("  " + printable(one.removeprefix("  ")) for one in rest),
    ]
    _put(sys.stderr, f"nixsecrets: {_style(word, code)}: " + "\n".join(lines) + "\n")


def _style(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if coloured(sys.stderr) else text


def coloured(stream: object) -> bool:
    """Return whether colors may be used on a stream."""
    isatty = getattr(stream, "isatty", None)
    if isatty is None or not isatty() or os.environ.get("TERM") == "dumb":
        return False
    return not os.environ.get("NO_COLOR")


def has_terminal() -> bool:
    """Return whether stdin and stderr are a terminal, to ask questions on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, hint: str) -> None:
    """Ask a yes/no question; the default is no.

    Raises:
        DeclinedError: the answer was no, or there is no terminal (`hint` then says
            which option answers instead).
    """
    if not has_terminal():
        raise DeclinedError(
            "nothing was changed: cannot prompt without a terminal", hint
        )
    if ask_line(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise DeclinedError("nothing was changed: declined")


def choose(question: str, answers: Sequence[str], default: str) -> str:
    """Ask for one of a few words or its beginning.

    Returns the default for an empty answer, or without a terminal.

    Raises:
        DeclinedError: the answer was none of them, or ambiguous.
    """
    if not has_terminal():
        return default
    asked_for = f"{question} [{'/'.join(answers)}] ({default}) "
    said = ask_line(asked_for).strip().lower() or default
    found = [answer for answer in answers if answer.startswith(said)]
    if len(found) != 1:
        raise DeclinedError(f"nothing was changed: {said!r} is not one of the answers")
    return found[0]


def asked(question: str, *, default: bool = False) -> bool:
    """Ask a yes/no question; False without a terminal."""
    if not has_terminal():
        return False
    line = ask_line(f"{question} [{'Y/n' if default else 'y/N'}] ")
    word = line.strip().lower()
    return word in {"y", "yes"} or (default and line != "" and word == "")


def ask_text(question: str) -> str:
    """Ask for a line of text; "" without a terminal."""
    if not has_terminal():
        return ""
    return ask_line(f"{question}: ").strip()


def ask_passphrase(source: str) -> str | None:
    """Ask for the passphrase of an identity; None without a terminal."""
    if not has_terminal():
        return None
    return hidden(f"passphrase for {source}: ").decode("utf-8", "surrogateescape")


@contextmanager
def progress(label: str, total: int) -> Iterator[Tick]:
    """Show a progress bar with a rate if there are more than a few files."""
    if total < 20 or not sys.stderr.isatty():
        with waiting(label):
            yield _silent
        return
    from rich.console import Console  # 40 ms, for many files on a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    # No thread refreshes it: worker processes are forked while the bar is shown.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task(label, total=total, rate="")
        shown = 0.0

        def tick() -> None:
            nonlocal shown
            bar.advance(task)
            now = time.monotonic()
            if now - shown >= REFRESH_SECONDS or bar.finished:
                shown = now
                speed = bar.tasks[0].speed
                bar.update(task, rate=f"{speed:.0f}/s" if speed else "", refresh=True)

        yield tick


def _silent() -> None:
    return


class TerminalTalk:
    """The prompts of an age plugin (a hardware key) at the terminal.

    It is stateless, so that worker processes can have a copy; without a terminal it
    answers nothing.
    """

    def display_message(self, message: str) -> None:
        """Show `message`, such as "touch your token"."""
        say(f"nixsecrets: {message}")

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        """Ask for a decision; None without a terminal."""
        if not has_terminal():
            return None
        choices = yes if no is None else f"{yes}/{no}"
        answer = self._line(f"{message} [{choices}] ").lower()
        return answer in {yes.lower(), "y", "yes"}

    def request_public_string(self, description: str) -> str | None:
        """Ask for a text that may be shown; None without a terminal."""
        return self._line(f"{description}: ") if has_terminal() else None

    def request_passphrase(self, description: str) -> str | None:
        """Ask for a PIN or a passphrase; None without a terminal."""
        return ask_passphrase(description)

    def _line(self, question: str) -> str:
        return ask_line(question).strip()
