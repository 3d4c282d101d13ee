"""Verifies MACs and types of sops files with identities that need no prompt.

The MAC is verified in files that differ from HEAD, the types of values in all files.
The clone remembers files whose types were correct; they are not opened again.

Private keys and cryptography are imported once there is such a file, and sops runs
only for a file that our own reader declines.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, ProgramError, SecretFileError, counted
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.keys.forms import Backend

if TYPE_CHECKING:  # the hook runs on every commit, and most have no such file
    from nixsecrets.files.sops.integrity import Mac, Opened
    from nixsecrets.files.state import Actual
    from nixsecrets.keys.identities import Identity
    from nixsecrets.repo.clone import Clone
    from nixsecrets.world.survey import Survey
    from nixsecrets.world.world import World

_MOST = 500  # files whose types are verified in one run
_ID = 24  # hexadecimal digits of a SHA-256 by which the clone remembers a file


class Macs:
    """Verifies MACs and types, and counts the files that it could not verify.

    `types` are findings on wrong types; each replaces the less specific finding, made
    without a key, that is its dictionary key.
    """

    def __init__(self) -> None:
        """Start without any file."""
        self.missed = self.closed = self.later = 0
        self.types: dict[Finding, Finding] = {}

    @cached_property
    def _identities(self) -> "tuple[Identity, ...]":
        # the hook loads this module; here and below, imports take 20 ms together
        from nixsecrets.keys.places import quiet_files

        env, home = os.environ, Path.home()
        if not (env.get("SOPS_AGE_KEY") or quiet_files(env, home)):
            return ()  # in CI, for example
        from nixsecrets.keys.find import quiet_identities

        return quiet_identities(env, home)

    def opening(self, path: str, data: bytes) -> tuple[str, dict[Finding, Finding]]:
        """Return the message on a wrong MAC, else "", and findings on wrong types.

        `data` are the bytes of an intact sops file.  Each finding on a type replaces
        the less specific one that is its key.
        """
        if not self._identities:
            self.missed += 1
            return "", {}
        from nixsecrets.files.faults import retyped_findings
        from nixsecrets.files.sops.integrity import WRONG_MAC, Mac

        found = verified(path, data, self._identities)
        self.missed += found.mac not in (Mac.FITS, Mac.WRONG) and not found.types
        wrong = WRONG_MAC if found.mac is Mac.WRONG else ""
        return wrong, retyped_findings(path, found.types)

    def look_at_types(self, world: "World", files: "Sequence[Actual]") -> None:
        """Verify the types in files that no run has verified yet, `_MOST` at a time."""
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
        if fitting:  # to open one takes four times as long as to keep that it fits
            kept = fitting | known.intersection(file.sha256[:_ID] for file in files)
            _keep(clone, kept)

    def _fits(self, world: "World", file: "Actual") -> bool:
        """Return whether all types in a file are correct; record those that are not."""
        from nixsecrets.files.faults import retyped_findings
        from nixsecrets.files.sops.integrity import Mac, verify

        data = world.repo.read(file.path)
        try:
            found = verify(file.path, data, self._identities, mac=False)
        except SecretFileError:  # corrupt: another finding reports it
            return False
        self.types.update(retyped_findings(file.path, found.types))
        opened = found.mac is Mac.UNSURE
        self.closed += not opened
        return opened and not found.types

    @property
    def looked(self) -> str:
        """What was not verified, as one or two lines; "" if everything was."""
        if not (self.missed or self.closed or self.later):
            return ""
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
    """Record the files whose types are correct, so that the next run opens others."""
    from nixsecrets.repo.remembered import Fitting

    fitting = (Fitting(" ".join(sorted(ids))),)
    with suppress(NixsecretsError):  # a read-only clone
        clone.change(lambda now: now._replace(fitting=fitting))


def verified(path: str, data: bytes, identities: "tuple[Identity, ...]") -> "Opened":
    """Verify MAC and types with our own reader, or with sops if it declines the file.

    With a wrong type the MAC stays unverified: sops rejects the file before it.
    """
    from nixsecrets.files.sops.integrity import Mac, Opened, verify

    try:
        found = verify(path, data, identities)
    except SecretFileError:  # corrupt: another finding reports it
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
    """Return findings on wrong MACs, of the sops files that differ from HEAD.

    Also verifies the types in all sops files; `macs.types` has the findings.
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
