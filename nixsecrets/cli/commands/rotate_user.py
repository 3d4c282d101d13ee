"""`nixsecrets rotate-user`: replace the keys of a person."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.cli.arguments import key_options, owner, stock_sops_advice
from nixsecrets.cli.mapchange import MapChange, change_map
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.session import Session
from nixsecrets.keys.recipients import KeyId, Recipient
from nixsecrets.map import edit
from nixsecrets.map.model import Retired

if TYPE_CHECKING:
    from nixsecrets.world.world import World


@click.command("rotate-user")
@click.argument("name")
@key_options
@click.option(
    "--reason", default="rotated", show_default=True, help="Recorded with the old key."
)
@road_options(Reach.MAP)
@click.pass_obj
def command(
    start: Path,
    name: str,
    keys: list[Recipient],
    reason: str,
    options: RoadOptions,
) -> int:
    """Replace all keys of a person with the given ones, in one step.

    To keep an old key, give it too.  The other keys stay in the map as retired, so that
    recipients in the git history can be identified.

    \b
    Examples:
      nixsecrets rotate-user bob --key age1…
      nixsecrets rotate-user bob --key-file new.pub --key-file yubikey.txt
    """
    user = owner(Session.open(start).map(), name, "user")
    if set(keys) == set(user.keys):
        ui.say(f"{name} has exactly these keys already")
        ui.say("nothing to do")
        return 0

    def edited(world: "World") -> str:
        today = datetime.date.today().isoformat()
        gone = _gone(world, name, keys)
        retired = [Retired(name, key, today, reason) for key in gone]
        return edit.replace_keys(world.map_text, name, keys, retired=retired)

    def revoked(world: "World") -> set[KeyId]:
        return {key.key_id for key in _gone(world, name, keys)}

    code = change_map(start, options, MapChange(edited, revoked))
    if user.sops_form != "ssh":
        for line in stock_sops_advice(keys):
            ui.say(line)
    return code


def _gone(world: "World", name: str, keys: list[Recipient]) -> list[Recipient]:
    kept = {key.key_id for key in keys}
    owned = owner(world.map, name, "user").keys
    return [key for key in owned if key.key_id not in kept]
