"""Reading a single value of a sops file by its key path.

The value engine decrypts it; if it declines, sops does, from a copy of the file for a
throw-away identity.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import keypath, lookup, metadata, workcopy
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import place
from nixsecrets.files.sops.engine.place import At, Found
from nixsecrets.files.sops.keypath import KeyPath
from nixsecrets.files.sops.opening import decrypt_with_key
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.workcopy import WorkCopy
from nixsecrets.keys.identities import Identity


def value_at(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    key: str,
    *,
    sops: SopsProgram,
    workdir: Path,
) -> bytes:
    """Return the plaintext of one value; `key` is its path (`powerdns/api-key`).

    Raises:
        UsageError: that is not a path, or it is ambiguous.
        SecretFileError: the file has no such value or is corrupt, its MAC is wrong, or
            it has several key groups.
        IdentityError: no identity decrypts an age entry.
        ProgramError: sops is needed and fails.
    """
    file = metadata.parse(path, data)
    wanted = keypath.key_path(file.format, key)
    found = place.find(file.format, file.text, wanted)
    if found.at in (At.NEW, At.BELOW):
        raise _no_such_value()
    key_of_file = data_key(file, identities)
    value = lookup.opened(file, key_of_file, found)
    if value is not None:
        return value
    copy = workcopy.copied(file, key_of_file, sops=sops, workdir=workdir)
    there = by_sops(copy, wanted)
    if there is None:
        # either there is no such value, or the file is corrupt and this raises
        decrypt_with_key(file, key_of_file, sops=sops, workdir=workdir)
        raise _no_such_value()
    return there[1]


def _no_such_value() -> SecretFileError:
    return SecretFileError(
        "has no such value",
        "list its values: nixsecrets edit FILE",
        subject="the file",
    )


def by_sops(copy: WorkCopy, wanted: KeyPath) -> tuple[str, bytes] | None:
    """Return the expression of sops for a path, and the plaintext; None if absent."""
    for expression in keypath.expressions(wanted):
        with contextlib.suppress(SecretFileError):
            return expression, copy.extract(expression)
    return None


def found_at(path: str, data: bytes, key: str) -> Found:
    """Return what a file has at a path; this needs no identity.

    Raises:
        UsageError: that is not a path, or it is ambiguous.
        SecretFileError: the file is corrupt.
    """
    file = metadata.parse(path, data)
    wanted = keypath.key_path(file.format, key)
    return place.find(file.format, file.text, wanted)
