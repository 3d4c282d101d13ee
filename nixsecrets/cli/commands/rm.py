"""`nixsecrets rm`: remove secrets."""

from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.arguments import relative
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.road import say_rule_left, walk
from nixsecrets.cli.session import Session, keyring
from nixsecrets.errors import SecretFileError
from nixsecrets.files.state import Actual, Damaged
from nixsecrets.plan.diff import delete_step
from nixsecrets.plan.model import Plan, Step
from nixsecrets.plan.outputs import generated_steps_for
from nixsecrets.world.world import World, find_file


@click.command("rm")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@road_options(Reach.GENERATED)
@click.pass_obj
def command(start: Path, paths: tuple[Path, ...], options: RoadOptions) -> int:
    """Remove secrets, including their entries in secrets.nix and the lock.

    Committed versions stay in the git history, readable by their recipients.

    \b
    Examples:
      nixsecrets rm secrets/old.age
    """
    session = Session.open(start)
    with session.writing(dry_run=options.dry_run):
        world = session.world()
        names = sorted({relative(session.repo, start, path) for path in paths})
        steps = [_step(world, name) for name in names]
        _say_copies(session, names)
        for name in names:
            say_rule_left(world, name)
        plan = Plan.of([*steps, *generated_steps_for(world, *steps)])
        return walk(session, world, plan, keyring(()), options)


def _step(world: World, name: str) -> Step:
    found = find_file(world, name)
    if not isinstance(found, Actual | Damaged):
        raise SecretFileError(
            f"{show.path_text(name)}: no such secret", "nixsecrets ls"
        )
    return delete_step(found)


def _say_copies(session: Session, names: list[str]) -> None:
    """Warn of files that git has no copy of; say that its history keeps the others."""
    git = session.repo.git
    kept = git.committed_ids(session.repo.root) if git else {}
    lost = [name for name in names if name not in kept]
    for name in lost:
        ui.warn(f"{show.path_text(name)}: git has no copy; it cannot be restored")
    if len(lost) < len(names):
        ui.say("the git history keeps committed versions; change values that matter")
