"""Decrypting a secret file of either backend, with the available identities."""

import contextlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from nixsecrets.errors import IdentityError
from nixsecrets.files.age import decrypting
from nixsecrets.files.kind import backend_of
from nixsecrets.frozen import field, frozen
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Identity, Keyring, Locked
from nixsecrets.keys.recipients import KeyId
from nixsecrets.keys.unlock import Unlock

if TYPE_CHECKING:  # an age file is decrypted without what reads a sops file
    from nixsecrets.files.sops.program import SopsProgram


class SopsRun(TypedDict):
    """The keyword arguments of each function that runs sops."""

    sops: "SopsProgram"
    workdir: Path


@frozen
class Bench:
    """What decrypting needs in addition to the file.

    `private` is the private folder in memory in which sops is run, None if it is not.
    """

    identities: Sequence[Identity] = field(repr=False)
    private: Path | None = None
    sops_program: "SopsProgram | None" = None

    @cached_property
    def sops(self) -> "SopsProgram":
        """The sops program; searched on PATH when a file first needs it."""
        from nixsecrets.files.sops.program import SopsProgram  # only to run it

        return self.sops_program or SopsProgram.find(os.environ)

    @property
    def run(self) -> SopsRun:
        """The arguments for functions that run sops; RuntimeError without a folder."""
        if self.private is None:
            raise RuntimeError("sops is run without a private folder")
        return {"sops": self.sops, "workdir": self.private}

    @cached_property
    def key_ids(self) -> frozenset[KeyId]:
        """The public keys of the identities, as far as known."""
        return frozenset(r.key_id for one in self.identities for r in one.recipients)


def decrypt(path: str, backend: Backend, data: bytes, bench: Bench) -> bytes:
    """Return the plaintext of a secret file; for sops the MAC is verified.

    Raises:
        IdentityError: no identity decrypts it.
        SecretFileError: it is corrupt or was tampered with.
        ProgramError: sops is needed and fails.
    """
    if backend is Backend.AGE:
        found = decrypting.decrypted(data, bench.identities)
        if found:
            return found
        from nixsecrets.files.age import operations  # 1 ms, for all other cases

        return operations.decrypt(data, bench.identities)
    from nixsecrets.files.sops import opening  # 15 ms, only for a sops file

    return opening.decrypt(path, data, bench.identities, **bench.run)


def plaintext_of(
    name: str, data: bytes, ring: Keyring, unlock: Unlock, folder: Path | None
) -> bytes:
    """Return the plaintext of a file's content, or the content itself if not a secret.

    `folder` is a private folder in memory, None for an age file.  `unlock` is called
    only if no usable identity decrypts the file, for the locked ones that may be among
    its recipients.

    Raises:
        IdentityError: no identity decrypts it.
    """
    backend = backend_of(name, data)
    if backend is None:
        return data
    try:
        return decrypt(name, backend, data, Bench(ring.identities, folder))
    except IdentityError:
        locked = [one for one in ring.locked if _may_read(one, name, backend, data)]
        if not locked:
            raise
    for one in locked:
        with contextlib.suppress(IdentityError):
            return decrypt(name, backend, data, Bench(unlock(one), folder))
    raise IdentityError("no identity opens it, as far as they are unlocked")


def _may_read(locked: Locked, name: str, backend: Backend, data: bytes) -> bool:
    if not locked.recipients:
        return True
    if backend is Backend.AGE:
        from nixsecrets.files.age import header  # only for a locked identity
        from nixsecrets.files.age.state import fits

        entries = header.parse(data).entries
        return any(fits(one, r) for one in entries for r in locked.recipients)
    from nixsecrets.files.sops.state import read_actual  # only for a sops file
    from nixsecrets.files.state import Actual
    from nixsecrets.keys.book import KeyBook

    found = read_actual(name, data, KeyBook([]))
    if not isinstance(found, Actual) or not found.recipients:
        return True
    keys = {recipient.key_id for recipient in locked.recipients}
    return any(recipient.key_id in keys for recipient in found.recipients)
