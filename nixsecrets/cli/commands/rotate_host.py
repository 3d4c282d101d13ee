"""`nixsecrets rotate-host`: replace the key of a reinstalled machine."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.cli.arguments import owner
from nixsecrets.cli.hostkey import KeyOptions, Obtained, key_options, obtain
from nixsecrets.cli.mapchange import MapChange, change_map
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.session import Session
from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.recipients import KeyId, Kind, Recipient
from nixsecrets.map import edit, hostkeys
from nixsecrets.map.model import Retired

if TYPE_CHECKING:
    from nixsecrets.world.world import World


@click.command("rotate-host")
@click.argument("name")
@click.option(
    "--reason", default="rotated", show_default=True, help="Recorded with the old key."
)
@key_options()
@road_options(Reach.MAP)
@click.pass_obj
def command(
    start: Path, name: str, reason: str, keys: KeyOptions, options: RoadOptions
) -> int:
    """Replace a host's ssh-ed25519 key in one step.

    The new key is collected and verified as by `add-host` (from --address, by default
    the address in the map), supplied, or generated.  The old key stays in the map as
    retired, so that recipients in the git history can be identified.

    \b
    Examples:
      nixsecrets rotate-host brunnen --fingerprint SHA256:…
      nixsecrets rotate-host brunnen --key-file brunnen.pub
      nixsecrets rotate-host brunnen --generate
    """
    keys.check()
    keys.refuse_loss(options)
    host = owner(Session.open(start).map(), name, "host")
    old = host.ssh_key
    found = obtain(
        name, keys, address=host.address, replaces=old, dry_run=options.dry_run
    )
    if found.key.kind is not Kind.SSH_ED25519:
        raise NixsecretsError(
            f"the key of a host must be ssh-ed25519, not {found.key.kind}",
            "make one on the host: ssh-keygen -A",
        )
    if found.key == old:
        ui.say(f"{name} has this key already ({found.key.fingerprint})")
        ui.say("nothing to do")
        return 0
    return _replace(start, name, found, old, reason, options)


def _replace(
    start: Path,
    name: str,
    found: Obtained,
    old: Recipient | None,
    reason: str,
    options: RoadOptions,
) -> int:
    today = datetime.date.today().isoformat()
    retired = [Retired(name, old, today, reason)] if old is not None else []

    def edited(world: "World") -> str:
        text = world.map_text
        if found.private is not None:
            text = hostkeys.with_rule(text, name, world.secrets)
        kept = [key for key in owner(world.map, name, "host").keys if key != old]
        return edit.replace_keys(
            text,
            name,
            [found.key, *kept],
            verified=found.verified,
            retired=retired,
        )

    def revoked(_: "World") -> set[KeyId]:
        return set() if old is None else {old.key_id}

    change = MapChange(edited, revoked, contents=found.contents(name))
    return change_map(start, options, change)
