"""Problems: the findings on a `World` that no step of a plan resolves.

What a step does resolve is reported from the plan (`plan.model.stale_problems`).
"""

import posixpath
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from nixsecrets.errors import argument
from nixsecrets.files.kind import called_age
from nixsecrets.files.state import Actual, Damaged, NotSecret, Stated
from nixsecrets.findings.catalogue import Code, Finding, foreign_reader
from nixsecrets.keys.forms import Backend, Owner, usable
from nixsecrets.keys.recipients import recipient_of
from nixsecrets.map.model import Desired
from nixsecrets.plan.model import Action, Plan, Reason, Step
from nixsecrets.world.world import MAP_NAME, World

if TYPE_CHECKING:  # 3 ms; where no configuration is written, nobody looks at one
    from nixsecrets.generated.rules import ConfigRule, Winners


def problems(world: World) -> list[Finding]:
    """Return the findings on a world that no step resolves."""
    return [
        *_conflicts(world),
        *_other_problems(world),
        *_secret_problems(world),
        *_shared_key_problems(world),
        *unreached_problems(world),
        *_rule_problems(world),
        *_winner_problems(world),
    ]


def problems_after(world: World, plan: Plan) -> list[Finding]:
    """Return the findings that will remain after a plan is applied."""
    files = {**world.files}
    for step in plan.secret_steps:
        old = files.pop(step.origin or step.path, None)
        if step.action is not Action.DELETE and step.backend is not None:
            files[step.path] = _left(step, step.backend, old)
    written = {s.path: s.text for s in plan.steps if s.text is not None}
    after = world._replace(files=files, texts={**world.texts, **written})
    return problems(after)


def _left(step: Step, backend: Backend, old: object) -> Actual:
    """Return a secret's state after a step, as far as `problems` depends on it."""
    if not isinstance(old, Actual):
        readers = tuple(reader.recipient for reader in step.target)
        return Actual(step.path, backend, "", Stated(readers))
    content = step.reason is Reason.CONTENT and backend is Backend.SOPS
    kept = (
        step.keeps_bytes or content or step.action in (Action.GRANT, Action.FORM_CHANGE)
    )
    prints, others = (old.key_prints, old.others) if kept else ((), ())
    return old._replace(path=step.path, key_prints=prints, others=others)


def _conflicts(world: World) -> Iterator[Finding]:
    for path, conflict in world.conflicts.items():
        yield Finding(path, Code.UNMERGED, conflict.message, conflict.line)


def _other_problems(world: World) -> Iterator[Finding]:
    """Yield the files that must be secrets and are plaintext, corrupt or too large."""
    for path, found in world.files.items():
        if path in world.conflicts:
            continue
        if isinstance(found, NotSecret):
            yield from _plaintext(world, found)
        elif isinstance(found, Damaged):
            code = Code.TOO_LARGE if found.too_large else Code.DAMAGED
            yield Finding(path, code, found.reason)


def _plaintext(world: World, found: NotSecret) -> Iterator[Finding]:
    winning = world.policy.winning(found.path)
    if winning is not None and not winning[0].plaintext_allowed:
        rule = winning[0]
        yield Finding(
            found.path,
            Code.PLAINTEXT,
            f"is not encrypted, but the rule at line {rule.line} requires it",
        )
    elif called_age(found.path):
        yield Finding(found.path, Code.NOT_AGE, "is named .age but is not encrypted")


def _secret_problems(world: World) -> Iterator[Finding]:
    for want, every in world.file_groups:
        files = every if want is not None else _without_a_rule(world, every)
        if not files:
            continue
        for code, message in _wrong(files[0], want, world.users):
            for file in files:
                yield Finding(file.path, code, message)
        rekeyed = _rekeyed(world, files[0])
        for file in files if files[0].others else ():
            fix = "" if rekeyed else f"nixsecrets why {argument(file.path)}"
            for key in file.others:
                message = foreign_reader(key)
                yield Finding(file.path, Code.FOREIGN_READER, message, fix=fix)


