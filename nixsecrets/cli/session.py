"""One run of a command: the repository it works in and the keys it may use."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.cli import ui
from nixsecrets.errors import IdentityError
from nixsecrets.map.names import LOCK_NAME
from nixsecrets.repo import journal
from nixsecrets.repo.worktree import MAP_NAME, Repo
from nixsecrets.world import survey

if TYPE_CHECKING:  # a survey begins without what reads the map and private keys
    from nixsecrets.keys.identities import Identity, Keyring, Locked
    from nixsecrets.map.model import RecipientMap
    from nixsecrets.world.world import World


@dataclass(frozen=True, slots=True)
class Session:
    """A repository, opened for reading; `exclusive` opens it for writing."""

    repo: Repo

    @staticmethod
    def open(start: Path) -> "Session":
        """Find the map upward from `start`."""
        return Session(Repo.find(start))

    def world(self) -> "World":
        """Read the repository; report, but do not touch, an unfinished run."""
        from nixsecrets.world.world import with_files

        with self.surveying() as begun:
            return with_files(self.mapped(begun), begun)

    def mapped(self, begun: survey.Survey) -> "World":
        """Return the repository without its files yet; warn of an odd lock, once."""
        from nixsecrets.world.world import mapped_world

        world = mapped_world(self.repo, begun)
        if world.lock.skipped:
            _warn_of_lock(world.lock.skipped)
        return world

    @contextmanager
    def surveying(self, *, compare: bool = False) -> Iterator[survey.Survey]:
        """Begin with what `world` does: other processes look at the files meanwhile.

        A command has time to load what judges them, and whatever else it needs.
        """
        if journal.unfinished(self.repo) is not None:
            ui.warn_unfinished()
        with survey.begun(self.repo, compare=compare) as begun:
            yield begun

    def map(self) -> "RecipientMap":
        """Read the map alone: for what is asked before the work begins."""
        # 20 ms, most of which other commands spend while the files are looked at
        from nixsecrets.map.load import decode, load

        return load(decode(self.repo.read(MAP_NAME)))

    def writing(self, *, dry_run: bool) -> AbstractContextManager[None]:
        """Hold the repository's lock, but for a dry run, which only reads."""
        return nullcontext() if dry_run else self.exclusive()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the repository's lock; complete or drop what an earlier run left."""
        # only what writes takes the lock
        from nixsecrets.repo import deleted, locking, private, recovery

        private.remove_leftovers(os.environ)
        with locking.exclusive(self.repo, ui.say):
            recovered = recovery.recover(self.repo)
            if recovered is not None:
                ui.say(f"nixsecrets: {recovered.message}")
                ui.say_lines(recovered.lines)
                deleted.note(self.repo, recovered.removed)
            yield


@lru_cache  # some commands read the repository more than once
def _warn_of_lock(skipped: tuple[int, ...]) -> None:
    count, first = len(skipped), skipped[0]
    lines = "a line" if count == 1 else f"{count} lines"
    which = f"{LOCK_NAME}:{first}" if count == 1 else f"{LOCK_NAME}:{first} and below"
    ui.warn(
        f"{which}: skipped {lines} that cannot be read",
        "nixsecrets sync writes the lock without them",
    )


def keyring(explicit: Sequence[Path]) -> "Keyring":
    """Return every identity this person has at hand."""
    # 15 ms; `status` and `ls` open nothing
    from nixsecrets.keys.find import find_identities

    found = find_identities(os.environ, Path.home(), explicit)
    return found.with_talk(ui.TerminalTalk())


def unlock(locked: "Locked") -> "tuple[Identity, ...]":
    """Ask for a passphrase, three times at most.

    Raises:
        IdentityError: no terminal to ask on, or three wrong answers.
    """
    for _ in range(3):
        passphrase = ui.ask_passphrase(locked.source)
        if passphrase is None:
            raise IdentityError(
                f"{locked.source} needs a passphrase, but there is no terminal"
            )
        try:
            return locked.unlock(passphrase)
        except IdentityError as error:
            ui.warn(error.message)
    raise IdentityError(f"{locked.source} was not unlocked")
