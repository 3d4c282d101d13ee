"""Names as a person types them, as hosts and users of the map."""

from typing import Literal, overload

from nixsecrets.errors import UsageError
from nixsecrets.map.model import Host, RecipientMap, User


@overload
def owner(recipient_map: RecipientMap, name: str, kind: Literal["host"]) -> Host: ...
@overload
def owner(recipient_map: RecipientMap, name: str, kind: Literal["user"]) -> User: ...
@overload
def owner(recipient_map: RecipientMap, name: str, kind: str) -> Host | User: ...
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
    known = ", ".join(item.name for item in owners)
    hint = f"it has: {known}" if known else f"nixsecrets add-{kind} {name}"
    raise UsageError(f"the map has no {kind} {name!r}", hint)
