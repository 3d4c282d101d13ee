"""Regular expressions of sops as globs of the map, and sample paths for them.

A glob is used only if it covers exactly the same paths, among those that can exist:
relative, without empty, `.` and `..` segments.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nixsecrets.map.match import compile_rule
from nixsecrets.map.model import Rule
from nixsecrets.untrusted import regex

_ANYWHERE = {
    "(^|/)", "(?:^|/)", "(/|^)", "^(.*/)?", "^(?:.*/)?", "^(.+/)?", "^(?:.+/)?",
    "^(.+/|)", "^(.*/|)", "^(|.+/)", "^(|.*/)",
}  # fmt: skip
_WILD = {"[^/]+": "?*", "[^/]*": "*", "[^/]": "?"}
_ENDS = ("$", r"\z")
_STARTS = ("^", r"\A")
_SPECIAL = frozenset("*?[]{}\\")
_TRIED = "a0.-_A/x~ Z9@+=,:"
_DRAWS = 14
_STEPS = 2000  # limit of one draw, in atoms
_DEPTH = 50  # limit of nested groups
_REPEAT = re.compile(r"([*+?]|\{(\d+)(?:,(\d*))?\})\??")


@dataclass(frozen=True, slots=True)
class Glob:
    """A glob; `open` if its first segment may have any text before it."""

    text: str
    open: bool = False


def glob_text(path: str) -> str:
    """Return the glob that matches only `path`."""
    return "".join(f"[{char}]" if char in _SPECIAL else char for char in path)


def glob_of(source: str) -> Glob | None:
    """Return the glob that covers exactly the paths that `source` matches, else None.

    Raises:
        ValueError: sops cannot compile the expression.
    """
    if not source:
        return Glob("**")
    pieces = _pieces(regex.parse(source))
    found = _translated(pieces) if pieces else None
    if found is None or not _agree(source, found.text):
        return None
    return found


def _pieces(found: regex.Regex) -> list[str]:
    """Return the source of each piece, a literal one as `=c`; empty if it has a `|`."""
    pieces = [
        text if literal is None else f"={literal}" for text, literal in found.pieces
    ]
    if pieces[:1] and pieces[0] in _STARTS and "".join(pieces[:2]) in _ANYWHERE:
        pieces[:2] = ["".join(pieces[:2])]
    return pieces


def _translated(pieces: list[str]) -> Glob | None:
    """Return the glob for pieces that are literals, `[^/]` and one `.*` or `.+`."""
    closed = pieces[-1] in _ENDS
    body = pieces[: -1 if closed else None]
    head, is_open = "", False
    if body[:1] and body[0] in _ANYWHERE:
        head, body = "**/", body[1:]
    elif body[:1] and body[0] in _STARTS:
        body = body[1:]
    elif body[:1] and body[0].startswith("=") and body[0] != "=/":
        head, is_open = "**/*", True
    elif body[:1] != [".*"]:
        return None
    text = _segments(body, closed=closed)
    return None if text is None else Glob(head + text, is_open)


def _segments(body: list[str], *, closed: bool) -> str | None:
    if not closed and body[-1:] not in ([".*"], [".+"]):
        if body[-1:] != ["=/"]:
            return None
        body = [*body, ".+"]
    text = ""
    for at, piece in enumerate(body):
        if piece.startswith("="):
            text += glob_text(piece[1:])
        elif piece in _WILD:
            text += _WILD[piece]
        elif piece in (".*", ".+") and (not text or text.endswith("/")):
            return _deep(text, piece, body[at + 1 :])
        else:
            return None
    return "/".join("*" if one == "?*" else one for one in text.split("/"))


def _deep(text: str, piece: str, tail: list[str]) -> str | None:
    """Return the glob for `.*` or `.+` at the start of a segment and the rest."""
    if not tail:
        return text + "**"
    if piece == ".+" or "=/" in tail:
        return None
    rest = _segments(tail, closed=True)
    return None if rest is None or "**" in rest else f"{text}**/*{rest}"


def _agree(source: str, glob: str) -> bool:
    found = regex.parse(source)
    try:
        matcher = compile_rule(Rule(0, glob, None, ()))
    except ValueError:
        return False
    paths = nearby(samples(source))
    return all(
        found.found_in(path) == (matcher.match(path) is not None) for path in paths
    )


def samples(source: str) -> tuple[str, ...]:
    """Return some paths that `source` matches, none if none can be found."""
    if not source:
        return ("x", "secrets/x.yaml")
    finds = regex.parse(source)
    drawn = (_Draw(source, number).text() for number in range(_DRAWS))
    found = (
        path
        for text in drawn
        for path in (text, "d/" + text.lstrip("/"), "x" + text, text + "x")
        if possible(path) and finds.found_in(path)
    )
    return tuple(dict.fromkeys(found))[:_DRAWS]


def nearby(paths: Iterable[str]) -> tuple[str, ...]:
    """Return `paths` and similar ones: with text at one end, or another dot."""
    every: dict[str, None] = {}
    for path in paths:
        changed = (path, "d/" + path, "x" + path, path + "x", path + "/x")
        every |= dict.fromkeys(changed)
        every[path.replace(".", "x")] = None
        every[path.replace(".", "/")] = None
    return tuple(path for path in every if possible(path))


def possible(path: str) -> bool:
    """Return whether `path` can be the path of a file in a repository."""
    return not {"", ".", ".."} & set(path.split("/")) and path.isprintable()


class _TooLong(Exception):
    """A draw takes too many steps."""


class _Draw:
    """Draws one text that an expression probably matches; the caller checks it.

    The same number draws the same text.
    """

    def __init__(self, source: str, number: int) -> None:
        self.tokens = regex.parse(source).tokens
        self.number = self.state = number
        self.pos = self.depth = self.steps = 0

    def text(self) -> str:
        """Return the text, "" if drawing takes too long."""
        try:
            return self.branches()
        except _TooLong:
            return ""

    def pick(self, count: int) -> int:
        if self.number == 0 or count < 2:
            return 0
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % count

    def peek(self) -> str:
        return self.tokens[self.pos] if self.pos < len(self.tokens) else ""

    def branches(self) -> str:
        texts = [self.sequence()]
        while self.peek() == "|":
            self.pos += 1
            texts.append(self.sequence())
        return texts[self.pick(len(texts))]

    def sequence(self) -> str:
        text = ""
        while self.peek() not in ("", "|", ")"):
            start = self.pos
            first = self.atom()
            for number in range(self.count()):
                text += first if number == 0 else self.again(start)
        return text

    def again(self, start: int) -> str:
        """Draw the atom that begins at `start` once more."""
        end, self.pos = self.pos, start
        text = self.atom()
        self.pos = end
        return text

    def count(self) -> int:
        """Read a repetition; return how often to draw its atom."""
        found = _REPEAT.fullmatch(self.peek())
        if found is None:
            return 1
        self.pos += 1
        if found[2] is not None:
            return min(int(found[2]), 50)
        return {"*": (1, 0, 3), "+": (1, 2, 3), "?": (0, 1)}[found[1]][
            self.pick(2 if found[1] == "?" else 3)
        ]

    def atom(self) -> str:
        part = self.peek()
        self.pos += 1
        self.steps += 1
        if self.steps > _STEPS:
            raise _TooLong
        if part[0] == "(":
            return "" if part[-1] == ")" else self.group()
        if part == ".":
            return ("x", ".", "/")[self.pick(3)]
        if part in "^$":
            return ""
        if len(part) == 1:
            return part
        if part[0] == "[" or part[1] in "dDsSwWpP":
            return self.one_of(part)
        if part[1] == "Q":
            return part[2:].removesuffix(r"\E")
        return "" if part[1].isalnum() else part[1]

    def group(self) -> str:
        self.depth += 1
        if self.depth > _DEPTH:
            raise _TooLong
        text = self.branches()
        self.pos += 1  # the closing parenthesis
        self.depth -= 1
        return text

    def one_of(self, part: str) -> str:
        fits = [char for char in _TRIED if regex.parse(part).found_in(char)]
        return fits[self.pick(len(fits))] if fits else ""
