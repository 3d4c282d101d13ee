"""MACs of changed sops files, verified with what is at hand and asks nothing.

Private keys, cryptography and sops are loaded where there is such a file, and sops runs
only for one that is spelled in a way that only sops follows.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, ProgramError, SecretFileError
from nixsecrets.findings import Code, Finding
from nixsecrets.reports import counted

if TYPE_CHECKING:  # the hook starts at every commit, and looks at none in most
    from nixsecrets.keys.identities import Identity
    from nixsecrets.repo.tree import Repo
    from nixsecrets.secretfiles.sopsmac import Mac
    from nixsecrets.world import World

    Changing = Callable[["World", "Macs"], list[Finding]]


class Macs:
    """Says which MACs do not fit, and afterwards which were not looked at."""

    def __init__(self) -> None:
        """Look for nothing yet."""
        self.missed = 0

    @cached_property
    def _identities(self) -> "tuple[Identity, ...]":
        from nixsecrets.keys.find import quiet_identities

        return quiet_identities(os.environ, Path.home())

    def wrong(self, path: str, data: bytes) -> str:
        """Return what is wrong with the MAC of a whole sops file; "": nothing known."""
        if not self._identities:
            self.missed += 1
            return ""
        from nixsecrets.secretfiles.sopsmac import WRONG_MAC, Mac

        match verified(path, data, self._identities):
            case Mac.WRONG:
                return WRONG_MAC
            case Mac.UNREAD | Mac.UNSURE:
                self.missed += 1
            case Mac.FITS:
                pass
        return ""

    @property
    def looked(self) -> str:
        """What was not looked at, as one line; "" where that is nothing."""
        if not self.missed:
            return ""
        what = counted(self.missed, "changed sops file")
        return (
            f"not verified: the MAC of {what} (no identity at hand without a question)"
        )


def verified(path: str, data: bytes, identities: "tuple[Identity, ...]") -> "Mac":
    """Return whether a MAC fits: by our own reader, by sops where that declines."""
    from nixsecrets.secretfiles.sopsmac import Mac, verify_mac

    try:
        found = verify_mac(path, data, identities)
    except SecretFileError:  # it is not whole, which is said already
        return Mac.UNSURE
    return _by_sops(path, data, identities) if found is Mac.UNSURE else found


def _by_sops(path: str, data: bytes, identities: "tuple[Identity, ...]") -> "Mac":
    from nixsecrets.carryout import Bench, decrypt
    from nixsecrets.keys.forms import Backend
    from nixsecrets.repo import private
    from nixsecrets.secretfiles.sopsmac import Mac

    try:
        with private.private_folder(os.environ) as folder:
            decrypt(path, Backend.SOPS, data, Bench(identities, folder))
    except SecretFileError:
        return Mac.WRONG
    except (ProgramError, NixsecretsError):
        return Mac.UNSURE
    return Mac.FITS


@contextmanager
def changing(repo: "Repo") -> "Iterator[Changing]":
    """Have git list what it knows of the files; give what judges those that differ."""
    from nixsecrets.repo import differing

    if repo.git is None:
        yield lambda _, __: []
        return
    with differing.listing(repo.git, repo.root) as listed:
        yield lambda world, macs: _wrong(world, macs, listed)


def _wrong(
    world: "World", macs: Macs, differing: "Callable[[Sequence[str]], list[str]]"
) -> list[Finding]:
    """Return the sops files whose MAC does not fit, of those that differ from HEAD."""
    from nixsecrets.keys.forms import Backend

    paths = [p for p, one in world.secrets.items() if one.backend is Backend.SOPS]
    read = world.repo.read
    found = ((path, macs.wrong(path, read(path))) for path in differing(paths))
    return [Finding(path, Code.WRONG_MAC, why) for path, why in found if why]
