"""Which paths a rule of the map covers, here and as regular expressions for sops.

A path is relative to the map's folder, with `/` between its segments.  In `path`,
`*`, `?` and `[a-z]` stay within a segment, `**` is a whole segment of any depth, and
`{host}` and `{user}` stand for one name; `path_regex` is searched for, as sops does,
with the same placeholders.
The expression that matches here is the one that is written into `.sops.yaml`, so both
agree on every path.
"""

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from nixsecrets.frozen import NamedTuple
from nixsecrets.map.glob import (
    ANY_NAME,
    DEEP,
    Placeholder,
    Segment,
    parse_glob,
)
from nixsecrets.map.model import Rule
from nixsecrets.untrusted import regex
from nixsecrets.untrusted.regex import Piece

Find = Callable[[str], Mapping[str, str] | None]
"""Returns the text of each placeholder in a path, None if the path is not covered."""


_WILD = frozenset("*?[")
_MARK = "\ue000"  # for private use: no name and no operator


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


def check_rule(rule: Rule) -> None:
    """Raise ValueError with the reason if the rule's pattern is invalid."""
    if rule.path is None:
        present: Collection[str] = _named_in(rule.pattern)
        _require_apart(rule.pattern, present)
        regex.parse(_with_any_name(rule.pattern))
    else:
        present = _placeholders(parse_glob(rule.path))
    for name in (*rule.readers, *rule.except_):
        if name in ("{host}", "{user}") and name[1:-1] not in present:
            raise ValueError(f"{name} is named, but the path has no {name}")


def literal_path(rule: Rule) -> str | None:
    """Return the one path that the rule names without wildcards, else None."""
    if rule.path is None or _WILD & set(rule.path) or "{" in rule.path:
        return None
    return rule.path


def reads_one_way(rule: Rule) -> bool:
    """Return whether every path has one reading: one text for each placeholder."""
    if rule.path is None:
        return not _named_in(rule.pattern)
    return _unambiguous(parse_glob(rule.path))


def literal_suffix(rule: Rule) -> str:
    """Return text in which every path that the rule covers ends; "" if unknown."""
    if rule.path is None:
        return regex.parse(_with_any_name(rule.pattern)).suffix
    tail = ""
    for part in reversed(parse_glob(rule.path)[-1]):
        if part.literal is None:
            break
        tail = part.literal + tail
    return tail


class Claim(NamedTuple):
    """A reading of a path with the known names of `match` in its placeholders."""

    match: Match
    covers: Find

    def takes(self, path: str) -> bool:
        """Return whether a path that the rule covers has this reading."""
        named = all(name is None or name in path for name in self.match)
        return named and self.covers(path) is not None


class Matcher(NamedTuple):
    """A compiled rule; make one with `compile_rule`.

    `prefix` begins every path that it covers, `find` matches one; `claims` are the
    readings with known names, if a path can have several readings.
    """

    rule: Rule
    prefix: str
    find: Find
    claims: tuple[Claim, ...]

    def match(self, path: str) -> Match | None:
        """Match a whole path; of several readings, one with known names wins."""
        if not path.startswith(self.prefix):
            return None
        found = self.find(path)
        if found is None:
            return None
        for claim in self.claims:
            if claim.takes(path):
                return claim.match
        return Match(**found) if found else _NO_NAMES


def compile_rule(
    rule: Rule, *, hosts: Sequence[str] = (), users: Sequence[str] = ()
) -> Matcher:
    """Compile a rule's pattern.

    `hosts` and `users` are the known names.  They matter only if one path can have
    several readings (`{host}-*.age`, `**/{host}/**`): the longest name is tried first,
    as in the regular expressions that `rendered_regexes` returns.

    Raises:
        ValueError: the pattern is invalid.
    """
    check_rule(rule)
    if rule.path is None:
        return _compiled_regex(rule, hosts, users)
    glob = parse_glob(rule.path)
    present = _placeholders(glob)
    groups: dict[str, str] = {name: f"(?P<{name}>{ANY_NAME})" for name in present}
    claims: Iterator[Match] = iter(())
    if not _unambiguous(glob):
        claims = _known(present, hosts, users)
    return Matcher(
        rule,
        _literal_prefix(glob),
        _whole(glob, groups),
        tuple(Claim(match, _whole(glob, _quoted(match))) for match in claims),
    )


