"""Values of sops files that a save or a re-encryption leaves in plaintext."""

import contextlib
from collections.abc import Mapping

from nixsecrets.errors import NixsecretsError, argument
from nixsecrets.files.sops import metadata, selection
from nixsecrets.files.sops.selectors import DEFAULT_OPTION, selection_of
from nixsecrets.files.sops.values import leaves
from nixsecrets.keys.forms import Backend
from nixsecrets.map.tomledit import toml_string
from nixsecrets.plan.model import Action, Plan, Step
from nixsecrets.world.world import World

SUFFIX = DEFAULT_OPTION[1]
RULE = f'sops = {{ unencrypted_suffix = "{SUFFIX}" }}'

Values = frozenset[tuple[tuple[str, ...], object]]
"""Pairs of a value's key path and the value itself: never to be printed."""


def is_selected(world: World, path: str) -> bool:
    """Return whether the rule of `path` selects which values sops encrypts.

    An explicit `unencrypted_suffix = "_unencrypted"` counts, although it is also sops'
    default.
    """
    want = world.policy.desired(path, Backend.SOPS)
    if want is None:
        return False
    options = want.rule.sops
    return DEFAULT_OPTION in map(tuple, options) or bool(selection_of(options))


def by_default(world: World, path: str) -> Values:
    """Return the values that sops' default suffix leaves in plaintext in a file.

    Empty if the file's or its rule's options select values: then it is intended.
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
        return frozenset()  # not encrypted yet, or does not exist


def with_opened(plan: Plan, world: World, contents: Mapping[str, object]) -> Plan:
    """Return the plan with `Step.opens` filled in: values that become plaintext.

    `contents` are the new contents of secrets, by path.
    """
    steps = (_with_opened(one, world, contents.get(one.path)) for one in plan.steps)
    return Plan(tuple(steps), plan.problems)


def _with_opened(step: Step, world: World, content: object) -> Step:
    old = world.secrets.get(step.origin or step.path)
    rewrites = step.action in (Action.REENCRYPT, Action.MOVE)
    if old is None or step.backend is not Backend.SOPS or not rewrites:
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
        return step  # applying the step reports what is wrong with the file
    if isinstance(content, bytes):  # a key that the new content renames is gone
        with contextlib.suppress(NixsecretsError):
            new = leaves(file.format, content, plaintext=True)
            kept = {leaf.path for leaf in new}
            found = [path for path in found if path in kept]
    return step._replace(opens=tuple(dict.fromkeys(map("/".join, found))))


def ways_out(world: World, step: Step) -> str:
    """Return the hint on how to avoid storing the step's values in plaintext."""
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
