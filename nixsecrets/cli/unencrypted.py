"""Values of sops files that a save or a re-encryption leaves in plaintext: say so."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from nixsecrets.cli import show, ui
from nixsecrets.cli.options import RoadOptions
from nixsecrets.errors import NixsecretsError
from nixsecrets.files.sops.options import DEFAULT_OPTION, Options, selection_of
from nixsecrets.findings.catalogue import argument
from nixsecrets.keys.forms import Backend
from nixsecrets.map.tomledit import toml_string
from nixsecrets.plan.model import Action, Plan, Step
from nixsecrets.world.world import World

if TYPE_CHECKING:
    from nixsecrets.apply.carry_out import Content

_SUFFIX = DEFAULT_OPTION[1]
_RULE = f'sops = {{ unencrypted_suffix = "{_SUFFIX}" }}'
Values = frozenset[tuple[tuple[str, ...], object]]
"""Key paths of values, and the values: not for anybody's eyes."""


def by_default(world: World, path: str) -> Values:
    """Return what a sops file has in plaintext because of sops' default suffix.

    Nothing where its own options or those of its rule select values: then it is meant.
    """
    from nixsecrets.files.sops import metadata, selection
    from nixsecrets.files.sops.values import leaves

    want = world.policy.desired(path, Backend.SOPS)
    if want is not None and selects(want.rule.sops):
        return frozenset()
    try:
        data = world.repo.read(path)
        file = metadata.parse(path, data)
        if selection_of(file.options):
            return frozenset()
        found = selection.by_default(leaves(file.format, data))
        return frozenset((leaf.path, leaf.value) for leaf in found)
    except NixsecretsError:
        return frozenset()  # not encrypted yet, or not there


def selects(options: Options) -> bool:
    """Tell whether a rule says which values are to be encrypted, if only as sops does.

    `unencrypted_suffix = "_unencrypted"` does; it is what sops goes by anyway.
    """
    return DEFAULT_OPTION in map(tuple, options) or bool(selection_of(options))


def warn_of_default(world: World, path: str, before: Values) -> None:
    """Warn of the values that were just saved in plaintext; `before` were already."""
    paths = sorted({keys for keys, _ in by_default(world, path) - before})
    if not paths:
        return
    names = ", ".join(show.path_text("/".join(keys)) for keys in paths)
    stay = "stays" if len(paths) == 1 else "stay"
    ui.warn(
        f"{show.path_text(path)}: {names} {stay} in plaintext: sops by default encrypts"
        f" nothing below a key that ends in {_SUFFIX}",
        f"if it is a secret, rename the key: nixsecrets edit {argument(path)}\n"
        f"if it is meant, write {_RULE} into the rule",
    )


# --- before: what other options of a rule leave in plaintext


def with_opened(
    plan: Plan, world: World, contents: "Mapping[str, Content] | None"
) -> Plan:
    """Return the plan whose steps say which values they leave in plaintext."""
    given = contents or {}
    steps = (_with_opened(one, world, given.get(one.path)) for one in plan.steps)
    return Plan(tuple(steps), plan.problems)


def _with_opened(step: Step, world: World, content: "Content | None") -> Step:
    old = world.secrets.get(step.origin or step.path)
    anew = step.action in (Action.REENCRYPT, Action.MOVE)
    if old is None or step.backend is not Backend.SOPS or not anew:
        return step
    options = selection_of(step.options)
    if options == selection_of(old.options):
        return step
    from nixsecrets.files.sops import metadata, selection
    from nixsecrets.files.sops.values import leaves

    try:
        file = metadata.parse(old.path, world.repo.read(old.path))
        if file.format is metadata.SopsFormat.BINARY:
            return step
        values = leaves(file.format, file.text.encode("utf-8", "surrogateescape"))
        found = [leaf.path for leaf in selection.opened_by(values, options)]
    except NixsecretsError:
        return step  # who carries it out says what is wrong with it
    if isinstance(content, bytes):  # a key that it renames is no more
        with contextlib.suppress(NixsecretsError):
            new = leaves(file.format, content, plaintext=True)
            kept = {leaf.path for leaf in new}
            found = [path for path in found if path in kept]
    return replace(step, opens=tuple(dict.fromkeys(map("/".join, found))))


def agree(plan: Plan, world: World, options: RoadOptions) -> None:
    """Have it confirmed that encrypted values become plaintext.

    Where a rule says which values are to be encrypted, --yes agrees; where only sops'
    default does, nothing but an answer or an option in the rule.

    Raises:
        DeclinedError: a person said no, or nobody is there.
    """
    opening = [step for step in plan.steps if step.opens]
    silent = [step for step in opening if not _said(world, step)]
    asked = silent if options.yes else opening
    if not asked:
        return
    ui.say("these values are encrypted and will be in plaintext:")
    for step in asked[: show.LINES]:
        names = ", ".join(map(show.path_text, step.opens))
        ui.say(f"  {show.path_text(step.path)}: {names}")
    hint = _ways_out(silent[0], world) if silent else "agree beforehand with --yes"
    ui.confirm("store them in plaintext?", hint=hint)


def _said(world: World, step: Step) -> bool:
    want = world.policy.desired(step.path, Backend.SOPS)
    return want is not None and selects(want.rule.sops)


def _ways_out(step: Step, world: World) -> str:
    old = world.secrets[step.origin or step.path]
    option = ", ".join(
        f"{name} = {toml_string(str(value))}"
        for name, value in selection_of(old.options)
    )
    return (
        f"rename the keys: nixsecrets edit {argument(old.path)}\n"
        f"or keep them encrypted: write sops = {{ {option} }} into the rule\n"
        f"or agree: write {_RULE} into the rule"
    )
