"""What a key at hand shows of sops files, where it asks nothing: MACs and types.

Of files that differ from HEAD the MAC, and the types of values in all: what was found
right is remembered by the clone, and not opened again.

Private keys, cryptography and sops are loaded where there is such a file, and sops runs
only for one that is spelled in a way that only sops follows.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, ProgramError, SecretFileError
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.keys.forms import Backend

if TYPE_CHECKING:  # the hook starts at every commit, and looks at none in most
    from nixsecrets.files.sops.integrity import Mac, Opened
    from nixsecrets.files.state import Actual
    from nixsecrets.keys.identities import Identity
    from nixsecrets.repo.clone import Clone
    from nixsecrets.world.survey import Survey
    from nixsecrets.world.world import World

_MOST = 500  # files whose types are looked at in one run
_WORTH_KEEPING = 8  # of them, which are not opened again in the next
_ID = 24  # hexadecimal digits of a SHA-256


class Macs:
    """Says which MACs and types do not fit, and afterwards which were not looked at.

    `types` are findings, by those that are made without a key.
    """

    def __init__(self) -> None:
        """Look for nothing yet."""
        self.missed = self.closed = self.later = 0
        self.types: dict[Finding, Finding] = {}

    @cached_property
    def _identities(self) -> "tuple[Identity, ...]":
        # the hook loads this module; what opens files takes 20 ms, so below
        from nixsecrets.keys.places import quiet_files

        env, home = os.environ, Path.home()
        if not (env.get("SOPS_AGE_KEY") or quiet_files(env, home)):
            return ()  # as in CI, where nothing more is loaded
        from nixsecrets.keys.find import quiet_identities

        return quiet_identities(env, home)

    def opening(self, path: str, data: bytes) -> tuple[str, dict[Finding, Finding]]:
        """Return what is wrong with the MAC of a whole sops file, and with its types.

        "": nothing known.
        """
        if not self._identities:
            self.missed += 1
            return "", {}
        from nixsecrets.files.faults import named
        from nixsecrets.files.sops.integrity import WRONG_MAC, Mac

        found = verified(path, data, self._identities)
        self.missed += found.mac not in (Mac.FITS, Mac.WRONG) and not found.types
        wrong = WRONG_MAC if found.mac is Mac.WRONG else ""
        return wrong, named(path, found.types)

    def look_at_types(self, world: "World", files: "Sequence[Actual]") -> None:
        """Open files that no run found right yet, some at a time."""
        from nixsecrets.repo.clone import Clone

        clone = Clone.of(world.repo, os.environ)
        known = {i for one in clone.read().fitting for i in one.files.split()}
        left = [file for file in files if file.sha256[:_ID] not in known]
        if not (left and self._identities):
            self.closed += len(left)
            return
        ours = {r.key_id for one in self._identities for r in one.recipients}
        mine = [f for f in left if any(r.key_id in ours for r in f.recipients)]
        self.later = len(mine[_MOST:])
        fitting = {f.sha256[:_ID] for f in mine[:_MOST] if self._fits(world, f)}
        self.closed += len(left) - len(mine)
        if len(fitting) >= _WORTH_KEEPING:
            kept = fitting | known.intersection(file.sha256[:_ID] for file in files)
            _keep(clone, kept)

    def _fits(self, world: "World", file: "Actual") -> bool:
        """Return whether all types in a file fit, and note those that do not."""
        from nixsecrets.files.faults import named
        from nixsecrets.files.sops.integrity import Mac, verify

        data = world.repo.read(file.path)
        try:
            found = verify(file.path, data, self._identities, mac=False)
        except SecretFileError:  # it is not whole, which is said already
            return False
        self.types.update(named(file.path, found.types))
        opened = found.mac is Mac.UNSURE
        self.closed += not opened
        return opened and not found.types

    @property
    def looked(self) -> str:
        """What was not looked at, as a line or two; "" where that is nothing."""
        if not (self.missed or self.closed or self.later):
            return ""
        from nixsecrets.findings.reports import counted

        said = []
        missed = counted(self.missed, "changed sops file")
        closed = counted(self.closed, "sops file")
        what = [f"the MAC of {missed}"] if self.missed else []
        what += [f"the types of values in {closed}"] if self.closed else []
        if what:
            why = "no identity available without a prompt"
            said.append(f"not verified: {' and '.join(what)} ({why})")
        if self.later:
            later = counted(self.later, "sops file")
            why = f"the next run does; {_MOST} were opened now"
            said.append(f"not verified: the types of values in {later} ({why})")
        return "\n".join(said)


def _keep(clone: "Clone", ids: Iterable[str]) -> None:
    """Remember the files whose types fit, so that the next run opens others."""
    from nixsecrets.repo.remembered import Fitting

    fitting = (Fitting(" ".join(sorted(ids))),)
    with suppress(NixsecretsError):  # a clone that nobody may write
        clone.change(lambda now: now._replace(fitting=fitting))


def verified(path: str, data: bytes, identities: "tuple[Identity, ...]") -> "Opened":
    """Return whether MAC and types fit: by our own reader, by sops where it declines.

    sops refuses a type that does not fit; a MAC is not asked about then.
    """
    from nixsecrets.files.sops.integrity import Mac, Opened, verify

    try:
        found = verify(path, data, identities)
    except SecretFileError:  # it is not whole, which is said already
        return Opened(Mac.UNSURE)
    if found.mac is not Mac.UNSURE or found.types:
        return found
    return Opened(_by_sops(path, data, identities))


def _by_sops(path: str, data: bytes, identities: "tuple[Identity, ...]") -> "Mac":
    from nixsecrets.files.decrypt import Bench, decrypt
    from nixsecrets.files.sops.integrity import Mac
    from nixsecrets.repo import private

    try:
        with private.private_folder(os.environ) as folder:
            decrypt(path, Backend.SOPS, data, Bench(identities, folder))
    except SecretFileError:
        return Mac.WRONG
    except (ProgramError, NixsecretsError):
        return Mac.UNSURE
    return Mac.FITS


def wrong_macs(world: "World", macs: Macs, begun: "Survey") -> list[Finding]:
    """Return the sops files whose MAC does not fit, of those that differ from HEAD.

    Types are looked at in the others, too.
    """
    files = [f for f in world.secrets.values() if f.backend is Backend.SOPS]
    changed, found = set(), []
    for path in [f.path for f in files if f.path not in begun.unchanged]:
        data = world.repo.read(path)
        if begun.committed is None or begun.committed.has(path, data):
            continue
        changed.add(path)
        wrong, types = macs.opening(path, data)
        macs.types.update(types)
        found += [Finding(path, Code.WRONG_MAC, wrong)] if wrong else []
    macs.look_at_types(world, [f for f in files if f.typed and f.path not in changed])
    return found
