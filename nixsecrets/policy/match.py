"""Which paths a rule of the map covers, in Python and as regular expressions.

A path is relative to the map's folder, with `/` between its segments.  In `path`,
`*`, `?` and `[a-z]` stay within a segment, `**` is a whole segment of any depth, and
`{host}` and `{user}` stand for one name; `path_regex` is searched for, as sops does.
One translation serves both sides: the text that Python matches is the text written
into `.sops.yaml`.  Nothing here knows who the readers of a path are.
"""

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal, NamedTuple

from nixsecrets.policy import re2
from nixsecrets.policy.model import Rule

Placeholder = Literal["host", "user"]
_ANY_NAME = "[^/]+"
_WILD = frozenset("*?[")


class Match(NamedTuple):
    """A rule covers a path; the texts that `{host}` and `{user}` stand for in it."""

    host: str | None = None
    user: str | None = None


_NO_NAMES = Match()


class Expansion(NamedTuple):
    """One regular expression of a rule, anchored unless the rule is a `path_regex`.

    `match` holds the names it was written for; None marks the catch-all that claims
    the remaining paths of a rule with `{host}` or `{user}`.
    """

    regex: str
    match: Match | None


class _Part(NamedTuple):
    """A piece of a segment: fixed text, a placeholder, or a wildcard."""

    regex: str
    literal: str | None = None
    placeholder: Placeholder | None = None


_Segment = tuple[_Part, ...]
_DEEP: _Segment = ()  # `**`: no segment has no parts, so the empty one is free


def check_rule(rule: Rule) -> None:
    """Raise ValueError, saying what is wrong with the rule's pattern, if anything."""
    if rule.path is None:
        re2.parse(rule.pattern)
        if "{host}" in rule.pattern or "{user}" in rule.pattern:
            raise ValueError("{host} and {user} belong in path, not in path_regex")
        present: Collection[str] = ()
    else:
        present = _placeholders(_parse_glob(rule.path))
    for name in (*rule.readers, *rule.except_):
        if name in ("{host}", "{user}") and name[1:-1] not in present:
            raise ValueError(f"{name} is named, but the path has no {name}")


def literal_path(rule: Rule) -> str | None:
    """Return the one path that the rule names without wildcards, else None."""
    if rule.path is None or _WILD & set(rule.path) or "{" in rule.path:
        return None
    return rule.path


def reads_one_way(rule: Rule) -> bool:
    """Tell whether a path alone fixes what the rule's placeholders stand for."""
    return rule.path is None or _unambiguous(_parse_glob(rule.path))


def literal_suffix(rule: Rule) -> str:
    """Return text that every path the rule covers ends in; "" where none is known."""
    if rule.path is None:
        return re2.parse(rule.pattern).suffix
    tail = ""
    for part in reversed(_parse_glob(rule.path)[-1]):
        if part.literal is None:
            break
        tail = part.literal + tail
    return tail


class Matcher(NamedTuple):
    """A compiled rule; make one with `compile_rule`.

    `prefix` begins every path that it covers, `find` matches one; `claims` are the
    known names, each with its expression, where a path can be read in several ways.
    """

    rule: Rule
    prefix: str
    find: Callable[[str], re.Match[str] | None]
    claims: tuple[tuple[re.Pattern[str], Match], ...]

    def match(self, path: str) -> Match | None:
        """Match a whole path; where it can be read in several ways, known names win."""
        if not path.startswith(self.prefix):
            return None
        found = self.find(path)
        if found is None:
            return None
        for pattern, match in self.claims:
            if pattern.fullmatch(path):
                return match
        return Match(**found.groupdict()) if found.re.groups else _NO_NAMES


