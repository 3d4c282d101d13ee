"""`nixsecrets sync`: write the generated files from the map."""

from pathlib import Path

import click

from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.outcome import report_problems
from nixsecrets.cli.road import walk, warn_of_unreached, without_secrets
from nixsecrets.cli.session import Session, keyring
from nixsecrets.plan.diff import generated_plan
from nixsecrets.plan.problems import problems_after


@click.command("sync")
@road_options(Reach.GENERATED)
@click.option(
    "--overwrite",
    multiple=True,
    metavar="FILE",
    help="Overwrite FILE, which nixsecrets did not write.",
)
@click.pass_obj
def command(start: Path, options: RoadOptions) -> int:
    """Write .sops.yaml, secrets.nix and the lock from the map; change no secrets.

    \b
    Examples:
      nixsecrets sync
      nixsecrets sync --dry-run
    """
    session = Session.open(start)
    with session.writing(dry_run=options.dry_run):
        world = session.world()
        plan = without_secrets(generated_plan(world))
        warn_of_unreached(world)
        code = walk(session, world, plan, keyring(()), options)
        if not options.dry_run:
            report_problems(problems_after(world, plan))
        return code