def _compiled_regex(rule: Rule, hosts: Sequence[str], users: Sequence[str]) -> Matcher:
    present = _named_in(rule.pattern)
    if not present:
        return Matcher(rule, "", _searching(rule.pattern), ())
    groups: dict[str, str] = {name: f"(?P<{name}>{ANY_NAME})" for name in present}
    claims = (
        Claim(match, _searching(_filled(rule.pattern, _quoted(match))))
        for match in _known(present, hosts, users)
    )
    find = regex.matcher(_filled(rule.pattern, groups), whole=False)
    return Matcher(rule, "", find, tuple(claims))


def _searching(source: str) -> Find:
    found = regex.parse(source)
    return lambda path: {} if found.found_in(path) else None


def _named_in(pattern: str) -> tuple[Placeholder, ...]:
    """Return the placeholders of a `path_regex`."""
    every: tuple[Placeholder, ...] = ("host", "user")
    return tuple(name for name in every if f"{{{name}}}" in pattern)


def _filled(pattern: str, names: Mapping[str, str]) -> str:
    """Return a `path_regex` with the expressions `names` for its placeholders."""
    for name, text in names.items():
        pattern = pattern.replace(f"{{{name}}}", text)
    return pattern


def _with_any_name(pattern: str) -> str:
    return _filled(pattern, dict.fromkeys(_named_in(pattern), ANY_NAME))


def _require_apart(pattern: str, present: Collection[str]) -> None:
    """Raise ValueError unless each placeholder is one item of the expression.

    In alternatives, groups and repetitions it would stand for no name, or for several.
    """
    for name in present:
        marked = _with_any_name(_filled(pattern, {name: _MARK}))
        apart = f"\\{{{name}}}" not in pattern and marked.count(_MARK) == 1
        if not apart or Piece(_MARK, _MARK) not in regex.parse(marked).pieces:
            raise ValueError(
                f"{{{name}}} stands once in a path_regex, outside of groups, classes,"
                " alternatives and repetitions"
            )


def _whole(glob: Sequence[Segment], names: dict[str, str]) -> Find:
    """Return a function that matches whole paths by the glob's expression.

    Most globs match without backtracking and use Python's `re`: RE2 takes 5 ms to load
    and six times as long per path.  All others use RE2.
    """
    text = _body(glob, names)
    if not _reads_straight(glob):
        return regex.matcher(text, whole=True)
    match = re.compile(text).fullmatch
    return lambda path: found.groupdict() if (found := match(path)) else None


