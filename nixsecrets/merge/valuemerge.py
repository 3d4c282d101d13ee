"""What two versions of a secret hold, as one plaintext: value by value.

The texts are merged line by line and word by word; what comes out is read again and
counts only where every value in it is the one that the merge of both sides' values
gives.  What is no text, or has no values, is merged by whole lines.  Pure.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops.repeats import repeated
from nixsecrets.files.sops.values import leaves
from nixsecrets.frozen import NamedTuple
from nixsecrets.merge import blocks, three

_MISSING = object()
_MOST_CANDIDATES = 256
# a string in JSON has no line end in it
_LAST_MEMBER = re.compile(r"(?<=[^\s,{\[])\n(?=\s*[}\]])")
_LAST_COMMA = re.compile(r",\n(?=\s*[}\]])")
WHOLE = ""
"""Names the whole file, where it has no single values."""


class Did(NamedTuple):
    """What each side did to something that both changed."""

    ours: str = "changed it"
    theirs: str = "changed it"


class Merged(NamedTuple):
    """A plaintext, or the key paths at which both sides differ (`WHOLE`: the file).

    `did` says what each side did there, if it did not change it; `met` are all key
    paths at which they differ, also those that were chosen.
    """

    text: bytes = b""
    clashes: tuple[str, ...] = ()
    did: Mapping[str, Did] = MappingProxyType({})
    met: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Show where both differ, no text."""
        return f"Merged({self.clashes})"


Choices = Mapping[str, str]
"""Which side counts ("ours", "theirs"), by key path."""


def merged(
    kind: SopsFormat | None,
    base: bytes,
    ours: bytes,
    theirs: bytes,
    choices: Choices | None = None,
) -> Merged:
    """Return the plaintext with the changes of both sides.

    `kind` is the format of a sops file; None and binary are for what has no values.
    """
    choices = choices or {}
    if ours == theirs or theirs == base:
        return Merged(ours)
    if ours == base:
        return Merged(theirs)
    whole = choices.get(WHOLE)
    if whole is not None:
        return Merged(theirs if whole == "theirs" else ours)
    try:
        texts = base.decode(), ours.decode(), theirs.decode()
    except UnicodeDecodeError:
        return Merged(clashes=(WHOLE,))
    if "\0" in "".join(texts):
        return Merged(clashes=(WHOLE,))
    if kind is None or kind is SopsFormat.BINARY:
        return _by_line(*texts)
    return _by_value(kind, *texts, choices)


def _by_line(base: str, ours: str, theirs: str) -> Merged:
    """Merge as `diff3` does: nothing says what the text means."""
    sides = (text.splitlines(keepends=True) for text in (base, ours, theirs))
    parts = three.sequences(*sides, close=False)
    if not all(isinstance(part, str) for part in parts):
        return Merged(clashes=(WHOLE,))
    return Merged("".join(p for p in parts if isinstance(p, str)).encode())


def _by_value(
    kind: SopsFormat, base: str, ours: str, theirs: str, choices: Choices
) -> Merged:
    try:
        values = [_values(kind, text) if text else {} for text in (base, ours, theirs)]
    except SecretFileError:
        return Merged(clashes=(WHOLE,))
    meaning = _Meaning(choices)
    wanted = meaning.of((), *values)
    met = tuple(meaning.met)
    if meaning.clashes:
        return Merged(clashes=tuple(meaning.clashes), did=meaning.did, met=met)
    json = kind is SopsFormat.JSON
    texts = (base, ours, theirs)
    for made in _candidates(*(map(_with_last_commas, texts) if json else texts)):
        text = _LAST_COMMA.sub("\n", made) if json else made
        try:
            if _values(kind, text) == wanted and not _twice(kind, text):
                return Merged(text.encode(), met=met)
        except SecretFileError:
            continue
    return Merged(clashes=(WHOLE,), met=met)


def _twice(kind: SopsFormat, text: str) -> bool:
    """Return whether a JSON object has a key twice; others are read to their leaves."""
    return kind is SopsFormat.JSON and bool(repeated(kind, text.encode()))


def _with_last_commas(text: str) -> str:
    """Return JSON with a comma after the last member, too, as after all others.

    So that what a side adds after it is a line of its own, which changes no other.
    """
    return _LAST_MEMBER.sub(",\n", text)


def _candidates(base: str, ours: str, theirs: str) -> Iterator[str]:
    """Yield the texts that a merge may come to: each clash either way.

    By lines and words first, which keep the most; then by entries, and by whole lines:
    of a value that was chosen, no word is the other side's.
    """
    for parts in (three.parts, blocks.parts, three.lines, three.either):
        ways = [
            (part,)
            if isinstance(part, str)
            else tuple(
                "".join(side)
                for side in (
                    part.ours,
                    part.theirs,
                    *[(*part.ours, *part.theirs)] * (parts is three.either),
                )
            )
            for part in parts(base, ours, theirs)
        ]
        texts = map("".join, itertools.product(*ways))
        yield from itertools.islice(texts, _MOST_CANDIDATES)


# --- what the merge means -----------------------------------------------------------


