"""Removing an owner of keys: the same walk for hosts and users."""

import datetime
from collections.abc import Callable
from pathlib import Path

from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.road import change_map
from nixsecrets.errors import UsageError
from nixsecrets.keys.recipients import KeyId
from nixsecrets.policy.model import Host, RecipientMap, Retired, User
from nixsecrets.world import World

Edit = Callable[..., str]


def remove_owner(
    start: Path,
    name: str,
    options: RoadOptions,
    *,
    kind: str,
    edit: Edit,
    reason: str | None,
) -> int:
    """Take `name` out of the map; its keys stay there as retired ones."""

    def changed(world: World) -> str:
        today = datetime.date.today().isoformat()
        retired = [
            Retired(name, key, today, reason)
            for key in owner(world.map, name, kind).keys
        ]
        return edit(world.map_text, name, retired=retired)

    def named(world: World) -> set[KeyId]:
        return {key.key_id for key in owner(world.map, name, kind).keys}

    return change_map(start, options, changed, named=named)


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
