"""Find a span, replace it, read again, compare: the one way to edit foreign text.

Works on `str` and `bytes` alike.  Knows no format: a caller brings the spans, what the
text must mean afterwards, and the function that reads it.  Every byte outside the
given spans is kept by construction.
"""

from collections.abc import Callable, Iterable
from typing import AnyStr, TypeVar

from nixsecrets.errors import NixsecretsError

Value = TypeVar("Value")


class SpliceError(NixsecretsError):
    """The edited text does not mean what it should; nothing was written."""


def apply_edits(text: AnyStr, edits: Iterable[tuple[int, int, AnyStr]]) -> AnyStr:
    """Return `text` with each span `[start, end)` replaced by its replacement.

    The offsets count in the old text, in any order.  An empty span inserts; several
    insertions at one place keep the order they were given in.

    Raises:
        ValueError: spans overlap or lie outside of the text (a bug of the caller).

    """
    pieces: list[AnyStr] = []
    done = 0
    for start, end, replacement in sorted(edits, key=lambda edit: edit[:2]):
        if not done <= start <= end <= len(text):
            raise ValueError(f"span {start}:{end} overlaps or is outside of the text")
        pieces += (text[done:start], replacement)
        done = end
    pieces.append(text[done:])
    return text[:0].join(pieces)


def require_value(
    text: AnyStr, *, reread: Callable[[AnyStr], Value], intended: Value
) -> None:
    """Raise SpliceError unless `text` reads as `intended`."""
    if reread(text) != intended:
        raise SpliceError(
            "the edited text would not mean what was asked for; nothing was written",
            "make this change by hand, in an editor",
        )


def newline_of(text: str) -> str:
    """Return the line end that most lines of `text` have."""
    windows = text.count("\r\n")
    return "\r\n" if windows * 2 > text.count("\n") else "\n"


def line_start(text: str, offset: int) -> int:
    """Return where the line of the character at `offset` begins."""
    return text.rfind("\n", 0, offset) + 1


def after_line(text: str, offset: int) -> int:
    """Return where the line after that of `offset` begins; at most the text's end."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end + 1


def line_at(text: str, offset: int) -> int:
    """Return the number (from 1) of the line that holds `offset`."""
    return text.count("\n", 0, offset) + 1


def conflict_line(data: bytes) -> int:
    """Return the line at which git's conflict markers begin in a text, 0 for none.

    Linear: each of the three marks is looked for behind the one before it.
    """
    at = 0
    first = -1
    for mark in (b"<<<<<<< ", b"=======", b">>>>>>> "):
        while True:
            at = data.find(mark, at)
            if at < 0:
                return 0
            if at == 0 or data[at - 1 : at] == b"\n":
                break
            at += 1
        first = at if first < 0 else first
        at += len(mark)
    return data.count(b"\n", 0, first) + 1
