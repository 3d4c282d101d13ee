"""`nixsecrets known-hosts`: print host keys for ssh and Nix."""

from collections.abc import Iterator
from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.commands.scan import ssh_key_of
from nixsecrets.cli.session import Session
from nixsecrets.generated.knownhosts import nix_value
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.model import Host


@click.command("known-hosts")
@click.option("--nix", is_flag=True, help="Print a value for programs.ssh.knownHosts.")
@click.pass_obj
def command(start: Path, *, nix: bool) -> None:
    """Print host keys as known_hosts lines, or as a Nix value.

    Each host is listed under its name and its address in the map.

    \b
    Examples:
      nixsecrets known-hosts >> ~/.ssh/known_hosts
      nixsecrets known-hosts --nix > known-hosts.nix
      programs.ssh.knownHosts = import ./known-hosts.nix;
    """
    entries = [
        (host.name, names_of(host), key)
        for host in Session.open(start).map().hosts
        if (key := ssh_key_of(host)) is not None
    ]
    if nix:
        ui.answer_text(nix_value(entries))
        return
    for _, names, key in entries:
        ui.answer(known_hosts_line(names, key))


def known_hosts_line(names: list[str], key: Recipient) -> str:
    """Return the line of known_hosts for a host."""
    return f"{','.join(names)} {key.text}"


def names_of(host: Host) -> list[str]:
    """Return the names of a host as known_hosts spells them, each once."""
    return list(dict.fromkeys(_names(host)))


def _names(host: Host) -> Iterator[str]:
    from nixsecrets.hosts.address import SSH_PORT, parse_address

    address = parse_address(host.address or host.name)
    for name in (host.name, address.host):
        yield name if address.port == SSH_PORT else f"[{name}]:{address.port}"
