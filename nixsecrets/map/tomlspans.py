"""The spans of headers, keys, values and elements in a TOML 1.0 text.

tomllib returns what a text means, this scanner where each part is.  It accepts every
valid text and some invalid ones: tomllib decides.  Offsets count characters of the text
as it is (CRLF counts as two).
"""

import re
import tomllib
from collections.abc import Iterator

from nixsecrets.frozen import NamedTuple

Path = tuple[str | int, ...]
"""The place of a value in the parsed data: `("secrets", 0, "readers", 1)`."""

# Possessive quantifiers: a text that does not match must fail in linear time.
_BLANKS = re.compile(r"[ \t]*+")
_TRIVIA = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]++")
_STRING = re.compile(
    r'"""(?:[^"\\]++|\\[\s\S]|"{1,2}+(?!"))*+"{3,5}+'
    r"|'''(?:[^']++|'{1,2}+(?!'))*+'{3,5}+"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'"
)
_PLAIN = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]++|[^\s,\[\]{}#=\"']++")


class ScanError(ValueError):
    """The text is not TOML; `offset` is where the scanner stopped."""

    def __init__(self, offset: int) -> None:
        """Record the offset; the message quotes no text of the file."""
        super().__init__(f"no TOML at offset {offset}")
        self.offset = offset


class Key(NamedTuple):
    """One part of a dotted key: its name, and its span with the quotes."""

    name: str
    start: int
    end: int


class Scalar(NamedTuple):
    """A string, number, boolean or date; the span covers quotes."""

    path: Path
    start: int
    end: int


class Array(NamedTuple):
    """`[ … ]`; the span covers the brackets."""

    path: Path
    start: int
    end: int
    items: tuple["Value", ...]


class InlineTable(NamedTuple):
    """`{ … }`; the span covers the braces."""

    path: Path
    start: int
    end: int
    entries: tuple["Entry", ...]


Value = Scalar | Array | InlineTable


class Entry(NamedTuple):
    """`key = value`, from the key to the end of the value (no comment, no newline).

    `path` is absolute; its last `len(keys)` parts are the names of `keys`.
    """

    path: Path
    keys: tuple[Key, ...]
    value: Value

    @property
    def start(self) -> int:
        """Where the key starts."""
        return self.keys[0].start

    @property
    def end(self) -> int:
        """Where the value ends."""
        return self.value.end


class Header(NamedTuple):
    """`[table]` or `[[array of tables]]`, with its brackets.

    `path` is absolute and holds the indices of arrays of tables, so `[[secrets]]` is
    `("secrets", 0)` the first time; the names in it are those of `keys`.
    """

    path: Path
    keys: tuple[Key, ...]
    start: int
    end: int


Statement = Header | Entry
Node = Header | Entry | Value


class Document(NamedTuple):
    """A text and its statements in file order."""

    text: str
    statements: tuple[Statement, ...]

    def nodes(self) -> Iterator[Node]:
        """Yield every header, entry and value, outer ones before inner ones."""
        for statement in self.statements:
            yield statement
            if isinstance(statement, Entry):
                yield from _inside(statement.value)

    def values(self) -> dict[Path, Value]:
        """Return the values by path, without tables made by headers or dotted keys."""
        return {
            node.path: node
            for node in self.nodes()
            if not isinstance(node, Header | Entry)
        }

    def starts(self) -> dict[Path, int]:
        """Return the offset at which each path, tables included, is first mentioned."""
        starts: dict[Path, int] = {}
        for node in self.nodes():
            for length in range(len(node.path), 0, -1):
                if node.path[:length] in starts:
                    break
                starts[node.path[:length]] = node.start
        return starts


def scan(text: str) -> Document:
    """Return the spans of `text`.

    Raises:
        ScanError: the text is not TOML.
        RecursionError: values are nested too deep (tomllib raises it too).

    """
    return Document(text, tuple(_Scanner(text).statements()))


def _inside(value: Value) -> Iterator[Node]:
    yield value
    match value:
        case Array(items=items):
            for item in items:
                yield from _inside(item)
        case InlineTable(entries=entries):
            for entry in entries:
                yield entry
                yield from _inside(entry.value)
        case Scalar():
            pass


class _Scanner:
    """One pass over the text; `at` is the offset of the next character to read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.table: Path = ()
        self.lengths: dict[Path, int] = {}

    def statements(self) -> Iterator[Statement]:
        self.skip(_TRIVIA)
        while self.at < len(self.text):
            yield self.header() if self.sees("[") else self.entry(self.table)
            self.skip(_TRIVIA)

    def header(self) -> Header:
        start = self.at
        brackets = 2 if self.text.startswith("[[", start) else 1
        self.at += brackets
        keys = self.dotted_key()
        self.take("]" * brackets)
        self.table = self.resolve(keys, new_element=brackets == 2)
        return Header(self.table, keys, start, self.at)

    def resolve(self, keys: tuple[Key, ...], *, new_element: bool) -> Path:
        """Return the path that a header opens.

        A name of an array of tables stands for its newest element.
        """
        path: Path = ()
        for key in keys[:-1]:
            path = self.newest((*path, key.name))
        path = (*path, keys[-1].name)
        if new_element:
            self.lengths[path] = self.lengths.get(path, 0) + 1
        return self.newest(path)

    def newest(self, path: Path) -> Path:
        length = self.lengths.get(path)
        return path if length is None else (*path, length - 1)

    def entry(self, table: Path) -> Entry:
        keys = self.dotted_key()
        self.take("=")
        self.skip(_BLANKS)
        path = (*table, *(key.name for key in keys))
        return Entry(path, keys, self.value(path))

    def dotted_key(self) -> tuple[Key, ...]:
        keys = [self.key()]
        while self.sees("."):
            self.at += 1
            keys.append(self.key())
        return tuple(keys)

    def key(self) -> Key:
        """Read one part of a key, with the blanks around it."""
        self.skip(_BLANKS)
        start = self.at
        if self.sees('"') or self.sees("'"):
            name = self.unquoted(self.token(_STRING))
        else:
            name = self.token(_BARE_KEY)
        key = Key(name, start, self.at)
        self.skip(_BLANKS)
        return key

    def unquoted(self, text: str) -> str:
        try:
            return str(tomllib.loads(f"key = {text}")["key"])
        except tomllib.TOMLDecodeError as error:
            raise ScanError(self.at) from error

    def value(self, path: Path) -> Value:
        start = self.at
        if self.sees("["):
            items = self.items(path)
            return Array(path, start, self.at, items)
        if self.sees("{"):
            entries = self.inline_entries(path)
            return InlineTable(path, start, self.at, entries)
        self.token(_STRING if self.sees('"') or self.sees("'") else _PLAIN)
        return Scalar(path, start, self.at)

    def items(self, path: Path) -> tuple[Value, ...]:
        self.take("[")
        items: list[Value] = []
        self.skip(_TRIVIA)
        while not self.sees("]"):
            items.append(self.value((*path, len(items))))
            self.skip(_TRIVIA)
            if not self.sees("]"):
                self.take(",")
                self.skip(_TRIVIA)
        self.take("]")
        return tuple(items)

    def inline_entries(self, path: Path) -> tuple[Entry, ...]:
        self.take("{")
        entries: list[Entry] = []
        self.skip(_TRIVIA)
        while not self.sees("}"):
            entries.append(self.entry(path))
            self.skip(_TRIVIA)
            if not self.sees("}"):
                self.take(",")
                self.skip(_TRIVIA)
        self.take("}")
        return tuple(entries)

    def sees(self, character: str) -> bool:
        return self.text.startswith(character, self.at)

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()

    def take(self, expected: str) -> None:
        if not self.sees(expected):
            raise ScanError(self.at)
        self.at += len(expected)

    def token(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ScanError(self.at)
        self.at = match.end()
        return match.group()
