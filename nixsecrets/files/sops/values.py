"""The values of a sops file, each with its path, its line and the comments above it.

As strict as a guard has to be: what cannot be read, or stands outside of the tree, is
an error and never skipped.  Metadata is.  A YAML library (16 ms a file) only reads what
`tree` does not, which sops does not write.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import json, tree
from nixsecrets.files.sops.flat import Kind, Line, dotenv_lines, ini_lines
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.spans import Node, refuse
from nixsecrets.untrusted import limits

Names = tuple[str, ...]
Place = tuple[int, tuple[str | int, ...]]
"""A document (counted from 0), and the names and list indices down to a value in it."""

UNKNOWN_SPAN = (-1, -1)
_MOST_LEVELS = 200
# Metadata at the end of a text; only `metadata` reads it, which has many entries.
_METADATA = re.compile(r"(?<=\n)sops:\n(?: ++[^\s#][^\n#]*+\n)++\Z")
_NO_METADATA = "sops:\n    mac: x\n"


class Leaf(NamedTuple):
    """One value: its path (keys only, as sops counts it), and where it stands.

    `value` is text, or None for null; what is no text (JSON's true and numbers) is not
    encrypted, whatever it is.  `comments` are those that sops applies to it, in the
    order of the file and without their marks, None where they are unknown.
    `place` also has the positions in lists.  `span` is the text that spells the value,
    quotes included; UNKNOWN_SPAN where only a YAML library could read it.
    """

    path: tuple[str, ...]
    value: object
    line: int = 0
    comments: tuple[str, ...] | None = ()
    place: Place = (0, ())
    span: tuple[int, int] = UNKNOWN_SPAN

    @property
    def empty(self) -> bool:
        """Whether there is nothing to encrypt: sops leaves null and "" as they are."""
        return self.value is None or self.value == ""


def leaves(kind: SopsFormat, data: bytes, *, plaintext: bool = False) -> Iterator[Leaf]:
    """Yield the values of a sops file, without those of its metadata.

    `plaintext` is for what sops prints: its documents need no metadata.

    Raises:
        SecretFileError: it cannot be read with certainty.

    """
    text = decoded(data)
    match kind:
        case SopsFormat.JSON | SopsFormat.BINARY:
            yield from _members(Lines(text), json.document(text, repeats=True))
        case SopsFormat.YAML:
            yield from _yaml(text, plaintext=plaintext)
        case SopsFormat.DOTENV:
            yield from _dotenv(text)
        case SopsFormat.INI:
            yield from _ini(text)
        case _ as never:
            assert_never(never)


def decoded(data: bytes) -> str:
    """Return the text of a file.

    Raises:
        SecretFileError: it is not UTF-8, or starts as no file of sops does.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        refuse("is not UTF-8, unlike anything sops writes")
    if text.startswith("\ufeff") or "\0" in text:
        refuse("has a byte order mark or a NUL, which sops does not write")
    return text


class Lines:
    """A text, and the line of a place in it (asked for in rising order)."""

    def __init__(self, text: str) -> None:
        """Take the text."""
        self.text = text
        self._at, self._line = 0, 1

    def line(self, at: int) -> int:
        """Return the line of a place, the first is 1."""
        if at < self._at:
            self._at, self._line = 0, 1
        self._line += self.text.count("\n", self._at, at)
        self._at = at
        return self._line


def _members(lines: Lines, root: Node) -> Iterator[Leaf]:
    """Yield the values of a JSON document."""
    if not isinstance(root.value, dict):
        refuse("is not a mapping at its top")
    for step, node in _children(root):
        if step != "sops":
            yield from _plain((0, (step,)), node, lines)


def _plain(place: Place, node: Node, lines: Lines) -> Iterator[Leaf]:
    match node.value:
        case dict() | list():
            for step, inner in _children(node):
                yield from _plain(_below(place, step), inner, lines)
        case value:
            line, span = lines.line(node.start), (node.start, node.end)
            yield Leaf(names_of(place), value, line, (), place, span)


def _children(node: Node) -> Iterable[tuple[str | int, Node]]:
    """Return what a mapping or a list holds, by key or index."""
    if isinstance(node.value, json.Members) and node.value.again:
        return node.value.in_order()
    if isinstance(node.value, dict):
        return node.value.items()
    return enumerate(node.value) if isinstance(node.value, list) else ()


def _below(place: Place, step: str | int) -> Place:
    return place[0], (*place[1], step)


def names_of(place: Place) -> Names:
    """Return the keys of a place, without the indices of lists."""
    return tuple(step for step in place[1] if isinstance(step, str))


def roots(kind: SopsFormat, text: str) -> list[Node] | None:
    """Return the documents of a YAML or JSON text as trees with spans.

    None where only a YAML library could read it.
    """
    try:
        if kind is not SopsFormat.YAML or text.lstrip().startswith("{"):
            return [json.document(text)]
        return tree.documents(text)
    except (SecretFileError, RecursionError):
        return None


# --- YAML ---------------------------------------------------------------------------


def _yaml(text: str, *, plaintext: bool) -> Iterator[Leaf]:
    if text.lstrip().startswith("{"):
        try:
            root = json.document(text, repeats=True)
        except SecretFileError:
            yield from _yaml_by_library(text, plaintext=plaintext)
            return
        yield from _members(Lines(text), root)
        return
    try:
        roots = tree.documents(_METADATA.sub(_NO_METADATA, text))
    except (SecretFileError, RecursionError):
        yield from _yaml_by_library(text, plaintext=plaintext)
        return
    lines = Lines(text)
    for number, root in enumerate(roots):
        sops = root.value.get("sops") if isinstance(root.value, dict) else None
        if not plaintext and (sops is None or not isinstance(sops.value, dict)):
            refuse("has a document without sops metadata")
        first = _line_start(text, root.start)
        yield from _commented((number, ()), root, first, (), lines)


def _line_start(text: str, at: int) -> int:
    """Return where the comments above the first line of a document begin."""
    start = text.rfind("\n---", 0, at)
    return 0 if start < 0 else start + 1


def _commented(
    place: Place,
    node: Node,
    start: int,
    above: tuple[str, ...],
    lines: Lines,
) -> Iterator[Leaf]:
    """Yield the values of a tree; `start` is the end of what stands before it.

    `above` are the comments that apply to all of it.  As sops walks: a comment applies
    to the value that follows at its level, and to everything below that.
    """
    if not isinstance(node.value, dict | list):
        line, span = lines.line(node.start), (node.start, node.end)
        yield Leaf(names_of(place), node.value, line, above, place, span)
        return
    for step, inner in _children(node):
        below = _below(place, step)
        if below[1] == ("sops",):
            start = inner.end
            continue
        found, inside = _comments_between(lines.text, start, inner)
        yield from _commented(below, inner, inside, above + found, lines)
        start = inner.end


def _comments_between(text: str, start: int, node: Node) -> tuple[tuple[str, ...], int]:
    """Return the comments of a value, and where those of its first child may begin."""
    at = start
    if start and text[start - 1] != "\n":  # the rest of a line belongs to what is on it
        at = text.find("\n", start) + 1
    found: list[tuple[int, str]] = []
    column = 0
    for line in text[at : node.start].split("\n"):
        comment = line.lstrip()
        column = len(line) - len(comment)
        if comment and not comment.startswith("#"):
            break
        if comment:
            found.append((column, comment[1:].rstrip("\r")))
        at += len(line) + 1
    # One that is indented otherwise belongs to what ended above it.
    own = [comment for indent, comment in found if indent == column]
    if not isinstance(node.value, dict | list):
        own += _inline_comment(text, node.end)
    key_end = text.find("\n", at)
    return tuple(own), min(key_end if key_end >= 0 else node.start, node.start)


def _inline_comment(text: str, end: int) -> list[str]:
    """Return the comment behind a value that ends at `end`, if there is one."""
    if text[end - 1] == "\n":
        return []
    stop = text.find("\n", end)
    rest = text[end : stop if stop >= 0 else len(text)].strip()
    return [rest[1:]] if rest.startswith("#") else []


def _yaml_by_library(text: str, *, plaintext: bool) -> Iterator[Leaf]:
    if not plaintext:
        size = len(text)
        limits.check("the file", size, limits.FOREIGN_VALUES, "characters of YAML")
    for place, node, _ in nodes(text, tree.composed(text)):
        steps = place[1]
        if not steps and (node.id != "mapping" or not (plaintext or _metadata(node))):
            refuse("has a document without sops metadata")
        if steps[:1] == ("sops",):
            continue
        if node.id == "mapping":
            keys = [key.value for key, _ in node.value]
            texts = {key for key in keys if isinstance(key, str)}
            # sops looks for repeated keys in the first document only
            twice = len(texts) < len(keys) and not place[0]
            if twice or not all(isinstance(key, str) for key in keys):
                refuse("has a duplicate key, or one that is not a string")
        elif node.id == "scalar":
            null = node.tag == "tag:yaml.org,2002:null" or not node.value
            value = None if null else str(node.value)
            line = node.start_mark.line + 1
            yield Leaf(names_of(place), value, line, None, place)


def _metadata(root: Any) -> bool:
    return any(
        key.value == "sops" and value.id == "mapping" for key, value in root.value
    )


class Composed(NamedTuple):
    """A node as the YAML library composes it, where it stands, and that of its key.

    `key` is None for a document and for an item of a list.
    """

    place: Place
    node: Any
    key: Any = None


def nodes(text: str, roots: Iterable[Any]) -> Iterator[Composed]:
    """Yield the nodes of a text (`tree.composed`) in order, keys by their values.

    Raises:
        DeepError: there are more nodes than characters, which only aliases can make, or
            more levels than any file has.
    """
    left = [Composed((number, ()), root) for number, root in enumerate(roots)][::-1]
    visits = iter(range(len(text) + 2))
    while left:
        one = left.pop()
        if next(visits, None) is None or len(one.place[1]) > _MOST_LEVELS:
            raise DeepError(one.node.start_mark.line + 1)
        yield one
        pairs: Iterable[tuple[str | int, Any, Any]] = ()
        if one.node.id == "mapping":
            pairs = ((str(key.value), value, key) for key, value in one.node.value)
        elif one.node.id == "sequence":
            pairs = ((at, value, None) for at, value in enumerate(one.node.value))
        below = [Composed(_below(one.place, step), *rest) for step, *rest in pairs]
        left += reversed(below)


class DeepError(SecretFileError):
    """YAML has aliases, or a depth, that only an attack needs; `at` is the line."""

    def __init__(self, at: int) -> None:
        """Keep the line."""
        what = "has YAML aliases, or a depth, that sops does not write"
        super().__init__(what, "restore it from git", subject="the file")
        self.at = at


# --- one line for each value --------------------------------------------------------


def _dotenv(text: str) -> Iterator[Leaf]:
    comments: tuple[str, ...] = ()
    for line in dotenv_lines(text):
        if line.kind is Kind.COMMENT:
            comments = (*comments, _said(text, line))
        elif line.kind is not Kind.PAIR:
            refuse(f"has no value at line {line.number}")
        elif not line.name.startswith("sops_"):
            place = (0, (line.name,))
            yield Leaf(
                (line.name,), line.value, line.number, comments, place, line.span
            )
            comments = ()


def _ini(text: str) -> Iterator[Leaf]:
    """Yield the values of an INI file.

    sops puts the comment above a key behind it: it applies to the next key, that of a
    section to its first one [seen with 3.11 and 3.13].
    """
    applying: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    for line in ini_lines(text):
        if line.kind is Kind.BROKEN:
            refuse(f"has no value at line {line.number}")
        if line.kind is Kind.COMMENT:
            above = (*above, _said(text, line))
            continue
        if line.kind is Kind.PAIR and line.section != "sops":
            where = (line.section, line.name)
            several = "\n" in text[slice(*line.span)]
            span = UNKNOWN_SPAN if several else line.span
            yield Leaf(where, line.value, line.number, applying, (0, where), span)
        applying, above = above, ()


def _said(text: str, line: Line) -> str:
    """Return a comment without its mark."""
    start, end = line.comment
    return text[start + 1 : end]
