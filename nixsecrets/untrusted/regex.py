r"""Regular expressions from a repository, always matched by RE2.

sops compiles them with Go's `regexp`, which is RE2: the syntax is that of
https://github.com/google/re2/wiki/Syntax, a search is unanchored, and matching takes
linear time.  google-re2 agrees with Go except for `\C` and the names of groups, which
are checked here, and for `\B`, which google-re2 also finds between the bytes of one
character.

A file name that is not UTF-8 is matched as in Go, with one U+FFFD per invalid byte.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from nixsecrets.frozen import NamedTuple

if TYPE_CHECKING:
    import re2

MAX_LENGTH = 4096
"""Characters of an expression; RE2 needs up to 30 kB for one character (`\\pL`)."""
MAX_NESTING = 1000
"""Nested parentheses; the limit of Go's `regexp/syntax`."""
_MAX_MEMORY = 1 << 21  # bytes for one compiled expression and its DFA cache

_TOKENS = (
    r"\\Q.*?(?:\\E|\Z)"  # quoted text
    r"|\\(?:x\{[^}]*\}|x[0-9A-Fa-f]{2}|[pP]\{[^}]*\}|[pP].|[0-7]{1,3}|.)"  # escape
    r"|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*+\]"  # class; a `]` may come first in it
    r"|\(\?(?:P?<[^>]*>|[A-Za-z-]*[:)])"  # head of a group with a name or flags
    r"|\{\d+(?:,\d*)?\}\??|[*+?]\??"  # repetition
    r"|."
)
_GROUP_NAME = r"\(\?P?<[^>]*>"
_INVALID_BYTE = "[\ud800-\udfff]"  # how Python decodes what is not UTF-8
_SPECIAL = frozenset(r"\.+*?()|[]{}^$")


def quote(text: str) -> str:
    """Return an expression that matches `text` literally."""
    return "".join("\\" + char if char in _SPECIAL else char for char in text)


class Piece(NamedTuple):
    """One item of a concatenation, including its repetition.

    `literal` is the single character that it matches; None if it matches anything else.
    """

    text: str
    literal: str | None


class Regex:
    """A compiled expression; make one with `parse`."""

    def __init__(self, source: str, search: "Callable[[bytes], object]") -> None:
        self.source = source
        self._search = search
        pieces = self.pieces
        anchored = bool(pieces) and pieces[0].text in ("^", r"\A")
        self.prefix = _literals(pieces[1:]) if anchored else ""

    def found_in(self, text: str) -> bool:
        """Return whether the expression matches anywhere in `text`."""
        # cheap first test: rules of a large configuration differ in their prefixes
        return text.startswith(self.prefix) and self._search(_utf8(text)) is not None

    @property
    def tokens(self) -> list[str]:
        """The source, cut into escapes, classes, group heads and characters."""
        # `re` compiles and caches it at the first use, not at every start
        return re.findall(_TOKENS, self.source, re.DOTALL)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        r"""The items of the top-level concatenation, from left to right.

        Empty if the top level is not a plain concatenation: it has alternatives, flags
        such as `(?i)`, or `\Q` outside of every group.
        """
        return _pieces(self.tokens)

    @property
    def suffix(self) -> str:
        """The literal text that every matching subject ends with; "" if unknown."""
        pieces = self.pieces
        if not pieces or pieces[-1].text not in ("$", r"\z"):
            return ""
        # backwards from the piece before `$`: literals up to the first other piece
        return _literals(pieces[-2::-1])[::-1] if len(pieces) > 1 else ""

    def without_start(self, prefix: str) -> str | None:
        """Return an equivalent expression for subjects with `prefix` cut off.

        None unless the expression begins with `^` and the literal `prefix`: only then
        does its remainder match exactly what follows the prefix in a subject.
        """
        start, *rest = self.pieces or (Piece("", None),)
        found = [piece.literal for piece in rest[: len(prefix)]]
        if start.text != "^" or found != list(prefix):
            return None
        return "^" + "".join(piece.text for piece in rest[len(prefix) :])


