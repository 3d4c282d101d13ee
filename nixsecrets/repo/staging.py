"""A batch of files that are replaced all or not at all.

    with exclusive(repo), Batch(repo) as batch:
        batch.stage("secrets/wifi.age", data, before=sha256_of_the_old_file)
        batch.flush()
        ...  # verify the result of `read_staged`
        batch.commit()

A block that ends without `commit` leaves the tree unchanged.  The caller holds the lock
and verifies the content.
"""

# ruff: noqa: PTH114, PTH116, PTH118, PTH120 (strings, as in `files`)

import contextlib
import errno
import os
import stat
import unicodedata
from collections.abc import Iterable
from types import TracebackType
from typing import BinaryIO, Self

from nixsecrets.errors import (
    NixsecretsError,
    SecretFileError,
    quoted,
)
from nixsecrets.frozen import frozen
from nixsecrets.repo import files, fsops, journal, newfile
from nixsecrets.repo.journal import Entry, Journal, Standing
from nixsecrets.repo.locking import prepare_staging
from nixsecrets.repo.signals import deferred, termination_raises
from nixsecrets.repo.worktree import Repo

# by default access(2) checks the real user id, but open(2) the effective one
_EFFECTIVE_IDS = os.access in os.supports_effective_ids


@frozen
class _Home:
    """Where the new files of one folder are staged.

    `nearest` is the status of the folder itself or, if it does not exist yet, of its
    nearest existing parent.  `waiting` is the folder with the staged files; `beside` is
    the same relative to the top, None for the staging folder.
    """

    nearest: os.stat_result
    waiting: str
    beside: str | None


