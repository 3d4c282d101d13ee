"""`nixsecrets hosts`: list the machines in the map."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import json_option
from nixsecrets.cli.session import Session
from nixsecrets.map.model import Host
from nixsecrets.world.world import World


@click.command("hosts")
@json_option
@click.pass_obj
def command(start: Path, *, as_json: bool) -> None:
    """List hosts with key, groups, verification and number of readable files.

    \b
    Examples:
      nixsecrets hosts
      nixsecrets hosts --json | jq '.hosts[] | select(.verified == null) | .name'
    """
    world = Session.open(start).world()
    read = _readers(world)
    if as_json:
        listed = [_as_json(world, host, read[host.name]) for host in world.map.hosts]
        ui.answer_text(json.dumps({"version": 1, "hosts": listed}, indent=2))
        return
    for line in _lines(world, read):
        ui.answer(line)
    if not world.map.hosts:
        ui.say("the map has no hosts; nixsecrets add-host NAME")


def _readers(world: World) -> Counter[str]:
    """Return the number of secrets that each name can read at present."""
    return Counter(
        name
        for actual in world.secrets.values()
        for name in {world.book.label(r) for r in actual.recipients}
    )


def _groups(world: World, host: Host) -> list[str]:
    """Return the groups that a host is in, directly or through another group."""
    names = (name for name, _ in world.map.groups)
    return [name for name in names if host.name in world.policy.members([name])]


def _as_json(world: World, host: Host, files: int) -> dict[str, object]:
    return {
        "name": host.name,
        "keys": [key.text for key in host.keys],
        "fingerprints": [key.fingerprint for key in host.keys],
        "groups": _groups(world, host),
        "address": host.address,
        "verified": host.verified,
        "files": files,
    }


def _lines(world: World, read: Counter[str]) -> Iterator[str]:
    rows: list[Sequence[str]] = [
        ("NAME", "KEY", "GROUPS", "VERIFIED", "FILES"),
        *(
            (
                host.name,
                " ".join(key.fingerprint for key in host.keys),
                ",".join(_groups(world, host)) or "-",
                host.verified or "-",
                str(read[host.name]),
            )
            for host in world.map.hosts
        ),
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    if len(rows) > 1:
        for row in rows:
            cells = (f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))
            yield "  ".join(cells).rstrip()
