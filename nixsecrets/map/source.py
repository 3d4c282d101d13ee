"""The map's text as typed TOML tables, whose errors name file and line.

This module knows TOML and types, not what a map may contain.  No message quotes text
that could be a private key.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property

from nixsecrets.errors import MapError, quoted
from nixsecrets.frozen import frozen
from nixsecrets.keys.recipients import private_key_in
from nixsecrets.map.names import MAP_NAME
from nixsecrets.map.tomlspans import Entry, Header, Path, scan
from nixsecrets.splice import line_at
from nixsecrets.untrusted import limits

_LONGEST_SHOWN = 64
_TOML_PLACE = r" \(at (?:line (\d+), column \d+|end of document)\)$"
# C0 and C1 controls, line separators, and bidirectional controls, which reorder text.
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
_TYPE_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a table",
}
_TYPE_HINTS = {
    "a string": "put it in double quotes",
    "true or false": "write the word, without quotes",
    "a list of strings": 'write it in square brackets: ["…", "…"]',
    "a table": "write its name in square brackets on a line, its keys below",
    "an array of tables": "write its name in [[double brackets]] above each one",
}


class Source:
    """A map's text, parsed, with the line of everything in it."""

    def __init__(self, text: str) -> None:
        """Parse `text`.

        Raises:
            MapError: the text is not TOML.

        """
        self.text = text
        self.data = self._parse()

    def root(self) -> "Table":
        """Return the top level table."""
        return Table(self, (), self.data)

    def line(self, path: Path) -> int:
        """Return the line (from 1) of `path`, or of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if (start := self._starts.get(path[:length])) is not None:
                return bisect_left(self._newlines, start) + 1
        return 1

    def error(self, path: Path, message: str, hint: str | None = None) -> MapError:
        """Return the error for the key or value at `path`."""
        return self.error_at_line(self.line(path), message, hint)

    def error_at_line(self, line: int, message: str, hint: str | None) -> MapError:
        """Return the error for a line."""
        return MapError(MAP_NAME, line, message, hint)

    @cached_property
    def _starts(self) -> dict[Path, int]:
        return scan(self.text).starts()

    @cached_property
    def _newlines(self) -> list[int]:
        return [newline.start() for newline in re.finditer("\n", self.text)]

    def _parse(self) -> dict[str, object]:
        if self.text.startswith("\ufeff"):
            raise self.error_at_line(
                1, "starts with a byte order mark", "save it as UTF-8 without one"
            )
        limits.check_dotted(MAP_NAME, self.text)
        try:
            data = tomllib.loads(self.text)
            _ = self._starts  # `scan` also fails on nesting that is too deep
        except tomllib.TOMLDecodeError as error:
            raise self._toml_error(str(error)) from None
        except (RecursionError, ValueError):
            raise self.error_at_line(
                1, "nested too deep, or holds a number too long", None
            ) from None
        return data

    def _toml_error(self, text: str) -> MapError:
        place = re.search(_TOML_PLACE, text)
        last_line = line_at(self.text, len(self.text.rstrip()))
        line = int(place[1]) if place and place[1] else last_line
        if re.match(r"Cannot (?:overwrite|declare|mutate)|Duplicate", text):
            return self._twice(line)
        reason = text[: place.start()] if place else text
        return self.error_at_line(
            line,
            f"not valid TOML: {reason[:1].lower()}{reason[1:]}",
            "strings need double quotes, lists square brackets",
        )

    def _twice(self, line: int) -> MapError:
        """Return the error for a duplicate table or key, at its second place."""
        try:
            statements = scan(self.text).statements
        except (ValueError, RecursionError):
            statements = ()
        for statement in statements:
            first = line_at(self.text, statement.start)
            if first <= line <= line_at(self.text, statement.end):
                what = _dotted(statement)
                return self.error_at_line(
                    first,
                    f"{what} is given twice, or as two different things",
                    "TOML allows each table and key once; merge the two",
                )
        return self.error_at_line(line, "a name is given twice", "merge the two")


@frozen
class Table:
    """One TOML table; its methods raise MapError at the line of a wrong value."""

    source: Source
    path: Path
    data: dict[str, object]

    @property
    def line(self) -> int:
        """The line of the table's first mention."""
        return self.source.line(self.path)

    @property
    def title(self) -> str:
        """The table's header as the file writes it: `[hosts.web1]`, `[[secrets]]`."""
        if not self.path:
            return "the top level"
        names = ".".join(str(part) for part in self.path if isinstance(part, str))
        is_element = isinstance(self.path[-1], int)
        return f"[[{shown(names)}]]" if is_element else f"[{shown(names)}]"

    def __contains__(self, key: str) -> bool:
        """Return whether the table has `key`."""
        return key in self.data

    def at(self, key: str) -> Path:
        """Return the path of `key` in this table."""
        return (*self.path, key)

    def error(self, key: str, message: str, hint: str | None = None) -> MapError:
        """Return the error for the value of `key`."""
        return self.source.error(self.at(key), message, hint)

    def only(self, known: Iterable[str]) -> None:
        """Raise MapError for the first key that is not one of `known`."""
        known = tuple(known)
        for key in self.data:
            if key not in known:
                raise self.error(
                    key,
                    f"unknown key {quotable(key)} in {self.title}",
                    did_you_mean(key, known) or f"known are: {', '.join(known)}",
                )

    def require(self, key: str, hint: str) -> None:
        """Raise MapError at the table's line unless it has `key`."""
        if key not in self.data:
            message = f"{self.title} has no {quoted(key)}"
            raise self.source.error(self.path, message, hint)

    def string(self, key: str) -> str | None:
        """Return the string at `key`, None if there is none; never empty."""
        if key not in self.data:
            return None
        return self._one_string(self.at(key), self.data[key])

    def boolean(self, key: str) -> bool | None:
        """Return the boolean at `key`, None if there is none."""
        value = self.data.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong_type(self.at(key), quoted(key), "true or false", value)
        return value

    def choice(self, key: str, *choices: str) -> str | None:
        """Return the string at `key`, which must be one of `choices`, or None."""
        value = self.string(key)
        if value is not None and value not in choices:
            allowed = " or ".join(quoted(choice) for choice in choices)
            raise self.error(
                key,
                f"{quoted(key)} must be {allowed}",
                did_you_mean(value, choices) or "omit the line for the default",
            )
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """Return the list of strings at `key`, empty if there is none."""
        values = self.data.get(key, [])
        if not isinstance(values, list):
            raise self._wrong_type(
                self.at(key), quoted(key), "a list of strings", values
            )
        path = self.at(key)
        return tuple(self._one_string((*path, i), v) for i, v in enumerate(values))

    def table(self, key: str) -> "Table":
        """Return the table at `key`, an empty one if there is none."""
        value = self.data.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong_type(self.at(key), quotable(key), "a table", value)
        return Table(self.source, self.at(key), value)

    def tables(self, key: str) -> tuple["Table", ...]:
        """Return the tables of the array of tables at `key`."""
        values = self.data.get(key, [])
        wanted = "an array of tables"
        if not isinstance(values, list):
            raise self._wrong_type(self.at(key), quoted(key), wanted, values)
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                path = (*self.at(key), index)
                raise self._wrong_type(path, quoted(key), wanted, value)
        return tuple(
            Table(self.source, (*self.at(key), index), value)
            for index, value in enumerate(values)
        )

    def _one_string(self, path: Path, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong_type(path, _what(path), "a string", value)
        stripped = value.strip()
        if not stripped:
            message = f"{_what(path)} is empty"
            raise self.source.error(path, message, "fill it in or remove it")
        if not stripped.isprintable() and re.search(_CONTROL, stripped):
            raise self.source.error(
                path,
                f"{_what(path)} holds a line break or another control character",
                "write it on one line",
            )
        return value

    def _wrong_type(
        self, path: Path, what: str, wanted: str, value: object
    ) -> MapError:
        found = _TYPE_NAMES.get(type(value))
        hint = _TYPE_HINTS[wanted]
        if found is None:
            found = "a date"
            hint = 'put dates in quotes, "2026-11-20": Nix reads no TOML dates'
        return self.source.error(path, f"{what} must be {wanted}, not {found}", hint)


def shown(text: str) -> str:
    """Return text from the map for a message: short, on one line, no private key."""
    if len(text) > _LONGEST_SHOWN or private_key_in(text):
        return "…"
    return quoted(text)[1:-1]


def quotable(text: str) -> str:
    """Return text from the map in quotes for a message; "…" if long or private."""
    return f'"{shown(text)}"'


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a hint that names the known word nearest to `word`, None if none is."""
    import difflib  # for an unknown name only

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {quoted(near[0])}?" if near else None


def _what(path: Path) -> str:
    """Return the subject of a message about the string at `path`."""
    if isinstance(path[-1], int):
        return f"an element of {quotable(str(path[-2]))}"
    return quotable(path[-1])


def _dotted(statement: Header | Entry) -> str:
    return quotable(".".join(key.name for key in statement.keys))
