"""The journal: what a run is about to replace, written down before it starts.

A journal that exists is whole and durable, and from then on the run only goes forward.
Here are its format and the replacing itself; who may start it is for `staging` (a run)
and `recovery` (the run after one that died) to say.
"""

# ruff: noqa: PTH118, PTH120 (strings, as in `files`)

import contextlib
import errno
import json
import os
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple, Self

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo import files, fsops, locking, userstate
from nixsecrets.repo.git import JOURNAL_NAME as JOURNAL_NAME
from nixsecrets.repo.worktree import Repo

_BESIDE_NAME = "beside"
_VERSION = {"nixsecrets-journal": 2}
_UNSIGNED = {"nixsecrets-journal": 1}  # what was written before a journal had a MAC
_VERSIONS = (_VERSION, _UNSIGNED)
_NOT_A_FILE = frozenset({errno.ELOOP, errno.EINVAL, errno.ENOTDIR, errno.ENXIO})


class Stopped(NixsecretsError):
    """The disk refused while files were being replaced; `cause` says what it said."""

    def __init__(self, done: int, total: int, cause: NixsecretsError) -> None:
        """Tell that `done` of `total` files were replaced."""
        super().__init__(
            f"stopped after {done} of {total} files: {cause.message}",
            f"{cause.hint or 'remove the cause'}; then `nixsecrets recover --finish`",
        )
        self.cause = cause


class Standing(StrEnum):
    """How a path on the disk compares with its entry."""

    BEFORE = "before"
    AFTER = "after"
    NEITHER = "neither"


class Entry(NamedTuple):
    """One path of a run, relative to the top of the work tree.

    `before` and `after` are SHA-256 in hex, None where there is no file.  `staged` is
    the name of the new file, None for a removal; it waits in the folder `beside`
    (relative to the top), None for the staging folder.
    """

    path: str
    before: str | None
    after: str | None
    staged: str | None
    beside: str | None = None

    def target(self, repo: Repo) -> str:
        """Return the absolute path."""
        return f"{repo.top}/{self.path}"

    def waiting(self, repo: Repo) -> str | None:
        """Return the absolute path of the staged file, None for a removal."""
        if self.staged is None:
            return None
        if self.beside is None:
            return f"{repo.staging}/{self.staged}"
        return f"{repo.top}/{self.beside}/{self.staged}"

    def standing(self, repo: Repo) -> Standing:
        """Compare the disk with this entry.  Raises `OSError` if it cannot be read."""
        try:
            found = files.hash_file(self.target(repo))
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                return Standing.NEITHER
            raise
        if found == self.after:
            return Standing.AFTER
        return Standing.BEFORE if found == self.before else Standing.NEITHER

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """Check the fields of one line.  Raises `ValueError` or `TypeError`."""
        entry = cls(**fields)
        for folder in (entry.path, entry.beside or "x"):
            if not _inside(folder):
                raise ValueError(folder)
        if entry.staged is not None and not files.STAGED_NAME.fullmatch(entry.staged):
            raise ValueError(entry.staged)
        return entry


class Journal(NamedTuple):
    """The entries of one run: first those that write, then the removals.

    The order is that of carrying out: where a secret moves, its new file is there
    before the old one goes.
    """

    entries: tuple[Entry, ...]
    mac: str | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Return the journal of `entries`, brought in order."""
        return cls(tuple(sorted(entries, key=lambda entry: entry.staged is None)))

    def render(self) -> bytes:
        """Return the text: JSON Lines, the first with version, number and MAC."""
        head = _VERSION | {"entries": len(self.entries), "mac": self.mac}
        lines = (head, *(entry._asdict() for entry in self.entries))
        return "".join(json.dumps(line) + "\n" for line in lines).encode()

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read `render`'s text back.  Raises `NixsecretsError` where it is damaged."""
        try:
            head, *lines = [json.loads(line) for line in text.splitlines()]
            entries = tuple(Entry.parse(line) for line in lines)
            mac = head.pop("mac", None)
            if head not in [one | {"entries": len(entries)} for one in _VERSIONS]:
                raise ValueError(head)
            if not entries or not isinstance(mac, str | None):
                raise ValueError(mac)
        except (ValueError, TypeError, AttributeError) as error:
            raise NixsecretsError(
                "the journal of an interrupted run is damaged",
                "`nixsecrets recover --discard` drops it, then see `git status`",
            ) from error
        return cls(entries, mac)

    def signed(self, repo: Repo) -> Self:
        """Return the journal with this person's MAC, without where they have no key."""
        mac = userstate.sign(os.environ, self._claim(repo))
        return self._replace(mac=mac)

    def is_ours(self, repo: Repo) -> bool:
        """Return whether this person began the run, on this machine and in this place.

        Not so for what came with the repository, whoever owns it now.
        """
        if self.mac is None:
            return False
        return userstate.is_signed(os.environ, self._claim(repo), self.mac)

    def _claim(self, repo: Repo) -> bytes:
        """Return what the MAC is of: the entries, and where they are to take effect."""
        unsigned = self._replace(mac=None).render()
        places = (os.fsencode(place) for place in (repo.top, repo.staging))
        return b"\0".join((*places, unsigned))

    def untouched(self, repo: Repo) -> bool:
        """Return whether not one path has been replaced or removed yet."""
        return all(
            os.path.lexists(entry.waiting(repo) or entry.target(repo))
            for entry in self.entries
        )


