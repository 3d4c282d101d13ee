"""A text as a tree of entries, merged entry by entry: a key moves with its lines.

Where both sides changed lines that stand together, words do not say which belong to
which key; names do.  For YAML, JSON (one member in a line), dotenv and INI.  Pure.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nixsecrets.merge import three

_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^:=]*?)\s*[:=]""")
_BETWEEN = re.compile(r"\s*([#;].*)?$")
_CLOSES = ("}", "]")

Part = str | three.Conflict[str]


class Block(NamedTuple):
    """An entry: its first line, with what stands above it, and the entries in it."""

    key: str
    head: str
    inner: "tuple[Block, ...]" = ()
    tail: str = ""

    @property
    def text(self) -> str:
        """All of its lines."""
        return self.head + "".join(block.text for block in self.inner) + self.tail


def parts(base: str, ours: str, theirs: str) -> list[Part]:
    """Return a text with the changes of both, as `three.parts` does, by its entries."""
    sides = (split(text.splitlines(keepends=True)) for text in (base, ours, theirs))
    return list(_merged(*sides))


def split(lines: Sequence[str]) -> tuple[Block, ...]:
    """Return the entries of lines, by their indentation, or by the sections of INI."""
    blocks: list[Block] = []
    above, at = "", 0
    level = next((_indent(line) for line in lines if not _BETWEEN.match(line)), 0)
    while at < len(lines):
        line, start = lines[at], at
        at += 1
        if _BETWEEN.match(line):
            above += line
            continue
        if line.strip()[0] in _CLOSES and blocks:
            blocks[-1] = blocks[-1]._replace(tail=blocks[-1].tail + above + line)
            above = ""
            continue
        section = line.startswith("[")
        while at < len(lines) and _inside(lines[at], level, section=section):
            at += 1
        inner = split(lines[start + 1 : at])
        key = _named(line, {block.key for block in blocks})
        blocks.append(Block(key, above + line, inner))
        above = ""
    return (*blocks, Block("", above)) if above else tuple(blocks)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _inside(line: str, level: int, *, section: bool) -> bool:
    if section:
        return not line.startswith("[")
    return _indent(line) > level and bool(line.strip())


def _named(line: str, taken: set[str]) -> str:
    found = _KEY.match(line)
    name = line.strip().rstrip(",") if found is None else found[1]
    while name in taken:
        name += "'"
    return name


def _merged(
    base: Sequence[Block], ours: Sequence[Block], theirs: Sequence[Block]
) -> Iterator[Part]:
    sides = [{block.key: block for block in side} for side in (base, ours, theirs)]
    order = three.order(*map(list, sides))
    for key in dict.fromkeys((*order, *sides[1], *sides[2])):
        before, mine, other = (side.get(key) for side in sides)
        if mine == other or other == before:
            yield mine.text if mine is not None else ""
        elif mine == before:
            yield other.text if other is not None else ""
        elif mine is None or other is None:
            texts = ((one.text,) if one is not None else () for one in (mine, other))
            yield three.Conflict((), *texts)
        else:
            was = before or Block(key, "")
            yield from three.parts(was.head, mine.head, other.head)
            yield from _merged(was.inner, mine.inner, other.inner)
            yield mine.tail or other.tail