def _without_a_rule(world: World, files: list[Actual]) -> list[Actual]:
    """Return the files that neither the map nor a foreign rule answers for.

    A foreign creation rule is the end state of a file that nixsecrets cannot manage, if
    the file has the keys that the rule names.
    """
    config = world.map.sops_config
    text = world.texts.get(config) if config is not None else None
    managed = files[0].backend is not Backend.SOPS or text is None
    if managed or config is None or text is None or not world.config_readable:
        return files
    from nixsecrets.generated.rules import Winners

    decide = Winners(text, config)
    return [file for file in files if not _as_foreign_rule_says(decide, file)]


def _as_foreign_rule_says(decide: "Winners", file: Actual) -> bool:
    rule = decide.winner(_from_config(decide, file.path))
    if rule is None or rule.ours or rule.fault:
        return False
    from nixsecrets.files.sops.metadata import FOREIGN

    named = [one.partition(":") for one in rule.others]
    known = [(FOREIGN[kind].prefix, text.replace(" ", "")) for kind, _, text in named]
    foreign = all(
        any(key.kind == kind and key.name and key.name in text for kind, text in known)
        for key in file.others
    )
    if not foreign or not isinstance(file.state, Stated):
        return foreign
    wanted = {key.key_id for text in rule.age if (key := recipient_of(text))}
    return {key.key_id for key in file.state.recipients} <= wanted


def _from_config(decide: "Winners", path: str) -> str:
    """Return a path relative to the folder of a configuration."""
    folder = posixpath.dirname(decide.filename)
    return posixpath.relpath(path, folder) if folder else path


_NAMED = 3  # how many files a message names


def _rekeyed(world: World, actual: Actual) -> bool:
    """Return whether `rekey` can give a file a new symmetric key."""
    return actual.refusal is None and world.policy.winning(actual.path) is not None


def _shared_key_problems(world: World) -> Iterator[Finding]:
    """Yield the files that share a symmetric key: who can open one can open all."""
    shared = world.shared_prints
    if not shared:
        return
    holders: dict[bytes, list[Actual]] = {}
    for file in world.secrets.values():
        for print_ in shared.intersection(file.key_prints):
            holders.setdefault(print_, []).append(file)
    # files by the prints that they share, so that hundreds of copies are sorted once
    groups: dict[frozenset[bytes], list[Actual]] = {}
    for file in world.secrets.values():
        prints = shared.intersection(file.key_prints)
        if not prints:
            continue
        if prints not in groups:
            every = {one.path: one for print_ in prints for one in holders[print_]}
            groups[prints] = [every[path] for path in sorted(every)]
        yield _shared_key(world, file, groups[prints])


def _shared_key(world: World, file: Actual, group: Sequence[Actual]) -> Finding:
    """Return the finding for `file`; `group` has all that share its key, by path."""
    first = [one.path for one in group[: _NAMED + 1] if one.path != file.path][:_NAMED]
    left = len(group) - 1 - len(first)
    names = ", ".join(map(argument, first)) + (f" and {left} more" if left else "")
    message = f"has the same symmetric key as {names}: it is a copy"
    fix = ""
    if not _rekeyed(world, file):
        able = next((one.path for one in group if _rekeyed(world, one)), None)
        fix = f"nixsecrets rekey {argument(able)}" if able else ""
    return Finding(file.path, Code.SHARED_KEY, message, fix=fix)


def _wrong(
    actual: Actual, want: Desired | None, users: frozenset[str]
) -> list[tuple[Code, str]]:
    """Return code and message of what is wrong with a file and all that are alike."""
    if want is None:
        message = f"is an encrypted {actual.backend} file that no rule matches"
        return [(Code.UNMANAGED, message)]
    found: list[tuple[Code, str]] = []
    if actual.refusal is not None:
        found.append((Code.REFUSED, actual.refusal))
    if want.unclaimed is not None:
        message = f"{want.unclaimed} is not in the map; only `always` may read it"
        found.append((Code.NO_SUCH_NAME, message))
    for reader in want.readers:
        owner: Owner = "user" if reader.name in users else "host"
        why = usable(reader.recipient, want.backend, owner)
        if why is not None:
            found.append((Code.UNUSABLE, f"{reader.name} cannot read it: {why}"))
    kinds = {reader.recipient.post_quantum for reader in want.readers}
    if want.backend is Backend.AGE and len(kinds) > 1:
        message = "age cannot mix post-quantum and classic recipients in one file"
        found.append((Code.UNUSABLE, message))
    return found


