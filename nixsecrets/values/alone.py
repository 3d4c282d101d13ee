"""Reads one secret without reading the rest of the repository.

This is the everyday case: git tracks the file and has merged it, and an identity opens
it that needs no passphrase and no plugin.  `read` does the rest, and reports errors.
"""

import contextlib
import os
from collections.abc import Sequence

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.files.kind import backend_of
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Identity, Keyring, PluginIdentity
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
            return _sops_content(name, data, key, identities)
        if backend is Backend.AGE and key is None:
            # 5 ms that a sops file does not need
            from nixsecrets.files.age import decrypting

            return decrypting.decrypted(data, identities)
    return None


def _sops_content(
    name: str, data: bytes, key: str | None, identities: Sequence[Identity]
) -> bytes | None:
    # 20 ms that an age file does not need
    from nixsecrets.files.sops import lookup

    if key is not None:
        return lookup.value(name, data, identities, key)
    found = lookup.whole(name, data, identities)
    if found is not None:
        return found
    # 15 ms, for a file that only sops prints
    from nixsecrets.files.sops.opening import decrypt
    from nixsecrets.files.sops.program import SopsProgram
    from nixsecrets.repo import private

    sops = SopsProgram.find(os.environ)
    with private.private_folder(os.environ) as folder:
        return decrypt(name, data, identities, sops=sops, workdir=folder)
