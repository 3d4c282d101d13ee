"""One value of a sops file: what stands at a key path, and its plaintext.

By the value engine where it understands the file, else by sops, which gets a copy of
the file for a throw-away identity.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import grant, keypath, metadata
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import contents, place
from nixsecrets.files.sops.engine.place import At, Found
from nixsecrets.files.sops.keypath import KeyPath
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.opening import decrypt_with_key
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.keys.identities import Identity, X25519Identity


def value_at(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    key: str,
    *,
    sops: SopsProgram,
    workdir: Path,
) -> bytes:
    """Return one value of a file; `key` is its path (`powerdns/api-key`).

    Raises:
        UsageError: that is no path.
        SecretFileError: the file has no such value, or as `decrypt`.
        IdentityError: no identity opens an age entry.

    """
    file = metadata.parse(path, data)
    wanted = keypath.key_path(file.format, key)
    found = place.find(file.format, file.text, wanted)
    if found.at in (At.NEW, At.BELOW):
        raise _no_such_value()
    key_of_file = data_key(file, identities)
    if found.at is At.VALUE:
        for value in contents.opened(file, key_of_file) or ():
            if value.leaf.place == found.place and value.type != "null":
                return _shown(value)
    staged, throw_away = grant.with_throw_away(file, key_of_file)
    there = by_sops(file, staged, throw_away, wanted, sops, workdir)
    if there is None:
        # not there, or the file is damaged: then this says so
        decrypt_with_key(file, key_of_file, sops=sops, workdir=workdir)
        raise _no_such_value()
    return there[1]


def _no_such_value() -> SecretFileError:
    return SecretFileError(
        "has no such value",
        "see what it has: nixsecrets edit FILE",
        subject="the file",
    )


def _shown(value: contents.Value) -> bytes:
    return value.plaintext.lower() if value.type == "bool" else value.plaintext


def by_sops(
    file: SopsFile,
    staged: bytes,
    throw_away: X25519Identity,
    wanted: KeyPath,
    sops: SopsProgram,
    workdir: Path,
) -> tuple[str, bytes] | None:
    """Return how sops writes the path of a value, and the plaintext; None: not there.

    `staged` is the file for the identity `throw_away`.
    """
    identity = throw_away.secret_text()
    for expression in keypath.expressions(wanted):
        with contextlib.suppress(SecretFileError):
            return expression, sops.extract(
                staged,
                expression,
                kind=file.format,
                identity=identity,
                workdir=workdir,
            )
    return None


def found_at(path: str, data: bytes, key: str) -> Found:
    """Return what stands at a typed path, which needs no identity.

    Raises:
        UsageError: that is no path, or it names values in several documents.
        SecretFileError: the file cannot be read.
    """
    file = metadata.parse(path, data)
    wanted = keypath.key_path(file.format, key)
    return place.find(file.format, file.text, wanted)
