"""Decrypting a sops file: plain ones here, others with sops; both verify the MAC."""

from collections.abc import Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import metadata, workcopy
from nixsecrets.files.sops.datakey import data_key, opened_by_pyrage
from nixsecrets.files.sops.engine import printing, types
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.keys.identities import Identity


def decrypt(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    *,
    sops: SopsProgram,
    workdir: Path,
) -> bytes:
    """Return the plaintext as sops prints it; the MAC is verified.

    Raises:
        IdentityError: no identity decrypts an age entry.
        SecretFileError: the file is corrupt, its MAC is wrong, or it has several key
            groups.
        ProgramError: sops fails.
    """
    file = metadata.parse(path, data)
    key = data_key(file, identities, opener=opened_by_pyrage)
    return decrypt_with_key(file, key, sops=sops, workdir=workdir)


def decrypt_with_key(
    file: SopsFile, key: bytes, *, sops: SopsProgram, workdir: Path
) -> bytes:
    """Return the plaintext of a file whose data key is known; the MAC is verified.

    For a person to read: what we have written is verified by `decrypt_by_sops`.

    Raises:
        SecretFileError: the file is corrupt, or its MAC is wrong.
        ProgramError: sops fails.
    """
    plain = printing.printed(file, key)
    if plain is not None:
        return plain
    return decrypt_by_sops(file, key, sops=sops, workdir=workdir)


def decrypt_by_sops(
    file: SopsFile, key: bytes, *, sops: SopsProgram, workdir: Path
) -> bytes:
    """Return the plaintext as the real sops decrypts it, and it alone.

    Raises:
        SecretFileError: sops rejects the file.
        ProgramError: sops fails.
    """
    copy = workcopy.copied(file, key, sops=sops, workdir=workdir)
    try:
        return copy.decrypt()
    except SecretFileError:
        types.require_fitting(file, key)  # a more specific error, if it is about types
        raise
