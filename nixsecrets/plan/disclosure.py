"""Values of sops files that a save or a re-encryption leaves in plaintext."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from nixsecrets.errors import NixsecretsError
from nixsecrets.files.sops import metadata, selection
from nixsecrets.files.sops.selectors import DEFAULT_OPTION, selection_of
from nixsecrets.files.sops.values import leaves
from nixsecrets.findings.catalogue import argument
from nixsecrets.keys.forms import Backend
from nixsecrets.map.tomledit import toml_string
from nixsecrets.plan.model import Action, Plan, Step
from nixsecrets.world.world import World

SUFFIX = DEFAULT_OPTION[1]
RULE = f'sops = {{ unencrypted_suffix = "{SUFFIX}" }}'

Values = frozenset[tuple[tuple[str, ...], object]]
"""Key paths of values, and the values: not for anybody's eyes."""


def is_selected(world: World, path: str) -> bool:
    """Return whether a rule says which values of `path` are to be encrypted.

    `unencrypted_suffix = "_unencrypted"` does; it is what sops goes by anyway.
    """
    want = world.policy.desired(path, Backend.SOPS)
    if want is None:
        return False
    options = want.rule.sops
    return DEFAULT_OPTION in map(tuple, options) or bool(selection_of(options))


def by_default(world: World, path: str) -> Values:
    """Return what a sops file has in plaintext because of sops' default suffix.

    Nothing where its own options or those of its rule select values: then it is meant.
    """
    if is_selected(world, path):
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


def with_opened(plan: Plan, world: World, contents: Mapping[str, object]) -> Plan:
    """Return the plan whose steps say which values they leave in plaintext.

    `contents` are the new contents of secrets, by path.
    """
    steps = (_with_opened(one, world, contents.get(one.path)) for one in plan.steps)
    return Plan(tuple(steps), plan.problems)


def _with_opened(step: Step, world: World, content: object) -> Step:
    old = world.secrets.get(step.origin or step.path)
    anew = step.action in (Action.REENCRYPT, Action.MOVE)
    if old is None or step.backend is not Backend.SOPS or not anew:
        return step
    options = selection_of(step.options)
    if options == selection_of(old.options):
        return step
    try:
        file = metadata.parse(old.path, world.repo.read(old.path))
        if file.format is metadata.SopsFormat.BINARY:
            return step
        values = leaves(file.format, file.data)
        found = [leaf.path for leaf in selection.opened_by(values, options)]
    except NixsecretsError:
        return step  # who carries it out says what is wrong with it
    if isinstance(content, bytes):  # a key that it renames is no more
        with contextlib.suppress(NixsecretsError):
            new = leaves(file.format, content, plaintext=True)
            kept = {leaf.path for leaf in new}
            found = [path for path in found if path in kept]
    return replace(step, opens=tuple(dict.fromkeys(map("/".join, found))))


def ways_out(world: World, step: Step) -> str:
    """Return what to do instead of storing values of a step in plaintext."""
    old = world.secrets[step.origin or step.path]
    option = ", ".join(
        f"{name} = {toml_string(str(value))}"
        for name, value in selection_of(old.options)
    )
    return (
        f"rename the keys: nixsecrets edit {argument(old.path)}\n"
        f"or keep them encrypted: write sops = {{ {option} }} into the rule\n"
        f"or agree: write {RULE} into the rule"
    )