class Batch:
    """The files that one run writes and removes; paths relative to the map's folder."""

    def __init__(self, repo: Repo) -> None:
        """Start an empty batch."""
        self._repo = repo
        self._entries: dict[str, Entry] = {}
        self._paths: dict[str, str] = {}
        self._homes: dict[str, _Home] = {}
        self._hard_links: list[str] = []
        self._unflushed: list[str] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Create the staging folder; from here on SIGTERM raises `SystemExit`.

        Raises:
            NixsecretsError: an earlier run is unfinished (see `recovery`).
        """
        prepare_staging(self._repo)
        if journal.unfinished(self._repo) is not None:
            raise NixsecretsError(
                "an interrupted run is not completed yet",
                "complete it with `nixsecrets recover --finish`",
            )
        self._staging_mount = newfile.mount_of(str(self._repo.staging))
        self._stack.enter_context(termination_raises())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the staged files that were not committed."""
        with self._stack:
            self.abort()

    @property
    def hard_links(self) -> tuple[str, ...]:
        """Replaced paths that have other hard links; these keep the old content."""
        return tuple(self._hard_links)

    def stage(self, path: str, data: bytes, *, before: str | None) -> None:
        """Stage `data` as the new content of `path`; nothing is replaced yet.

        `before` is the SHA-256 (hex) of the current content, None for a new file.

        Raises:
            SecretFileError: a link leads out of the tree.
            NixsecretsError: the file is in the batch under another name, or cannot be
                written now or replaced later.
        """
        self.stage_blocks(path, (data,), before=before)

    def stage_blocks(
        self, path: str, blocks: Iterable[bytes], *, before: str | None
    ) -> tuple[str, str]:
        """Stage the new content of `path`, which comes in blocks.

        Returns the absolute path of the staged file, and its SHA-256 in hex.  `before`
        is the SHA-256 of the current content, None for a new file.  Mode, owner and
        group are those of the current file.

        Raises:
            SecretFileError: a link leads out of the tree.
            NixsecretsError: the file is in the batch under another name, or cannot be
                written now or replaced later.
        """
        target = self._claim(path)
        home = self._home(os.path.dirname(target), path)
        name = files.staged_name()
        try:
            old = self._old(target, path)
            place = os.path.join(home.waiting, name)
            after = newfile.write(place, blocks, old, home.nearest)
        except newfile.OwnerNotKeptError as error:
            raise NixsecretsError(
                f"cannot keep owner and group of {quoted(path)}; nothing was changed",
                "run the command as the file's owner, or with sudo",
            ) from error
        except OSError as error:
            raise _unchanged(files.explained(error, "stage", path)) from error
        self._add(path, target, before, (after, name, home.beside))
        self._unflushed.append(place)
        return place, after

    def delete(self, path: str, before: str) -> None:
        """Stage the removal of the file `path`, whose SHA-256 (hex) is `before`.

        Raises:
            SecretFileError: `path` is a link, or a link leads out of the tree.
            NixsecretsError: the file is in the batch under another name, or its folder
                is not writable.
        """
        target = self._claim(path)
        if os.path.islink(os.path.join(self._repo.root, path)):
            raise SecretFileError(
                f"{quoted(path)} is a symbolic link", "name the file it leads to"
            )
        self._home(os.path.dirname(target), path)
        self._add(path, target, before, (None, None, None))

    def drop(self, path: str) -> None:
        """Remove `path` from the batch; its staged file is removed with the batch."""
        del self._entries[path]
        self._hard_links = [one for one in self._hard_links if one != path]
        self._paths = {place: p for place, p in self._paths.items() if p != path}

    def staged_place(self, path: str) -> str:
        """Return the absolute path of the staged file for `path`; not for removals."""
        waiting = self._entries[path].waiting(self._repo)
        if waiting is None:
            raise ValueError(f"{path} is to be removed")
        return waiting

    def read_staged(self, path: str) -> bytes:
        """Read the staged content of `path` back from the disk.

        Raises:
            SecretFileError: it differs from what was written.
            NixsecretsError: it cannot be read.
        """
        after = self._entries[path].after or ""
        return read_back(self.staged_place(path), after, path)

    def flush(self) -> None:
        """Flush to disk the files that were staged since the last call."""
        waiting = self._unflushed
        if not waiting:
            return
        try:
            files.flush(waiting, {os.path.dirname(place) for place in waiting})
        except OSError as error:
            raise _unchanged(
                files.explained(error, "flush", str(self._repo.staging))
            ) from error
        self._unflushed = []

    def commit(self) -> None:
        """Replace all files: write the journal, check for changes, rename, flush.

        Raises:
            NixsecretsError: a file changed since it was planned, or there was a disk
                error before the first file (nothing is replaced then).
            Stopped: a disk error after that; the next run completes this one.
        """
        self.flush()
        self._refuse_case_clashes()
        # files that would not change are neither replaced nor in the journal
        plan = Journal.of(e for e in self._entries.values() if e.before != e.after)
        if plan.entries:
            # once the journal exists, an interruption would only leave work to the
            # next run, so signals wait
            with deferred():
                self._replace_all(plan)
        journal.drop_staged(self._repo)

    def abort(self) -> None:
        """Remove all staged files, unless files have already been replaced.

        If the journal cannot be removed, everything is left to the next run.
        """
        with deferred(), contextlib.suppress(OSError, NixsecretsError):
            plan = journal.unfinished(self._repo)
            if plan is not None and plan.untouched(self._repo):
                journal.withdraw(self._repo)
                plan = None
            if plan is None:
                journal.drop_staged(self._repo)

    def _replace_all(self, plan: Journal) -> None:
        try:
            journal.publish(self._repo, plan)
            # as late as possible, to keep the time until the first rename short; if it
            # refuses, `abort` withdraws the journal
            self._refuse_changed(plan)
            journal.carry_out(self._repo, plan)
        except journal.Stopped as stop:
            untouched = plan.untouched(self._repo)  # before `abort` removes the files
            self.abort()
            if untouched:
                raise _unchanged(stop.cause) from stop
            raise
        except OSError as error:
            self.abort()
            place = str(self._repo.staging)
            raise _unchanged(
                files.explained(error, "keep a journal in", place)
            ) from error

    def _refuse_changed(self, plan: Journal) -> None:
        """Check that every file still has the content that the run started from."""
        for entry in plan.entries:
            if entry.standing(self._repo) is Standing.NEITHER:
                raise NixsecretsError(
                    f"{quoted(self._repo.shown(entry.path))} changed while the run was"
                    " at work; nothing was replaced",
                    "look at the change and run the command again",
                )

    def _refuse_case_clashes(self) -> None:
        """Refuse two paths that are one file on a case-insensitive file system."""
        seen: dict[str, str] = {}
        for path, entry in self._entries.items():
            # macOS also treats differently composed characters as equal
            folded = unicodedata.normalize("NFD", entry.path).casefold()
            other = seen.setdefault(folded, path)
            if other != path and newfile.ignores_case(self._repo):
                raise NixsecretsError(
                    f"{quoted(other)} and {quoted(path)} are one file"
                    " on this file system",
                    "rename it through a third name",
                )

    def _claim(self, path: str) -> str:
        """Return the real absolute path of `path`; refuse a second name of a member."""
        target = self._repo.locate(path)
        other = self._paths.setdefault(target, path)
        if path in self._entries:
            raise ValueError(f"{path} is staged already")
        if other != path:
            raise NixsecretsError(
                f"{quoted(other)} and {quoted(path)} are one file",
                "name it once; one of them is a link",
            )
        return target

    def _add(
        self,
        path: str,
        target: str,
        before: str | None,
        new: tuple[str | None, str | None, str | None],
    ) -> None:
        below_top = self._repo.relative_to_top(target)
        self._entries[path] = Entry(below_top, before, *new)

    def _old(self, target: str, path: str) -> os.stat_result | None:
        """Return the status of the file to be replaced; record other hard links."""
        try:
            old = os.lstat(target)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if old.st_nlink > 1:
            self._hard_links.append(path)
        return old

    def _home(self, folder: str, path: str) -> _Home:
        home = self._homes.get(folder)
        if home is None:
            try:
                home = self._homes[folder] = self._find_home(folder)
            except OSError as error:
                raise _unchanged(files.explained(error, "write", path)) from error
        return home

    def _find_home(self, folder: str) -> _Home:
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        found = os.stat(folder)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        # fail now, not in the middle of replacing files; root passes the second check
        # on a read-only file system
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "read-only file system")
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE_IDS):
            raise PermissionError(errno.EACCES, "read-only folder")
        if newfile.mount_of(folder) == self._staging_mount:
            return _Home(found, str(self._repo.staging), None)
        # rename(2) cannot cross mounts: stage in the folder itself, and note that first
        beside = self._repo.relative_to_top(folder)
        known = {
            home.beside for home in self._homes.values() if home.beside is not None
        }
        journal.note_beside(self._repo, known | {beside})
        return _Home(found, folder, beside)


def read_back(place: str, expected: bytes | str, path: str) -> bytes:
    """Read the staged file `place` of `path` back and compare it with what was written.

    `expected` is the content, or its SHA-256 in hex.

    Raises:
        SecretFileError: the content differs.
        NixsecretsError: it cannot be read.
    """
    try:
        data = files.read_bytes_nofollow(place)
    except OSError as error:
        raise _unchanged(files.explained(error, "read back", path)) from error
    found = data if isinstance(expected, bytes) else files.sha256(data)
    if found != expected:
        raise SecretFileError(
            f"{quoted(path)} does not read back as written",
            "nothing was replaced; check the system log for disk errors",
        )
    return data


def open_back(place: str, path: str) -> BinaryIO:
    """Open the staged file `place` of `path` for reading.

    Raises:
        NixsecretsError: it cannot be opened.
    """
    try:
        return os.fdopen(fsops.ops.open(place), "rb")
    except OSError as error:
        raise _unchanged(files.explained(error, "read back", path)) from error


def _unchanged(error: NixsecretsError) -> NixsecretsError:
    """Return `error` with the addition that nothing was changed."""
    return NixsecretsError(f"{error.message}; nothing was changed", error.hint)