def unreached_problems(world: World) -> Iterator[Finding]:
    """Yield the inner maps and missing files that keep commands from a secret."""
    for inner, paths in world.reach.hidden.items():
        files = "a file" if len(paths) == 1 else f"{len(paths)} files"
        message = f"hides {files} that rules of this map match"
        yield Finding(inner, Code.HIDDEN, message)
    known = world.files.keys() | world.conflicts.keys()
    absent = [path for path in world.reach.absent if path not in known]
    if absent:
        names = ", ".join(map(argument, absent[:_NAMED]))
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        what = (
            "a secret that git tracks is"
            if len(absent) == 1
            else (f"{len(absent)} secrets that git tracks are")
        )
        message = f"{what} missing from the disk: {names}{more}"
        yield Finding(MAP_NAME, Code.ABSENT, message)


def _rule_problems(world: World) -> Iterator[Finding]:
    reached = chain(world.files, world.reach.missed)
    winning = map(world.policy.winning, reached)
    used = {won[0].index for won in winning if won is not None}
    for rule in world.map.rules:
        if rule.index not in used:
            what = f"the rule {rule.pattern} (line {rule.line}) applies to no file"
            yield Finding(MAP_NAME, Code.RULE_MATCHES_NOTHING, what, rule.line)


def _winner_problems(world: World) -> Iterator[Finding]:
    """Yield the managed sops files for which stock sops uses a foreign creation rule.

    Also yields each foreign rule that sops cannot compile.
    """
    config = world.map.sops_config
    text = world.texts.get(config) if config is not None else None
    if config is None or text is None or not world.config_readable:
        return
    from nixsecrets.generated.creations import only_ours  # as above
    from nixsecrets.generated.rules import Winners

    if only_ours(text):
        return
    decide = Winners(text, config)
    faults: dict[str, str | None] = {}
    for path, rule in _winners(world, decide).items():
        if rule is None or rule.ours:
            continue
        if rule.path_regex not in faults:
            faults[rule.path_regex] = rule.fault
            if rule.fault:
                yield Finding(config, Code.REGEX_UNUSABLE, unusable(rule), rule.line)
        if not faults[rule.path_regex]:
            message = f"stock sops uses the foreign rule at {config}:{rule.line} for it"
            yield Finding(path, Code.FOREIGN_RULE, message)


def unusable(rule: "ConfigRule") -> str:
    """Return the message on a creation rule that has a `fault`."""
    return (
        f"sops fails for files that no earlier rule matches: path_regex: {rule.fault}"
    )


def _winners(world: World, decide: "Winners") -> "dict[str, ConfigRule | None]":
    """Return, for each managed sops file, the creation rule that stock sops uses."""
    return {
        path: decide.winner(_from_config(decide, path))
        for path, actual in world.secrets.items()
        if actual.backend is Backend.SOPS and world.policy.winning(path)
    }


def winner_changes(world: World, plan: Plan) -> list[str]:
    """Return a line for each sops file that the plan takes over from a foreign rule."""
    config = world.map.sops_config
    for step in plan.steps:
        if step.path == config and step.text is not None:
            from nixsecrets.generated.creations import only_ours  # as above
            from nixsecrets.generated.rules import Winners

            text = world.texts.get(config) or ""
            if only_ours(text):
                return []
            there = Winners(text, config)
            before = _winners(world, there)
            after = _winners(world, Winners(step.text, config))
            return [
                f"{path}: was covered by the rule at {config}:{rule.line}"
                for path, rule in before.items()
                if rule is not None and not rule.ours and after[path] != rule
            ]
    return []