class _Meaning:
    """The merge of trees of values, with the paths at which both sides differ."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.clashes: list[str] = []
        self.met: list[str] = []
        self.did: dict[str, Did] = {}

    def of(self, at: tuple[str, ...], base: Any, ours: Any, theirs: Any) -> Any:
        if ours == theirs or theirs == base:
            return ours
        if ours == base:
            return theirs
        if isinstance(ours, dict) and isinstance(theirs, dict):
            had = base if isinstance(base, dict) else {}
            return self._mapping(at, had, ours, theirs)
        if isinstance(ours, list) and isinstance(theirs, list):
            had_list = base if isinstance(base, list) else []
            return self._list(at, had_list, ours, theirs)
        return self._clash(at, ours, theirs)

    def _mapping(self, at: tuple[str, ...], *sides: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        done: set[str] = set()
        for old, new, ours in _renamed(*sides):
            done |= {old, new}
            found[new] = self._renaming(at, old, new, *sides, ours=ours)
        for key in dict.fromkeys(key for side in sides[1:] for key in side):
            if key not in done:
                values = (side.get(key, _MISSING) for side in sides)
                found[key] = self.of((*at, key), *values)
        return {k: v for k, v in found.items() if v is not _MISSING and v != {}}

    def _renaming(
        self,
        at: tuple[str, ...],
        old: str,
        new: str,
        *sides: dict[str, Any],
        ours: bool,
    ) -> Any:
        """Return the value of a key that one side renamed and the other changed."""
        base, mine, other = sides
        values = (mine[new], other[old]) if ours else (mine[old], other[new])
        place = (*at, new)
        if all(isinstance(value, dict) for value in values):
            return self.of(place, base[old], *values)
        renamed = f"renamed {'/'.join((*at, old))} to it"
        did = Did(ours=renamed) if ours else Did(theirs=renamed)
        return self._clash(place, *values, did=did)

    def _list(
        self, at: tuple[str, ...], base: list[Any], ours: list[Any], theirs: list[Any]
    ) -> Any:
        sides = (base, ours, theirs)
        known = {repr(one): one for side in sides for one in side}
        parts = three.sequences(*([repr(o) for o in s] for s in sides), close=True)
        made: list[Any] = []
        for part in parts:
            if isinstance(part, str):
                made.append(known[part])
                continue
            rows = [[known[text] for text in side] for side in part]
            if not _correspond(*rows):
                return self._clash(at, ours, theirs)
            for row in zip(*rows, strict=False):
                made.append(self.of((*at, str(len(made))), *row))
            added = [side[len(rows[0]) :] for side in rows[1:]]
            made += added[0] if added[0] == added[1] else [*added[0], *added[1]]
        return made

    def _clash(
        self, at: tuple[str, ...], ours: Any, theirs: Any, *, did: Did | None = None
    ) -> Any:
        name = "/".join(at)
        self.met.append(name)
        chosen = self.choices.get(name)
        if chosen is None:
            self.clashes.append(name)
        gone = Did(
            *("deleted it" if v is _MISSING else "changed it" for v in (ours, theirs))
        )
        if did or gone != Did():
            self.did[name] = did or gone
        return theirs if chosen == "theirs" else ours


def _correspond(base: list[Any], ours: list[Any], theirs: list[Any]) -> bool:
    """Return whether items are mappings of which each is at its place on all sides.

    Sides may have added some at the end: then each of the others has kept a field.
    """
    if not all(isinstance(one, dict) for side in (base, ours, theirs) for one in side):
        return False
    if len(base) == len(ours) == len(theirs):
        return True
    return all(
        len(side) >= len(base)
        and all(
            had.items() & has.items() if _scalar(had) and _scalar(has) else False
            for had, has in zip(base, side, strict=False)
        )
        for side in (ours, theirs)
    )


def _scalar(table: dict[str, Any]) -> bool:
    return all(isinstance(value, tuple) for value in table.values())


def _renamed(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> Iterator[tuple[str, str, bool]]:
    """Yield (old key, new key, whether ours did it) of renamed keys.

    Those whose value the other side changed: a choice by the old name would drop it.
    """
    for side, other in ((ours, theirs), (theirs, ours)):
        fresh = [key for key in side if key not in base]
        for old in base:
            if old in side or other.get(old, base[old]) == base[old]:
                continue
            new = [key for key in fresh if side[key] == base[old] and key not in other]
            if len(new) == 1:
                yield old, new[0], side is ours


def _values(kind: SopsFormat, text: str) -> dict[str, Any]:
    """Return the values of a plaintext as a tree, by the names that `--key` takes.

    Raises:
        SecretFileError: it cannot be read with certainty.
    """
    root: dict[Any, Any] = {}
    found = list(leaves(kind, text.encode(), plaintext=True))
    several = len({leaf.place[0] for leaf in found}) > 1
    for leaf in found:
        steps: Sequence[str | int] = leaf.place[1]
        steps = (f"[{leaf.place[0] + 1}]", *steps) if several else steps
        start = leaf.span[0]
        quote = text[start] if 0 <= start < len(text) and text[start] in "\"'|>" else ""
        node: Any = root
        for step in steps[:-1]:
            node = node.setdefault(step, {}) if isinstance(node, dict) else None
        name = steps[-1] if steps else ""
        if not isinstance(node, dict) or name in node:
            # a text that was put together from both sides may have a key twice
            raise SecretFileError(f"{'/'.join(map(str, steps))} is there twice")
        node[name] = (leaf.value, bool(quote))
    return {str(key): _listed(value) for key, value in root.items()}


def value_at(kind: SopsFormat, text: bytes, key: str) -> object:
    """Return the value at a key path that a clash names; None if there is none.

    Raises:
        SecretFileError: the text cannot be read with certainty.
    """
    node: Any = _values(kind, text.decode(errors="replace"))
    for step in key.split("/"):
        if isinstance(node, list):
            node = dict(enumerate(node)).get(int(step) if step.isdigit() else -1)
        else:
            node = node.get(step) if isinstance(node, dict) else None
    return node


def _listed(node: Any) -> Any:
    """Return mappings whose keys are positions as lists."""
    if not isinstance(node, dict):
        return node
    if node and all(isinstance(key, int) for key in node):
        return [_listed(node[key]) for key in sorted(node)]
    return {str(key): _listed(value) for key, value in node.items()}