def _reads_straight(glob: Sequence[Segment]) -> bool:
    """Return whether Python's `re` matches a glob's expression without backtracking.

    It does if each segment has at most one wildcard of variable length and the glob at
    most one `**`: slashes and both ends then determine what each part matches.
    """
    opened = (
        sum(part.literal is None and part.regex[-1] in "*+" for part in segment)
        for segment in glob
    )
    return glob.count(DEEP) <= 1 and all(places <= 1 for places in opened)


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
            relative to, seen from the map's folder; a rule that covers no file below
            it has no expressions.

    Raises:
        ValueError: a `path_regex` cannot be restated for paths below that folder.
    """
    glob = None if rule.path is None else parse_glob(rule.path)
    present = _named_in(rule.pattern) if glob is None else _placeholders(glob)
    claims = [*_known(present, hosts, users)] if present else [Match()]
    expanded: list[tuple[dict[str, str], Match | None]]
    expanded = [(_quoted(match), match) for match in claims]
    if present:
        expanded.append((dict.fromkeys(present, ANY_NAME), None))
    if glob is None:
        return tuple(
            Expansion(_restated(_filled(rule.pattern, names), below), match)
            for names, match in expanded
        )
    folder = tuple(below.split("/")) if below else ()
    return tuple(
        Expansion(f"^{_body(rest, names)}$", match)
        for names, match in expanded
        for rest in _below(glob, folder, names)
    )


def _restated(pattern: str, below: str) -> str:
    """Return a `path_regex` for paths relative to the folder `below`."""
    if not below:
        return pattern
    rest = regex.parse(pattern).without_start(below + "/")
    if rest is None:
        raise ValueError(
            f"path_regex must begin with ^{regex.quote(below)}/ to be restated"
            f" for a configuration in {below}"
        )
    return rest


def _known(
    present: Collection[str], hosts: Sequence[str], users: Sequence[str]
) -> Iterator[Match]:
    """Yield every choice of known names, longer names first, else in given order."""

    def choices(name: Placeholder, known: Sequence[str]) -> Sequence[str | None]:
        if name not in present:
            return (None,)
        return sorted(known, key=lambda name: -len(name))

    for host, user in itertools.product(choices("host", hosts), choices("user", users)):
        yield Match(host, user)


def _quoted(match: Match) -> dict[str, str]:
    names = {"host": match.host, "user": match.user}
    return {key: regex.quote(name) for key, name in names.items() if name is not None}


def _placeholders(glob: Sequence[Segment]) -> tuple[Placeholder, ...]:
    return tuple(
        part.placeholder for one in glob for part in one if part.placeholder is not None
    )


def _unambiguous(glob: Sequence[Segment]) -> bool:
    """Return whether each path has one reading, independent of the known names.

    It has if each placeholder is the only variable part of its segment and no `**`
    stands on both sides: the segment can be counted from one end of the path.
    """
    for index, segment in enumerate(glob):
        if all(part.placeholder is None for part in segment):
            continue
        if sum(part.literal is None for part in segment) > 1:
            return False
        if DEEP in glob[:index] and DEEP in glob[index:]:
            return False
    return True


def _literal_prefix(glob: Sequence[Segment]) -> str:
    """Return the text before the first wildcard: every covered path begins with it."""
    prefix = ""
    for index, segment in enumerate(glob):
        for part in segment:
            if part.literal is None:
                return prefix
            prefix += part.literal
        if segment == DEEP:
            return prefix
        if index + 1 < len(glob):
            prefix += "/"
    return prefix


def _segment_regex(segment: Segment, names: dict[str, str]) -> str:
    return "".join(
        part.regex if part.placeholder is None else names[part.placeholder]
        for part in segment
    )


def _body(glob: Sequence[Segment], names: dict[str, str]) -> str:
    """Return the glob as an unanchored expression with `names` for placeholders."""
    *folders, last = glob
    text = "".join(
        "(?:[^/]+/)*" if one == DEEP else _segment_regex(one, names) + "/"
        for one in folders
    )
    return text + ("(?:[^/]+/)*[^/]+" if last == DEEP else _segment_regex(last, names))


def _below(
    glob: tuple[Segment, ...], folder: tuple[str, ...], names: dict[str, str]
) -> tuple[tuple[Segment, ...], ...]:
    """Return the globs, relative to `folder`, for what `glob` covers inside of it."""
    globs = {glob: None}
    for name in folder:
        globs = {rest: None for one in globs for rest in _inside(one, name, names)}
    return tuple(globs)


def _inside(
    glob: tuple[Segment, ...], folder: str, names: dict[str, str]
) -> Iterator[tuple[Segment, ...]]:
    """Yield the globs that remain of `glob` one folder further down."""
    first, rest = glob[0], glob[1:]
    if first == DEEP:  # `**` matches this folder and stays, or matched all it could
        yield glob
        if rest:
            yield from _inside(rest, folder, names)
    elif rest and _whole((first,), names)(folder) is not None:
        yield rest
