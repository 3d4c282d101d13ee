"""Reads one secret without reading the rest of the repository.

This is the everyday case: git tracks the file and has merged it, and an identity opens
it that needs no passphrase and no plugin.  `read` does the rest, and reports errors.
"""

import contextlib

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.files.kind import backend_of
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring, PluginIdentity
from nixsecrets.repo.worktree import Repo

_LARGEST = 1 << 20  # bytes; a larger one is decrypted piece by piece
_MARKS = b"<<<<<<<"  # perhaps a conflict marker


def content(repo: Repo, name: str, key: str | None, ring: Keyring) -> bytes | None:
    """Return the plaintext of a secret, or its value at `key`; None to use `read`.

    `name` is a file in git's index that has no conflict.

    Raises:
        UsageError: `key` is not a valid path to a value.
    """
    identities = [one for one in ring.identities if not isinstance(one, PluginIdentity)]
    data = repo.read_quickly(name, _LARGEST)
    if not identities or data is None or _MARKS in data:
        return None
    backend = backend_of(name, data)
    with contextlib.suppress(IdentityError, SecretFileError):
        if backend is Backend.SOPS:
            # 20 ms that an age file does not need
            from nixsecrets.files.sops import lookup

            if key is None:
                return lookup.whole(name, data, identities)
            return lookup.value(name, data, identities, key)
        if backend is Backend.AGE and key is None:
            # 5 ms that a sops file does not need
            from nixsecrets.files.age import reading

            return reading.decrypted(data, identities)
    return None
