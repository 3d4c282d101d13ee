"""JSON with spans: files of the json format, and the envelope of binary ones.

The JSON scanner of the standard library parses all scalars; this module walks objects
and arrays, to get the span of each value.
"""

import json
import re
from collections.abc import Sequence

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops.spans import Block, Edit, Members, Node, Slot, refuse
from nixsecrets.frozen import frozen
from nixsecrets.splice import line_start

_SPACE = re.compile(r"[ \t\r\n]*")


class RepeatedKeyError(SecretFileError):
    """An object has the same key twice; `at` is the offset of the second one."""

    def __init__(self, at: int) -> None:
        """Store the offset in the text."""
        super().__init__("has a duplicate key in its JSON", subject="the file")
        self.at = at


# numbers stay text, as sops must get them back exactly
_scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


@frozen
class JsonBlock(Block):
    """The `sops` object of a JSON document; its opening brace is at `start`."""

    start: int

    def append(self, entries: Sequence[tuple[str, str]]) -> list[Edit]:
        """Add entries with the layout of the last one."""
        array = self._age()
        before = array[-2].end if len(array) > 1 else self.fields["age"].start
        # the white space before the last entry, after the comma or the bracket
        gap = self.text[before : array[-1].start].lstrip(" \t\r\n")[1:]
        texts = ["," + gap + self._entry(label, enc) for label, enc in entries]
        return [(array[-1].end, array[-1].end, "".join(texts))]

    def only(self, label: str, enc: str) -> list[Edit]:
        """Replace all entries by one."""
        array = self._age()
        return [(array[0].start, array[-1].end, self._entry(label, enc))]

    def _dropped(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """Return the spans of members, each with one of the commas around it.

        That is the comma after a member, or the one before it if it is the last.
        """
        ordered = sorted(self.fields, key=lambda name: self.fields[name].start)
        ours = [name for name in ordered if name not in names]
        spans: list[tuple[int, int]] = []
        begin = self.start + 1
        last = self.fields[ours[-1]].end
        for name in ordered:
            end = self.fields[name].end
            after = self.text.find(",", end) + 1
            if name in names and end < last:
                spans.append((begin, after))
            begin = after
        # dropped members after our last one, with the comma before them
        tail = max(self.fields[name].end for name in ordered)
        return [*spans, *([(last, tail)] if tail > last else [])]

    def _adopted(self, other: "JsonBlock", names: Sequence[str]) -> list[Edit]:
        """Copy members to before the age entries."""
        at = self.text.rfind('"age"', 0, self.fields["age"].start)
        lead = self.text[len(self.text[:at].rstrip(" \t\r\n")) : at]
        texts = [
            f"{json.dumps(name)}: {other.text[node.start : node.end]},{lead}"
            for name, node in other.fields.items()
            if name in names
        ]
        return [(at, at, "".join(texts))]

    @property
    def indent(self) -> str:
        """The white space of one level, empty if all is on one line."""
        first = min(self.fields, key=lambda name: self.fields[name].start)
        key = self.text.rfind(f'"{first}"', 0, self.fields[first].start)
        lead = self.text[line_start(self.text, key) : key]  # of two levels
        return lead[: len(lead) // 2] if lead.strip() == "" else ""

    def _entry(self, label: str, enc: str) -> str:
        """Return the text of the last entry with its label and `enc` replaced."""
        last, slot = self._age()[-1], self.slot(-1)
        spelled = [(slot.label, self._label(label)), (slot.enc, self._enc(slot, enc))]
        text, end = "", last.start
        for node, value in sorted(spelled, key=lambda pair: pair[0].start):
            text += self.text[end : node.start] + value
            end = node.end
        return text + self.text[end : last.end]

    def _label(self, label: str) -> str:
        return json.dumps(label, ensure_ascii=False)

    def _enc(self, slot: Slot, enc: str) -> str:
        del slot
        return json.dumps(enc)


class _OtherMetadataError(Exception):
    """There is a key that some versions of sops read as `sops`, such as `SOPS`."""


def other_sops(key: str) -> bool:
    """Return whether a key is "sops" in other case, which Go's JSON reads as equal."""
    return key != "sops" and key.casefold() == "sops"


def read(text: str) -> tuple[JsonBlock, ...]:
    """Parse the metadata of a JSON file.

    Raises:
        SecretFileError: the text is not a JSON object, has no `sops` object, or a
            second one (`SOPS`) that sops before 3.13 would merge with it.
    """
    try:
        root = _document(text, only="sops")
    except _OtherMetadataError:
        refuse(
            'has a second "sops" object in other letters, which sops may read as well',
            "remove it, or restore the file from git",
        )
    sops = root.value.get("sops") if isinstance(root.value, dict) else None
    if sops is None:
        refuse("has no sops metadata")
    if not isinstance(sops.value, dict) or not sops.value:
        refuse("has a sops key that is not sops metadata")
    return (JsonBlock(text, sops.value, sops.start),)


def document(text: str, *, repeats: bool = False) -> Node:
    """Parse a document with all of its values.

    With `repeats` an object may have a key more than once (`Members`), as sops allows.

    Raises:
        SecretFileError: the text is not valid JSON, or (`RepeatedKeyError`) an object
            has a key twice.
    """
    return _document(text, repeats=repeats)


def _document(text: str, *, only: str | None = None, repeats: bool = False) -> Node:
    try:
        root = _tree(text, _skip(text, 0), only=only, repeats=repeats)
    except (ValueError, RecursionError, IndexError):
        refuse("is not valid JSON")
    if _skip(text, root.end) != len(text):
        refuse("has something after the end of its JSON")
    return root


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _tree(
    text: str, at: int, *, only: str | None = None, repeats: bool = False
) -> Node:
    """Parse the value at `at`; of an object only the member `only`, if given.

    Raises:
        ValueError, IndexError: it is not valid JSON.
    """
    match text[at]:
        case "{":
            return _object(text, at, only, repeats=repeats)
        case "[":
            return _array(text, at, repeats=repeats)
        case _:
            value, end = _scan(text, at)
            return Node(value, at, end)


def _object(text: str, start: int, only: str | None, *, repeats: bool) -> Node:
    found = Members()
    at = _skip(text, start + 1)
    if text[at] == "}":
        return Node(found, start, at + 1)
    while True:
        begin = at
        key, at = _scan(text, at)
        if not isinstance(key, str):
            raise ValueError("a key is not a string")
        at = _skip(text, _expect(text, _skip(text, at), ":"))
        if only not in (None, key):
            value, at = _scan(text, at)
            if other_sops(key) and isinstance(value, dict | list):
                raise _OtherMetadataError
        elif key in found and not repeats:
            raise RepeatedKeyError(begin)
        else:
            node = _tree(text, at, repeats=repeats)
            if found.setdefault(key, node) is not node:
                found.again.append((key, node))
            at = node.end
        at = _skip(text, at)
        if text[at] == "}":
            return Node(found, start, at + 1)
        at = _skip(text, _expect(text, at, ","))


def _array(text: str, start: int, *, repeats: bool) -> Node:
    found: list[Node] = []
    at = _skip(text, start + 1)
    if text[at] == "]":
        return Node(found, start, at + 1)
    while True:
        found.append(_tree(text, at, repeats=repeats))
        at = _skip(text, found[-1].end)
        if text[at] == "]":
            return Node(found, start, at + 1)
        at = _skip(text, _expect(text, at, ","))


def _expect(text: str, at: int, char: str) -> int:
    if text[at] != char:
        raise ValueError(f"{char} expected")
    return at + 1
