"""`nixsecrets add-host`: add a machine to the fleet."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.cli.hostkey import KeyOptions, Obtained, key_options, obtain, shown_key
from nixsecrets.cli.mapchange import change_map
from nixsecrets.cli.options import RoadOptions, road_options
from nixsecrets.cli.session import Session
from nixsecrets.errors import NixsecretsError, UsageError
from nixsecrets.map import edit, hostkeys
from nixsecrets.map.model import Host, RecipientMap

if TYPE_CHECKING:
    from nixsecrets.world.world import World


@click.command("add-host")
@click.argument("name", required=False)
@click.option(
    "--discover",
    is_flag=True,
    help="Add every folder of --hosts-dir, or every machine of --flake.",
)
@click.option(
    "--flake",
    is_flag=False,
    flag_value=".",
    metavar="[REF]",
    help="Flake in which --discover finds machines (needs nix).",
)
@click.option(
    "--hosts-dir",
    type=click.Path(path_type=Path),
    default=Path("hosts"),
    show_default=True,
    metavar="DIR",
    help="Folder in which --discover finds machines, relative to the map.",
)
@click.option("--group", "groups", multiple=True, help="Group to join (repeatable).")
@key_options()
@road_options(map_changes=True)
@click.pass_obj
def command(
    start: Path,
    name: str | None,
    flake: str | None,
    hosts_dir: Path,
    groups: tuple[str, ...],
    keys: KeyOptions,
    options: RoadOptions,
    *,
    discover: bool,
) -> int:
    """Add a host to the map and grant it access.

    Collects the host's ssh-ed25519 key from --address (by default its name, resolved
    through ssh_config) and requires the server to prove possession of it.  The key is
    trusted if it matches --fingerprint, if known_hosts has it, or with --login;
    otherwise its fingerprint is shown and you are asked.

    \b
    Examples:
      nixsecrets add-host brunnen --address 192.0.2.7 --group server
      nixsecrets add-host brunnen --address root@brunnen.lan:2222 --fingerprint SHA256:…
      nixsecrets add-host brunnen --login
      nixsecrets add-host itw --key "ssh-ed25519 AAAA…"
      nixsecrets add-host laptop --local
      nixsecrets add-host neu --generate
      nixsecrets add-host --discover --group server
      nixsecrets add-host --discover --flake .
    """
    if discover == (name is not None):
        raise UsageError("give the name of one host, or --discover")
    if flake is not None and not discover:
        raise UsageError("--flake says where --discover looks", "add --discover")
    keys.check()
    session = Session.open(start)
    if name is None:
        from nixsecrets.cli import discover as discovery

        names = (
            discovery.names_of_folders(session.repo.root / hosts_dir)
            if flake is None
            else discovery.names_in_flake(flake, start)
        )
        return discovery.add_discovered(start, session, names, groups, keys, options)
    known = find_host(session.map(), name)
    if known is not None:
        return _compare(known, keys, groups)
    refuse_loss_of_private_key(keys, options)
    found = obtain(name, keys, dry_run=options.dry_run)
    return _add(start, name, found, groups, keys, options)


def _add(
    start: Path,
    name: str,
    found: Obtained,
    groups: tuple[str, ...],
    keys: KeyOptions,
    options: RoadOptions,
) -> int:
    def changed(world: "World") -> str:
        text = world.map_text
        if found.private is not None:
            text = hostkeys.with_rule(text, name, world.secrets)
        return edit.add_host(
            text,
            name,
            [found.key],
            groups=groups,
            address=keys.address,
            verified=found.verified,
        )

    return change_map(start, options, changed, contents=private_half(name, found))


def private_half(name: str, found: Obtained) -> dict[str, bytes]:
    """Return the secret that a key made here becomes, by path."""
    if found.private is None:
        return {}
    return {hostkeys.key_path(name): found.private}


def refuse_loss_of_private_key(keys: KeyOptions, options: RoadOptions) -> None:
    """Refuse options under which a new private key would not be kept.

    Raises:
        UsageError: the map would name a key that nobody has.
    """
    if keys.generate and (options.no_rekey or options.keep_going):
        raise UsageError(
            "--generate writes a secret: not with --no-rekey, --keep-going"
        )


def find_host(recipient_map: RecipientMap, name: str) -> Host | None:
    """Return the host of that name, None where the map has none."""
    return next((host for host in recipient_map.hosts if host.name == name), None)


def _compare(known: Host, keys: KeyOptions, groups: tuple[str, ...]) -> int:
    """Say whether a host that the map has still shows its key; change nothing.

    Raises:
        NixsecretsError: it shows another one, or was to get something new.
    """
    hint = f"nixsecrets rotate-host {known.name}"
    if keys.generate:
        raise NixsecretsError(f"the map already has a host {known.name}", hint)
    now = shown_key(known.name, keys, known.address)
    if now not in known.keys:
        had = ", ".join(key.fingerprint for key in known.keys)
        raise NixsecretsError(
            f"{known.name} is in the map with another key; nothing was changed\n"
            f"  in the map:  {had}\n"
            f"  shown now:   {now.fingerprint}",
            f"find out why; if the host was reinstalled: {hint}",
        )
    missing = [group for group in groups if group not in known.groups]
    if missing:
        raise NixsecretsError(
            f"the map already has a host {known.name}, not in {', '.join(missing)}",
            "add the group in nixsecrets.toml, then: nixsecrets rekey",
        )
    ui.say(f"{known.name} is in the map with this key ({now.fingerprint})")
    ui.say("nothing to do")
    return 0
