r"""Regular expressions that come out of a repository, matched by RE2 and nothing else.

sops reads them with Go's `regexp`, which is RE2: the syntax is that of
https://github.com/google/re2/wiki/Syntax, a search is unanchored, and no expression
takes more than linear time.  google-re2 agrees with Go but for `\C` and the names of
groups, which are checked here, and for `\B`, which it finds between the bytes of one
character too.

A name that is no UTF-8 is matched as Go does, with one U+FFFD for each broken byte.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import re2

MAX_LENGTH = 4096
"""Characters in an expression: for some classes RE2 takes 30 kB for each."""
MAX_NESTING = 1000
"""Parentheses within parentheses; Go allows as many."""
_MAX_MEMORY = 1 << 21  # bytes for one compiled expression and what it remembers

_PARTS = (
    r"\\Q.*?(?:\\E|\Z)"
    r"|\\(?:x\{[^}]*\}|x[0-9A-Fa-f]{2}|[pP]\{[^}]*\}|[pP].|[0-7]{1,3}|.)"
    r"|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*+\]"
    r"|\(\?(?:P?<[^>]*>|[A-Za-z-]*[:)])"
    r"|\{\d+(?:,\d*)?\}\??|[*+?]\??"
    r"|."
)
_GROUP_NAME = re.compile(r"\(\?P?<[^>]*>")
_BROKEN = re.compile("[\ud800-\udfff]")
_SPECIAL = frozenset(r"\.+*?()|[]{}^$")


def quote(text: str) -> str:
    """Escape `text` so that an expression matches it literally."""
    return "".join("\\" + char if char in _SPECIAL else char for char in text)


class Piece(NamedTuple):
    """One part of a concatenation, with its repetition.

    `literal` is the one character that it stands for, None for anything else.
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
        # most rules of a large configuration differ in their first characters
        return text.startswith(self.prefix) and self._search(_utf8(text)) is not None

    @property
    def tokens(self) -> list[str]:
        """The source, cut into escapes, classes, group heads and characters."""
        return re.findall(_PARTS, self.source, re.DOTALL)  # compiled once, by need

    @property
    def pieces(self) -> tuple[Piece, ...]:
        r"""What follows each other at the top, from left to right.

        Empty where that is not known: there are alternatives, flags such as `(?i)`, or
        `\Q` outside of every group.
        """
        return _pieces(self.tokens)

    @property
    def suffix(self) -> str:
        """The literal text that every match ends the subject with; "" if none."""
        pieces = self.pieces
        if not pieces or pieces[-1].text not in ("$", r"\z"):
            return ""
        return _literals(pieces[-2::-1])[::-1] if len(pieces) > 1 else ""

    def without_start(self, prefix: str) -> str | None:
        """Return the source for subjects that lost `prefix`, None if that is not sure.

        It is where the expression begins with `^` and the literal `prefix`; the rest
        then sees of a subject exactly what follows the prefix.
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
        ValueError: sops could not compile it, or it is longer than `MAX_LENGTH`; says
            why.
    """
    if len(source) > MAX_LENGTH:
        raise ValueError(f"it has more than {MAX_LENGTH} characters")
    found = Regex(source, _compiled(source, capture=False).search)
    _check(found.tokens)
    return found


def whole(source: str) -> "Callable[[str], Mapping[str, str] | None]":
    """Return what matches whole texts, with its named groups; ValueError as `parse`."""
    compiled = _compiled(source, capture=True)

    def match(text: str) -> Mapping[str, str] | None:
        found = compiled.fullmatch(_BROKEN.sub("\ufffd", text))
        if found is None:
            return None
        names = compiled.groupindex.items()
        return {name: text[slice(*found.span(number))] for name, number in names}

    return match


def _compiled(source: str, *, capture: bool) -> "re2._Regexp[str]":
    import re2

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
    """Raise ValueError for what RE2 takes and Go does not."""
    depth = 0
    for part in tokens:
        depth += _opens(part) - (part == ")")
        if depth > MAX_NESTING:
            raise ValueError("expression nests too deeply")
        if part == r"\C":
            raise ValueError(r"invalid escape sequence: \C")
        if _GROUP_NAME.fullmatch(part) and not part.isascii():
            raise ValueError(f"invalid named capture: {_printable(part)}")


def _opens(part: str) -> bool:
    """Return whether a part opens a group; `(?i)` does not."""
    return part[0] == "(" and part[-1] != ")"


def _pieces(tokens: list[str]) -> tuple[Piece, ...]:
    found: list[str] = []
    depth = 0
    for part in tokens:
        if depth == 0 and (
            part == "|" or part.startswith(r"\Q") or part[:2] + part[-1] == "(?)"
        ):
            return ()
        repeats = part[0] in "*+?" or (part[0] == "{" and len(part) > 1)
        if (depth or repeats) and found:
            found[-1] += part
        else:
            found.append(part)
        depth += _opens(part) - (part == ")")
    return tuple(Piece(text, _literal(text)) for text in found)


def _literal(text: str) -> str | None:
    """Return the character that a piece stands for."""
    if len(text) == 1 and text not in ".^$":
        return text
    escaped = len(text) == 2 and text[0] == "\\" and not text[1].isalnum()
    return text[1] if escaped else None


def _literals(pieces: tuple[Piece, ...]) -> str:
    """Return the literal characters before the first piece that is none."""
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
        return _BROKEN.sub("\ufffd", text).encode()
