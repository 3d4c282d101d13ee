"""Decrypting an age file in memory with private keys of our own kinds.

By pyrage alone: it reads and verifies header, MAC and payload, and needs none of the
libraries with which `wrap` finds a file key (15 ms to load).
"""

from collections.abc import Sequence

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.files.age import header, pyrage_port
from nixsecrets.keys.identities import Identity, SshEd25519Identity, X25519Identity


def decrypted(data: bytes, identities: Sequence[Identity]) -> bytes | None:
    """Return the plaintext, None if pyrage does not get it with these identities.

    That may be because an X25519 key was converted from the ssh key of a stanza, which
    pyrage does not know, or because the file is corrupt: `operations` tells.

    Raises:
        SecretFileError: the file breaks the grammar.
    """
    file = header.parse(data)
    ours = (X25519Identity, SshEd25519Identity)
    usable = [one for one in identities if isinstance(one, ours)]
    try:
        return pyrage_port.decrypt(file.binary, usable) if usable else None
    except (IdentityError, SecretFileError):
        return None
