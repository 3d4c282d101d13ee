"""Which locked identities have to be opened for some files, and opened how."""

from collections.abc import Callable, Iterable, Sequence

from nixsecrets.keys.identities import Identity, Keyring, Locked
from nixsecrets.keys.recipients import Recipient

Unlock = Callable[[Locked], tuple[Identity, ...]]
"""Asks for the passphrase of one identity, and returns what it opens."""


def once(unlock: Unlock) -> Unlock:
    """Return what asks for the passphrase of each identity only the first time."""
    known: dict[str, tuple[Identity, ...]] = {}

    def remembering(locked: Locked) -> tuple[Identity, ...]:
        if locked.source not in known:
            known[locked.source] = unlock(locked)
        return known[locked.source]

    return remembering


def unlocked(
    files: Iterable[Sequence[Recipient]], keyring: Keyring, unlock: Unlock
) -> tuple[Identity, ...]:
    """Return the identities for files with these readers (empty: not known).

    A passphrase is asked for only where no other identity fits a file.
    """
    wanted: dict[str, Locked] = {}
    for readers in {id(one): one for one in files}.values():  # many share theirs
        ids = {recipient.key_id for recipient in readers}
        if ids & keyring.key_ids or (not ids and keyring.identities):
            continue
        for locked in keyring.locked:
            keys = {recipient.key_id for recipient in locked.recipients}
            if not ids or not keys or ids & keys:
                wanted[locked.source] = locked
    opened = [i for locked in wanted.values() for i in unlock(locked)]
    return (*keyring.identities, *opened)
