"""`nixsecrets accept`: vouch for files whose recipients are unknown."""

from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.arguments import chosen
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.road import walk
from nixsecrets.cli.session import Session, keyring
from nixsecrets.plan.vouch import accept_plan
from nixsecrets.world.world import World


@click.command("accept")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…"
)
@road_options(Reach.GENERATED)
@click.pass_obj
def command(start: Path, paths: tuple[Path, ...], options: RoadOptions) -> int:
    """Vouch that FILES are encrypted to exactly the recipients in the map.

    An age file's X25519 stanzas are anonymous: if a file is not in the lock, its
    recipients cannot be determined.  If the type and number of its stanzas match the
    map, your confirmation is recorded in the lock; no secret is touched.

    \b
    Examples:
      nixsecrets accept secrets/wifi.age
      nixsecrets accept secrets/
    """
    session = Session.open(start)
    with session.writing(dry_run=options.dry_run):
        world = session.world()
        names = sorted(chosen(session.repo, start, paths, world.files))
        plan = accept_plan(world, {n: session.repo.read(n) for n in names})
        if plan.steps and not options.dry_run and not options.yes:
            _ask(world, names)
        return walk(session, world, plan, keyring(()), options)


def _ask(world: World, names: list[str]) -> None:
    for name in names:
        want = world.desired(name)
        readers = dict.fromkeys(r.name for r in want.readers) if want else {}
        ui.say(f"  {show.path_text(name)}: {', '.join(readers)}")
    ui.confirm(
        "do you vouch that exactly these can read them?",
        hint="agree in advance with --yes",
    )
