"""`nixsecrets remove-host`: a machine leaves the fleet."""

from pathlib import Path

import click

from nixsecrets.cli.options import RoadOptions, road_options
from nixsecrets.cli.ownfiles import Fate
from nixsecrets.cli.removal import removal_options, remove_owner
from nixsecrets.policy import edit


@click.command("remove-host")
@click.argument("name")
@removal_options()
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
    """Remove the host and re-encrypt everything it could read.

    Every file gets a fresh symmetric key; the values themselves are still known to
    whoever could read them, and are listed for you to change (`nixsecrets exposed` goes
    on listing them until they have changed).

    \b
    Examples:
      nixsecrets remove-host brunnen
      nixsecrets remove-host brunnen --own-files delete --json
      nixsecrets remove-host brunnen --reason decommissioned --yes
    """
    return remove_owner(
        start,
        name,
        options,
        kind="host",
        edit=edit.remove_host,
        reason=reason,
        fate=Fate(own_files, move_to),
    )
