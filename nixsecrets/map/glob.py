"""The grammar of a rule's `path`: segments of parts, each with its regex."""

from typing import Literal

from nixsecrets.frozen import NamedTuple
from nixsecrets.untrusted import regex

Placeholder = Literal["host", "user"]
ANY_NAME = "[^/]+"

Ranges = tuple[tuple[int, int], ...]


class Part(NamedTuple):
    """A piece of a segment: fixed text, a placeholder, or a wildcard."""

    regex: str
    literal: str | None = None
    placeholder: Placeholder | None = None


Segment = tuple[Part, ...]
DEEP: Segment = ()  # `**`; every other segment has at least one part


def parse_glob(path: str) -> tuple[Segment, ...]:
    """Return the segments of a glob.

    Raises:
        ValueError: it is invalid; the message is the reason.
    """
    if "\0" in path or not path:
        raise ValueError("path is empty or holds a NUL")
    texts = path.split("/")
    if {"", ".", ".."} & set(texts):
        raise ValueError(
            "path is relative to the map's folder, without empty, . and .. segments"
        )
    segments: list[Segment] = []
    for text in texts:
        segment = DEEP if text == "**" else _parse_segment(text)
        if segment != DEEP or segments[-1:] != [DEEP]:  # `**/**` means `**`
            segments.append(segment)
    names = [part.placeholder for one in segments for part in one if part.placeholder]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{{{name}}} may occur only once in a path")
    return tuple(segments)


def _parse_segment(text: str) -> Segment:
    parts: list[Part] = []
    pos = 0
    while pos < len(text):
        part, pos = _parse_part(text, pos)
        parts.append(part)
    if len(parts) == 1 and text == "*":
        return (Part(ANY_NAME),)
    return tuple(parts)


def _parse_part(text: str, pos: int) -> tuple[Part, int]:
    char = text[pos]
    match char:
        case "*":
            if text.startswith("**", pos):
                raise ValueError("** must be a whole segment")
            return Part("[^/]*"), pos + 1
        case "?":
            return Part("[^/]"), pos + 1
        case "[":
            return _parse_class(text, pos + 1)
        case "{":
            for name in ("host", "user"):
                if text.startswith(f"{{{name}}}", pos):
                    return Part(ANY_NAME, placeholder=name), pos + len(name) + 2
            raise ValueError(
                "only {host} and {user} are allowed in braces; write [{] for a brace"
            )
        case "}" | "]" | "\\":
            wanted = "[]]" if char == "]" else f"[{char}]"
            raise ValueError(f"a lone {char}; write {wanted} for the character itself")
        case _:
            end = pos + 1
            while end < len(text) and text[end] not in "*?[]{}\\":
                end += 1
            literal = text[pos:end]
            return Part(regex.quote(literal), literal=literal), end


def _parse_class(text: str, pos: int) -> tuple[Part, int]:
    """Parse the class whose `[` is before `pos`; return it and the offset behind it.

    As in a shell, a `]` directly after the `[` is an ordinary character.
    """
    negated = text[pos : pos + 1] in ("!", "^")
    start = pos + 1 if negated else pos
    end = text.find("]", start + 1)
    if end < 0:
        raise ValueError("[ without ]; write [[] for the character itself")
    inner = text[start:end]
    if "[:" in inner:
        raise ValueError("classes like [:alpha:] are not available; write [A-Za-z]")
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < len(inner):
        # `a-z` is a range; a `-` at the end is an ordinary character
        last = at + 2 if inner[at + 1 : at + 2] == "-" and at + 2 < len(inner) else at
        ranges.append((ord(inner[at]), ord(inner[last])))
        at = last + 1
    if any(low > high for low, high in ranges):
        raise ValueError("a range in [...] runs backwards")
    slash = ((ord("/"), ord("/")),)
    if negated:
        return Part(_class_text((*ranges, *slash), negated=True)), end + 1
    kept = _without_slash(tuple(ranges))
    if not kept:
        raise ValueError("[/] can match nothing; a wildcard stays within a segment")
    return Part(_class_text(kept)), end + 1


def _without_slash(ranges: Ranges) -> Ranges:
    """Return the ranges without `/`, which no class may match."""
    slash = ord("/")
    return tuple(
        (first, last)
        for low, high in ranges
        for first, last in (
            ((low, slash - 1), (slash + 1, high))
            if low <= slash <= high
            else ((low, high),)
        )
        if first <= last
    )


def _class_text(ranges: Ranges, *, negated: bool = False) -> str:
    """Return a character class that means the same to RE2 and Python."""
    items = (
        _class_char(low) + ("-" + _class_char(high) if high > low else "")
        for low, high in ranges
    )
    return "[" + ("^" if negated else "") + "".join(items) + "]"


def _class_char(code: int) -> str:
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    char = chr(code)
    return "\\" + char if char in r"\]^-[&|~" else char
