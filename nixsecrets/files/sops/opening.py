"""Opening a sops file: the real sops prints it, and checks its MAC."""

from collections.abc import Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import grant, metadata
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import types
from nixsecrets.files.sops.json import JsonBlock
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.program import Layout, SopsProgram
from nixsecrets.files.sops.yaml import YamlBlock
from nixsecrets.keys.identities import Identity


def decrypt(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    *,
    sops: SopsProgram,
    workdir: Path,
) -> bytes:
    """Return the plaintext as sops prints it, after it checked the MAC.

    Raises:
        IdentityError: no identity opens an age entry.
        SecretFileError: the file is damaged, its MAC is wrong, or it has key groups.
        ProgramError: sops does not run.

    """
    file = metadata.parse(path, data)
    key = data_key(file, identities)
    return decrypt_with_key(file, key, sops=sops, workdir=workdir)


def decrypt_with_key(
    file: SopsFile, key: bytes, *, sops: SopsProgram, workdir: Path
) -> bytes:
    """Return the plaintext of a file whose data key is known; raises as `decrypt`."""
    staged, throw_away = grant.with_throw_away(file, key)
    try:
        return sops.decrypt(
            staged,
            kind=file.format,
            identity=throw_away.secret_text(),
            layout=layout_of(file),
            workdir=workdir,
        )
    except SecretFileError:
        types.require_fitting(file, key)  # says more than sops does
        raise


def layout_of(file: SopsFile) -> Layout:
    """Return the indentation that the file has, so that it keeps it."""
    match file.blocks[0]:
        case YamlBlock() as block:
            return Layout(yaml=block.indent)
        case JsonBlock() as block if block.indent and not block.indent.strip(" "):
            return Layout(json=len(block.indent))
        case _:
            return Layout()
