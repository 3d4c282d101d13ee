"""What two versions of a secret hold, as one plaintext: value by value.

The texts are merged line by line and word by word; what comes out is read again and
counts only where every value in it is the one that the merge of both sides' values
gives.  What is no text, or has no values, is merged by whole lines.  Pure.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
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


class Merged(NamedTuple):
    """A plaintext, or the key paths at which both sides differ (`WHOLE`: the file)."""

    text: bytes = b""
    clashes: tuple[str, ...] = ()

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
        values = [_values(kind, text) for text in (base, ours, theirs)]
    except SecretFileError:
        return Merged(clashes=(WHOLE,))
    meaning = _Meaning(choices)
    wanted = meaning.of((), *values)
    if meaning.clashes:
        return Merged(clashes=tuple(meaning.clashes))
    json = kind is SopsFormat.JSON
    texts = (base, ours, theirs)
    for made in _candidates(*(map(_with_last_commas, texts) if json else texts)):
        text = _LAST_COMMA.sub("\n", made) if json else made
        try:
            if _values(kind, text) == wanted and not _twice(kind, text):
                return Merged(text.encode())
        except SecretFileError:
            continue
    return Merged(clashes=(WHOLE,))


def _twice(kind: SopsFormat, text: str) -> bool:
    """Return whether a JSON object has a key twice; others are read to their leaves."""
    return kind is SopsFormat.JSON and bool(repeated(kind, text.encode()))


def _with_last_commas(text: str) -> str:
    """Return JSON with a comma after the last member, too, as after all others.

    So that what a side adds after it is a line of its own, which changes no other.
    """
    return _LAST_MEMBER.sub(",\n", text)


def _candidates(base: str, ours: str, theirs: str) -> Iterator[str]:
    """Yield the texts that a merge may come to: each clash of words either way.

    By lines and words first, which keep the most; then by entries.
    """
    for merge in (three.parts, blocks.parts):
        ways = [
            (part,)
            if isinstance(part, str)
            else tuple("".join(side) for side in (part.ours, part.theirs))
            for part in merge(base, ours, theirs)
        ]
        texts = map("".join, itertools.product(*ways))
        yield from itertools.islice(texts, _MOST_CANDIDATES)


# --- what the merge means -----------------------------------------------------------


class _Meaning:
    """The merge of trees of values, with the paths at which both sides differ."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.clashes: list[str] = []

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
        every = dict.fromkeys(key for side in sides[1:] for key in side)
        found = {
            key: self.of((*at, key), *(side.get(key, _MISSING) for side in sides))
            for key in every
        }
        return {k: v for k, v in found.items() if v is not _MISSING and v != {}}

    def _list(
        self, at: tuple[str, ...], base: list[Any], ours: list[Any], theirs: list[Any]
    ) -> Any:
        sides = (base, ours, theirs)
        tables = all(isinstance(one, dict) for side in sides for one in side)
        if tables and len({len(side) for side in sides}) == 1:
            rows = enumerate(zip(*sides, strict=True))
            return [self.of((*at, str(n)), *row) for n, row in rows]
        known = {repr(one): one for side in sides for one in side}
        parts = three.sequences(*([repr(o) for o in s] for s in sides), close=True)
        if any(isinstance(part, three.Conflict) for part in parts):
            return self._clash(at, ours, theirs)
        return [known[part] for part in parts if isinstance(part, str)]

    def _clash(self, at: tuple[str, ...], ours: Any, theirs: Any) -> Any:
        name = "/".join(at)
        chosen = self.choices.get(name)
        if chosen is None:
            self.clashes.append(name)
        return theirs if chosen == "theirs" else ours


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


def _listed(node: Any) -> Any:
    """Return mappings whose keys are positions as lists."""
    if not isinstance(node, dict):
        return node
    if node and all(isinstance(key, int) for key in node):
        return [_listed(node[key]) for key in sorted(node)]
    return {str(key): _listed(value) for key, value in node.items()}