def compile_rule(
    rule: Rule, *, hosts: Sequence[str] = (), users: Sequence[str] = ()
) -> Matcher:
    """Compile a rule's pattern; ValueError as from `check_rule`.

    `hosts` and `users` are the known names.  They matter only where one path can be
    read in several ways (`{host}-*.age`, `**/{host}/**`): the longest name is tried
    first, as in the regular expressions that `rendered_regexes` gives.
    """
    check_rule(rule)
    if rule.path is None:
        return Matcher(rule, "", re2.parse(rule.pattern).pattern.search, ())
    glob = _parse_glob(rule.path)
    present = _placeholders(glob)
    groups: dict[str, str] = {name: f"(?P<{name}>{_ANY_NAME})" for name in present}
    claims: Iterator[Match] = iter(())
    if not _unambiguous(glob):
        claims = _known(present, hosts, users)
    return Matcher(
        rule,
        _literal_prefix(glob),
        re.compile(_body(glob, groups)).fullmatch,
        tuple((re.compile(_body(glob, _quoted(match))), match) for match in claims),
    )


def rendered_regexes(
    rule: Rule,
    hosts: Sequence[str] = (),
    users: Sequence[str] = (),
    *,
    below: str = "",
) -> tuple[Expansion, ...]:
    """Return the rule as expressions for sops, in the order in which they decide.

    Args:
        rule: a rule that `check_rule` accepts.
        hosts: the names that `{host}` expands to; likewise `users`.
        below: the folder (no `/` at its ends) that the expressions' subjects are
            relative to, seen from the map's folder; rules that reach no file below
            it give nothing.

    Raises:
        ValueError: a `path_regex` cannot be restated for paths below that folder.
    """
    if rule.path is None:
        return (Expansion(_restated(rule.pattern, below), Match()),)
    glob = _parse_glob(rule.path)
    present = _placeholders(glob)
    folder = tuple(below.split("/")) if below else ()
    claims = [*_known(present, hosts, users)] if present else [Match()]
    expanded = [(_quoted(match), match) for match in claims]
    catch_all: list[tuple[dict[str, str], Match | None]] = []
    if present:
        catch_all = [(dict.fromkeys(present, _ANY_NAME), None)]
    return tuple(
        Expansion(f"^{_body(rest, names)}$", match)
        for names, match in [*expanded, *catch_all]
        for rest in _below(glob, folder, names)
    )


def _restated(pattern: str, below: str) -> str:
    if not below:
        return pattern
    rest = re2.parse(pattern).without_start(below + "/")
    if rest is None:
        raise ValueError(
            f"path_regex must begin with ^{re2.quote(below)}/ to be restated"
            f" for a configuration in {below}"
        )
    return rest


def _known(
    present: Collection[str], hosts: Sequence[str], users: Sequence[str]
) -> Iterator[Match]:
    """Yield every choice of known names, longer names first, else as given."""

    def choices(name: Placeholder, known: Sequence[str]) -> Sequence[str | None]:
        if name not in present:
            return (None,)
        return sorted(known, key=lambda name: -len(name))

    for host, user in itertools.product(choices("host", hosts), choices("user", users)):
        yield Match(host, user)


def _quoted(match: Match) -> dict[str, str]:
    names = {"host": match.host, "user": match.user}
    return {key: re2.quote(name) for key, name in names.items() if name is not None}


def _parse_glob(path: str) -> tuple[_Segment, ...]:
    if "\0" in path or not path:
        raise ValueError("path is empty or holds a NUL")
    texts = path.split("/")
    if {"", ".", ".."} & set(texts):
        raise ValueError(
            "path is relative to the map's folder, without empty, . and .. segments"
        )
    segments: list[_Segment] = []
    for text in texts:
        segment = _DEEP if text == "**" else _parse_segment(text)
        if segment != _DEEP or segments[-1:] != [_DEEP]:  # `**/**` says no more
            segments.append(segment)
    names = [part.placeholder for one in segments for part in one if part.placeholder]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{{{name}}} may stand only once in a path")
    return tuple(segments)


def _parse_segment(text: str) -> _Segment:
    parts: list[_Part] = []
    pos = 0
    while pos < len(text):
        part, pos = _parse_part(text, pos)
        parts.append(part)
    if len(parts) == 1 and text == "*":
        return (_Part(_ANY_NAME),)
    return tuple(parts)


