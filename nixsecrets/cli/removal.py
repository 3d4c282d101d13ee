"""Removing an owner of keys: the same walk for hosts and users."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nixsecrets.cli import ownfiles
from nixsecrets.cli.options import Decorator, RoadOptions
from nixsecrets.cli.ownfiles import FATES, Fate
from nixsecrets.cli.road import change_map
from nixsecrets.errors import UsageError
from nixsecrets.keys.recipients import KeyId
from nixsecrets.plan import Step
from nixsecrets.policy.model import Host, RecipientMap, Retired, User
from nixsecrets.steps import Context
from nixsecrets.world import World

Edit = Callable[..., str]


def removal_options() -> Decorator:
    """Add what the removal of a host and of a user have in common."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--move-to",
                metavar="DIR",
                help="Move its own files there, to the readers of a rule.",
            ),
            click.option(
                "--own-files",
                type=click.Choice(FATES),
                help="What becomes of the files under its {host} or {user} rule.",
            ),
            click.option(
                "--reason", metavar="TEXT", help="Kept in the map beside the old key."
            ),
        ):
            function = option(function)
        return function

    return decorate


def remove_owner(
    start: Path,
    name: str,
    options: RoadOptions,
    *,
    kind: str,
    edit: Edit,
    reason: str | None,
    fate: Fate,
) -> int:
    """Take `name` out of the map; its keys stay there as retired ones."""
    fate.check()

    def changed(world: World) -> str:
        today = datetime.date.today().isoformat()
        keys = owner(world.map, name, kind).keys
        retired = [Retired(name, key, today, reason) for key in keys]
        return edit(world.map_text, name, retired=retired)

    def named(world: World) -> set[KeyId]:
        return {key.key_id for key in owner(world.map, name, kind).keys}

    def instead(before: World, after: World, ctx: Context) -> list[Step]:
        dry_run = options.dry_run or options.no_rekey
        return ownfiles.steps(before, after, ctx, name, fate, dry_run=dry_run)

    return change_map(start, options, changed, named=named, instead=instead)


def owner(recipient_map: RecipientMap, name: str, kind: str) -> Host | User:
    """Return the host or user of that name.

    Raises:
        UsageError: the map has none.
    """
    owners: tuple[Host | User, ...] = recipient_map.hosts
    if kind == "user":
        owners = recipient_map.users
    for item in owners:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in owners) or "none"
    raise UsageError(f"the map has no {kind} {name!r}", f"it has: {known}")
