"""`nixsecrets add-host`: add a machine to the fleet."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.cli.hostkey import (
    KeyOptions,
    Obtained,
    key_options,
    obtain,
    require_terminal,
    shown_key,
)
from nixsecrets.cli.mapchange import MapChange, change_map
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.session import Session
from nixsecrets.errors import NixsecretsError, UsageError, counted, quoted
from nixsecrets.hosts.obtain import Candidate, Collected, candidates, names_of_folders
from nixsecrets.hosts.trust import Rung
from nixsecrets.map import edit, hostkeys
from nixsecrets.map.load import NAME
from nixsecrets.map.model import Host, RecipientMap

if TYPE_CHECKING:
    from nixsecrets.world.world import World

PARTIAL = 1


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
@road_options(Reach.MAP)
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
        if flake is None:
            names = names_of_folders(session.repo.root / hosts_dir)
        else:
            from nixsecrets.flake import nix  # 20 ms, for this option alone

            with ui.waiting("asking nix for the machines"):
                names = nix.host_names(flake, start)
        return _discover(start, session.map(), names, groups, keys, options)
    known = session.map().host(name)
    if known is not None:
        return _compare(known, keys, groups)
    keys.refuse_loss(options)
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
    def edited(world: "World") -> str:
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

    change = MapChange(edited, contents=found.contents(name))
    return change_map(start, options, change)


def _compare(known: Host, keys: KeyOptions, groups: tuple[str, ...]) -> int:
    """Compare the key of a host that is in the map already; change nothing.

    Raises:
        NixsecretsError: its key differs, or the options ask for something new.
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


def _discover(
    start: Path,
    recipient_map: RecipientMap,
    names: Sequence[str],
    groups: tuple[str, ...],
    keys: KeyOptions,
    options: RoadOptions,
) -> int:
    """Collect the keys of all new hosts, show one table, ask once, add them.

    Returns the exit code: PARTIAL if a host had to be skipped.
    """
    if keys.brought or keys.address or keys.fingerprint or keys.login:
        raise UsageError("--discover collects from the names; it takes no key options")
    names = _new_names(names, recipient_map)
    if not names:
        ui.say("every host found is already in the map; nothing to do")
        return 0
    with ui.progress("collecting", len(names)) as tick:
        every = []
        for one in candidates(names, keys.manner):
            tick()
            every.append(one)
    every.sort(key=lambda one: one.name)
    for text in _table(every):
        ui.say(text)
    good = {one.name: one.found for one in every if one.found is not None}
    skipped = len(every) - len(good)
    if skipped:
        ui.warn(f"{counted(skipped, 'host')} skipped")
    if not good:
        return PARTIAL
    rungs = _trusted(good.values(), keys, dry_run=options.dry_run)

    def edited(world: "World") -> str:
        text = world.map_text
        for (name, found), rung in zip(good.items(), rungs, strict=True):
            verified = Obtained(found.key, rung).verified
            text = edit.add_host(
                text, name, [found.key], groups=groups, verified=verified
            )
        return text

    code = change_map(start, options, MapChange(edited))
    return code or (PARTIAL if skipped else 0)


def _new_names(names: Iterable[str], recipient_map: RecipientMap) -> list[str]:
    """Return the names that are not in the map; warn of those that cannot be."""
    taken = {
        *(host.name for host in recipient_map.hosts),
        *(user.name for user in recipient_map.users),
        *(name for name, _ in recipient_map.groups),
    }
    fresh = [name for name in names if name not in taken]
    for name in fresh:
        if not NAME.fullmatch(name):
            ui.warn(f"{quoted(name)} cannot be the name of a host; skipped")
    return [name for name in fresh if NAME.fullmatch(name)]


def _table(every: Sequence[Candidate]) -> Iterator[str]:
    width = max(len(one.name) for one in every)
    for one in every:
        if one.error is not None:
            yield f"  {one.name:<{width}}  skipped: {one.error.message}"
        elif one.found is not None:
            how = "in known_hosts" if one.found.rung else "not verified"
            yield f"  {one.name:<{width}}  {one.found.key.fingerprint}  {how}"


def _trusted(
    good: Iterable[Collected], keys: KeyOptions, *, dry_run: bool
) -> list[Rung]:
    """Return the rung of each key; ask once about all that nothing vouches for."""
    rungs = [found.rung for found in good]
    asked = Rung.FIRST_USE if keys.trust_on_first_use else Rung.ASKED
    if None in rungs and asked is Rung.ASKED and not dry_run:
        require_terminal()
        number = counted(rungs.count(None), "fingerprint")
        ui.confirm(
            f"did you compare the {number} marked as not verified?",
            hint="give --trust-on-first-use",
        )
    return [rung or asked for rung in rungs]