@functools.lru_cache(maxsize=1024)
def parse(source: str) -> Regex:
    """Compile an expression as sops would.

    Raises:
        ValueError: sops cannot compile it, or it is longer than `MAX_LENGTH`; the
            message gives the reason and is printable.
    """
    if len(source) > MAX_LENGTH:
        raise ValueError(f"it has more than {MAX_LENGTH} characters")
    found = Regex(source, _compiled(source, capture=False).search)
    _check(found.tokens)
    return found


def matcher(source: str, *, whole: bool) -> "Callable[[str], Mapping[str, str] | None]":
    """Return a function that matches a text and returns its named groups.

    With `whole` the expression must match the entire text, else any part of it.  The
    function returns None for a text that does not match.

    Raises:
        ValueError: RE2 cannot compile the expression.
    """
    compiled = _compiled(source, capture=True)
    find = compiled.fullmatch if whole else compiled.search

    def match(text: str) -> Mapping[str, str] | None:
        # U+FFFD takes the place of one surrogate, so that spans fit the original text
        found = find(re.sub(_INVALID_BYTE, "\ufffd", text))
        if found is None:
            return None
        names = compiled.groupindex.items()
        return {name: text[slice(*found.span(number))] for name, number in names}

    return match


def _compiled(source: str, *, capture: bool) -> "re2._Regexp[str]":
    import re2  # 4 ms: a map of globs alone needs no expression

    options = re2.Options()
    options.log_errors = False
    options.never_capture = not capture
    options.max_mem = _MAX_MEMORY
    try:
        return re2.compile(source, options)
    except UnicodeEncodeError:
        raise ValueError("it is not valid UTF-8") from None
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise ValueError(_printable(str(text) or "it cannot be compiled")) from None


def _printable(text: str) -> str:
    shown = text[:200]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def _check(tokens: list[str]) -> None:
    """Raise ValueError for an expression that RE2 compiles and Go does not."""
    depth = 0
    for part in tokens:
        depth += _opens(part) - (part == ")")
        if depth > MAX_NESTING:
            raise ValueError("expression nests too deeply")
        if part == r"\C":
            raise ValueError(r"invalid escape sequence: \C")
        if re.fullmatch(_GROUP_NAME, part) and not part.isascii():
            raise ValueError(f"invalid named capture: {_printable(part)}")


def _opens(part: str) -> bool:
    """Return whether a part opens a group; `(?i)` does not."""
    return part[0] == "(" and part[-1] != ")"


def _pieces(tokens: list[str]) -> tuple[Piece, ...]:
    found: list[str] = []
    depth = 0
    for part in tokens:
        if depth == 0 and (
            # the last: flags for the rest of the expression, such as `(?i)`
            part == "|" or part.startswith(r"\Q") or part[:2] + part[-1] == "(?)"
        ):
            return ()
        # a lone `{` is a literal
        repeats = part[0] in "*+?" or (part[0] == "{" and len(part) > 1)
        if (depth or repeats) and found:
            found[-1] += part
        else:
            found.append(part)
        depth += _opens(part) - (part == ")")
    return tuple(Piece(text, _literal(text)) for text in found)


def _literal(text: str) -> str | None:
    """Return the only character that a piece matches, None for any other piece."""
    if len(text) == 1 and text not in ".^$":
        return text
    # an escaped letter or digit is a class (`\d`), an assertion or a control character
    escaped = len(text) == 2 and text[0] == "\\" and not text[1].isalnum()
    return text[1] if escaped else None


def _literals(pieces: tuple[Piece, ...]) -> str:
    """Return the literal characters up to the first piece that is not literal."""
    text = ""
    for piece in pieces:
        if piece.literal is None:
            break
        text += piece.literal
    return text


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return re.sub(_INVALID_BYTE, "\ufffd", text).encode()
