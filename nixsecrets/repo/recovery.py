"""Recovery from an interrupted run: complete it, or discard what it staged.

The caller of every function holds the lock.  Decisions depend only on the journal and
the files on disk, not on ages or process ids.
"""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from nixsecrets.errors import NixsecretsError, counted, quoted
from nixsecrets.frozen import frozen
from nixsecrets.repo import files, journal
from nixsecrets.repo.journal import Entry, Journal, Standing
from nixsecrets.repo.worktree import Repo

_CHOICE = (
    "`nixsecrets recover --finish` puts the interrupted run's files in place,"
    " `nixsecrets recover --discard` leaves every file unchanged"
)
_FOREIGN = (
    "if it came with the repository: `nixsecrets recover --discard`"
    "\nif it is yours (of an older nixsecrets, another user, or the folder was moved):"
    " `nixsecrets recover` lists its files and asks"
)


@frozen
class Recovered:
    """The result of a recovery.

    `replaced` and `removed` are the paths changed now; `dropped` is the number of
    discarded staged files.  `kept` pairs each path that `finish` overwrote with the
    copy of its content.
    """

    replaced: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    dropped: int = 0
    kept: tuple[tuple[str, Path], ...] = ()
    completed: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each changed file."""
        replaced = (f"  replaced    {quoted(path)}" for path in self.replaced)
        return (*replaced, *(f"  removed     {quoted(path)}" for path in self.removed))

    @property
    def message(self) -> str:
        """One line about what was found and what was done."""
        if self.completed:
            number = counted(len(self.replaced) + len(self.removed), "file")
            kept = [
                f"; {quoted(path)} as it was is kept in {p}" for path, p in self.kept
            ]
            return f"completed an interrupted run: {number} put in place{''.join(kept)}"
        number = counted(self.dropped, "file")
        return f"discarded the staged files of an interrupted run ({number})"


def foreign(repo: Repo) -> tuple[str, ...]:
    """Return a line for each file of a run that this user did not begin here.

    Empty if there is no such run.

    Raises:
        NixsecretsError: the journal is corrupt.
    """
    found = journal.unfinished(repo)
    if found is None or found.is_ours(repo):
        return ()
    return tuple(
        f"  {'remove' if entry.after is None else 'replace':<12}"
        f"{quoted(repo.shown(entry.path))}"
        for entry in found.entries
    )


def recover(repo: Repo, *, agreed: bool = False) -> Recovered | None:
    """Recover without overwriting other changes; None if no run was interrupted.

    Without a journal, staged files are discarded; with one, the run is completed.  A
    journal that this user did not write may have come with the repository, and needs
    `agreed`.

    Raises:
        NixsecretsError: nothing was changed, because nobody agreed, because a file has
            neither the content from before nor from after the run, or because a staged
            file is missing or corrupt.
    """
    found = journal.unfinished(repo)
    if found is None:
        dropped = journal.drop_staged(repo)
        return Recovered(dropped=dropped) if dropped else None
    if not agreed and not found.is_ours(repo):
        raise NixsecretsError(
            "an interrupted run is recorded here that you did not start on this"
            f" machine; it would change {_names(repo, found.entries)}",
            _FOREIGN,
        )
    pending, changed = _by_standing(repo, found)
    if changed:
        raise NixsecretsError(
            f"an interrupted run cannot be completed: {_names(repo, changed)}"
            " changed since",
            _CHOICE,
        )
    return _complete(repo, pending, ())


def finish(repo: Repo) -> Recovered | None:
    """Complete the interrupted run, even over files that changed since.

    Their content is saved in the staging folder first.  A file that the run had already
    replaced is kept as it is now.  None if no run was interrupted.

    Raises:
        NixsecretsError: nothing was changed, because a staged file is missing or
            corrupt.
    """
    found = journal.unfinished(repo)
    if found is None:
        return recover(repo)
    pending, changed = _by_standing(repo, found)
    # of the changed files, those that the run had already replaced stay as they are
    forced = [entry for entry in changed if _is_pending(repo, entry)]
    kept = tuple((repo.shown(e.path), _back_up(repo, e)) for e in forced)
    return _complete(repo, [*pending, *forced], kept)


def discard(repo: Repo) -> Recovered | None:
    """Remove the journal and staged files; leave every other file unchanged.

    Works with a corrupt journal, too.  None if no run was interrupted.
    """
    try:
        there = os.path.lexists(repo.staging / journal.JOURNAL_NAME)
        if there:
            journal.withdraw(repo)
    except OSError as error:
        raise files.explained(
            error, "drop the journal in", str(repo.staging)
        ) from error
    dropped = journal.drop_staged(repo)
    return Recovered(dropped=dropped) if there or dropped else None


def _by_standing(repo: Repo, found: Journal) -> tuple[list[Entry], list[Entry]]:
    """Return the pending entries, and those whose file changed in another way."""
    pending, changed = [], []
    for entry in found.entries:
        try:
            standing = entry.standing(repo)
        except OSError as error:
            raise files.explained(error, "read", repo.shown(entry.path)) from error
        # an entry with the content from after the run needs nothing
        if standing is Standing.BEFORE:
            pending.append(entry)
        elif standing is Standing.NEITHER:
            changed.append(entry)
    return pending, changed


def _complete(
    repo: Repo, entries: list[Entry], kept: tuple[tuple[str, Path], ...]
) -> Recovered:
    # checked for all entries before the first file is replaced
    damaged = [entry for entry in entries if not _is_intact(repo, entry)]
    if damaged:
        raise NixsecretsError(
            f"an interrupted run cannot be completed: its file for"
            f" {_names(repo, damaged)} is missing or corrupt",
            "`nixsecrets recover --discard` leaves every file unchanged",
        )
    journal.carry_out(repo, Journal.of(entries))
    journal.drop_staged(repo)
    replaced = tuple(repo.shown(e.path) for e in entries if e.after is not None)
    removed = tuple(repo.shown(e.path) for e in entries if e.after is None)
    return Recovered(replaced, removed, kept=kept, completed=True)


def _is_intact(repo: Repo, entry: Entry) -> bool:
    """Return whether the staged file of an entry exists unchanged."""
    waiting = entry.waiting(repo)
    try:
        return waiting is None or files.hash_file(waiting) == entry.after
    except OSError:
        return False


def _is_pending(repo: Repo, entry: Entry) -> bool:
    """Return whether the run has not replaced the file yet: it still has its own."""
    waiting = entry.waiting(repo)
    return waiting is None or os.path.lexists(waiting)


def _back_up(repo: Repo, entry: Entry) -> Path:
    """Copy the current content of an entry's file; return the path of the copy."""
    target = Path(entry.target(repo))
    # the end of the name has the suffix; a full name could exceed 255 bytes
    place = repo.staging / f"kept-{secrets.token_hex(4)}-{target.name[-40:]}"
    try:
        files.write_durably(str(place), files.read_bytes_nofollow(str(target)))
    except OSError as error:
        raise files.explained(
            error, "keep a copy of", repo.shown(entry.path)
        ) from error
    return place


def _names(repo: Repo, entries: Iterable[Entry]) -> str:
    """Return the first three names and the number of others, as text."""
    names = [quoted(repo.shown(entry.path)) for entry in entries]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
