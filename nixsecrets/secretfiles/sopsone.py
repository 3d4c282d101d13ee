"""One value of a sops file: read by the real sops, and set by it.

As everywhere, sops gets a staged copy for a throw-away identity.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.keys.identities import Identity, X25519Identity
from nixsecrets.secretfiles import sopscontent, sopsmeta, sopsops, sopsvalue
from nixsecrets.secretfiles.program import SopsProgram
from nixsecrets.secretfiles.sopsgrant import with_throw_away
from nixsecrets.secretfiles.sopskey import data_key
from nixsecrets.secretfiles.sopsmeta import SopsFile


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
        SecretFileError: there is no such value, or as `decrypt`.
        IdentityError: no identity opens an age entry.

    """
    file = sopsmeta.parse(path, data)
    parts = sopsvalue.levels(file.format, key)
    key_of_file = data_key(file, identities)
    staged, throw_away = with_throw_away(file, key_of_file)
    found = _found(file, staged, throw_away, parts, sops, workdir)
    if found is None:
        # not there, or the file is damaged: then this says so
        sopsops.decrypt_with_key(file, key_of_file, sops=sops, workdir=workdir)
        raise SecretFileError(
            "the file has no such value", "see what it has: nixsecrets edit FILE"
        )
    return found[1]


def _found(
    file: SopsFile,
    staged: bytes,
    throw_away: X25519Identity,
    parts: Sequence[str],
    sops: SopsProgram,
    workdir: Path,
) -> tuple[str, bytes] | None:
    """Return how sops writes the path of a value, and the value; None: not there."""
    identity = throw_away.secret_text()
    for expression in sopsvalue.expressions(parts):
        with contextlib.suppress(SecretFileError):
            return expression, sops.extract(
                staged,
                expression,
                kind=file.format,
                identity=identity,
                workdir=workdir,
            )
    return None


def content_with(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    key: str,
    value: str,
    *,
    sops: SopsProgram,
    workdir: Path,
) -> bytes:
    """Return the plaintext of a file as it is with one value set.

    Raises:
        UsageError: `key` is no path.
        SecretFileError: the file has something else at that place.
        IdentityError: no identity opens an age entry.

    """
    file = sopsmeta.parse(path, data)
    parts = sopsvalue.levels(file.format, key)
    staged, throw_away = with_throw_away(file, data_key(file, identities))
    identity, layout = throw_away.secret_text(), sopsops.layout_of(file)
    found = _found(file, staged, throw_away, parts, sops, workdir)
    edited = sops.set_value(
        staged,
        found[0] if found else next(sopsvalue.expressions(parts)),
        value,
        kind=file.format,
        identity=identity,
        layout=layout,
        workdir=workdir,
    )
    before, after = (
        sops.decrypt(
            one, kind=file.format, identity=identity, layout=layout, workdir=workdir
        )
        for one in (staged, edited)
    )
    sopscontent.require_no_less(file.format, before, after)
    return after
