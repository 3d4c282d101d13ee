"""The working tree around a map: finding it, listing its files and reading them.

Paths are POSIX strings relative to the map's folder, with surrogate escapes for bytes
that are not UTF-8.  `staging` replaces files.
"""

# thousands of names pass through here, and a Path costs more than the call it wraps
# ruff: noqa: PTH113, PTH114, PTH118, PTH119

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from nixsecrets.errors import NixsecretsError, SecretFileError, quoted
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo import files
from nixsecrets.repo.git import Git, Listed
from nixsecrets.untrusted import inputs

T = TypeVar("T")

MAP_NAME = "nixsecrets.toml"
BARE_STAGING_NAME = ".nixsecrets"


class Listing(NamedTuple):
    """The paths that git lists (or a walk finds) below the map's folder, classified.

    `paths` are the regular files of this map, sorted.  `hidden` has the paths below
    folders with another map, by the path of that map.  `absent` are all others: not
    regular files, missing, or below a link.
    """

    paths: list[str]
    hidden: Mapping[str, Sequence[str]]
    absent: Sequence[str]


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that contains a map.

    Raises:
        NixsecretsError: there is none, or it is not a regular file.
    """
    try:
        start = start.resolve()
    except OSError as error:  # the current folder was removed
        raise files.explained(error, "look for the map from", str(start)) from error
    for folder in (start, *start.parents):
        place = folder / MAP_NAME
        if os.path.isfile(place):  # False, not an error, if the folder is unreadable
            return folder
        if os.path.exists(place):  # noqa: PTH110 - as above
            mode = os.stat(place).st_mode  # noqa: PTH116
            raise files.explained(inputs.NotRegularError(mode), "read", str(place))
    raise NixsecretsError(
        f"no {MAP_NAME} in {quoted(str(start))} or above it",
        "make one with `nixsecrets init`, or go to its folder (or -C DIR)",
    )


class Repo:
    """The map's folder (`root`, a real path) and the git work tree around it."""

    __slots__ = ("_folders", "git", "root")

    def __init__(self, root: Path, git: Git | None) -> None:
        """Take both as they are; `find` and `at` look for them."""
        self.root = root
        self.git = git
        self._folders: dict[str, str] = {}

    @classmethod
    def find(cls, start: Path, *, index_file: Path | None = None) -> Self:
        """Return the repository of the nearest map at or above `start`.

        Raises:
            NixsecretsError: there is no map.
            ProgramError: git refuses the repository.
        """
        return cls.at(find_root(start), index_file=index_file)

    @classmethod
    def at(cls, root: Path, *, index_file: Path | None = None) -> Self:
        """Return the repository with its map, which need not exist, in `root`.

        Raises:
            ProgramError: git refuses the repository.
        """
        root = root.resolve()
        return cls(root, Git.find(root, index_file=index_file))

    @classmethod
    @contextlib.contextmanager
    def looking_for(
        cls, start: Path, path: Path
    ) -> Iterator[Callable[[], tuple[Self, str] | None]]:
        """Start to ask git for a file; yield a function that waits for the answer.

        It returns the repository, and the file's name in it, of a file that git tracks;
        None for what is no plain, merged file of the nearest map: `find`, and what
        looks at the file, say why.  `path` is typed in `start`.
        """
        root = find_root(start)
        full = start / path
        place = full.parent.resolve() / full.name
        if not place.is_relative_to(root) or place.is_symlink():
            yield lambda: None
            return
        name = place.relative_to(root).as_posix()
        with Git.looking_for(root, name) as found:
            yield lambda: None if (git := found()) is None else (cls(root, git), name)

    @property
    def top(self) -> Path:
        """The folder that no path may lead out of: the work tree's top, else `root`."""
        return self.root if self.git is None else self.git.top

    @property
    def staging(self) -> Path:
        """The folder for staged files, journal and lock; it may not exist yet."""
        if self.git is None:
            return self.root / BARE_STAGING_NAME
        return self.git.staging

    def list_files(self) -> list[str]:
        """Return the regular files below the map that git tracks or would add, sorted.

        Without links, submodules, folders with another map, and staged files.  Without
        git: all regular files, except below links.
        """
        with self.naming() as listed:
            return self.on_disk(listed().names).paths

    @contextlib.contextmanager
    def naming(
        self, only: str | None = None, *, tracked: bool = False
    ) -> Iterator[Callable[[], Listed]]:
        """Start to list the paths; yield a function that waits for them.

        `on_disk` classifies them.  With `only`, that path or what is below it;
        if git is known to track it (`tracked`), it is not asked again.
        """
        if only is not None and tracked:
            yield lambda: Listed([only])
            return
        if self.git is None:
            with _explained():
                names = list(_walk(str(self.root), ""))
            yield lambda: Listed(names)
            return
        with self.git.listing(self.root, only) as listed:
            yield listed

    def on_disk(self, names: list[str]) -> Listing:
        """Classify paths: regular files of this map, files of other maps, absent."""
        with _explained():
            return _on_disk(str(self.root), names)

    def read(self, path: str) -> bytes:
        """Return the content of `path`.

        Raises:
            SecretFileError: a link leads out of the tree.
            NixsecretsError: the file is missing or cannot be read.
        """
        try:
            return self._read(path)
        except OSError as error:
            raise files.explained(error, "read", path) from error

    def read_if_there(self, path: str) -> bytes | None:
        """Return the content of `path`, None if it does not exist.

        Raises:
            SecretFileError: a link leads out of the tree.
            NixsecretsError: the file cannot be read.
        """
        try:
            return self._read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise files.explained(error, "read", path) from error

    def _read(self, path: str) -> bytes:
        return self._read_with(files.read_bytes_nofollow, path)

    def _read_with(self, reader: Callable[[str], T], path: str) -> T:
        try:
            return reader(self._place(path))
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        return reader(self.locate(path))

    def read_or_start(
        self, path: str, length: int, enough: Callable[[bytes], bool]
    ) -> bytes | files.Start:
        """Return a file, or only its start if it is longer and `enough(start)` holds.

        The start is `length` bytes; the rest is hashed and not kept in memory.

        Raises:
            SecretFileError: a link leads out of the tree.
            NixsecretsError: the file is missing or cannot be read.
        """
        reader = partial(files.read_or_start, length=length, enough=enough)
        try:
            return self._read_with(reader, path)
        except OSError as error:
            raise files.explained(error, "read", path) from error

    def read_quickly(self, path: str, most: int) -> bytes | None:
        """Return the content of a file of up to `most` bytes.

        None if it is larger, or for any error; `read` reports which.
        """
        try:
            return files.read_up_to(self._place(path), most)
        except (OSError, SecretFileError):
            return None

    def locate(self, path: str) -> str:
        """Return the real absolute path of `path`, with links resolved.

        Raises:
            SecretFileError: that is outside of the tree or in `.git`.
        """
        place = self._place(path)
        if not os.path.islink(place):
            return place
        return self._inside(os.path.realpath(place), path)

    def relative_to_top(self, place: str) -> str:
        """Return a real absolute path inside the tree relative to `top`."""
        return place[len(_with_slash(str(self.top))) :]

    def shown(self, below_top: str) -> str:
        """Return a path relative to `top` as one relative to the map's folder."""
        prefix = self.relative_to_top(_with_slash(str(self.root)))
        if below_top.startswith(prefix):
            return below_top[len(prefix) :]
        return os.path.relpath(self.top / below_top, self.root)

    def _place(self, path: str) -> str:
        """Return the absolute path with links resolved except in the last component.

        Raises `SecretFileError` if it is outside of the tree or in `.git`.
        """
        folder, _, name = path.rpartition("/")
        if name.lower() in {"", ".", "..", ".git"} or "\0" in path:
            raise SecretFileError(
                f"{quoted(path)} cannot be a file of this repository",
                "name a file below the map's folder",
            )
        real = self._folders.get(folder)
        if real is None:
            joined = os.path.join(self.root, folder)
            real = _with_slash(self._inside(os.path.realpath(joined), path))
            self._folders[folder] = real
        return real + name

    def _inside(self, real: str, path: str) -> str:
        top = str(self.top)
        if real != top and not real.startswith(_with_slash(top)):
            raise SecretFileError(
                f"{quoted(path)} is outside the repository, or its links lead there",
                "replace the link by the file itself, or name the file it leads to",
            )
        if ".git" in self.relative_to_top(real).lower().split("/"):
            raise SecretFileError(
                f"{quoted(path)} lies inside a .git folder", "name a file of the tree"
            )
        return real


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.explained(error, "list", str(error.filename)) from error


