"""`nixsecrets add-user`: add a person to the fleet."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from nixsecrets.cli import ui
from nixsecrets.cli.arguments import key_options, stock_sops_advice
from nixsecrets.cli.mapchange import MapChange, change_map
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map import edit
from nixsecrets.map.model import SopsForm

if TYPE_CHECKING:
    from nixsecrets.world.world import World


@click.command("add-user")
@click.argument("name")
@key_options
@click.option("--group", "groups", multiple=True, help="Group to join (repeatable).")
@click.option(
    "--sops-form",
    type=click.Choice(["age", "ssh"]),
    help="Form of an ssh-ed25519 key in sops files.",
)
@road_options(Reach.MAP)
@click.pass_obj
def command(
    start: Path,
    name: str,
    keys: list[Recipient],
    groups: tuple[str, ...],
    sops_form: str | None,
    options: RoadOptions,
) -> int:
    """Add a person to the map and grant them access.

    \b
    Examples:
      nixsecrets add-user alice --key-file ~/.ssh/id_ed25519.pub --group admins
      nixsecrets add-user bob --key age1… --group dns
      nixsecrets add-user carol --github-keys-file carol.keys
    """

    def edited(world: "World") -> str:
        if any(user.name == name for user in world.map.users):
            raise NixsecretsError(
                f"the map already has a user {name}", f"nixsecrets rotate-user {name}"
            )
        return edit.add_user(
            world.map_text,
            name,
            keys,
            groups=groups,
            sops_form=cast("SopsForm | None", sops_form),
        )

    code = change_map(start, options, MapChange(edited))
    if sops_form != "ssh":
        for line in stock_sops_advice(keys):
            ui.say(line)
    return code
