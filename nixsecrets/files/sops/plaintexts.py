"""The values of a plaintext as its author wrote them, before sops interprets them.

By the plain rules of each format, not those of sops' libraries: a bare YAML word is
that word, and an INI or dotenv value is the text after `=`.  Applied to what sops
prints, the same parsers give the values that a program will find.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, NoReturn, assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import json, tree
from nixsecrets.files.sops.flat import LONG_QUOTES, Kind, dotenv_lines, ini_lines
from nixsecrets.files.sops.spans import Node
from nixsecrets.files.sops.values import DeepError, Lines, Place, nodes
from nixsecrets.frozen import NamedTuple

_TAG = re.compile(r"(?:&\S+[ \t\r\n]+)?(!\S*)")
DATE = re.compile(r"\d{4}-\d\d?-\d\d?(?:[Tt \t]|$)")
NUMBER = re.compile(r"[-+]?\.?\d[\d_.eE+-]*|[-+]?0[xXoObB][\da-fA-F_]+")
CONSTANTS = frozenset(("true", "false", ".inf", "-.inf", "+.inf", ".nan", "null", "~"))
_USUAL_TAGS = ("!!str", "!!map", "!!seq", "!!merge")
_QUOTES = "\"'|>"


class Style(Enum):
    """How a value is written: quoted (surely text), bare, as null, or with a tag."""

    TEXT = "text"
    BARE = "bare"
    NULL = "null"
    TAGGED = "tagged"


class SourceValue(NamedTuple):
    """One value as it is written: its place and line, its text and its style."""

    place: Place
    line: int
    text: str
    style: Style

    def __repr__(self) -> str:
        """Show the place, never the text."""
        return f"SourceValue({self.place}, line {self.line})"


class Plaintext(NamedTuple):
    """The values of a text in order, and the lines of YAML aliases."""

    values: list[SourceValue]
    aliases: list[int]


class RepeatedError(SecretFileError):
    """A JSON text has the same key twice."""


def bare_is_text(word: str) -> bool:
    """Return whether sops reads a bare YAML word as text: no number, date or null."""
    word = word.lower()
    found = NUMBER.fullmatch(word) or DATE.match(word) or word in CONSTANTS
    return not found


def read(kind: SopsFormat, data: bytes) -> Plaintext:
    """Return the values of a text.

    Raises:
        SecretFileError: it cannot be parsed; `line` has the place, if known.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse("is not UTF-8", line, "save it as UTF-8")
    match kind:
        case SopsFormat.YAML if not text.lstrip().startswith("{"):
            return _yaml(text)
        case SopsFormat.JSON | SopsFormat.YAML:
            return _json(kind, text)
        case SopsFormat.DOTENV:
            return Plaintext(list(_dotenv(text)), [])
        case SopsFormat.INI:
            return Plaintext(list(_ini(text)), [])
        case SopsFormat.BINARY:
            return Plaintext([SourceValue((0, ()), 1, text, Style.TEXT)], [])
        case _ as never:
            assert_never(never)


def _refuse(what: str, line: int, hint: str) -> NoReturn:
    where = f" at line {line}" if line else ""
    raise SecretFileError(f"{what}{where}", hint, subject="the text", line=line)


# --- JSON and YAML --------------------------------------------------------------------


def _json(kind: SopsFormat, text: str) -> Plaintext:
    lines = Lines(text)
    try:
        root = json.document(text)
    except json.RepeatedKeyError as error:
        line = lines.line(error.at)
        raise RepeatedError(
            f"the text has the same key twice, the second time at line {line}",
            "keep the intended one; of both, most programs take the last",
            line=line,
        ) from error
    except SecretFileError as error:
        if kind is SopsFormat.YAML:
            return _yaml(text)
        error.subject = "the text"
        error.hint = "it must be one JSON object, with nothing after it"
        raise
    return Plaintext(list(_below((0, ()), root, lines)), [])


def _yaml(text: str) -> Plaintext:
    lines = Lines(text)
    try:
        documents = tree.documents(text)
    except (SecretFileError, RecursionError):
        return _by_library(text)
    found: list[SourceValue] = []
    for number, root in enumerate(documents):
        found += _below((number, ()), root, lines)
    return Plaintext(found, [])


def _below(place: Place, node: Node, lines: Lines) -> Iterator[SourceValue]:
    """Yield the values of a tree; `place` is that of `node`."""
    if isinstance(node.value, dict):
        for key, inner in node.value.items():
            yield from _below((place[0], (*place[1], key)), inner, lines)
    elif isinstance(node.value, list):
        for index, inner in enumerate(node.value):
            yield from _below((place[0], (*place[1], index)), inner, lines)
    else:
        text, value = lines.text, node.value
        bare = text[node.start : node.start + 1] not in ("", *_QUOTES)
        style = Style.BARE if bare else Style.TEXT
        style = Style.NULL if value is None else style
        said = text[node.start : node.end] if isinstance(value, bool) else value
        yield SourceValue(place, lines.line(node.start), str(said or ""), style)


def _by_library(text: str) -> Plaintext:
    """Return the values of YAML that `tree` does not parse, with ruamel.yaml."""
    found = Plaintext([], [])
    seen: set[int] = set()
    try:
        for place, node, _ in nodes(text, tree.composed(text)):
            line = node.start_mark.line + 1
            if id(node) in seen:  # an alias: ruamel.yaml returns the same object again
                found.aliases.append(line)
            seen.add(id(node))
            tag = _TAG.match(text, node.start_mark.index)
            tagged = tag is not None and tag[1] not in _USUAL_TAGS
            if node.id == "scalar":
                one = _scalar(place, node, line, tagged=tagged, text=text)
                found.values.append(one)
            elif tagged:
                found.values.append(SourceValue(place, line, "", Style.TAGGED))
    except DeepError as error:
        why = "has too many YAML aliases, or is too deep"
        _refuse(why, error.at, "write them out")
    return found


def _scalar(
    place: Place, node: Any, line: int, *, tagged: bool, text: str
) -> SourceValue:
    said = str(node.value)
    if tagged:
        return SourceValue(place, line, said, Style.TAGGED)
    bare = node.style is None and not text.startswith("!", node.start_mark.index)
    if bare and said in ("", "~", "null", "Null", "NULL"):
        return SourceValue(place, line, "", Style.NULL)
    return SourceValue(place, line, said, Style.BARE if bare else Style.TEXT)


# --- one line for each value ----------------------------------------------------------


def _dotenv(text: str) -> Iterator[SourceValue]:
    for line in dotenv_lines(text):
        if line.kind is Kind.PAIR:
            yield SourceValue((0, (line.name,)), line.number, line.value, Style.TEXT)


def _ini(text: str) -> Iterator[SourceValue]:
    """Yield the text after each `=`; without backquotes or triple double quotes.

    These are the only quotes that INI values of several lines need.
    """
    for line in ini_lines(text):
        if line.kind is not Kind.PAIR:  # sops refuses files with BROKEN lines
            continue
        place = (0, (line.section, line.name))
        start, end = line.span
        # what sops reads as quotes or a comment may be meant as a part of the value
        raw = text[start : max(line.comment[1], end)]
        long = raw.startswith(LONG_QUOTES) and len(raw) == end - start
        said = line.value if long else raw
        yield SourceValue(place, line.number, said, Style.TEXT)
