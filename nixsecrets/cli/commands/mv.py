"""`nixsecrets mv`: rename a secret."""

from pathlib import Path

import click

from nixsecrets.cli import show
from nixsecrets.cli.arguments import relative
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.road import native_keys, say_rule_left, walk
from nixsecrets.cli.session import Session, keyring
from nixsecrets.errors import NixsecretsError, SecretFileError
from nixsecrets.files.state import Actual
from nixsecrets.keys.forms import Backend
from nixsecrets.plan.diff import move_step
from nixsecrets.plan.model import Plan
from nixsecrets.plan.outputs import generated_steps_for
from nixsecrets.plan.steps import context_of
from nixsecrets.world.world import World, require_actual


@click.command("mv")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@road_options(Reach.READERS)
@click.pass_obj
def command(start: Path, source: Path, target: Path, options: RoadOptions) -> int:
    """Rename a secret, or move it to another folder.

    Its recipients become those of the rule that matches the new path; secrets.nix and
    the lock are updated.  If nobody gains or loses access, the content stays byte for
    byte.

    \b
    Examples:
      nixsecrets mv secrets/wifi.age secrets/wlan.age
      nixsecrets mv secrets/tls.json secrets/hosts/brunnen/
    """
    session = Session.open(start)
    with session.writing(dry_run=options.dry_run):
        world = session.world()
        actual = require_actual(world, relative(session.repo, start, source))
        if (start / target).is_dir():
            target = target / source.name
        name = relative(session.repo, start, target)
        _refuse(world, actual, name)
        ring = keyring(options.identity)
        ctx = context_of(
            world, native=native_keys(ring), keep_data_key=options.keep_data_key
        )
        step = move_step(world, actual, name, ctx)
        plan = Plan.of([step, *generated_steps_for(world, step)])
        say_rule_left(world, actual.path)
        agreed = not (step.add or step.losers)
        return walk(session, world, plan, ring, options, agreed=agreed)


def _refuse(world: World, actual: Actual, name: str) -> None:
    """Raise an error if the file cannot move to the path `name`.

    Raises:
        NixsecretsError: a file already exists there.
        SecretFileError: no rule matches the path, or it means the other backend.
    """
    if world.repo.read_if_there(name) is not None:
        raise NixsecretsError(
            f"{show.path_text(name)}: a file already exists there",
            "remove it first; nothing was changed",
        )
    if world.policy.desired(name, actual.backend) is None:
        raise SecretFileError(
            f"no rule of the map matches {show.path_text(name)}",
            "add a [[secrets]] rule for it, or choose another name",
        )
    if world.policy.backend_for_new(name) is not actual.backend:
        was, is_now = (
            ("an age file", "sops files")
            if actual.backend is Backend.AGE
            else ("a sops file", "age files")
        )  # the second: what files of that name are
        raise SecretFileError(
            f"{show.path_text(actual.path)} is {was}; of that name are {is_now}",
            "keep the extension, or copy the value: "
            "nixsecrets cat OLD | nixsecrets set NEW",
        )
