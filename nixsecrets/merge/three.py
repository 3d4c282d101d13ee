"""Three-way merge of sequences: what both sides did since they parted, done together.

`ours` and `theirs` are changed versions of `base`.  What only one side changed is taken
from it; what both changed alike is taken once.  Pure.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T", bound=Hashable)

_TOKEN = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|#[^\n]*|\w+|[^\S\n]+|\n|.", re.DOTALL)


class Conflict(NamedTuple, Generic[T]):
    """A part that both sides changed, each in its own way."""

    base: tuple[T, ...]
    ours: tuple[T, ...]
    theirs: tuple[T, ...]


class _Edit(NamedTuple, Generic[T]):
    """`base[start:end]` becomes `new`."""

    start: int
    end: int
    new: tuple[T, ...]


def sequences(
    base: Sequence[T],
    ours: Sequence[T],
    theirs: Sequence[T],
    *,
    close: bool,
) -> list[T | Conflict[T]]:
    """Return the merged items, a `Conflict` where both sides changed the same ones.

    With `close`, changes of items that lie side by side are both applied (additions at
    one place: ours, then theirs); the caller checks what the result means.  Without it,
    changes that touch are a conflict, as in `diff3`.
    """
    merged: list[T | Conflict[T]] = []
    at = 0
    for mine, other in _regions(_edits(base, ours), _edits(base, theirs), close=close):
        start = min(edit.start for edit in (*mine, *other))
        end = max(edit.end for edit in (*mine, *other))
        merged += base[at:start]
        merged += _together(tuple(base[start:end]), start, mine, other, close=close)
        at = end
    merged += base[at:]
    return merged


def lines(base: str, ours: str, theirs: str) -> "list[str | Conflict[str]]":
    """Return a text with the changes of both, in pieces of whole lines."""
    return sequences(_lines(base), _lines(ours), _lines(theirs), close=True)


def either(base: str, ours: str, theirs: str) -> "list[str | Conflict[str]]":
    """Return what two texts share, in lines, and a conflict where they differ.

    For texts that have no `base`, and nothing else; empty for others.
    """
    if base:
        return []
    mine, other = _lines(ours), _lines(theirs)
    found: list[str | Conflict[str]] = []
    matcher = SequenceMatcher(None, mine, other, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            found += mine[a:b]
        else:
            found.append(Conflict((), tuple(mine[a:b]), tuple(other[c:d])))
    return found


def parts(base: str, ours: str, theirs: str) -> "list[str | Conflict[str]]":
    """Return a text with the changes of both, in pieces made as small as words.

    What comes out may mean something else than both sides meant: the caller reads it
    again and compares.
    """
    merged: list[str | Conflict[str]] = []
    for part in lines(base, ours, theirs):
        if isinstance(part, str):
            merged.append(part)
        else:
            words = (_TOKEN.findall("".join(side)) for side in part)
            merged += sequences(*words, close=True)
    return merged


def texts(base: str, ours: str, theirs: str) -> str:
    """Return `parts` as one text, ours where both changed the same words."""
    merged = parts(base, ours, theirs)
    return "".join(
        part if isinstance(part, str) else "".join(part.ours) for part in merged
    )


def names(
    base: Sequence[str], ours: Sequence[str], theirs: Sequence[str]
) -> tuple[str, ...]:
    """Return a set of names (in ours' order) with what both sides added and removed.

    Who is removed by one side is gone, whatever the other did.
    """
    gone = (set(base) - set(ours)) | (set(base) - set(theirs))
    every = dict.fromkeys((*ours, *theirs))
    return tuple(name for name in every if name not in gone)


def order(base: list[T], ours: list[T], theirs: list[T]) -> list[T]:
    """Return what either side has, each once; ours first where both moved or added."""
    found: dict[T, None] = {}
    for part in sequences(base, ours, theirs, close=True):
        if isinstance(part, Conflict):
            found |= dict.fromkeys((*part.ours, *part.theirs))
        else:
            found[part] = None
    return list(found)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _edits(base: Sequence[T], side: Sequence[T]) -> list[_Edit[T]]:
    matcher = SequenceMatcher(None, base, side, autojunk=False)
    return [
        _Edit(start, end, tuple(side[left:right]))
        for tag, start, end, left, right in matcher.get_opcodes()
        if tag != "equal"
    ]


def _regions(
    ours: list[_Edit[T]], theirs: list[_Edit[T]], *, close: bool
) -> Iterator[tuple[list[_Edit[T]], list[_Edit[T]]]]:
    """Yield the edits of both sides, those together that concern the same items."""
    tagged = sorted(
        [(edit, False) for edit in ours] + [(edit, True) for edit in theirs],
        key=lambda pair: (pair[0].start, pair[0].end, pair[1]),
    )
    region: tuple[list[_Edit[T]], list[_Edit[T]]] = ([], [])
    reach = -1
    for edit, other in tagged:
        same_place = any(
            e.start == e.end == edit.start for e in (*region[0], *region[1])
        )
        if close:
            joined = edit.start < reach or (edit.start == edit.end and same_place)
        else:
            joined = edit.start <= reach
        if any(region) and not joined:
            yield region
            region = ([], [])
            reach = -1
        region[other].append(edit)
        reach = max(reach, edit.end)
    if any(region):
        yield region


def _together(
    base: tuple[T, ...],
    start: int,
    mine: list[_Edit[T]],
    other: list[_Edit[T]],
    *,
    close: bool,
) -> "list[T | Conflict[T]]":
    ours, theirs = (_applied(base, start, edits) for edits in (mine, other))
    if ours == theirs or not other:
        return [*ours]
    if not mine:
        return [*theirs]
    if close and not base:
        return [*_both(ours, theirs)]
    return [Conflict(base, ours, theirs)]


def _applied(base: tuple[T, ...], start: int, edits: list[_Edit[T]]) -> tuple[T, ...]:
    made: list[T] = []
    at = start
    for edit in edits:
        made += base[at - start : edit.start - start]
        made += edit.new
        at = edit.end
    return (*made, *base[at - start :])


def _both(ours: tuple[T, ...], theirs: tuple[T, ...]) -> tuple[T, ...]:
    """Return two additions at one place: what one holds of the other stands once."""
    if ours[: len(theirs)] == theirs:
        return ours
    if theirs[: len(ours)] == ours:
        return theirs
    return (*ours, *theirs)
