"""A git work tree: its paths, index, trees, blobs and configuration.

Reads the repository and can add files to the index; never commits, checks out or
writes to the work tree.  `gitrun` starts the program.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self

from nixsecrets.errors import ProgramError, quoted
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo import changes
from nixsecrets.repo.changes import Changes, Entry
from nixsecrets.repo.child import Result
from nixsecrets.repo.gitplaces import has_git_folder, two_places, without_commit
from nixsecrets.repo.gitrun import (
    BlobReader,
    Finished,
    blob_reader,
    failure,
    foreign_filters,
    run,
    started,
)

STAGING_NAME = "nixsecrets"
JOURNAL_NAME = "journal"
_PLACES = ("--is-inside-work-tree", "--show-cdup", "--git-common-dir", "--git-dir")
# the last question: without such a commit git ends here, with exit code 0
_SECOND_PARENT = ("--revs-only", "HEAD^2")
_DATED = "--format=%x01%cI"  # a control character marks the line with the date
_RAW = ("--raw", "-z", "--no-abbrev", "--no-renames", "--no-relative")
# an entry of `git add -N` is not part of the next commit
_STAGED = (
    *("diff-index", "--cached", "--ita-invisible-in-index"),
    *(*_RAW, "--ignore-submodules=none"),
)


class Listed(NamedTuple):
    """The paths that git lists; `unmerged` if the index has conflicts."""

    names: list[str]
    unmerged: bool = False


class Git(NamedTuple):
    """One work tree.

    `top` is its top-level folder.  `staging` is `git rev-parse --git-path nixsecrets`,
    which each linked work tree has for itself; `common` is the git folder that they
    share.  `index_file` replaces the index, as for the hook of `git commit FILE`.
    `second_parent` is that of HEAD when it was looked for, None if HEAD is no merge.
    """

    top: Path
    staging: Path
    common: Path
    index_file: Path | None = None
    second_parent: str | None = None

    @classmethod
    def find(cls, folder: Path, *, index_file: Path | None = None) -> Self | None:
        """Return the work tree that contains `folder`, None if there is none.

        Raises:
            ProgramError: there is a repository, and git is missing or refuses it
                (another owner, corrupt), or `folder` is inside `.git`.
        """
        folder = folder.resolve()
        try:
            asked = ("rev-parse", "--path-format=absolute", *_PLACES, *_SECOND_PARENT)
            result = run(asked, folder, at_once=True)
        except ProgramError:
            if has_git_folder(folder):
                raise
            return None
        bare = b"cannot use bare repository" in result.stderr
        if result.returncode != 0 and not bare:
            if b"not a git repository" in result.stderr and not has_git_folder(folder):
                return None
            raise failure("rev-parse", result)
        found = None if bare else cls._answered(folder, result.stdout, index_file)
        if found is None:
            raise ProgramError(
                "this folder lies inside a .git folder or a bare repository",
                "go to a work tree of the repository (or -C DIR)",
            )
        return found

    @classmethod
    @contextmanager
    def looking_for(
        cls, folder: Path, path: str
    ) -> Iterator[Callable[[], Self | None]]:
        """Start to look for `path` in the index; yield a function that waits for it.

        It returns the work tree of `folder`, a real path, if git tracks `path` in it,
        merged; None otherwise, and for any error: `find` says which.  One run of git.
        """
        # only what is merged has this stage in the index; else git answers nothing
        asked = ("rev-parse", "--path-format=absolute", "--revs-only", f":0:./{path}")
        with ExitStack() as stack:
            finished = None
            with suppress(ProgramError):
                git = started((*asked, *_PLACES), folder, at_once=True)
                finished = stack.enter_context(git)
            yield partial(cls._found, folder, finished)

    @classmethod
    def _found(cls, folder: Path, finished: Finished | None) -> Self | None:
        with suppress(ProgramError):
            result = finished() if finished else None
            if result is not None and result.returncode == 0:
                return cls._answered(folder, result.stdout.partition(b"\n")[2], None)
        return None

    @classmethod
    def _answered(
        cls, folder: Path, output: bytes, index_file: Path | None
    ) -> Self | None:
        """Return the work tree that git answers for `_PLACES`; None outside of one."""
        inside, _, answers = os.fsdecode(output).removesuffix("\n").partition("\n")
        if inside != "true":
            return None
        # the first line has only `../`; the paths after it may contain line feeds
        up, _, places_found = answers.partition("\n")
        places_found, second = without_commit(places_found)
        common, own = two_places(places_found)
        # the staging folder is not resolved: `locking` refuses a link in its place
        top, staging = (folder / up).resolve(), own / STAGING_NAME
        return cls(top, staging, common, index_file, second)

    @contextmanager
    def listing(
        self, folder: Path, only: str | None = None
    ) -> Iterator[Callable[[], Listed]]:
        """Start to list the paths below `folder`; the yielded function waits for them.

        These are the paths that git tracks or would add, relative to `folder`: also
        links, submodules, other repositories (with a trailing `/`) and files that are
        missing from the work tree.  With `only`, that path or what is below it.
        """
        flags = ("--cached", "--others", "--exclude-standard")
        narrowed = () if only is None else ("--", only)
        arguments = ("ls-files", "-z", "-t", *flags, *narrowed)
        with started(arguments, folder, self.index_file) as finished:
            yield lambda: _listed(_succeeded("ls-files", finished()))

    def tracked(self, folder: Path) -> frozenset[str]:
        """Return the paths in the index below `folder`, relative to it."""
        return frozenset(self._names(("ls-files", "-z", "--cached"), folder))

    def staged(self) -> Changes:
        """Return what committing the index would change (paths relative to `top`).

        Everything in the index if there is no commit yet.
        """
        result = run((*_STAGED, "HEAD", "--"), self.top, b"", self.index_file)
        if result.returncode == 0:
            return changes.of_raw(None, _split(result.stdout))
        if self.head() is not None:
            raise failure("diff-index", result)
        return self.everything_staged()

    def everything_staged(self) -> Changes:
        """Return all of the index as additions, without entries of `git add -N`."""
        hash_tree = ("hash-object", "-t", "tree", "--stdin")
        nothing = self._output(hash_tree, self.top).decode().strip()
        raw = self._names((*_STAGED, nothing, "--"), self.top)
        return changes.of_raw(None, raw)

    def entries(
        self, paths: Sequence[str] | None = None, *, commit: str | None = None
    ) -> list[Entry]:
        """Return the entries of the index, or of a commit: all, or those at `paths`.

        The paths are relative to `top`; a folder stands for all files below it.
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
        """Return the entries of the last commit at `paths`; empty without a commit."""
        head = self.head()
        return [] if head is None else self.entries(paths, commit=head)

    def commits(
        self, tip: str, *, without: Sequence[str] = (), remote: str | None = None
    ) -> Iterator[Changes]:
        """Yield the changes of each commit that `tip` reaches, oldest first.

        Without the commits that those in `without`, or any branch of `remote`, reach.
        For a merge only the files that differ from all of its parents.
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
        """Return the id of the commit that `revision` names.

        Raises:
            ProgramError: there is no such commit.
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
        """Return whether the clone has the object."""
        arguments = ("cat-file", "-e", oid)
        return run(arguments, self.top).returncode == 0

    def reader(self, *, limit: int) -> AbstractContextManager[BlobReader]:
        """Yield a function from a blob's id to its first `limit` bytes.

        Raises:
            ProgramError: git cannot be started, or (from the function) it has no blob.
        """
        return blob_reader(self.top, limit)

    @property
    def has_journal(self) -> bool:
        """Whether a run is replacing files now, or was interrupted while doing so."""
        return (self.staging / JOURNAL_NAME).exists()

    def hooks_path(self) -> str | None:
        """Return the configured `core.hooksPath`, None if it is not set."""
        result = run(("config", "--type=path", "--get", "core.hooksPath"), self.top)
        return os.fsdecode(result.stdout).removesuffix("\n") or None

    @property
    def folder(self) -> Path:
        """The git folder of this work tree; linked work trees have their own."""
        return self.staging.parent

    def head(self) -> str | None:
        """Return the id of the last commit, None if there is none."""
        arguments = ("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return run(arguments, self.top).stdout.decode().strip() or None

    @contextmanager
    def dating(self, folder: Path) -> Iterator[Callable[[], dict[str, str]]]:
        """Start to read the history; the yielded function waits for the dates.

        It returns the date (ISO 8601) of the last commit that changed each path, as
        paths below `folder`, relative to it.
        """
        flags = ("--relative", "--no-renames", "--name-only", "-z")
        arguments = ("log", "--no-show-signature", _DATED, *flags)
        with started(arguments, folder) as finished:
            yield lambda: changes.of_dates(finished().stdout)

    def committed_ids(self, folder: Path) -> dict[str, str]:
        """Return the blob of each file in HEAD below `folder`, by path relative to it.

        Empty if there is no commit.
        """
        result = run(("ls-tree", "-r", "-z", "HEAD"), folder)
        listed = map(changes.of_listed, _split(result.stdout))
        return {entry.path: entry.oid for entry in listed}

    def option(self, name: str) -> str | None:
        """Return the last value of an option of this clone, None if it is not set."""
        result = run(("config", "--local", "--null", "--get", name), self.top)
        if result.returncode == 1:
            return None
        if result.returncode != 0:
            raise failure("config", result)
        return os.fsdecode(result.stdout.removesuffix(b"\0"))

    def configure(self, name: str, value: str) -> None:
        """Set an option in the configuration of this clone."""
        self._output(("config", "--local", name, value), self.top)

    def unset_section(self, name: str) -> None:
        """Remove a section from the configuration of this clone, if it exists."""
        run(("config", "--local", "--remove-section", name), self.top)

    def git_path(self, name: str) -> Path:
        """Return where git keeps `name` (`hooks`, `index`) for this work tree."""
        answer = self._output(("rev-parse", "--git-path", name), self.top)
        return self.top / os.fsdecode(answer.removesuffix(b"\n"))

    def ignores(self, path: Path) -> bool:
        """Return whether git ignores a file, which need not exist.

        True as well for files outside of the work tree.
        """
        if not path.is_relative_to(self.top):
            return True
        # check-ignore refuses GIT_LITERAL_PATHSPECS; `./` protects a leading `:`
        flags = ("-q", "-z", "--no-index", "--stdin")
        arguments = ("--no-literal-pathspecs", "check-ignore", *flags)
        name = b"./" + os.fsencode(path.relative_to(self.top)) + b"\0"
        result = run(arguments, self.top, name, self.index_file)
        if result.returncode not in (0, 1):
            raise failure("check-ignore", result)
        return result.returncode == 0

    def attributes(
        self, folder: Path, paths: Iterable[str], names: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        """Return the git attributes of each path that has one of `names`."""
        given = b"".join(os.fsencode(path) + b"\0" for path in paths)
        asked = ("check-attr", "-z", "--stdin", *names)
        return changes.of_attributes(self._names(asked, folder, given))

    def add(self, folder: Path, paths: Iterable[str]) -> None:
        """Run `git add` on `paths`, which are relative to `folder`.

        Line end conversion and filters of the user's own configuration apply; filters
        that `.git/config` of the repository defines are not run.

        Raises:
            ProgramError: git refuses, or the repository defines a filter for a path.
        """
        names = list(paths)
        foreign, off = foreign_filters(folder)
        if foreign:
            self._refuse_filtered(folder, names, foreign)
        flags = ("--pathspec-from-file=-", "--pathspec-file-nul")
        given = b"\0".join(map(os.fsencode, names))
        result = run(("add", *flags), folder, given, self.index_file, settings=off)
        _succeeded("add", result)

    def _refuse_filtered(
        self, folder: Path, names: list[str], foreign: Sequence[str]
    ) -> None:
        """Refuse paths with a filter: adding them unfiltered would change them."""
        for path, said in self.attributes(folder, names, ("filter",)).items():
            if (value := said["filter"]) in foreign:
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


def _succeeded(command: str, result: Result) -> bytes:
    if result.returncode != 0:
        raise failure(command, result)
    return result.stdout


def _split(output: bytes) -> list[str]:
    """Split the output of a command with `-z`."""
    return os.fsdecode(output).removesuffix("\0").split("\0") if output else []


def _listed(output: bytes) -> Listed:
    """Parse `ls-files -t -z`: a letter, a space and the path.

    An unmerged path is listed with `M` once per stage.
    """
    names = [word[2:] for word in _split(output)]
    if b"\0M " not in b"\0" + output:
        return Listed(names)
    return Listed([*dict.fromkeys(names)], unmerged=True)


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the paths in batches that fit on a command line; `()` once if empty."""
    for start in range(0, len(paths) or 1, 500):
        yield paths[start : start + 500]
