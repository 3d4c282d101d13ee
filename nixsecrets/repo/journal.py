"""The journal: which files a run is about to replace, recorded before it starts.

A journal that exists is complete and flushed to disk; from then on the run can only be
completed.  This module has the format and the replacing itself; `staging` starts it,
and `recovery` after a run that was interrupted.
"""

# ruff: noqa: PTH118, PTH120 (strings, as in `files`)

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Self

from nixsecrets.errors import NixsecretsError
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo import files, fsops, locking, userstate
from nixsecrets.repo.git import JOURNAL_NAME as JOURNAL_NAME
from nixsecrets.repo.worktree import Repo

_BESIDE_NAME = "beside"
_VERSION = {"nixsecrets-journal": 2}
_UNSIGNED = {"nixsecrets-journal": 1}  # written before journals had a MAC
_VERSIONS = (_VERSION, _UNSIGNED)
# the path is a link, not a regular file, below a regular file, or a socket
_NOT_A_FILE = frozenset({errno.ELOOP, errno.EINVAL, errno.ENOTDIR, errno.ENXIO})


class Stopped(NixsecretsError):
    """A disk error while files were being replaced; `cause` is the error."""

    def __init__(self, done: int, total: int, cause: NixsecretsError) -> None:
        """Report that `done` of `total` files were replaced."""
        super().__init__(
            f"stopped after {done} of {total} files: {cause.message}",
            f"{cause.hint or 'remove the cause'}; then `nixsecrets recover --finish`",
        )
        self.cause = cause


class Standing(StrEnum):
    """Whether a file has the content from before or after the run, or another one."""

    BEFORE = "before"
    AFTER = "after"
    NEITHER = "neither"


class Entry(NamedTuple):
    """One path of a run, relative to the top of the work tree.

    `before` and `after` are SHA-256 in hex, None if there is no file.  `staged` is the
    name of the staged file, None for a removal.  `beside` is the folder that it is in,
    relative to the top; None for the staging folder.
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
        """Compare the file on the disk with this entry; OSError if it is unreadable."""
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
        """Validate the fields of one line; ValueError or TypeError if invalid."""
        entry = cls(**fields)
        # a journal may come from an archive: its paths must not leave the tree
        for folder in (entry.path, entry.beside or "x"):
            if not _inside(folder):
                raise ValueError(folder)
        if entry.staged is not None and not re.fullmatch(
            files.STAGED_NAME, entry.staged
        ):
            raise ValueError(entry.staged)
        return entry


class Journal(NamedTuple):
    """The entries of one run, in the order of execution: first writes, then removals.

    So when a secret is moved, the new file exists before the old one is removed.
    """

    entries: tuple[Entry, ...]
    mac: str | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Return the journal of `entries`, sorted for execution."""
        return cls(tuple(sorted(entries, key=lambda entry: entry.staged is None)))

    def render(self) -> bytes:
        """Return the journal as JSON Lines, the first with version, count and MAC."""
        head = _VERSION | {"entries": len(self.entries), "mac": self.mac}
        lines = (head, *(entry._asdict() for entry in self.entries))
        return "".join(json.dumps(line) + "\n" for line in lines).encode()

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Parse the text of a journal.

        Raises:
            NixsecretsError: it is corrupt, or of an unknown version.
        """
        try:
            head, *lines = [json.loads(line) for line in text.splitlines()]
            # the head counts the entries, so a truncated journal is detected
            entries = tuple(Entry.parse(line) for line in lines)
            mac = head.pop("mac", None)
            if head not in [one | {"entries": len(entries)} for one in _VERSIONS]:
                raise ValueError(head)
            if not entries or not isinstance(mac, str | None):
                raise ValueError(mac)
        except (ValueError, TypeError, AttributeError) as error:
            raise NixsecretsError(
                "the journal of an interrupted run is corrupt",
                "`nixsecrets recover --discard` drops it, then see `git status`",
            ) from error
        return cls(entries, mac)

    def signed(self, repo: Repo) -> Self:
        """Return the journal with this user's MAC; without one if they have no key."""
        mac = userstate.sign(os.environ, self._claim(repo))
        return self._replace(mac=mac)

    def is_ours(self, repo: Repo) -> bool:
        """Return whether this user began the run, on this machine and in this folder.

        False for a journal that came with the repository, whoever owns the file.
        """
        if self.mac is None:
            return False
        return userstate.is_signed(os.environ, self._claim(repo), self.mac)

    def _claim(self, repo: Repo) -> bytes:
        """Return the input of the MAC: the entries, and the folders they apply to."""
        unsigned = self._replace(mac=None).render()
        places = (os.fsencode(place) for place in (repo.top, repo.staging))
        return b"\0".join((*places, unsigned))

    def untouched(self, repo: Repo) -> bool:
        """Return whether no path has been replaced or removed yet."""
        # renaming removes a staged file, and a removal removes its target
        return all(
            os.path.lexists(entry.waiting(repo) or entry.target(repo))
            for entry in self.entries
        )