def _parse_part(text: str, pos: int) -> tuple[_Part, int]:
    char = text[pos]
    match char:
        case "*":
            if text.startswith("**", pos):
                raise ValueError("** must be a whole segment")
            return _Part("[^/]*"), pos + 1
        case "?":
            return _Part("[^/]"), pos + 1
        case "[":
            return _parse_class(text, pos + 1)
        case "{":
            for name in ("host", "user"):
                if text.startswith(f"{{{name}}}", pos):
                    return _Part(_ANY_NAME, placeholder=name), pos + len(name) + 2
            raise ValueError(
                "only {host} and {user} may stand in braces; write [{] for a brace"
            )
        case "}" | "]" | "\\":
            wanted = "[]]" if char == "]" else f"[{char}]"
            raise ValueError(f"a lone {char}; write {wanted} for the character itself")
        case _:
            end = pos + 1
            while end < len(text) and text[end] not in "*?[]{}\\":
                end += 1
            literal = text[pos:end]
            return _Part(re2.quote(literal), literal=literal), end


def _parse_class(text: str, pos: int) -> tuple[_Part, int]:
    """Parse what follows `[`: as in a shell, `]` first is an ordinary character."""
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
        last = at + 2 if inner[at + 1 : at + 2] == "-" and at + 2 < len(inner) else at
        ranges.append((ord(inner[at]), ord(inner[last])))
        at = last + 1
    if any(low > high for low, high in ranges):
        raise ValueError("a range in [...] runs backwards")
    slash = ((ord("/"), ord("/")),)
    if negated:
        return _Part(re2.class_text((*ranges, *slash), negated=True)), end + 1
    kept = _without_slash(tuple(ranges))
    if not kept:
        raise ValueError("[/] can match nothing; a wildcard stays within a segment")
    return _Part(re2.class_text(kept)), end + 1


def _without_slash(ranges: re2.Ranges) -> re2.Ranges:
    """Split the ranges that hold `/`: no class may match it."""
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


def _placeholders(glob: Sequence[_Segment]) -> tuple[Placeholder, ...]:
    return tuple(
        part.placeholder for one in glob for part in one if part.placeholder is not None
    )


def _unambiguous(glob: Sequence[_Segment]) -> bool:
    """Tell whether a path fixes what each placeholder stands for, whatever the names.

    It does where the placeholder is all that varies in its segment, and the segment
    can be counted from one end of the path.
    """
    for index, segment in enumerate(glob):
        if all(part.placeholder is None for part in segment):
            continue
        if sum(part.literal is None for part in segment) > 1:
            return False
        if _DEEP in glob[:index] and _DEEP in glob[index:]:
            return False
    return True


def _literal_prefix(glob: Sequence[_Segment]) -> str:
    prefix = ""
    for index, segment in enumerate(glob):
        for part in segment:
            if part.literal is None:
                return prefix
            prefix += part.literal
        if segment == _DEEP:
            return prefix
        if index + 1 < len(glob):
            prefix += "/"
    return prefix


def _segment_regex(segment: _Segment, names: dict[str, str]) -> str:
    return "".join(
        part.regex if part.placeholder is None else names[part.placeholder]
        for part in segment
    )


def _body(glob: Sequence[_Segment], names: dict[str, str]) -> str:
    """Write the glob as an unanchored expression, its placeholders as in `names`."""
    *folders, last = glob
    text = "".join(
        "(?:[^/]+/)*" if one == _DEEP else _segment_regex(one, names) + "/"
        for one in folders
    )
    return text + ("(?:[^/]+/)*[^/]+" if last == _DEEP else _segment_regex(last, names))


def _below(
    glob: tuple[_Segment, ...], folder: tuple[str, ...], names: dict[str, str]
) -> tuple[tuple[_Segment, ...], ...]:
    """Return the globs that cover, below `folder`, what `glob` covers of it."""
    if not folder:
        return (glob,)
    first, rest = glob[0], glob[1:]
    if first == _DEEP:  # takes the next folder and stays, or takes none and goes
        found = _below(glob, folder[1:], names)
        return found + (_below(rest, folder, names) if rest else ())
    if not rest or not re.fullmatch(_segment_regex(first, names), folder[0]):
        return ()
    return _below(rest, folder[1:], names)
