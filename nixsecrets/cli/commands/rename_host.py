"""`nixsecrets rename-host`: rename a machine and move its files."""

from pathlib import Path

import click

from nixsecrets.cli.arguments import owner
from nixsecrets.cli.mapchange import MapChange, change_map
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.map import edit
from nixsecrets.plan import ownfiles
from nixsecrets.plan.model import Step
from nixsecrets.plan.steps import Context
from nixsecrets.world.world import World


@click.command("rename-host")
@click.argument("old")
@click.argument("new")
@road_options(Reach.MAP)
@click.pass_obj
def command(start: Path, old: str, new: str, options: RoadOptions) -> int:
    """Rename a host everywhere in the map, and move its own files.

    Its files (under a rule with {host}, and its generated private key, if any) move
    unchanged; nobody gains or loses access.  Update Nix code that names the old paths
    yourself.

    \b
    Examples:
      nixsecrets rename-host brunnen quelle
      nixsecrets rename-host brunnen quelle --dry-run
    """

    def edited(world: World) -> str:
        owner(world.map, old, "host")
        return edit.rename(world.map_text, old, new)

    def instead(before: World, after: World, _: Context) -> list[Step]:
        return ownfiles.rename_steps(before, after, old, new)

    return change_map(start, options, MapChange(edited, instead=instead))
