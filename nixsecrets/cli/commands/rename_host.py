"""`nixsecrets rename-host`: rename a machine and move its files."""

from pathlib import Path

import click

from nixsecrets.cli import ownfiles, show
from nixsecrets.cli.mapchange import change_map
from nixsecrets.cli.names import owner
from nixsecrets.cli.options import RoadOptions, road_options
from nixsecrets.errors import SecretFileError
from nixsecrets.files.state import Actual
from nixsecrets.map import edit, hostkeys
from nixsecrets.plan.diff import rename_step
from nixsecrets.plan.model import Step
from nixsecrets.plan.steps import Context
from nixsecrets.world.world import World


@click.command("rename-host")
@click.argument("old")
@click.argument("new")
@road_options(map_changes=True)
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

    def changed(world: World) -> str:
        owner(world.map, old, "host")
        return edit.rename(world.map_text, old, new)

    def instead(before: World, after: World, _: Context) -> list[Step]:
        files = ownfiles.own_files(before, old)
        paths = ownfiles.renamed(before, [a.path for a in files], old, new)
        private = before.secrets.get(hostkeys.key_path(old))
        if private is not None and private.path not in paths:
            files.append(private)
            paths[private.path] = hostkeys.key_path(new)
        return [_step(after, a, paths[a.path], new) for a in files]

    return change_map(start, options, changed, instead=instead)


def _step(world: World, actual: Actual, path: str, name: str) -> Step:
    """Return the move of one file.

    Raises:
        SecretFileError: the map would not give the new path to the new name.
    """
    winning = world.policy.winning(path)
    if path != hostkeys.key_path(name) and (winning is None or winning[1].host != name):
        raise SecretFileError(
            f"{show.path_text(path)}: would not be a file of {name}",
            "move the file and its rule by hand",
        )
    return rename_step(world, actual, path)
