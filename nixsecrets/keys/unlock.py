"""Unlocking the identities that some files need."""

from collections.abc import Callable, Iterable, Sequence

from nixsecrets.keys.identities import Identity, Keyring, Locked
from nixsecrets.keys.recipients import Recipient

Unlock = Callable[[Locked], tuple[Identity, ...]]
"""Prompts for the passphrase of a locked identity and returns the identities in it."""


def once(unlock: Unlock) -> Unlock:
    """Return an `unlock` that prompts only once for each locked identity."""
    known: dict[str, tuple[Identity, ...]] = {}

    def remembering(locked: Locked) -> tuple[Identity, ...]:
        if locked.source not in known:
            known[locked.source] = unlock(locked)
        return known[locked.source]

    return remembering


def unlocked(
    files: Iterable[Sequence[Recipient]], keyring: Keyring, unlock: Unlock
) -> tuple[Identity, ...]:
    """Return the identities to open some files with; `files` has the readers of each.

    Empty readers mean that they are unknown.  `unlock` is called only for identities of
    files that no usable identity opens.
    """
    wanted: dict[str, Locked] = {}
    # files with equal readers mostly share one object
    for readers in {id(one): one for one in files}.values():
        ids = {recipient.key_id for recipient in readers}
        if ids & keyring.key_ids or (not ids and keyring.identities):
            continue
        for locked in keyring.locked:
            keys = {recipient.key_id for recipient in locked.recipients}
            if not ids or not keys or ids & keys:
                wanted[locked.source] = locked
    opened = [i for locked in wanted.values() for i in unlock(locked)]
    return (*keyring.identities, *opened)
