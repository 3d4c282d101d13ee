"""The part of Go's regular expressions (RE2) that Python can follow exactly.

`.sops.yaml` is read by sops, whose regular expressions are those of Go's `regexp`
package (https://github.com/google/re2/wiki/Syntax).  Python's `re` differs in `$`,
`\\s`, flags, possessive quantifiers and more, so an expression is parsed here and
written anew for Python; what has no exact counterpart is refused with a reason.
Only the question "is there a match" is preserved, not where it is.
"""

import re
from typing import NamedTuple

_MAX_REPEAT = 1000  # of Go: a larger (or nested, multiplied) count does not compile
_MAX_DEPTH = 100  # Go allows 1000; nobody writes more than a handful
_LAST = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]

_PERL: dict[str, Ranges] = {
    "d": ((0x30, 0x39),),
    "s": ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)),
    "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
}
_POSIX: dict[str, Ranges] = {
    "alnum": ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)),
    "alpha": ((0x41, 0x5A), (0x61, 0x7A)),
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": ((0x30, 0x39),),
    "graph": ((0x21, 0x7E),),
    "lower": ((0x61, 0x7A),),
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": ((0x41, 0x5A),),
    "word": _PERL["w"],
    "xdigit": ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
}
_CONTROL = {"a": 0x07, "f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 0x09, "v": 0x0B}
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}", re.ASCII)
_SPECIAL = frozenset(r"\.+*?()|[]{}^$")


def quote(text: str) -> str:
    """Escape `text` so that both RE2 and Python match it literally."""
    return "".join("\\" + char if char in _SPECIAL else char for char in text)


def class_text(ranges: Ranges, *, negated: bool = False) -> str:
    """Write a character class that RE2 and Python read alike."""
    items = (
        _class_char(low) + ("-" + _class_char(high) if high > low else "")
        for low, high in ranges
    )
    return "[" + ("^" if negated else "") + "".join(items) + "]"


def complement(ranges: Ranges) -> Ranges:
    """Return every code point that `ranges` leaves out."""
    gaps: list[tuple[int, int]] = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        gaps.append((start, _LAST))
    return tuple(gaps)


def _class_char(code: int) -> str:
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    char = chr(code)
    return "\\" + char if char in r"\]^-[&|~" else char


class Atom(NamedTuple):
    """One piece of a concatenation: its place in the source, its Python, its text.

    `literal` is the one character it stands for, or None; `weight` is the product of
    the counted repetitions inside; an empty-width assertion cannot be repeated.
    """

    start: int
    end: int
    python: str
    literal: str | None = None
    weight: int = 1
    assertion: bool = False


class Regex(NamedTuple):
    """A parsed expression: its source, and the Python pattern that agrees with it.

    `atoms` are its pieces from left to right; empty where it has alternatives at the
    top, since then no piece belongs to every match.
    """

    source: str
    pattern: re.Pattern[str]
    atoms: tuple[Atom, ...]

    def found_in(self, text: str) -> bool:
        """Tell whether the expression matches anywhere in `text`."""
        return self.pattern.search(text) is not None

    @property
    def suffix(self) -> str:
        """The literal text that every match ends the subject with; "" if none."""
        if not self.atoms or self.source[self.atoms[-1].start :] not in ("$", r"\z"):
            return ""
        tail: list[str] = []
        for atom in reversed(self.atoms[:-1]):
            if atom.literal is None:
                break
            tail.append(atom.literal)
        return "".join(reversed(tail))

    def without_start(self, prefix: str) -> str | None:
        """Return the source for subjects that lost `prefix`, if that is certain.

        It is where the expression begins with `^` and the literal `prefix`; the rest
        then sees of a subject exactly what follows the prefix.
        """
        size = len(prefix)
        found = [atom.literal for atom in self.atoms[1 : size + 1]]
        anchored = bool(self.atoms) and self.source[0] == "^"
        if not anchored or found != list(prefix) or r"\Q" in self.source:
            return None
        return "^" + self.source[self.atoms[size].end :]


