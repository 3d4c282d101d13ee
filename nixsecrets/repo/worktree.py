"""The working tree around a map: where it is, which files it has, how one is read.

Paths are posix strings relative to the map's folder (odd bytes as surrogate escapes).
It reads only; what is replaced goes through `staging`.
"""

# thousands of names pass through here, and a Path costs more than the call it wraps
# ruff: noqa: PTH113, PTH114, PTH118, PTH119

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from nixsecrets.errors import NixsecretsError, SecretFileError, quoted
from nixsecrets.repo import files
from nixsecrets.repo.git import Git, Listed
from nixsecrets.untrusted import inputs

T = TypeVar("T")

MAP_NAME = "nixsecrets.toml"
BARE_STAGING_NAME = ".nixsecrets"


class Listing(NamedTuple):
    """The names that git (or a walk) lists below the map's folder, sorted out.

    `paths` are the regular files of this map, sorted.  `hidden` are names below folders
    that have a map of their own, by the path of that map.  `absent` are all others: no
    regular file on the disk, or reached only through a link.
    """

    paths: list[str]
    hidden: Mapping[str, Sequence[str]]
    absent: Sequence[str]


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds a map.

    Raises `NixsecretsError` where there is none.
    """
    try:
        start = start.resolve()
    except OSError as error:  # the current folder was removed
        raise files.explained(error, "look for the map from", str(start)) from error
    for folder in (start, *start.parents):
        place = folder / MAP_NAME
        if os.path.isfile(place):  # False, no error, where we may not look
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
        """Return the repository of the nearest map at or above `start`."""
        return cls.at(find_root(start), index_file=index_file)

    @classmethod
    def at(cls, root: Path, *, index_file: Path | None = None) -> Self:
        """Return the repository whose map lies, or will lie, in `root`."""
        root = root.resolve()
        return cls(root, Git.find(root, index_file=index_file))

    @property
    def top(self) -> Path:
        """The folder that nothing we read or write may leave."""
        return self.root if self.git is None else self.git.top

    @property
    def staging(self) -> Path:
        """The folder for staged files, journal and lock; it may not exist yet."""
        if self.git is None:
            return self.root / BARE_STAGING_NAME
        return self.git.staging

    def list_files(self) -> list[str]:
        """Return the regular files below the map that git tracks or would add, sorted.

        Left out: links, submodules, folders with a map of their own, our own staged
        files.  Without git: every file, found by a walk that follows no link.
        """
        with self.naming() as listed:
            return self.on_disk(listed().names).paths

    @contextlib.contextmanager
    def naming(self) -> Iterator[Callable[[], Listed]]:
        """Start to list names, and give the function that waits for them.

        `on_disk` sorts them out.
        """
        if self.git is None:
            with _explained():
                names = list(_walk(str(self.root), ""))
            yield lambda: Listed(names)
            return
        with self.git.listing(self.root) as listed:
            yield listed

    def on_disk(self, names: list[str]) -> Listing:
        """Return which of the names are regular files of this map, and the others."""
        with _explained():
            return _on_disk(str(self.root), names)

    def read(self, path: str) -> bytes:
        """Return the content of `path`.

        Raises `SecretFileError` where a link leaves the tree, `NixsecretsError` where
        the file is missing or cannot be read.
        """
        try:
            return self._read(path)
        except OSError as error:
            raise files.explained(error, "read", path) from error

    def read_if_there(self, path: str) -> bytes | None:
        """Return the content of `path`, None where nothing is there; else as `read`."""
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
        """Return the content, of a large file the start; see `files.read_or_start`.

        Raises as `read`.
        """
        reader = partial(files.read_or_start, length=length, enough=enough)
        try:
            return self._read_with(reader, path)
        except OSError as error:
            raise files.explained(error, "read", path) from error

    def read_quickly(self, path: str, most: int) -> bytes | None:
        """Return the content of a file of up to `most` bytes.

        None where it is larger or anything is in the way: `read` says what.
        """
        try:
            return files.read_up_to(self._place(path), most)
        except (OSError, SecretFileError):
            return None

    def locate(self, path: str) -> str:
        """Return the real, absolute place that `path` stands for, links followed.

        Raises `SecretFileError` where that is outside of the tree or in `.git`.
        """
        place = self._place(path)
        if not os.path.islink(place):
            return place
        return self._inside(os.path.realpath(place), path)

    def relative_to_top(self, place: str) -> str:
        """Return a real path inside the tree relative to `top`."""
        return place[len(_with_slash(str(self.top))) :]

    def shown(self, below_top: str) -> str:
        """Return a path relative to `top` as a person at the map's folder writes it."""
        prefix = self.relative_to_top(_with_slash(str(self.root)))
        if below_top.startswith(prefix):
            return below_top[len(prefix) :]
        return os.path.relpath(self.top / below_top, self.root)

    def _place(self, path: str) -> str:
        """Return the absolute path with the folders' links followed, not the last."""
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


def _ours(name: str) -> bool:
    """Return whether an entry is a staged file or the staging folder of no git."""
    return name.startswith(BARE_STAGING_NAME) and (
        name == BARE_STAGING_NAME or files.STAGED_NAME.fullmatch(name) is not None
    )


def _walk(root: str, below: str) -> Iterator[str]:
    """Yield the regular files without git; `below` is empty or ends in `/`."""
    with os.scandir(root + "/" + below) as entries:
        found = [entry for entry in entries if not _ours(entry.name)]
    for entry in found:
        if entry.is_dir(follow_symlinks=False) and entry.name != ".git":
            yield from _walk(root, f"{below}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield below + entry.name


def _on_disk(root: str, names: list[str]) -> Listing:
    """Sort out the names.

    One `scandir` for each folder instead of one `lstat` for each file: the type comes
    with the entry, which is three times as fast.
    """
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
    """Return what keeps us out of `folder`: another map's path, "" for anything else.

    None where nothing does.
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
                if entry.is_file(follow_symlinks=False) and not _ours(entry.name)
            )
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()  # in the index still, gone from the disk
