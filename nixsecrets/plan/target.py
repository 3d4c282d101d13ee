"""One secret to write: its current state, its future readers, and the plan for it."""

from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, argument, path_text
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops.selectors import canonical_options
from nixsecrets.files.state import Actual, Damaged, NotSecret
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Rule
from nixsecrets.plan.model import Plan, describe
from nixsecrets.plan.steps import content_options, context_of, converge_step
from nixsecrets.world.world import World, find_file, require_actual

if TYPE_CHECKING:  # what reads a sops file takes 15 ms, which an age file need not wait
    from nixsecrets.files.sops.keypath import NewValues


class Target(NamedTuple):
    """The secret to write: its path, its current state and a rule to add for it.

    `actual` is None for a new secret, `rule` None where the map needs no new rule.
    `plain` is a plaintext file that the secret will replace.
    """

    name: str
    actual: Actual | None
    rule: Rule | None = None
    plain: NotSecret | None = None

    def world(self, world: World) -> World:
        """Return the world with the rule added."""
        if self.rule is None:
            return world
        from nixsecrets.map import edit  # 3 ms, for a secret without a rule

        return world.with_map(edit.add_rule(world.map_text, self.rule))

    @property
    def sha256(self) -> str | None:
        """The SHA-256 (hex) of the current file, None for a new one."""
        found = self.actual or self.plain
        return None if found is None else found.sha256

    def backend(self, world: World) -> Backend:
        """Return how the file is, or will be, encrypted."""
        if self.actual is not None:
            return self.actual.backend
        return world.policy.backend_for_new(self.name)


def target(world: World, name: str, *, in_place: bool = False) -> Target:
    """Return the secret to write at path `name`; it need not exist yet.

    `in_place` allows `name` to be a plaintext file, which the secret will replace.

    Raises:
        NixsecretsError: the path cannot hold a secret, or holds plaintext.
    """
    found = find_file(world, name)
    if world.policy.never_secret(name) and not isinstance(found, Actual):
        raise NixsecretsError(
            f"{path_text(name)} cannot be a secret: such names are for the map,"
            " generated files, Nix code, documentation and public keys",
            "choose another name, or name the file in a rule without wildcards",
        )
    plain = found if isinstance(found, NotSecret) else None
    if plain is not None and not in_place:
        text = argument(name)
        raise NixsecretsError(
            f"{path_text(name)} is not encrypted",
            f"encrypt it: nixsecrets set {text} --from-file {text}",
        )
    if isinstance(found, Damaged) and name in world.conflicts:
        # as a new file, to the readers of its rule: the two sides' readers may differ
        plain = NotSecret(name, found.sha256)
    new = found is None or plain is not None
    return Target(name, None if new else require_actual(world, name), plain=plain)


def difference(world: World, actual: Actual) -> str | None:
    """Return a line on how a file's readers differ from its rule, None if equal."""
    want = world.policy.desired(actual.path, actual.backend)
    if want is None:
        return None
    step = converge_step(actual, want, context_of(world))
    return None if step is None else describe(step)


def options_change(world: World, actual: Actual) -> bool:
    """Return whether a file's sops options select other values than its rule's do."""
    want = world.policy.desired(actual.path, actual.backend)
    return canonical_options(content_options(actual, want)) != actual.options


def plan_for(
    world: World, wanted: Target, actual: Actual | None, *, as_mapped: bool
) -> tuple[World, Plan]:
    """Return the plan that writes a secret, and the world whose map it follows.

    The two worlds differ where `wanted` adds a rule to the map.  `as_mapped` gives the
    secret the readers of its rule instead of those it has.
    """
    # 8 ms, once the text is there
    from nixsecrets.plan.diff import change_plan, content_plan, content_step

    if wanted.rule is None:
        return world, content_plan(world, wanted.name, actual, as_mapped=as_mapped)
    after = wanted.world(world)
    step = content_step(after, wanted.name, after.secrets.get(wanted.name))
    return after, change_plan(world, after, instead=[step])


def require_merged(world: World, name: str) -> None:
    """Raise `SecretFileError` if git could not merge the secret at path `name`.

    A single value would replace both sides' versions of the whole file.
    """
    if name in world.conflicts:
        require_actual(world, name)


def value_content(world: World, wanted: Target, key: str, value: bytes) -> "NewValues":
    """Return `value` at `key` (`db/password`) of a sops file, as content of a step.

    Raises:
        UsageError: `key` is not a valid path to a value.
        SecretFileError: the value is not text.
    """
    from nixsecrets.files.sops import keypath, metadata  # as above

    kind = format_for(wanted.name)
    if wanted.actual is not None:
        kind = metadata.parse(wanted.name, world.repo.read(wanted.name)).format
    path = keypath.key_path(kind, key)
    return keypath.NewValues({path: keypath.require_text(value)})


def has_value(world: World, wanted: Target, key: str) -> bool:
    """Return whether a secret has a value at `key`; True if that cannot be determined.

    Raises:
        UsageError: `key` is not a valid path to a value.
    """
    if wanted.actual is None:
        return False
    from nixsecrets.files.sops import extract  # as above
    from nixsecrets.files.sops.engine.place import At

    found = extract.found_at(wanted.name, world.repo.read(wanted.name), key)
    return found.at in (At.VALUE, At.BRANCH, At.UNKNOWN)
