"""One run of a command: the repository it works in and the keys it may use."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.cli import ui
from nixsecrets.errors import IdentityError
from nixsecrets.frozen import NamedTuple
from nixsecrets.map.names import LOCK_NAME
from nixsecrets.repo.git import JOURNAL_NAME
from nixsecrets.repo.worktree import MAP_NAME, Repo

if TYPE_CHECKING:  # the survey begins before these are loaded
    from nixsecrets.keys.identities import Identity, Keyring, Locked
    from nixsecrets.map.model import RecipientMap
    from nixsecrets.world.survey import Compared, Survey
    from nixsecrets.world.world import World


class Session(NamedTuple):
    """A repository, open for reading; `writing` and `exclusive` lock it."""

    repo: Repo

    @staticmethod
    def open(start: Path) -> "Session":
        """Return the session of the nearest map in `start` or a folder above it."""
        with ui.waiting("looking for the repository"):
            return Session(Repo.find(start))

    @staticmethod
    def holding(start: Path, path: Path) -> "tuple[Session, str] | None":
        """Return the session of a file that git tracks, and the file's name in it.

        None where only a look at the whole repository can say what the file is.
        """
        with (
            ui.waiting("looking for the repository"),
            Repo.looking_for(start, path) as found,
        ):
            # 20 ms, which is how long git takes in a large index
            from nixsecrets.keys import find  # noqa: F401
            from nixsecrets.map import load  # noqa: F401

            held = found()
        return None if held is None else (Session(held[0]), held[1])

    @staticmethod
    def at(start: Path, path: Path) -> "tuple[Session, str, bool]":
        """Return the session of a file, its name in it, and whether git tracks it.

        False also for one that git has not merged.

        Raises:
            UsageError: the path cannot be a file of the repository.
        """
        held = Session.holding(start, path)
        if held is not None:
            return (*held, True)
        from nixsecrets.cli.arguments import relative  # 1 ms, for a new file

        session = Session.open(start)
        return session, relative(session.repo, start, path), False

    def look_at_map(self) -> None:
        """Read the map, and warn of an interrupted run, as `world` does it."""
        self._warn_of_unfinished()
        self.map()

    def world(self, *, only: str | None = None, tracked: bool = False) -> "World":
        """Read the repository, or `only` one of its files.

        `tracked`: git was just found to track that file, merged.  Warns of an
        interrupted run, but does not touch it.
        """
        with self.surveying(only=only, tracked=tracked) as begun:
            return self.world_of(begun)

    def world_of(self, begun: "Survey") -> "World":
        """Return the repository that a survey looks at."""
        return self.with_files(self.mapped(begun), begun)

    def with_files(self, world: "World", begun: "Survey") -> "World":
        """Return a world of `mapped` with the files that the survey finds."""
        from nixsecrets.world.world import with_files  # 60 ms, loaded during the survey

        with ui.waiting("reading the secrets"):
            return with_files(world, begun)

    def mapped(self, begun: "Survey") -> "World":
        """Return the repository with map and lock, without its files yet.

        Warns once of lock lines that cannot be read.
        """
        from nixsecrets.world.world import mapped_world  # as in `world`

        world = mapped_world(self.repo, begun)
        if world.lock.skipped:
            from nixsecrets.repo.unmerged import merging  # loaded with `world`

            git = self.repo.git  # a look at one file does not say what is unmerged
            stopped = bool(begun.unmerged) or (git is not None and merging(git))
            _warn_of_lock(world.lock.skipped, stopped=stopped)
        return world

    @contextmanager
    def surveying(
        self,
        *,
        compare: "Compared" = "none",
        only: str | None = None,
        tracked: bool = False,
    ) -> "Iterator[Survey]":
        """Start the survey of the files in other processes.

        Meanwhile the command can load what it needs.  `compare` says which files are
        compared with the last commit; `only` restricts the survey to one file, which
        git need not be asked about if it is `tracked`.
        """
        self._warn_of_unfinished()
        # 3 ms, for processes that look at many files
        from nixsecrets.world import survey

        with ExitStack() as stack:
            with ui.waiting("listing the files"):
                asked = survey.start(
                    self.repo, compare=compare, only=only, tracked=tracked
                )
                begun = stack.enter_context(asked)
            yield begun
            begun.cache()

    def _warn_of_unfinished(self) -> None:
        if not os.path.lexists(self.repo.staging / JOURNAL_NAME):
            return
        # 2 ms; an interrupted run is rare
        from nixsecrets.repo import journal

        if journal.unfinished(self.repo) is not None:
            ui.warn_unfinished()

    def map(self) -> "RecipientMap":
        """Read the map alone, for questions before the survey."""
        # 20 ms, most of which other commands spend during the survey
        from nixsecrets.map.load import decode, load

        return load(decode(self.repo.read(MAP_NAME)))

    def writing(self, *, dry_run: bool) -> AbstractContextManager[None]:
        """Hold the repository's lock, except for a dry run, which only reads."""
        return nullcontext() if dry_run else self.exclusive()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the repository's lock; complete or discard an interrupted run first."""
        # 10 ms, for commands that write
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
def _warn_of_lock(skipped: tuple[int, ...], *, stopped: bool) -> None:
    count, first = len(skipped), skipped[0]
    lines = "a line" if count == 1 else f"{count} lines"
    which = f"{LOCK_NAME}:{first}" if count == 1 else f"{LOCK_NAME}:{first} and below"
    ui.warn(
        f"{which}: skipped {lines} that cannot be read",
        "nixsecrets resolve merges it"
        if stopped
        else "nixsecrets sync writes the lock without them",
    )


def keyring(explicit: Sequence[Path]) -> "Keyring":
    """Return every identity of the operator; `explicit` files come first."""
    # 15 ms; `status` and `ls` open no secret
    from nixsecrets.keys.find import find_identities

    found = find_identities(os.environ, Path.home(), explicit)
    return found.with_talk(ui.TerminalTalk())


def unlock(locked: "Locked") -> "tuple[Identity, ...]":
    """Unlock an identity with a passphrase from the terminal, in up to three attempts.

    Raises:
        IdentityError: there is no terminal, or all attempts failed.
    """
    for _ in range(3):
        passphrase = ui.ask_passphrase(locked.source)
        if passphrase is None:
            raise IdentityError(
                f"{locked.source} needs a passphrase, but there is no terminal"
            )
        try:
            with ui.waiting(f"unlocking {locked.source}", at_once=True):
                return locked.unlock(passphrase)
        except IdentityError as error:
            ui.warn(error.message)
    raise IdentityError(f"{locked.source} was not unlocked")
