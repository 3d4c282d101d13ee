"""`nixsecrets known-hosts`: print host keys for ssh and Nix."""

from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.session import Session
from nixsecrets.generated.nixhosts import nix_value
from nixsecrets.hosts.knownhosts import line_of, names_of


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
        (host.name, names_of(host.name, host.address), key)
        for host in Session.open(start).map().hosts
        if (key := host.ssh_key) is not None
    ]
    if nix:
        ui.answer_text(nix_value(entries))
        return
    for _, names, key in entries:
        ui.answer(line_of(names, key))
