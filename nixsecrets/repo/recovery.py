"""What follows a run that died: drop what it had only staged, or complete it.

Every function expects the caller to hold the lock.  Nothing is decided by age or by
process numbers: only by the journal and by what lies on the disk.
"""

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nixsecrets.errors import NixsecretsError, quoted
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


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done about an interrupted run.

    `replaced` are the paths that got the run's content now, `removed` those that it
    wanted gone; `dropped` counts staged files that were thrown away, `kept` pairs each
    path that a forced end overwrote with where its content was saved.
    """

    replaced: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    dropped: int = 0
    kept: tuple[tuple[str, Path], ...] = ()
    completed: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """Return a line for each file that is another one now."""
        replaced = (f"  replaced    {quoted(path)}" for path in self.replaced)
        return (*replaced, *(f"  removed     {quoted(path)}" for path in self.removed))

    @property
    def message(self) -> str:
        """One line for a person: what was found and what was done about it."""
        if self.completed:
            number = _files(len(self.replaced) + len(self.removed))
            kept = [
                f"; {quoted(path)} as it was is kept in {p}" for path, p in self.kept
            ]
            return f"completed an interrupted run: {number} put in place{''.join(kept)}"
        number = _files(self.dropped)
        return f"discarded the staged files of an interrupted run ({number})"


def foreign(repo: Repo) -> tuple[str, ...]:
    """Return a line for each file of a run that this person did not begin here.

    Nothing where there is none.  Raises `NixsecretsError` where the journal is damaged.
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
    """Do what can be done without a person; None where no run was interrupted.

    Only staged: dropped.  Journal there: completed; one that this person did not write
    only if a person `agreed`, since it may have come with the repository.  Raises
    `NixsecretsError`, and changes nothing, where nobody did, where a path is neither
    what it was before that run nor after, or where the run's file for it is gone or
    damaged.
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
    pending, changed = _sorted_out(repo, found)
    if changed:
        raise NixsecretsError(
            f"an interrupted run cannot be completed: {_names(repo, changed)}"
            " changed since",
            _CHOICE,
        )
    return _complete(repo, pending, ())


def finish(repo: Repo) -> Recovered | None:
    """Complete the interrupted run even over files that were changed since.

    Their content is saved in the staging folder first.  A path whose file the run had
    already put in place stays as somebody made it since.  None where no run was
    interrupted; raises as `recover` where a file of the run is damaged.
    """
    found = journal.unfinished(repo)
    if found is None:
        return recover(repo)
    pending, changed = _sorted_out(repo, found)
    forced = [entry for entry in changed if _still_to_do(repo, entry)]
    kept = tuple((repo.shown(e.path), _keep(repo, e)) for e in forced)
    return _complete(repo, [*pending, *forced], kept)


def discard(repo: Repo) -> Recovered | None:
    """Forget the interrupted run and leave every path as it is now.

    Works on a damaged journal too.  None where no run was interrupted.
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


def _sorted_out(repo: Repo, found: Journal) -> tuple[list[Entry], list[Entry]]:
    """Return the entries still to be carried out, and those that somebody changed."""
    pending, changed = [], []
    for entry in found.entries:
        try:
            standing = entry.standing(repo)
        except OSError as error:
            raise files.explained(error, "read", repo.shown(entry.path)) from error
        if standing is Standing.BEFORE:
            pending.append(entry)
        elif standing is Standing.NEITHER:
            changed.append(entry)
    return pending, changed


def _complete(
    repo: Repo, entries: list[Entry], kept: tuple[tuple[str, Path], ...]
) -> Recovered:
    damaged = [entry for entry in entries if not _whole(repo, entry)]
    if damaged:
        raise NixsecretsError(
            f"an interrupted run cannot be completed: its file for"
            f" {_names(repo, damaged)} is gone or damaged",
            "`nixsecrets recover --discard` leaves every file unchanged",
        )
    journal.carry_out(repo, Journal.of(entries))
    journal.drop_staged(repo)
    replaced = tuple(repo.shown(e.path) for e in entries if e.after is not None)
    removed = tuple(repo.shown(e.path) for e in entries if e.after is None)
    return Recovered(replaced, removed, kept=kept, completed=True)


def _whole(repo: Repo, entry: Entry) -> bool:
    waiting = entry.waiting(repo)
    try:
        return waiting is None or files.hash_file(waiting) == entry.after
    except OSError:
        return False


def _still_to_do(repo: Repo, entry: Entry) -> bool:
    waiting = entry.waiting(repo)
    return waiting is None or os.path.lexists(waiting)


def _keep(repo: Repo, entry: Entry) -> Path:
    """Save the content of a path that is about to be overwritten; return where."""
    target = Path(entry.target(repo))
    place = repo.staging / f"kept-{secrets.token_hex(4)}-{target.name[-40:]}"
    try:
        files.write_durably(str(place), files.read_bytes_nofollow(str(target)))
    except OSError as error:
        raise files.explained(
            error, "keep a copy of", repo.shown(entry.path)
        ) from error
    return place


def _names(repo: Repo, entries: Iterable[Entry]) -> str:
    """Return the first three names, and how many more there are."""
    names = [quoted(repo.shown(entry.path)) for entry in entries]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _files(number: int) -> str:
    return f"{number} file" if number == 1 else f"{number} files"
