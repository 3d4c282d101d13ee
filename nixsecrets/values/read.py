"""Reading the plaintext of secrets with the operator's identities."""

import contextlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.errors import IdentityError, UsageError, path_text
from nixsecrets.files.age.header import LARGE
from nixsecrets.files.decrypt import Bench, decrypt
from nixsecrets.files.state import Actual
from nixsecrets.frozen import frozen
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Identity, Keyring, PluginIdentity
from nixsecrets.keys.unlock import Unlock, unlocked
from nixsecrets.repo import files, private
from nixsecrets.untrusted import inputs
from nixsecrets.world.world import World, examine

if TYPE_CHECKING:  # `exposed` alone takes values apart, 20 ms
    from nixsecrets.files.age import pyrage_port
    from nixsecrets.files.age.payload import Spooled
    from nixsecrets.files.pieces import Piece
    from nixsecrets.files.sops.metadata import SopsFile


def opened(actual: Actual, ring: Keyring, unlock: Unlock, folder: Path) -> Bench:
    """Return a bench with the identities that may open a secret.

    `unlock` asks for a passphrase if only a locked identity fits; `folder` is a private
    folder for sops.
    """
    return Bench(unlocked([actual.recipients], ring, unlock), folder)


def plaintext(world: World, actual: Actual, bench: Bench) -> bytes:
    """Return the plaintext of a secret.

    Raises:
        IdentityError: no identity opens it.
    """
    data = world.repo.read(actual.path)
    return decrypt(actual.path, actual.backend, data, bench)


def holds(world: World, actual: Actual, value: "Spooled", bench: Bench) -> bool:
    """Return whether the plaintext of an age file equals a large value.

    Raises:
        IdentityError: no identity opens it.
    """
    from nixsecrets.files.age import verify  # for a large value alone

    digest = verify.Digest()
    plaintext_to(world, actual, bench, digest)
    return digest.value() == value.digest


def plaintext_to(
    world: World, actual: Actual, bench: Bench, target: "pyrage_port.Writable"
) -> None:
    """Write the plaintext of an age file to `target`, a large one piece by piece.

    Raises:
        IdentityError: no identity opens it.
        SecretFileError: it is corrupt; of a large one, a part may have been written.
        OSError: raised by `target`.
    """
    with contextlib.ExitStack() as stack:
        try:
            place = Path(world.repo.locate(actual.path))
            file = stack.enter_context(inputs.open_regular(place))
            large = not actual.armored and place.stat().st_size > LARGE
        except OSError as error:
            raise files.explained(error, "read", actual.path) from error
        if large:
            from nixsecrets.files.age import operations  # 1 ms, for these alone

            operations.decrypt_to(file, target, bench.identities)
        else:
            target.write(plaintext(world, actual, bench))


def require_keys(name: str, backend: Backend) -> None:
    """Raise UsageError for an age file, which has no key paths."""
    if backend is Backend.AGE:
        raise UsageError(
            f"{path_text(name)} is an age file, a single value",
            "omit --key",
        )


@frozen
class Opener:
    """Opens present and earlier versions of secrets, for `exposed`.

    The private folder is created when sops first needs it, and removed with `stack`.
    """

    world: World
    ring: Keyring
    unlock: Unlock
    stack: contextlib.ExitStack

    def __call__(self, path: str, data: bytes, *, asking: bool) -> "Sequence[Piece]":
        """Return the values of a file with the bytes `data`.

        Without `asking`, no identity of a plugin is used.

        Raises:
            IdentityError: no identity opens it.
        """
        if not self.ring.identities and not self.ring.locked:
            raise IdentityError("no identity is available to compare the values")
        found = examine(path, data, self.world.book, self.world.lock)
        readers = found.recipients if isinstance(found, Actual) else ()
        identities: Sequence[Identity] = unlocked([readers], self.ring, self.unlock)
        if not asking:  # a hardware token may have to be touched for each file
            identities = [i for i in identities if not isinstance(i, PluginIdentity)]
        from nixsecrets.files import pieces  # as above

        return pieces.opened(path, data, identities, self._by_sops)

    def _by_sops(self, file: "SopsFile", key: bytes) -> bytes:
        from nixsecrets.files.sops import opening  # as above

        return opening.decrypt_with_key(file, key, **Bench((), self._folder).run)

    @cached_property
    def _folder(self) -> Path:
        return self.stack.enter_context(private.private_folder(os.environ))
