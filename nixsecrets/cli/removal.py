"""Removing an owner of keys: the same command for hosts and users."""

import datetime
from collections.abc import Callable
from pathlib import Path

import click

from nixsecrets.cli import ownfiles
from nixsecrets.cli.mapchange import change_map
from nixsecrets.cli.names import owner
from nixsecrets.cli.options import RoadOptions, road_options, with_options
from nixsecrets.cli.ownfiles import FATES, Fate
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.model import Retired
from nixsecrets.plan.model import Step
from nixsecrets.plan.steps import Context
from nixsecrets.world.world import World

Edit = Callable[..., str]
_OPTIONS = (
    click.option(
        "--reason", metavar="TEXT", help="Recorded in the map with the old key."
    ),
    click.option(
        "--own-files",
        type=click.Choice(FATES),
        help="What to do with the files under its {host} or {user} rule.",
    ),
    click.option(
        "--move-to",
        metavar="DIR",
        help="Move its own files to DIR, under the rule that matches there.",
    ),
)
_HELP = """Remove the {what} and re-encrypt everything {they} could read.

Every file gets a new symmetric key.  The removed {what} may still know the old
values: change those that the command lists (`nixsecrets exposed` lists them again
until they have changed).

\b
Examples:
  nixsecrets remove-{kind} {name}
  nixsecrets remove-{kind} {name} --own-files delete --json
  nixsecrets remove-{kind} {name} --reason {reason} --yes
"""


def removal_command(
    kind: str, edit: Edit, *, what: str, they: str, name: str, reason: str
) -> click.Command:
    """Return the command that removes a host or user with `edit`.

    `what` and `they` are how its help speaks of one, `name` and `reason` an example.
    """

    @click.command(
        f"remove-{kind}",
        help=_HELP.format(kind=kind, what=what, they=they, name=name, reason=reason),
    )
    @click.argument("name")
    @with_options(_OPTIONS)
    @road_options(map_changes=True)
    @click.pass_obj
    def command(
        start: Path,
        name: str,
        reason: str | None,
        own_files: str | None,
        move_to: str | None,
        options: RoadOptions,
    ) -> int:
        fate = Fate(own_files, move_to)
        return _remove(
            start, name, options, kind=kind, edit=edit, reason=reason, fate=fate
        )

    return command


def _remove(
    start: Path,
    name: str,
    options: RoadOptions,
    *,
    kind: str,
    edit: Edit,
    reason: str | None,
    fate: Fate,
) -> int:
    """Take `name` out of the map; its keys stay there as retired ones."""
    fate.check()

    def changed(world: World) -> str:
        today = datetime.date.today().isoformat()
        keys = owner(world.map, name, kind).keys
        retired = [Retired(name, key, today, reason) for key in keys]
        return edit(world.map_text, name, retired=retired)

    def named(world: World) -> set[KeyId]:
        return {key.key_id for key in owner(world.map, name, kind).keys}

    def instead(before: World, after: World, ctx: Context) -> list[Step]:
        dry_run = options.dry_run or options.no_rekey
        return ownfiles.steps(before, after, ctx, name, fate, dry_run=dry_run)

    return change_map(start, options, changed, named=named, instead=instead)