def unfinished(repo: Repo) -> Journal | None:
    """Return the journal of a run that is active or was interrupted, None if none.

    Takes no lock.  Also None if the staging folder is a link or belongs to another
    user: readers can ignore that, and writers fail when they take the lock.

    Raises:
        NixsecretsError: the journal is corrupt or cannot be read.
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
    """Write the journal, signed, and flush it to disk.

    Raises:
        OSError: it cannot be written; it may exist nevertheless.
    """
    files.write_durably(_path(repo), journal.signed(repo).render())


def withdraw(repo: Repo) -> None:
    """Remove the journal and flush the folder, so that no crash brings it back.

    Raises:
        OSError: it cannot be removed.
    """
    fsops.ops.unlink(_path(repo))
    files.fsync_path(str(repo.staging))


def carry_out(repo: Repo, journal: Journal) -> None:
    """Replace and remove the files of all entries, flush, and remove the journal.

    Raises:
        Stopped: a disk error; the journal stays.
    """
    changed: set[str] = set()
    total = len(journal.entries)
    for done, entry in enumerate(journal.entries):
        try:
            _make_folders(os.path.dirname(entry.target(repo)), changed)
            _replace(repo, entry)
        except OSError as error:
            cause = files.explained(error, "replace", repo.shown(entry.path))
            raise Stopped(done, total, cause) from error
    try:
        files.flush((), changed)  # the files themselves were flushed when staged
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


def _make_folders(folder: str, changed: set[str]) -> None:
    """Make `folder` and its parents if missing; add those to flush to `changed`."""
    if folder in changed:
        return
    if not os.path.lexists(folder):
        _make_folders(os.path.dirname(folder), changed)
        files.make_folder(folder, 0o777)  # minus the umask
    elif os.path.realpath(folder) != folder:
        raise OSError(errno.ELOOP, "a folder has become a link")
    changed.add(folder)


def note_beside(repo: Repo, folders: Iterable[str]) -> None:
    """Record on disk which folders of the work tree get staged files.

    So the next run can remove them even if this one dies before it has a journal.

    Raises:
        OSError: the note cannot be written.
    """
    text = json.dumps(sorted(folders)).encode()
    files.write_durably(os.path.join(repo.staging, _BESIDE_NAME), text)


def drop_staged(repo: Repo) -> int:
    """Remove every staged file of this work tree; return their number.

    The caller holds the lock, and no journal refers to them.  Files that cannot be
    removed are left to the next run.
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
    """Return whether a relative path stays in the tree and out of `.git`."""
    parts = folder.lower().split("/")
    return not {"", ".", "..", ".git"} & set(parts)


def drop_waiting(folder: str) -> int:
    """Remove the staged files in one folder; return their number."""
    dropped = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries]:
            if re.fullmatch(files.STAGED_NAME, name):
                with contextlib.suppress(OSError):
                    fsops.ops.unlink(os.path.join(folder, name))
                    dropped += 1
    return dropped


def _path(repo: Repo) -> str:
    return os.path.join(repo.staging, JOURNAL_NAME)
