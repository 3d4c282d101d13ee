"""Marked blocks: the lines in somebody's file that nixsecrets writes.

    # nixsecrets: begin
    ...
    # nixsecrets: end

Everything outside of them stays byte for byte.  `sopsyaml` decides what is inside, and
where a block belongs.
"""

from collections.abc import Iterable, Iterator

from nixsecrets.errors import PlaceError
from nixsecrets.frozen import NamedTuple
from nixsecrets.splice import newline_of

BEGIN = "# nixsecrets: begin"
END = "# nixsecrets: end"


class Block(NamedTuple):
    """The characters `[start, end)`: whole lines, markers and last newline included."""

    start: int
    end: int

    def holds(self, offset: int) -> bool:
        """Return whether the character at `offset` is in the block."""
        return self.start <= offset < self.end


def find(text: str, filename: str) -> tuple[Block, ...]:
    """Return the blocks of `text` in order; `filename` is for errors.

    Raises:
        PlaceError: a marker without its counterpart.
    """
    found: list[Block] = []
    begin: int | None = None
    for number, start, end in _lines(text):
        line = text[start:end].strip()
        if line not in (BEGIN, END):
            continue
        if (line == BEGIN) != (begin is None):
            raise PlaceError(
                filename,
                number,
                f'a "{line}" without its counterpart',
                "put the missing marker back, or remove the block: it is rewritten",
            )
        if line == BEGIN:
            begin = start
        elif begin is not None:
            found.append(Block(begin, end))
            begin = None
    if begin is not None:
        raise PlaceError(
            filename,
            0,
            f'the last "{BEGIN}" has no end',
            "put the missing marker back, or remove the block: it is rewritten",
        )
    return tuple(found)


class Gap(NamedTuple):
    """A removed block: its text, and its offset in the text that remains."""

    offset: int
    content: str


def take_out(text: str, filename: str) -> tuple[str, tuple[Gap, ...]]:
    """Return `text` without its blocks, and where they were, in order.

    Raises:
        PlaceError: a marker without its counterpart.
    """
    gaps: list[Gap] = []
    for block in reversed(find(text, filename)):
        content = text[block.start : block.end]
        # a block at the end of a text was inserted with the newline before it
        lead = 0 if content.endswith("\n") else len(_line_end_before(text, block.start))
        start = block.start - lead
        text = text[:start] + text[block.end :]
        gaps = [
            Gap(start, content),
            *(Gap(one.offset - len(content) - lead, one.content) for one in gaps),
        ]
    return text, tuple(gaps)


def put_in(text: str, offset: int, block: str, newline: str) -> str:
    """Return `block` with the newline it needs at `offset`: a line start or the end."""
    at_line_start = offset == 0 or text[offset - 1] == "\n"
    return block + newline if at_line_start else newline + block


def written(lines: Iterable[str], indent: str, newline: str) -> str:
    """Return a block around `lines`, without the last newline."""
    return newline.join(indent + line for line in (BEGIN, *lines, END))


def with_newlines_of(present: str | None, text: str) -> str:
    """Return `text`, whose lines end in LF, with the line ends of `present`.

    A file that git checked out with CRLF (core.autocrlf) then does not differ.
    """
    newline = newline_of(present or "")
    return text if newline == "\n" else text.replace("\n", newline)


def _line_end_before(text: str, start: int) -> str:
    newline = newline_of(text)
    if text.endswith(newline, 0, start):
        return newline
    return "\n" if text.endswith("\n", 0, start) else ""


def _lines(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield number (from 1), start and end of each line, newline included."""
    start = 1 if text.startswith("\ufeff") else 0
    for number, line in enumerate(text[start:].split("\n"), start=1):
        end = min(start + len(line) + 1, len(text))
        yield number, start, end
        start = end
