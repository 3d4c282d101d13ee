"""A git work tree: NUL-separated names, explicit flags; `gitrun` starts the program.

It reads (`ls-files`, `rev-parse`, trees and blobs) and, when asked, adds to the index;
it never commits, checks out or writes to the work tree.
"""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from nixsecrets.errors import ProgramError, quoted
from nixsecrets.repo import changes
from nixsecrets.repo.changes import Changes, Entry
from nixsecrets.repo.gitrun import (
    BlobReader,
    blob_reader,
    failure,
    foreign_filters,
    run,
    started,
)

STAGING_NAME = "nixsecrets"
JOURNAL_NAME = "journal"
_DATED = "--format=%x01%cI"
_RAW = ("--raw", "-z", "--no-abbrev", "--no-renames", "--no-relative")
# what `git add -N` only announces is no part of the next commit
_STAGED = (
    *("diff-index", "--cached", "--ita-invisible-in-index"),
    *(*_RAW, "--ignore-submodules=none"),
)


class Listed(NamedTuple):
    """The names that git lists, and whether git could not merge any of them."""

    names: list[str]
    unmerged: bool = False


class Git(NamedTuple):
    """One work tree.

    `top` is its uppermost folder, `staging` what `--git-path nixsecrets` says: linked
    work trees each have their own.  `common` is the git folder that they share; a
    submodule has another one.  `index_file` is another index than the work tree's, as
    `git commit FILE` hands one to its hook.
    """

    top: Path
    staging: Path
    common: Path
    index_file: Path | None = None

    @classmethod
    def find(cls, folder: Path, *, index_file: Path | None = None) -> Self | None:
        """Return the work tree that `folder` lies in, None where there is none.

        Raises `ProgramError` where git is missing, or refuses a repository that is
        there (another owner, damage).
        """
        folder = folder.resolve()
        places = ("--git-common-dir", "--git-dir")
        arguments = ("--is-inside-work-tree", "--show-cdup", *places)
        try:
            asked = ("rev-parse", "--path-format=absolute", *arguments)
            result = run(asked, folder, at_once=True)
        except ProgramError:
            if _has_git_folder(folder):
                raise
            return None
        bare = b"cannot use bare repository" in result.stderr
        if result.returncode != 0 and not bare:
            if b"not a git repository" in result.stderr and not _has_git_folder(folder):
                return None
            raise failure("rev-parse", result)
        inside, _, answers = (
            os.fsdecode(result.stdout).removesuffix("\n").partition("\n")
        )
        if bare or inside != "true":
            raise ProgramError(
                "this folder lies inside a .git folder or a bare repository",
                "go to a work tree of the repository (or -C DIR)",
            )
        # `..` steps only in the first, any byte but NUL in the others
        up, _, places_found = answers.partition("\n")
        common, own = _two_places(places_found)
        # not resolved: a link that stands for it is to be seen
        return cls((folder / up).resolve(), own / STAGING_NAME, common, index_file)

    @contextmanager
    def listing(self, folder: Path) -> Iterator[Callable[[], Listed]]:
        """Start to list the names below `folder`; the function given waits for them.

        Relative to it, tracked or would-be-added.  They may be links, submodules (or
        other repositories, with a `/` at the end), or be gone from the work tree.
        """
        flags = ("--cached", "--others", "--exclude-standard")
        arguments = ("ls-files", "-z", "-t", *flags)
        with started(arguments, folder, self.index_file) as finished:
            yield lambda: _listed(_succeeded("ls-files", finished()))

    def tracked(self, folder: Path) -> frozenset[str]:
        """Return the names below `folder`, relative to it, that the index holds."""
        return frozenset(self._names(("ls-files", "-z", "--cached"), folder))

    def staged(self) -> Changes:
        """Return what a commit of the index would change (paths relative to `top`).

        Everything, where there is no commit yet.
        """
        result = run((*_STAGED, "HEAD", "--"), self.top, b"", self.index_file)
        if result.returncode == 0:
            return changes.of_raw(None, _split(result.stdout))
        if self.head() is not None:
            raise failure("diff-index", result)
        return self.everything_staged()

    def everything_staged(self) -> Changes:
        """Return the whole index as changes, without what is only meant to be added."""
        hash_tree = ("hash-object", "-t", "tree", "--stdin")
        nothing = self._output(hash_tree, self.top).decode().strip()
        raw = self._names((*_STAGED, nothing, "--"), self.top)
        return changes.of_raw(None, raw)

    def entries(
        self, paths: Sequence[str] | None = None, *, commit: str | None = None
    ) -> list[Entry]:
        """Return what the index, or a commit, holds: everything, or just `paths`.

        The paths are relative to `top`; a folder stands for all in it.
        """
        if paths is not None and not paths:
            return []
        arguments: tuple[str, ...] = ("ls-files", "-s", "-z", "--")
        if commit is not None:
            arguments = ("ls-tree", "-r", "-z", "--full-tree", commit, "--")
        found: list[Entry] = []
        for batch in _batches(paths or ()):
            for line in self._names((*arguments, *batch), self.top):
                found.append(changes.of_listed(line))
        return found

    def head_entries(self, paths: Sequence[str]) -> list[Entry]:
        """Return what the last commit holds of `paths`; nothing if there is none."""
        head = self.head()
        return [] if head is None else self.entries(paths, commit=head)

    def commits(
        self, tip: str, *, without: Sequence[str] = (), remote: str | None = None
    ) -> Iterator[Changes]:
        """Yield what each commit below `tip` changes, the oldest first.

        Left out is what `without` (commits) or any branch of `remote` holds.  Of a
        merge only what is not as in one of its parents.
        """
        known = [f"--remotes={remote}"] if remote is not None else []
        wanted = (tip, "--not", *known, *without, "--")
        ids = self._output(("rev-list", "--reverse", "--topo-order", *wanted), self.top)
        if not ids:
            return
        arguments = ("diff-tree", "--stdin", "-r", "--root", "-c", *_RAW)
        raw = self._output(arguments, self.top, ids)
        yield from changes.of_commits(os.fsdecode(raw))

    def resolve(self, revision: str) -> str:
        """Return the id of the commit that a person calls `revision`.

        Raises `ProgramError` where there is none.
        """
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options")
        result = run((*arguments, revision + "^{commit}"), self.top)
        if result.returncode != 0:
            raise ProgramError(
                f"git knows no commit {quoted(revision)}",
                "in CI: fetch the history, too (fetch-depth: 0)",
            )
        return result.stdout.decode().strip()

    def has(self, oid: str) -> bool:
        """Return whether the object is here."""
        arguments = ("cat-file", "-e", oid)
        return run(arguments, self.top).returncode == 0

    def reader(self, *, limit: int) -> AbstractContextManager[BlobReader]:
        """Give a function that reads a blob by its id, at most `limit` bytes of it.

        Raises (the function, or on entering): see `gitrun.blob_reader`.
        """
        return blob_reader(self.top, limit)

    @property
    def has_journal(self) -> bool:
        """Whether a run is replacing files just now, or was cut short at it."""
        return (self.staging / JOURNAL_NAME).exists()

    def hooks_path(self) -> str | None:
        """Return `core.hooksPath` as it is configured, None where it is not."""
        result = run(("config", "--type=path", "--get", "core.hooksPath"), self.top)
        return os.fsdecode(result.stdout).removesuffix("\n") or None

    def git_folder(self) -> Path:
        """Return the folder of this work tree's `.git`."""
        answer = self._output(("rev-parse", "--absolute-git-dir"), self.top)
        return Path(os.fsdecode(answer.removesuffix(b"\n")))

    def head(self) -> str | None:
        """Return the id of the last commit, None where there is none."""
        arguments = ("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return run(arguments, self.top).stdout.decode().strip() or None

    def committed(self, folder: Path) -> frozenset[str]:
        """Return the names below `folder`, relative to it, that HEAD holds."""
        arguments = ("ls-tree", "-r", "-z", "--name-only", "HEAD")
        result = run(arguments, folder)
        return frozenset(os.fsdecode(result.stdout).split("\0")) - {""}

    def last_changed(self, folder: Path, paths: Iterable[str]) -> dict[str, str]:
        """Return when files were last committed (ISO 8601); `paths` are below `folder`.

        Files that differ from HEAD have no date.  Each is read and hashed here: git
        would run the filters of the repository over it (`git diff`).  A file that git
        checked out with other line ends does not differ.
        """
        flags = ("--relative", "--no-renames", "--name-only", "-z")
        result = run(("log", "--no-show-signature", _DATED, *flags), folder)
        dates: dict[str, str] = {}
        date = ""
        for word in os.fsdecode(result.stdout).split("\0"):
            word = word.lstrip("\n")
            if word.startswith("\1"):
                date = word[1:]
            elif word:
                dates.setdefault(word, date)
        from nixsecrets.repo import files  # hashes, which no hook has to load

        ids = self.committed_ids(folder)
        return {
            path: dates[path]
            for path in paths
            if path in dates and files.is_blob(f"{folder}/{path}", ids.get(path))
        }

    def committed_ids(self, folder: Path) -> dict[str, str]:
        """Return the ids of the files below `folder`, relative to it, in HEAD."""
        result = run(("ls-tree", "-r", "-z", "HEAD"), folder)
        listed = map(changes.of_listed, _split(result.stdout))
        return {entry.path: entry.oid for entry in listed}

    def configure(self, name: str, value: str) -> None:
        """Set an option of this clone."""
        self._output(("config", "--local", name, value), self.top)

    def unset_section(self, name: str) -> None:
        """Take a section out of this clone's options, if it is there."""
        run(("config", "--local", "--remove-section", name), self.top)

    def git_path(self, name: str) -> Path:
        """Return where git keeps `name` (`hooks`, `index`) for this work tree."""
        answer = self._output(("rev-parse", "--git-path", name), self.top)
        return self.top / os.fsdecode(answer.removesuffix(b"\n"))

    def ignores(self, path: Path) -> bool:
        """Return whether git would leave a (perhaps future) file out of the repository.

        Files outside of the work tree are left out, too.
        """
        if not path.is_relative_to(self.top):
            return True
        # it refuses literal path specifications; `./` keeps a leading `:` ordinary
        flags = ("-q", "-z", "--no-index", "--stdin")
        arguments = ("--no-literal-pathspecs", "check-ignore", *flags)
        name = b"./" + os.fsencode(path.relative_to(self.top)) + b"\0"
        result = run(arguments, self.top, name, self.index_file)
        if result.returncode not in (0, 1):
            raise failure("check-ignore", result)
        return result.returncode == 0

    def add(self, folder: Path, paths: Iterable[str]) -> None:
        """Run `git add` on `paths`, which are relative to `folder`.

        Line ends and the filters of the person's own configuration apply as ever; what
        the repository's own configuration defines as a filter is not run.

        Raises:
            ProgramError: git refuses, or a path has such a filter.
        """
        names = [os.fsencode(path) for path in paths]
        foreign, off = foreign_filters(folder)
        if foreign:
            self._refuse_filtered(folder, names, foreign)
        flags = ("--pathspec-from-file=-", "--pathspec-file-nul")
        given = b"\0".join(names)
        result = run(("add", *flags), folder, given, self.index_file, settings=off)
        _succeeded("add", result)

    def _refuse_filtered(
        self, folder: Path, names: list[bytes], foreign: Sequence[str]
    ) -> None:
        """Refuse paths with a filter: added without it, they would differ in git."""
        given = b"".join(name + b"\0" for name in names)
        said = self._names(("check-attr", "-z", "--stdin", "filter"), folder, given)
        for path, value in zip(said[::3], said[2::3], strict=False):
            if value in foreign:
                raise ProgramError(
                    f"{quoted(path)} was not added to git: .git/config of this"
                    f" repository names a program for it (filter.{value})",
                    "if you trust that program: git add FILE",
                )

    def _names(
        self, arguments: Sequence[str], folder: Path, stdin: bytes = b""
    ) -> list[str]:
        return _split(self._output(arguments, folder, stdin))

    def _output(
        self, arguments: Sequence[str], folder: Path, stdin: bytes = b""
    ) -> bytes:
        return _succeeded(arguments[0], run(arguments, folder, stdin, self.index_file))


def _succeeded(command: str, result: subprocess.CompletedProcess[bytes]) -> bytes:
    if result.returncode != 0:
        raise failure(command, result)
    return result.stdout


def _split(output: bytes) -> list[str]:
    """Return what `-z` separates."""
    return os.fsdecode(output).removesuffix("\0").split("\0") if output else []


def _listed(output: bytes) -> Listed:
    """Read `ls-files -t`: a letter, a space, the name; `M` once for each stage."""
    names = [word[2:] for word in _split(output)]
    if b"\0M " not in b"\0" + output:
        return Listed(names)
    return Listed([*dict.fromkeys(names)], unmerged=True)


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield as many arguments as fit on a command line; once, if there are none."""
    for start in range(0, len(paths) or 1, 500):
        yield paths[start : start + 500]


def _two_places(text: str) -> tuple[Path, Path]:
    """Return two paths that a line feed separates, though either may hold some itself.

    They are the folder that all work trees share and the one of this work tree: the
    same, or below its `worktrees`.
    """
    middle = len(text) // 2
    if text[:middle] == text[middle + 1 :]:
        return Path(text[:middle]).resolve(), Path(text[:middle]).resolve()
    end = text.find("\n")
    while end != -1 and not text.startswith(text[:end] + "/worktrees/", end + 1):
        end = text.find("\n", end + 1)
    if end == -1:
        raise ProgramError(
            "git rev-parse gives paths that do not fit together",
            "see `git rev-parse --git-common-dir --git-dir` in this folder",
        )
    return Path(text[:end]).resolve(), Path(text[end + 1 :]).resolve()


def _has_git_folder(folder: Path) -> bool:
    return any(os.path.lexists(place / ".git") for place in (folder, *folder.parents))