def _with_slash(folder: str) -> str:
    return folder if folder.endswith("/") else folder + "/"


def _is_staging_name(name: str) -> bool:
    """Return whether a name is that of a staged file, or of the folder without git."""
    return name.startswith(BARE_STAGING_NAME) and (
        name == BARE_STAGING_NAME or re.fullmatch(files.STAGED_NAME, name) is not None
    )


def _walk(root: str, below: str) -> Iterator[str]:
    """Yield the regular files in `root/below`; `below` is empty or ends in `/`."""
    with os.scandir(root + "/" + below) as entries:
        found = [entry for entry in entries if not _is_staging_name(entry.name)]
    for entry in found:
        if entry.is_dir(follow_symlinks=False) and entry.name != ".git":
            yield from _walk(root, f"{below}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield below + entry.name


def _on_disk(root: str, names: list[str]) -> Listing:
    """Classify paths by what is on the disk."""
    # One scandir for each folder, whose entries have a type, is three times as fast as
    # one lstat for each file.
    barriers: dict[str, str | None] = {"": None}
    regular: dict[str, frozenset[str]] = {}
    paths: list[str] = []
    absent: list[str] = []
    hidden: dict[str, list[str]] = {}
    for path in names:
        folder, _, name = path.rpartition("/")
        there = regular.get(folder)
        if there is None:
            open_to_us = _barrier(root, folder, barriers) is None
            there = _regular_names(root, folder) if open_to_us else frozenset()
            regular[folder] = there
        if name in there:
            paths.append(path)
        elif inner := barriers[folder]:
            hidden.setdefault(inner, []).append(path)
        else:
            absent.append(path)
    paths.sort()
    return Listing(paths, hidden, absent)


def _barrier(root: str, folder: str, known: dict[str, str | None]) -> str | None:
    """Return what excludes `folder`: the path of another map, or "" for a link.

    None if it belongs to this map.  `known` has the results for other folders.
    """
    if folder in known:
        return known[folder]
    place = f"{root}/{folder}"
    found = _barrier(root, folder.rpartition("/")[0], known)
    if found is None:
        if os.path.basename(folder) == BARE_STAGING_NAME or os.path.islink(place):
            found = ""
        elif os.path.lexists(f"{place}/{MAP_NAME}"):
            found = f"{folder}/{MAP_NAME}"
    known[folder] = found
    return found


def _regular_names(root: str, folder: str) -> frozenset[str]:
    try:
        with os.scandir(root + "/" + folder) as entries:
            return frozenset(
                entry.name
                for entry in entries
                if entry.is_file(follow_symlinks=False)
                and not _is_staging_name(entry.name)
            )
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()  # it is only in the index
