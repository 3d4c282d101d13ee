"""Findings on the map: rules that never apply, rules that overlap, unused names."""

import itertools
from collections.abc import Iterator

from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.keys.forms import Backend, usable
from nixsecrets.map.match import literal_path
from nixsecrets.map.model import Rule
from nixsecrets.plan.problems import problems
from nixsecrets.world.world import MAP_NAME, World

# What `status` says about the map rather than about a file.
_OF_THE_MAP = {Code.RULE_MATCHES_NOTHING, Code.UNUSABLE, Code.NO_SUCH_NAME}
_EVERY = {"{host}", "{user}"}


def map_findings(world: World) -> Iterator[Finding]:
    """Yield findings on likely mistakes in the map."""
    yield from (one for one in problems(world) if one.code in _OF_THE_MAP)
    yield from _shadowed(world)
    yield from _overlapping(world)
    yield from _unusable_readers(world)
    yield from _unused_names(world)
    yield from _retired_in_use(world)


def _winners(world: World) -> set[int]:
    """Return the indices of the rules that win a file."""
    winning = (world.policy.winning(path) for path in world.files)
    return {won[0].index for won in winning if won is not None}


def _shadowed(world: World) -> Iterator[Finding]:
    """Yield the rules that match files but win none of them."""
    won = _winners(world)
    for matcher in world.policy.matchers:
        rule = matcher.rule
        if rule.index in won:
            continue
        example = literal_path(rule) or next(
            (path for path in sorted(world.files) if matcher.match(path)), None
        )
        twin = next((r for r in world.map.rules if _same_pattern(r, rule)), None)
        winner = world.policy.winning(example) if example else None
        above = winner[0] if winner else twin
        if above is not None and above.index < rule.index:
            message = (
                f"the rule {rule.pattern} never applies: the rule {above.pattern}"
                f" (line {above.line}) matches the same files"
            )
            yield Finding(MAP_NAME, Code.RULE_SHADOWED, message, rule.line)


def _same_pattern(one: Rule, other: Rule) -> bool:
    return (one.path, one.path_regex) == (other.path, other.path_regex)


def _overlapping(world: World) -> Iterator[Finding]:
    """Yield each pair of rules that match the same file and have other readers.

    Paths that rules name without wildcards count even if the file does not exist.
    """
    seen: set[tuple[int, int]] = set()
    named = {path for rule in world.map.rules if (path := literal_path(rule))}
    for path in sorted(named | set(world.files)):
        matching = [one.rule for one in world.policy.matchers if one.match(path)]
        for first, rule in itertools.product(matching[:1], matching[1:]):
            if (first.index, rule.index) in seen:
                continue
            seen.add((first.index, rule.index))
            if _readers(world, first) != _readers(world, rule):
                message = (
                    f"the rule {rule.pattern} also matches {path}, but the rule"
                    f" {first.pattern} (line {first.line}) applies, with other readers"
                )
                yield Finding(MAP_NAME, Code.RULES_OVERLAP, message, rule.line)


def _unusable_readers(world: World) -> Iterator[Finding]:
    """Yield the hosts that could not read the files of a rule that has none yet."""
    won = _winners(world)
    for rule in world.map.rules:
        backend = _backend(rule)
        if backend is None or rule.index in won:
            continue
        readers, every = _readers(world, rule)
        readers = readers | world.policy.members(world.map.always)
        for host in world.map.hosts:
            if host.name in readers or "{host}" in every:
                for why in filter(
                    None, (usable(k, backend, "host") for k in host.keys)
                ):
                    message = f"{host.name} could not read {rule.pattern}: {why}"
                    yield Finding(MAP_NAME, Code.UNUSABLE, message, rule.line)


def _backend(rule: Rule) -> Backend | None:
    """Return the backend of all files of a rule, None if they may differ."""
    if rule.backend is not None or rule.path is None:
        return rule.backend
    if rule.path.endswith(".age"):
        return Backend.AGE
    kinds = (".yaml", ".yml", ".json", ".env", ".ini")
    return Backend.SOPS if rule.path.endswith(kinds) else None


def _readers(world: World, rule: Rule) -> tuple[set[str], set[str]]:
    """Return the names and the placeholders that read the files of a rule."""
    members = world.policy.members(rule.readers) - world.policy.members(rule.except_)
    return members, _EVERY & set(rule.readers)


def _unused_names(world: World) -> Iterator[Finding]:
    named = [*world.map.always]
    for rule in world.map.rules:
        named += rule.readers
    members = world.policy.members(named)
    for host in world.map.hosts:
        if host.name not in members and "{host}" not in named:
            message = f"no rule mentions the host {host.name}"
            yield Finding(MAP_NAME, Code.HOST_READS_NOTHING, message, host.line)
    grouped = {name for _, group in world.map.groups for name in group}
    for user in world.map.users:
        if user.name not in members | grouped and "{user}" not in named:
            message = f"the user {user.name} is in no group and no rule"
            yield Finding(MAP_NAME, Code.USER_READS_NOTHING, message, user.line)


def _retired_in_use(world: World) -> Iterator[Finding]:
    for owner in world.map.owners:
        for key in owner.keys:
            entry = world.map.retired_as(key.key_id)
            if entry is not None:
                message = f"{owner.name} has a key that is retired ({entry.name})"
                yield Finding(MAP_NAME, Code.RETIRED_IN_USE, message, owner.line)