def unfinished(repo: Repo) -> Journal | None:
    """Return the journal of a run that is at work or was interrupted, None if none.

    Takes no lock and changes nothing.  None too where the staging folder is a link or
    another person's: a reader need not know, and a writer fails at the lock.  Raises
    `NixsecretsError` where the journal is damaged.
    """
    path = _path(repo)
    try:
        if locking.staging_objection(repo) is not None:
            return None
        return Journal.parse(files.read_bytes_nofollow(path))
    except (FileNotFoundError, PermissionError):
        return None
    except OSError as error:
        raise files.explained(error, "read", path) from error


def publish(repo: Repo, journal: Journal) -> None:
    """Make the journal durable.  Raises `OSError`; the journal may be there then."""
    files.write_durably(_path(repo), journal.signed(repo).render())


def withdraw(repo: Repo) -> None:
    """Drop the journal, durably, so that no later crash brings it back.

    Raises `OSError`.
    """
    fsops.ops.unlink(_path(repo))
    files.fsync_path(str(repo.staging))


def carry_out(repo: Repo, journal: Journal) -> None:
    """Replace and remove what the entries say, flush, drop the journal.

    Raises `Stopped` where the disk refuses; the journal then stays.
    """
    changed: set[str] = set()
    total = len(journal.entries)
    for done, entry in enumerate(journal.entries):
        try:
            _ready_folder(os.path.dirname(entry.target(repo)), changed)
            _replace(repo, entry)
        except OSError as error:
            cause = files.explained(error, "replace", repo.shown(entry.path))
            raise Stopped(done, total, cause) from error
    try:
        files.flush((), changed)
        withdraw(repo)
    except OSError as error:
        cause = files.explained(error, "flush", str(repo.root))
        raise Stopped(total, total, cause) from error


def _replace(repo: Repo, entry: Entry) -> None:
    waiting = entry.waiting(repo)
    if waiting is not None:
        fsops.ops.replace(waiting, entry.target(repo))
        return
    with contextlib.suppress(FileNotFoundError):
        fsops.ops.unlink(entry.target(repo))


def _ready_folder(folder: str, changed: set[str]) -> None:
    """Make `folder` where it is missing; add to `changed` what gets an entry."""
    if folder in changed:
        return
    if not os.path.lexists(folder):
        _ready_folder(os.path.dirname(folder), changed)
        files.make_folder(folder, 0o777)
    elif os.path.realpath(folder) != folder:
        raise OSError(errno.ELOOP, "a folder has become a link")
    changed.add(folder)


def note_beside(repo: Repo, folders: Iterable[str]) -> None:
    """Write down, durably, which folders of the tree get staged files.

    Without it nobody would find those of a run that died before it had a journal.
    Raises `OSError`.
    """
    text = json.dumps(sorted(folders)).encode()
    files.write_durably(os.path.join(repo.staging, _BESIDE_NAME), text)


def drop_staged(repo: Repo) -> int:
    """Remove every staged file of this work tree; return how many there were.

    The caller holds the lock, and there is no journal that needs them.  What cannot be
    removed now is left to the next run.
    """
    note = os.path.join(repo.staging, _BESIDE_NAME)
    beside = _folders_beside(note)
    dropped = 0
    for folder in (str(repo.staging), *(os.path.join(repo.top, f) for f in beside)):
        dropped += drop_waiting(folder)
    if beside:
        with contextlib.suppress(OSError):
            fsops.ops.unlink(note)
    return dropped


def _folders_beside(note: str) -> list[str]:
    try:
        found = json.loads(files.read_bytes_nofollow(note))
    except (OSError, ValueError):
        return []
    listed = found if isinstance(found, list) else []
    return [one for one in listed if isinstance(one, str) and _inside(one)]


def _inside(folder: str) -> bool:
    parts = folder.lower().split("/")
    return not {"", ".", "..", ".git"} & set(parts)


def drop_waiting(folder: str) -> int:
    """Remove the staged files in one folder; return how many there were."""
    dropped = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries]:
            if files.STAGED_NAME.fullmatch(name):
                with contextlib.suppress(OSError):
                    fsops.ops.unlink(os.path.join(folder, name))
                    dropped += 1
    return dropped


def _path(repo: Repo) -> str:
    return os.path.join(repo.staging, JOURNAL_NAME)
