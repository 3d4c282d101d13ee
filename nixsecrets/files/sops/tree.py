"""Parsing block YAML into trees with spans: what sops and formatters write.

Any indentation and order of keys, comments, quotes, CRLF, sequences that are not
indented, several documents.  Other YAML is refused: anchors, tags, flow collections
with content.  For callers that must read it anyway, `composed` and `loaded` use
ruamel.yaml, which takes 16 ms per file.  `generated.yamltree` cannot take the place of
this module: its events of ruamel.yaml take 36 times as long for a file of 50 entries.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops.spans import Node, Value, refuse
from nixsecrets.files.sops.yaml import INDENT, NULLS, PLAIN
from nixsecrets.frozen import NamedTuple
from nixsecrets.splice import line_at
from nixsecrets.untrusted import limits

_HINT = 'let sops write its metadata again: "sops updatekeys FILE"'

_PLAIN = re.compile(PLAIN)
_SOPS_KEY = re.compile(r"^(?:sops|\"sops\"|'sops')[ \t]*:", re.MULTILINE)
_BREAK = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)[^\n]*\n?", re.MULTILINE)
_CONTENT = re.compile(r"^[^#%\s]", re.MULTILINE)
_INDENTED = re.compile(r"^[ \t]+[^#\s]", re.MULTILINE)
_KEY = re.compile(
    r"(?:([A-Za-z_][\w.-]*)|\"([\w.-]+)\"|'([\w.-]+)')[ \t]*:(?=[ \t\r\n]|\Z)[ \t]*"
)
# A key outside of the metadata: any plain or quoted key on one line without escapes.
# The group that matched is the key's text (`lastindex`).
_DATA_KEY = re.compile(
    r"(?:((?:[^\s\-?:,\[\]{}#&*!|>'\"%@`]|[-?:](?=\S))"
    r"(?:[^\s:]++|:(?=\S)|[ \t]++(?=[^\s:#]))*+)"
    r"|\"([^\"\\\r\n]*)\"|'([^'\r\n]*)')[ \t]*:(?=[ \t\r\n]|\Z)[ \t]*"
)
_DASH = re.compile(r"-(?=[ \r\n]|\Z) *")
# blank lines and lines with only a comment
_SKIPPED = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*(?:[ \t]*#[^\n]*\Z)?")
_COMMENT = re.compile(r"#[^\r\n]*")
# what may follow a value on its line: a comment after white space
_REST = re.compile(r"[ \t]*(?:(?<=\s)#[^\n]*)?(?:\r?\n|\r?\Z)")
_BLOCK_SCALAR = re.compile(r"([|>])([-+]?)[ \t]*(?:#[^\n]*)?\r?\n")
_DOUBLE = re.compile(r'"(?:[^"\\\r\n]|\\[^\r\n])*"')
_SINGLE = re.compile(r"'(?:[^'\r\n]|'')*'")
_ESCAPE = re.compile(
    r"\\(?:(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})|(.))", re.DOTALL
)
_ESCAPES = dict(
    zip(
        '0abtnvfre "/\\N_LP',
        '\0\a\b\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029',
        strict=True,
    )
)
_EMPTY: dict[str, Value] = {"[]": [], "{}": {}}


class Mark(NamedTuple):
    """A key or the dash of an item: its offset, its column, and the keys above it."""

    start: int
    column: int
    path: tuple[str, ...]


class Document(NamedTuple):
    """One document; `comments` are the spans of its comments with the `#`.

    `root` is None if it has only comments.
    """

    root: Node | None
    comments: Sequence[tuple[int, int]]
    marks: Sequence[Mark]


def documents(text: str) -> list[Node]:
    """Parse every document that is not empty, with all of its values.

    Raises:
        SecretFileError: the text has YAML that only a YAML library can parse.
    """
    return [found.root for found in documents_with_comments(text) if found.root]


def documents_with_comments(text: str) -> list[Document]:
    """Parse every document with its comments.

    Comments after a document marker are those of the next document.

    Raises:
        SecretFileError: the text has YAML that only a YAML library can parse.
    """
    if any(not _REST.match(mark[0], 3) for mark in _BREAK.finditer(text)):
        refuse("has content after a document marker")
    found: list[Document] = []
    last = 0
    for start, end in _documents(text):
        comments = _comments(text, last, start)
        last = end
        if _CONTENT.search(text, start, end) or _INDENTED.search(text, start, end):
            reader = _Reader(text, start, end, _DATA_KEY)
            root = reader.document()
            comments |= reader.comments
            found.append(Document(root, sorted(comments.items()), reader.marks))
        else:
            comments |= _comments(text, start, end)
            found.append(Document(None, sorted(comments.items()), ()))
    return found


def _comments(text: str, start: int, end: int) -> dict[int, int]:
    """Return the spans of the comments in a part that has nothing else."""
    return dict(found.span() for found in _COMMENT.finditer(text, start, end))


def _documents(text: str) -> list[tuple[int, int]]:
    """Return the spans between document markers; no scalar can contain a marker."""
    if not text.startswith(("---", "...")) and not ("\n---" in text or "\n..." in text):
        return [(0, len(text))]
    marks = [(mark.start(), mark.end()) for mark in _BREAK.finditer(text)]
    starts = [0, *(end for _, end in marks)]
    ends = [*(start for start, _ in marks), len(text)]
    return list(zip(starts, ends, strict=True))


def metadata(text: str) -> list[dict[str, Node]]:
    """Parse only the mapping below the `sops` key of each document.

    Raises:
        SecretFileError: there is none, a document that is not empty lacks it, or it has
            YAML that only a YAML library can parse.
    """
    found: list[dict[str, Node]] = []
    missing = 0
    for start, end in _documents(text):
        keys = list(_SOPS_KEY.finditer(text, start, end))
        if len(keys) > 1:
            refuse("has two sops keys in one document")
        if keys:
            reader = _Reader(text, keys[0].end(), end)
            found.append(reader.fields())
        elif _CONTENT.search(text, start, end):
            missing += 1
    if not found:
        refuse("has no sops metadata")
    if missing:
        refuse("has a document without sops metadata")
    return found


class _Reader:
    """A recursive-descent parser for one document, at offset `at`, up to `end`.

    Collects the spans of `comments`, and `marks`.  `key` is the pattern for keys.
    """

    __slots__ = ("at", "comments", "done", "end", "key", "marks", "path", "text")

    def __init__(
        self, text: str, at: int, end: int, key: "re.Pattern[str]" = _KEY
    ) -> None:
        self.text, self.at, self.end, self.key = text, at, end, key
        self.done = at  # end of the last line with content
        self.comments: dict[int, int] = {}
        self.marks: list[Mark] = []
        self.path: tuple[str, ...] = ()

    def document(self) -> Node:
        """Parse one document, which has to be a mapping."""
        column = self._next_indent()
        self.at += max(column, 0)
        if not self.key.match(self.text, self.at, self.end):
            self._fail()
        found = self._mapping(column)
        if self._next_indent() >= 0:
            self._fail()
        return found

    def fields(self) -> dict[str, Node]:
        """Parse the mapping below the `sops` key."""
        blanks = INDENT.match(self.text, self.at, self.end)
        self.at = blanks.end() if blanks else self.at
        value = self._nested(0).value
        if not isinstance(value, dict) or not value:
            refuse("has a sops key that is not sops metadata", _HINT)
        if self._next_indent() > 0:
            self._fail()
        return value

    def _fail(self) -> NoReturn:
        line = line_at(self.text, self.at)
        refuse(f"has sops metadata that is not as sops writes it at line {line}", _HINT)

    def _next_indent(self) -> int:
        """Advance to the next line with content; return its indentation or -1."""
        skipped = _SKIPPED.match(self.text, self.at, self.end)
        if skipped and skipped.end() > self.at:
            self._passed(skipped)
        indent = INDENT.match(self.text, self.at, self.end)
        width = len(indent[0]) if indent else 0
        return -1 if self.at + width >= self.end else width

    def _passed(self, blank: "re.Match[str]") -> None:
        """Advance past a match of white space and comments; collect the comments."""
        if "#" in blank[0]:
            self.comments |= _comments(self.text, *blank.span())
        self.at = blank.end()

    def _nested(self, parent: int) -> Node:
        """Parse the value after a key or dash in column `parent`.

        It is on the same line, or on the next lines with a deeper indentation; the
        dashes of a sequence may also have the indentation of its key.
        """
        rest = _REST.match(self.text, self.at, self.end)
        if not rest:
            return self._scalar(parent)
        here = self.at
        self._passed(rest)
        self.done = self.at
        indent = self._next_indent()
        start = self.at + max(indent, 0)
        if indent >= parent and _DASH.match(self.text, start, self.end):
            return self._sequence(indent)
        if indent <= parent:
            return Node(None, here, here)
        self.at = start
        if self.key.match(self.text, start, self.end):
            return self._mapping(indent)
        return self._scalar(parent)

    def _mapping(self, column: int) -> Node:
        """Parse the mapping whose first key is at `self.at`, in `column`."""
        start, found = self.at, dict[str, Node]()
        above = self.path
        while True:
            key = self.key.match(self.text, self.at, self.end)
            if not key:
                self._fail()
            name = key[key.lastindex or 1]
            if name in found:
                self._fail()
            self.marks.append(Mark(self.at, column, above))
            self.at, self.path = key.end(), (*above, name)
            found[name] = self._nested(column)
            self.path = above
            indent = self._next_indent()
            if indent < column:
                return Node(found, start, self.done)
            if indent > column:
                self._fail()
            self.at += indent

    def _sequence(self, column: int) -> Node:
        """Parse the sequence whose first line starts at `self.at`."""
        start, found = self.at + column, list[Node]()
        while True:
            found.append(self._item(column))
            if self._next_indent() != column or not self._dash(column):
                return Node(found, start, self.done)

    def _dash(self, column: int) -> "re.Match[str] | None":
        return _DASH.match(self.text, self.at + column, self.end)

    def _item(self, column: int) -> Node:
        """Parse one item of a sequence whose dashes are in `column`."""
        begin = self.at + column
        dash = self._dash(column)
        if not dash:
            self._fail()
        self.marks.append(Mark(begin, column, self.path))
        self.at = dash.end()
        if self.key.match(self.text, self.at, self.end):
            value = self._mapping(column + dash.end() - begin).value
        else:
            inner = self._nested(column)
            value = inner.value
            if not isinstance(value, dict | list):
                return inner  # the span of a scalar is its own
        return Node(value, begin, self.done)

    def _scalar(self, parent: int) -> Node:
        """Parse the scalar at `self.at`; advance past the end of its last line."""
        text, start, end = self.text, self.at, self.end
        value: Value
        if plain := _PLAIN.match(text, start, end):  # first, because most are
            value, stop = plain[0], plain.end()
            value = None if value in NULLS else value
        elif block := _BLOCK_SCALAR.match(text, start, end):
            return self._block_scalar(block, parent)
        elif quoted := _DOUBLE.match(text, start, end):
            value, stop = self._unescaped(quoted[0]), quoted.end()
        elif quoted := _SINGLE.match(text, start, end):
            value, stop = quoted[0][1:-1].replace("''", "'"), quoted.end()
        elif text[start : start + 2] in _EMPTY:
            value, stop = _EMPTY[text[start : start + 2]], start + 2
        elif text.startswith("~", start):
            value, stop = None, start + 1
        else:
            self._fail()
        self.at = stop
        rest = _REST.match(self.text, stop, self.end)
        if not rest:
            self._fail()
        self._passed(rest)
        self.done = self.at
        return Node(value, start, stop)

    def _block_scalar(self, head: "re.Match[str]", parent: int) -> Node:
        """Parse a literal (`|`) or folded (`>`) block scalar.

        In the metadata, where the text is base64, folding is approximated.
        """
        if self.key is _DATA_KEY and (head[1] == ">" or head[2] == "+"):
            self._fail()  # folding and kept line ends are left to the library
        self.comments |= _comments(self.text, *head.span())
        self.at = head.end()
        first = INDENT.match(self.text, self.at, self.end)
        width = len(first[0]) if first else 0
        if width <= parent:
            self._fail()
        lines = list[str]()
        at, pad = self.at, " " * width
        while at < self.end:
            stop = self.text.find("\n", at, self.end)
            stop = self.end if stop < 0 else stop
            line = self.text[at:stop].removesuffix("\r")
            if not line.startswith(pad) and line.strip(" "):
                break
            lines.append(line[width:])
            at = min(stop + 1, self.end)
            if line.strip(" "):  # blank lines at the end are not a part of it
                self.at = self.done = at
        joined = ("\n" if head[1] == "|" else " ").join(lines)
        tail = "" if head[2] == "-" else "\n"
        blank = "\n" if self.key is _DATA_KEY else "\n "
        return Node(joined.rstrip(blank) + tail, head.start(), self.done)

    def _unescaped(self, quoted: str) -> str:
        """Return the text of a double-quoted scalar on one line (YAML 1.2, 5.7)."""

        def char(escape: "re.Match[str]") -> str:
            if escape[1]:
                return chr(int(escape[1][1:], 16))
            if escape[2] not in _ESCAPES:
                self._fail()
            return _ESCAPES[escape[2]]

        try:
            return _ESCAPE.sub(char, quoted[1:-1])
        except (ValueError, OverflowError):
            self._fail()


# --- YAML that sops does not write ------------------------------------------------


def composed(text: str) -> list[Any]:
    """Return the documents of any YAML, except empty ones, as nodes of ruamel.yaml.

    Raises:
        SecretFileError: it is not valid YAML, or (`TooLargeError`) nests too deeply.
    """
    from ruamel.yaml import YAML  # 30 ms, for YAML that sops did not write

    limits.check_depth("the file", text)
    try:
        return [node for node in YAML(typ="safe", pure=True).compose_all(text) if node]
    except Exception as error:  # hostile text can make it raise anything
        raise SecretFileError(
            "is not valid YAML", "restore it from git", subject="the file"
        ) from error


def loaded(text: str | bytes) -> Iterator[object]:
    """Yield the documents of any YAML as plain values.

    Raises:
        SecretFileError: it is not valid YAML.
    """
    # 30 ms, for YAML that sops did not write, and for what sops prints
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        yield from YAML(typ="safe").load_all(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise SecretFileError(
            "is not YAML that can be read", subject="the file"
        ) from error
