"""What a person sees: answers on stdout, talk on stderr; the only module that prints.

Colours and progress only on a terminal; nothing here decides anything.

Every text may hold names and messages from elsewhere: a repository, a host, another
program.  `_put` writes each line as `printable` gives it, so that nothing but our own
colours moves the cursor or turns text around.  A line feed inside of a line is escaped,
too, so that a name cannot look like a line of ours; only the further lines of an error
and of a document are ours to break.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Protocol, TextIO

from nixsecrets.errors import DeclinedError, NixsecretsError, printable

REFRESH_SECONDS = 0.1


class Tick(Protocol):
    """Called once for each file that is done."""

    def __call__(self) -> None:
        """Count one more."""


def answer(line: str) -> None:
    """Write one line of an answer (what a pipe should get) to stdout."""
    _put(sys.stdout, printable(line) + "\n")


def answer_text(text: str) -> None:
    """Write an answer of many lines to stdout: JSON, a map, a script, a manual."""
    for line in text.removesuffix("\n").split("\n"):
        _put(sys.stdout, "\t".join(map(printable, line.split("\t"))) + "\n")


def answer_bytes(data: bytes) -> None:
    """Write an answer to stdout exactly as it is."""
    whole = Answer()
    whole.write(data)
    whole.end()


class Answer:
    """An answer that goes to stdout exactly as it is, in as many pieces as it has."""

    def __init__(self) -> None:
        """Begin behind what was written before."""
        sys.stdout.flush()
        self.size = 0
        self._last = b""

    def write(self, data: bytes, /) -> int:
        """Write one piece."""
        self.size += len(data)
        self._last = data[-1:] or self._last
        return sys.stdout.buffer.write(data)

    def flush(self) -> None:
        """Leave nothing in a buffer."""
        sys.stdout.buffer.flush()

    def end(self) -> None:
        """Finish the answer.

        On a terminal that leaves the cursor behind it, so the prompt gets a line of
        its own by way of stderr.
        """
        self.flush()
        if sys.stdout.isatty() and self.size and self._last != b"\n":
            say()


def given_stream() -> BinaryIO | None:
    """Return stdin, None where it is a terminal."""
    return None if sys.stdin.isatty() else sys.stdin.buffer


def ask_secret(question: str) -> bytes:
    """Ask for a value that is not shown, twice.

    Raises:
        DeclinedError: no terminal can answer, or the answers differ.
    """
    from nixsecrets.cli import prompt  # 2 ms, which the hook has no use for

    if not has_terminal():
        raise DeclinedError("cannot prompt: no terminal", prompt.FROM_ELSEWHERE)
    first = hidden(f"{question}: ", prompt.FROM_ELSEWHERE)
    if hidden("once more: ", prompt.FROM_ELSEWHERE) != first:
        raise DeclinedError("nothing was changed: the two entries do not match")
    return first


def hidden(question: str, hint: str | None = None) -> bytes:
    """Ask for a line that is not shown, and end the line that nobody saw.

    Raises:
        DeclinedError: there was no answer, or more than one line.
    """
    from nixsecrets.cli import prompt  # 2 ms, which the hook has no use for

    try:
        return prompt.hidden(printable(question), hint)
    finally:
        say()


def say(line: str = "") -> None:
    """Write one line of talk (what a person should see) to stderr."""
    _put(sys.stderr, printable(line) + "\n")


def ask_line(question: str) -> str:
    """Ask for a line on the terminal; empty where it is closed."""
    _put(sys.stderr, printable(question))
    sys.stderr.flush()
    return typed_line()


def _put(stream: TextIO, text: str) -> None:
    """Write what was made printable; what its encoding lacks is escaped."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def say_lines(lines: Iterable[str]) -> None:
    """Write lines of talk to stderr."""
    for line in lines:
        say(line)


def warn(message: str, hint: str | None = None) -> None:
    """Write a warning and its hint to stderr."""
    _say_styled("warning", "33", message)
    _say_hint(hint)


def warn_unfinished() -> None:
    """Say that another run is, or was, replacing files."""
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
    """Write `nixsecrets: WORD: MESSAGE`; its further lines are always indented."""
    first, *rest = message.split("\n")
    lines = [
        printable(first),
        *("  " + printable(one.removeprefix("  ")) for one in rest),
    ]
    _put(sys.stderr, f"nixsecrets: {_style(word, code)}: " + "\n".join(lines) + "\n")


def _style(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if coloured(sys.stderr) else text


def coloured(stream: object) -> bool:
    """Return whether colours may be used on a stream."""
    isatty = getattr(stream, "isatty", None)
    if isatty is None or not isatty() or os.environ.get("TERM") == "dumb":
        return False
    return not os.environ.get("NO_COLOR")


def has_terminal() -> bool:
    """Return whether a person is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, hint: str) -> None:
    """Ask a yes/no question; the default is no.

    Raises:
        DeclinedError: the answer was no, or no terminal can answer (`hint` then says
            which flag answers instead).
    """
    if not has_terminal():
        raise DeclinedError(
            "nothing was changed: cannot prompt without a terminal", hint
        )
    if ask_line(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise DeclinedError("nothing was changed: declined")


def choose(question: str, answers: Sequence[str], default: str) -> str:
    """Ask for one of a few words; the default where nothing or no terminal answers.

    Raises:
        DeclinedError: the answer was none of them.
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
    """Ask a yes/no question; where no terminal can answer, the answer is no."""
    if not has_terminal():
        return False
    line = ask_line(f"{question} [{'Y/n' if default else 'y/N'}] ")
    word = line.strip().lower()
    return word in {"y", "yes"} or (default and line != "" and word == "")


def ask_text(question: str) -> str:
    """Ask for a line of text; empty where no terminal can answer."""
    if not has_terminal():
        return ""
    return ask_line(f"{question}: ").strip()


def typed_line() -> str:
    """Return the line that is typed next, "" at the end of the input.

    Bytes that are no UTF-8 become U+FFFD, which is in no name and no answer.
    """
    return sys.stdin.buffer.readline().decode("utf-8", "replace")


def ask_passphrase(source: str) -> str | None:
    """Ask for the passphrase of an identity; None where no terminal can answer."""
    if not has_terminal():
        return None
    return hidden(f"passphrase for {source}: ").decode("utf-8", "surrogateescape")


@contextmanager
def progress(label: str, total: int) -> Iterator[Tick]:
    """Show a bar with a rate while more than a few files are worked on."""
    if total < 20 or not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    # No refreshing thread: worker processes are forked while the bar is there.
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
    """What an age plugin (a hardware key) may ask of the person at the terminal.

    Stateless, so that worker processes can have it; answers nothing without a terminal.
    """

    def display_message(self, message: str) -> None:
        """Show `message`, such as "touch your token"."""
        say(f"nixsecrets: {message}")

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        """Ask for a decision; None where nobody can answer."""
        if not has_terminal():
            return None
        choices = yes if no is None else f"{yes}/{no}"
        answer = self._line(f"{message} [{choices}] ").lower()
        return answer in {yes.lower(), "y", "yes"}

    def request_public_string(self, description: str) -> str | None:
        """Ask for a text that may be seen; None where nobody can answer."""
        return self._line(f"{description}: ") if has_terminal() else None

    def request_passphrase(self, description: str) -> str | None:
        """Ask for a PIN or a passphrase; None where nobody can answer."""
        return ask_passphrase(description)

    def _line(self, question: str) -> str:
        return ask_line(question).strip()
