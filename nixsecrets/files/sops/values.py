"""The values of a sops file, each with its path, its line and the comments above it.

Strict, because the guard relies on it: anything that cannot be parsed is an error and
never skipped, except the metadata.  ruamel.yaml (16 ms per file) parses the YAML that
`tree` does not, which sops does not write.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import tree
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.spans import Members, Node, refuse
from nixsecrets.frozen import NamedTuple
from nixsecrets.untrusted import limits

if TYPE_CHECKING:
    from nixsecrets.files.sops.flat import Line

Names = tuple[str, ...]
Place = tuple[int, tuple[str | int, ...]]
"""A document (counted from 0), and the keys and list indexes down to a value in it."""

UNKNOWN_SPAN = (-1, -1)
_MOST_LEVELS = 200
# Metadata at the end of a text: it may have many entries, so it is replaced by a stub
# before parsing.
_METADATA = re.compile(r"(?<=\n)sops:\n(?: ++[^\s#][^\n#]*+\n)++\Z")
_NO_METADATA = "sops:\n    mac: x\n"


class Leaf(NamedTuple):
    """One value of a file.

    - `path`: the keys above it, as sops counts them: without list indexes.
    - `value`: its text, None for null; another type (a JSON boolean) is not encrypted.
    - `comments`: those that sops applies to it, in order and without their marks; None
      if unknown.
    - `place`: the path with list indexes, and the document.
    - `span`: the value's text in the file, with quotes; UNKNOWN_SPAN if only a YAML
      library could parse it.
    """

    path: tuple[str, ...]
    value: object
    line: int = 0
    comments: tuple[str, ...] | None = ()
    place: Place = (0, ())
    span: tuple[int, int] = UNKNOWN_SPAN

    @property
    def empty(self) -> bool:
        """Whether there is nothing to encrypt: sops does not encrypt null and ""."""
        return self.value is None or self.value == ""


def leaves(kind: SopsFormat, data: bytes, *, plaintext: bool = False) -> Iterator[Leaf]:
    """Yield the values of a sops file, without its metadata.

    `plaintext` is for a text that sops printed: it needs no metadata.

    Raises:
        SecretFileError: it cannot be parsed with certainty.
    """
    text = decoded(data)
    match kind:
        case SopsFormat.JSON | SopsFormat.BINARY:
            yield from _members(Lines(text), _json(text, repeats=True))
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
        SecretFileError: it is not UTF-8, has a byte order mark, or contains a NUL.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        refuse("is not UTF-8, unlike anything sops writes")
    if text.startswith("\ufeff") or "\0" in text:
        refuse("has a byte order mark or a NUL, which sops does not write")
    return text


class Lines:
    """A text, and the line numbers of its offsets; fast for ascending offsets."""

    def __init__(self, text: str) -> None:
        """Store the text."""
        self.text = text
        self._at, self._line = 0, 1

    def line(self, at: int) -> int:
        """Return the line of an offset, counted from 1."""
        if at < self._at:
            self._at, self._line = 0, 1
        self._line += self.text.count("\n", self._at, at)
        self._at = at
        return self._line


def _json(text: str, *, repeats: bool = False) -> Node:
    from nixsecrets.files.sops import json  # 3 ms, which YAML need not wait for

    return json.document(text, repeats=repeats)


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
    """Return the children of a mapping or a list, by key or index."""
    if isinstance(node.value, Members) and node.value.again:
        return node.value.in_order()
    if isinstance(node.value, dict):
        return node.value.items()
    return enumerate(node.value) if isinstance(node.value, list) else ()


def _below(place: Place, step: str | int) -> Place:
    return place[0], (*place[1], step)


def names_of(place: Place) -> Names:
    """Return the keys of a place, without list indexes."""
    return tuple(step for step in place[1] if isinstance(step, str))


def printable_path(names: Names) -> str:
    """Return the keys of a value for a message; sops does not encrypt keys."""
    keys = ".".join(names)
    return keys if keys.isprintable() and 0 < len(keys) <= 80 else "a value"


def roots(kind: SopsFormat, text: str) -> list[Node] | None:
    """Return the documents of a YAML or JSON text as trees with spans.

    None if only a YAML library could parse it.
    """
    try:
        if kind is not SopsFormat.YAML or text.lstrip().startswith("{"):
            return [_json(text)]
        return tree.documents(text)
    except (SecretFileError, RecursionError):
        return None


# --- YAML ---------------------------------------------------------------------------


def _yaml(text: str, *, plaintext: bool) -> Iterator[Leaf]:
    if text.lstrip().startswith("{"):
        try:
            root = _json(text, repeats=True)
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
    """Return the start of a document, given the offset of its first key."""
    start = text.rfind("\n---", 0, at)
    return 0 if start < 0 else start + 1


def _commented(
    place: Place,
    node: Node,
    start: int,
    above: tuple[str, ...],
    lines: Lines,
) -> Iterator[Leaf]:
    """Yield the values of a tree; `start` is the end of what precedes it.

    `above` are the comments that apply to all of it.  As in sops, a comment applies to
    the next value at its level, and to everything below that.
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
    """Return the comments of a value, and where those of its first child may begin.

    `start` is the end of what precedes the value.
    """
    at = start
    if start and text[start - 1] != "\n":  # the rest of that line belongs to it
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
    # a comment with another indentation belongs to what ended above it
    own = [comment for indent, comment in found if indent == column]
    if not isinstance(node.value, dict | list):
        own += _inline_comment(text, node.end)
    key_end = text.find("\n", at)
    return tuple(own), min(key_end if key_end >= 0 else node.start, node.start)


def _inline_comment(text: str, end: int) -> list[str]:
    """Return the comment after a value that ends at `end`, if there is one."""
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
            # sops checks for duplicate keys in the first document only
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
    """A node of ruamel.yaml with its place, and the node of its key.

    `key` is None for a document and for an item of a list.
    """

    place: Place
    node: Any
    key: Any = None


def nodes(text: str, roots: Iterable[Any]) -> Iterator[Composed]:
    """Yield all nodes of a text, given its documents (`tree.composed`), in order.

    Raises:
        DeepError: there are more nodes than characters, which only aliases can cause,
            or too many levels.
    """
    # a stack, as hostile input could exceed the recursion limit; the first node is last
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
    """The YAML has too many aliases or levels; `at` is the line."""

    def __init__(self, at: int) -> None:
        """Store the line."""
        what = "has YAML aliases, or a depth, that sops does not write"
        super().__init__(what, "restore it from git", subject="the file")
        self.at = at


# --- one line for each value --------------------------------------------------------


def _dotenv(text: str) -> Iterator[Leaf]:
    from nixsecrets.files.sops.flat import Kind, dotenv_lines  # as in `_json`

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

    In sops 3.11 to 3.13, the comment above a key applies to the next key, and that of a
    section to its first key.
    """
    from nixsecrets.files.sops.flat import Kind, ini_lines  # as in `_json`

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


def _said(text: str, line: "Line") -> str:
    """Return a comment without its mark."""
    start, end = line.comment
    return text[start + 1 : end]
