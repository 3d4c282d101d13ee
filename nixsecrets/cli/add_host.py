"""`nixsecrets add-host`: a machine joins the fleet."""

import datetime
from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.keyargs import key_from_file, key_from_text
from nixsecrets.cli.options import RoadOptions, road_options
from nixsecrets.cli.road import change_map
from nixsecrets.errors import DeclinedError, NixsecretsError, UsageError
from nixsecrets.keys.recipients import Recipient
from nixsecrets.policy import edit
from nixsecrets.world import World


@click.command("add-host")
@click.argument("name")
@click.option("--address", metavar="[USER@]HOST[:PORT]", help="Collect the key there.")
@click.option("--key", metavar="KEY", help="The host's public key itself.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with the host's public key.",
)
@click.option("--local", is_flag=True, help="This machine: /etc/ssh.")
@click.option(
    "--fingerprint", metavar="SHA256:…", help="What the collected key must be."
)
@click.option(
    "--trust-on-first-use", is_flag=True, help="Believe the collected key unseen."
)
@click.option("--timeout", default=5.0, show_default=True, help="Seconds to wait.")
@click.option("--group", "groups", multiple=True, help="Group to join (repeatable).")
@road_options(map_changes=True)
@click.pass_obj
def command(
    start: Path,
    name: str,
    address: str | None,
    key: str | None,
    key_file: Path | None,
    fingerprint: str | None,
    timeout: float,
    groups: tuple[str, ...],
    options: RoadOptions,
    *,
    local: bool,
    trust_on_first_use: bool,
) -> int:
    """Add a host to the map and give it what it may now read.

    The host's ssh-ed25519 key is collected from --address (shown and asked about),
    or given by --key, --key-file or --local.

    \b
    Examples:
      nixsecrets add-host brunnen --address 192.0.2.7 --group server
      nixsecrets add-host brunnen --address 192.0.2.7 --fingerprint SHA256:…
      nixsecrets add-host itw --key "ssh-ed25519 AAAA…"
      nixsecrets add-host laptop --local
    """
    given = [s for s in (key, key_file, local or None) if s is not None]
    if len(given) > 1 or (given and address is not None and fingerprint is not None):
        raise UsageError("give one of --address, --key, --key-file and --local")

    def changed(world: World) -> str:
        _refuse_known(world, name)
        if given:
            recipient = _given(key, key_file)
            how = "given"
        else:
            recipient = _collect(address or name, timeout)
            how = _believe(
                name, recipient, fingerprint, unseen=trust_on_first_use, options=options
            )
        return edit.add_host(
            world.map_text,
            name,
            [recipient],
            groups=groups,
            address=address,
            verified=f"{how} {datetime.date.today().isoformat()}",
        )

    return change_map(start, options, changed)


def _refuse_known(world: World, name: str) -> None:
    if any(host.name == name for host in world.map.hosts):
        raise NixsecretsError(
            f"the map already has a host {name}", f"nixsecrets remove-host {name}"
        )


def _given(key: str | None, key_file: Path | None) -> Recipient:
    if key is not None:
        return key_from_text(key, "--key")
    if key_file is not None:
        return key_from_file(key_file)
    from nixsecrets.hosts.local import local_key

    return local_key()


def _collect(address: str, timeout: float) -> Recipient:
    from nixsecrets.hosts.address import parse_address
    from nixsecrets.hosts.collect import collect

    where = parse_address(address)
    return collect(where.host, port=where.port, timeout=timeout)


def _believe(
    name: str,
    recipient: Recipient,
    fingerprint: str | None,
    *,
    unseen: bool,
    options: RoadOptions,
) -> str:
    """Return how the collected key was believed.

    Raises:
        NixsecretsError: the fingerprint given is another one.
        DeclinedError: nobody said that this is the host's key.
    """
    if fingerprint is not None:
        if fingerprint != recipient.fingerprint:
            raise NixsecretsError(
                f"{name} shows another key: {recipient.fingerprint}, not {fingerprint}",
                "nothing was changed; find out which machine answered",
            )
        return "fingerprint"
    ui.say(f"{name} shows {recipient.kind} {recipient.fingerprint}")
    if unseen:
        return "first-use"
    if options.dry_run:
        return "asked"
    if not ui.has_terminal():
        raise DeclinedError(
            "nothing was changed: nobody is here to compare the fingerprint",
            "give --fingerprint, or --trust-on-first-use",
        )
    ui.confirm(f"is this the key of {name}?", hint="give --fingerprint")
    return "asked"
