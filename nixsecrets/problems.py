"""Problems: what a person should look at because no step repairs it.

Pure, over one `World`.  What a step repairs is the plan's; how a finding is told and
how bad it is, the catalogue's (`findings`).
"""

import posixpath
from collections.abc import Iterator, Sequence

from nixsecrets.findings import Code, Finding
from nixsecrets.keys.forms import Backend, Owner, usable
from nixsecrets.plan import Plan
from nixsecrets.policy.model import Reader, Rule
from nixsecrets.render import sopsconfig
from nixsecrets.render.sopsconfig import ConfigRule
from nixsecrets.secretfiles.state import Actual, Damaged, NotSecret
from nixsecrets.world import MAP_NAME, World


def problems(world: World) -> list[Finding]:
    """Return what a person should look at and no step repairs."""
    return [
        *_file_problems(world),
        *_rule_problems(world),
        *_winner_problems(world),
    ]


def _file_problems(world: World) -> Iterator[Finding]:
    for path, found in world.files.items():
        match found:
            case Actual():
                yield from _actual_problems(world, found)
            case NotSecret():
                yield from _plaintext(world, found)
            case Damaged():
                yield Finding(path, Code.DAMAGED, found.reason)


def _plaintext(world: World, found: NotSecret) -> Iterator[Finding]:
    winning = world.policy.winning(found.path)
    if winning is not None and not winning[0].plaintext_allowed:
        rule = winning[0]
        yield Finding(
            found.path,
            Code.PLAINTEXT,
            f"is not encrypted, but the rule at line {rule.line} says it must be",
        )


def _actual_problems(world: World, actual: Actual) -> Iterator[Finding]:
    want = world.policy.desired(actual.path, actual.backend)
    if want is None:
        message = f"is an encrypted {actual.backend} file that no rule names"
        yield Finding(actual.path, Code.UNMANAGED, message)
        return
    if actual.refusal is not None:
        yield Finding(actual.path, Code.REFUSED, actual.refusal)
    if want.unclaimed is not None:
        message = f"the map has no name {want.unclaimed}; only `always` may read it"
        yield Finding(actual.path, Code.NO_SUCH_NAME, message)
    ask = world.book.memory.ask  # the files of a rule share their readers
    for message in ask(_unusable, want.readers, want.backend, world.users):
        yield Finding(want.path, Code.UNUSABLE, message)


def _unusable(
    readers: Sequence[Reader], backend: Backend, users: frozenset[str]
) -> list[str]:
    """Return what keeps readers from being served by the file's backend."""
    found: list[str] = []
    for reader in readers:
        owner: Owner = "user" if reader.name in users else "host"
        why = usable(reader.recipient, backend, owner)
        if why is not None:
            found.append(f"{reader.name} cannot read it: {why}")
    kinds = {reader.recipient.post_quantum for reader in readers}
    if backend is Backend.AGE and len(kinds) > 1:
        found.append("age cannot mix post-quantum and classic recipients in one file")
    return found


def _rule_problems(world: World) -> Iterator[Finding]:
    used = {
        winning[0].index
        for path in world.files
        if (winning := world.policy.winning(path)) is not None
    }
    for rule in world.map.rules:
        if rule.index not in used:
            yield Finding(
                MAP_NAME, Code.RULE_MATCHES_NOTHING, _matches_nothing(rule), rule.line
            )


def _matches_nothing(rule: Rule) -> str:
    return f"the rule for {rule.pattern} at line {rule.line} wins no file"


def _winner_problems(world: World) -> Iterator[Finding]:
    """Yield the sops files of ours that a foreign creation rule wins."""
    config = world.map.sops_config
    text = world.texts.get(config) if config is not None else None
    if config is None or text is None:
        return
    winners = _winners(world, config, text)
    for path, rule in winners.items():
        if rule is not None and not rule.ours:
            message = (
                f"stock sops takes the foreign rule at {config}:{rule.line} for it"
            )
            yield Finding(path, Code.FOREIGN_RULE, message)


def _winners(world: World, config: str, text: str) -> dict[str, ConfigRule | None]:
    """Return, for each managed sops file, the creation rule that stock sops takes."""
    decide = sopsconfig.Winners(text, config)
    folder = posixpath.dirname(config)
    return {
        path: decide.winner(posixpath.relpath(path, folder) if folder else path)
        for path, actual in world.secrets.items()
        if actual.backend is Backend.SOPS and world.policy.winning(path)
    }


def winner_changes(world: World, plan: Plan) -> list[str]:
    """Return the sops files for which the plan takes over from a foreign rule."""
    config = world.map.sops_config
    for step in plan.steps:
        if step.path == config and step.text is not None:
            before = _winners(world, config, world.texts.get(config) or "")
            after = _winners(world, config, step.text)
            return [
                f"{path}: was decided by the rule at {config}:{rule.line}"
                for path, rule in before.items()
                if rule is not None and not rule.ours and after[path] != rule
            ]
    return []