def parse(source: str) -> Regex:
    """Parse an RE2 expression; ValueError says what is wrong or has no counterpart."""
    parser = _Parser(source)
    branches = [parser.sequence()]
    while parser.take("|"):
        branches.append(parser.sequence())
    if parser.pos < len(source):
        raise ValueError("unmatched )")
    python = "|".join("".join(atom.python for atom in one) for one in branches)
    # flags are written out per piece, so that they hold in Go's scope, not Python's
    atoms = tuple(branches[0]) if len(branches) == 1 else ()
    return Regex(source, re.compile(python), atoms)


class _Parser:
    """Recursive descent over one expression."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.pos = 0
        self.depth = 0
        self.fold = False
        self.dot_all = False

    def peek(self, text: str) -> bool:
        return self.source.startswith(text, self.pos)

    def take(self, text: str) -> bool:
        if not self.peek(text):
            return False
        self.pos += len(text)
        return True

    def next(self) -> str:
        if self.pos >= len(self.source):
            raise ValueError("ends too early")
        self.pos += 1
        return self.source[self.pos - 1]

    def sequence(self) -> list[Atom]:
        atoms: list[Atom] = []
        while self.pos < len(self.source) and not self.peek("|") and not self.peek(")"):
            if self.take(r"\Q"):
                atoms += self.quoted()
                continue
            atom = self.atom()
            if atom is not None:
                atoms.append(self.repeated(atom))
            elif self.quantifier() is not None:
                raise ValueError("a repetition with nothing to repeat")
        return atoms

    def quoted(self) -> list[Atom]:
        end = self.source.find(r"\E", self.pos)
        stop = len(self.source) if end < 0 else end
        start, self.pos = self.pos, stop if end < 0 else end + 2
        atoms = [self.literal(at, at + 1, self.source[at]) for at in range(start, stop)]
        if atoms:
            atoms[-1] = self.repeated(atoms[-1])
        return atoms

    def atom(self) -> Atom | None:
        start = self.pos
        char = self.next()
        match char:
            case "(":
                return self.group(start)
            case "[":
                return self.made(start, self.char_class())
            case ".":
                return self.made(start, "(?s:.)" if self.dot_all else ".")
            case "^":
                return self.made(start, r"\A", assertion=True)
            case "$":
                return self.made(start, r"\Z", assertion=True)
            case "*" | "+" | "?":
                raise ValueError(f"{char} has nothing to repeat")
            case "{" if _COUNT.match(self.source, start):
                raise ValueError("a repetition with nothing to repeat")
            case "\\":
                return self.escape(start)
            case _:
                return self.literal(start, self.pos, char)

    def made(self, start: int, python: str, *, assertion: bool = False) -> Atom:
        if self.fold and not assertion:
            python = f"(?i:{python})"
        return Atom(start, self.pos, python, assertion=assertion)

    def literal(self, start: int, end: int, char: str) -> Atom:
        if self.fold:
            return Atom(start, end, f"(?i:{re.escape(char)})")
        return Atom(start, end, re.escape(char), literal=char)

    def escape(self, start: int) -> Atom:
        char = self.next()
        match char:
            case "A" | "z":
                return self.made(
                    start, rf"\{'A' if char == 'A' else 'Z'}", assertion=True
                )
            case "b" | "B":
                return self.made(start, rf"(?a:\{char})", assertion=True)
            case "d" | "s" | "w":
                return self.made(start, class_text(_PERL[char]))
            case "D" | "S" | "W":
                return self.made(start, class_text(_PERL[char.lower()], negated=True))
            case _:
                return self.literal(start, self.pos, self.escaped_char(char))

    def escaped_char(self, char: str) -> str:
        """Return what a backslash and `char` stand for, inside or outside a class."""
        if char in _CONTROL:
            return chr(_CONTROL[char])
        if char == "x":
            return self.hex_char()
        if char.isascii() and not char.isalnum():
            return char
        raise ValueError(f"\\{char} has no meaning that sops and nixsecrets share")

    def hex_char(self) -> str:
        pattern = r"\{([0-9A-Fa-f]{1,8})\}|([0-9A-Fa-f]{2})"
        found = re.compile(pattern).match(self.source, self.pos)
        if found is None or int(found[1] or found[2], 16) > _LAST:
            raise ValueError("\\x without a character's number")
        self.pos = found.end()
        return chr(int(found[1] or found[2], 16))

    def group(self, start: int) -> Atom | None:
        outer = self.fold, self.dot_all
        if self.take("?") and not self.group_head():
            return None
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError("groups are nested too deeply")
        branches = [self.sequence()]
        while self.take("|"):
            branches.append(self.sequence())
        if not self.take(")"):
            raise ValueError("missing )")
        self.depth -= 1
        self.fold, self.dot_all = outer
        python = "|".join("".join(atom.python for atom in one) for one in branches)
        weight = max((atom.weight for one in branches for atom in one), default=1)
        return Atom(start, self.pos, f"(?:{python})", weight=weight)

    def group_head(self) -> bool:
        """Read what follows `(?`; False where it only set flags, as in `(?i)`."""
        named = re.compile(r"P<\w+>", re.ASCII).match(self.source, self.pos)
        if named:
            self.pos = named.end()
            return True
        flags = re.compile(r"([is]*)(-[is]+)?([:)])").match(self.source, self.pos)
        if flags is None or flags[0] == ")":
            raise ValueError(
                "lookaround, backreferences, and flags other than i and s"
                " are not available"
            )
        self.pos = flags.end()
        for text, value in ((flags[1], True), (flags[2] or "", False)):
            self.fold = value if "i" in text else self.fold
            self.dot_all = value if "s" in text else self.dot_all
        return flags[3] == ":"

    def quantifier(self) -> tuple[str, int] | None:
        """Read a repetition: its Python text, and the count that Go limits."""
        counted = _COUNT.match(self.source, self.pos)
        if counted is None:
            found = next((one for one in "*+?" if self.take(one)), None)
            return None if found is None else (found, 1)
        self.pos = counted.end()
        low, high = int(counted[1]), int(counted[3] or 0)
        if max(low, high) > _MAX_REPEAT or (counted[3] and high < low):
            raise ValueError("a repetition count is out of range")
        return counted[0], max(low, high, 1)

    def repeated(self, atom: Atom) -> Atom:
        found = self.quantifier()
        if found is None:
            return atom
        if atom.assertion:
            raise ValueError("an anchor or boundary cannot be repeated")
        text, count = found
        weight = count * atom.weight
        if weight > _MAX_REPEAT:
            raise ValueError("nested repetition counts are out of range")
        text += "?" if self.take("?") else ""
        if self.quantifier() is not None:
            raise ValueError("a repetition of a repetition, or a possessive one")
        # an exact count followed by ? is lazy in Go, as it is in Python
        return Atom(atom.start, self.pos, f"(?:{atom.python}){text}", weight=weight)

    def char_class(self) -> str:
        negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self.peek("]"):
            first = False
            ranges += self.class_item()
        self.pos += 1
        return class_text(tuple(ranges), negated=negated)

    def class_item(self) -> Ranges:
        if self.take("[:"):
            return self.posix_class()
        for name in "dswDSW":
            if self.take("\\" + name):
                found = _PERL[name.lower()]
                return found if name.islower() else complement(found)
        low = self.class_char()
        if not self.peek("-") or self.source[self.pos + 1 : self.pos + 2] in ("", "]"):
            return ((low, low),)
        self.pos += 1
        high = self.class_char()
        if high < low:
            raise ValueError("a range in [...] runs backwards")
        return ((low, high),)

    def posix_class(self) -> Ranges:
        found = re.compile(r"(\^?)(\w+):\]").match(self.source, self.pos)
        if found is None or found[2] not in _POSIX:
            raise ValueError("an unknown class [:name:]")
        self.pos = found.end()
        ranges = _POSIX[found[2]]
        return complement(ranges) if found[1] else ranges

    def class_char(self) -> int:
        char = self.next()
        if char != "\\":
            return ord(char)
        return ord(self.escaped_char(self.next()))
