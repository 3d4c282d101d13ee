"""The commands `remove-host` and `remove-user`, which differ only in words."""

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.arguments import owner
from nixsecrets.cli.mapchange import MapChange, change_map
from nixsecrets.cli.options import Reach, RoadOptions, road_options, with_options
from nixsecrets.errors import UsageError
from nixsecrets.files.state import Actual
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.model import Retired
from nixsecrets.plan import ownfiles
from nixsecrets.plan.diff import delete_step
from nixsecrets.plan.model import Step
from nixsecrets.plan.steps import Context
from nixsecrets.world.world import World

Edit = Callable[..., str]
KEEP, DELETE, MOVE = "keep", "delete", "move"
FATES = (KEEP, DELETE, MOVE)
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
    """Return the command that removes a host or user with the map edit `edit`.

    `what` and `they` are the words of its help text, `name` and `reason` examples.
    """

    @click.command(
        f"remove-{kind}",
        help=_HELP.format(kind=kind, what=what, they=they, name=name, reason=reason),
    )
    @click.argument("name")
    @with_options(_OPTIONS)
    @road_options(Reach.MAP)
    @click.pass_obj
    def command(
        start: Path,
        name: str,
        reason: str | None,
        own_files: str | None,
        move_to: str | None,
        options: RoadOptions,
    ) -> int:
        if move_to is not None and own_files not in (None, MOVE):
            raise UsageError("--move-to goes with --own-files move")

        def edited(world: World) -> str:
            today = datetime.date.today().isoformat()
            keys = owner(world.map, name, kind).keys
            retired = [Retired(name, key, today, reason) for key in keys]
            return edit(world.map_text, name, retired=retired)

        def revoked(world: World) -> set[KeyId]:
            return {key.key_id for key in owner(world.map, name, kind).keys}

        def instead(before: World, after: World, ctx: Context) -> list[Step]:
            files = ownfiles.own_files(before, name)
            private = ownfiles.private_key(before, name)
            if private is not None and private not in files:
                files.append(private)  # deleted with them; `move_steps` ignores it
            asking = not (options.dry_run or options.no_rekey)
            fate, folder = _fate(files, own_files, move_to, asking=asking)
            if fate == DELETE:
                return [delete_step(actual) for actual in files]
            if fate == MOVE:
                return ownfiles.move_steps(before, after, ctx, name, folder)
            return []

        return change_map(start, options, MapChange(edited, revoked, instead))

    return command


def _fate(
    files: Sequence[Actual], own_files: str | None, move_to: str | None, *, asking: bool
) -> tuple[str, str]:
    """Return what to do with the own files of a name, and the folder to move them to.

    Asks if `asking` and no option decides.

    Raises:
        UsageError: no folder is given.
    """
    if not files:
        return KEEP, ""
    fate = own_files or (move_to and MOVE) or KEEP
    if fate is KEEP and own_files is None and asking:
        ui.say(f"{show.counted(len(files), 'file')} of its own:")
        for actual in files[: show.LINES]:
            ui.say(f"  {show.path_text(actual.path)}")
        fate = ui.choose("delete, move or keep for `always`?", FATES, KEEP)
    folder = move_to or ""
    if fate == MOVE and not folder:
        folder = ui.ask_text("folder to move them to")
        if not folder:
            raise UsageError("no folder to move the files to", "--move-to DIR")
    return fate, folder
