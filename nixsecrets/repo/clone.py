"""The memory of this clone: one small file that is never pushed.

It is in `nixsecrets/clone` below the git folder that all work trees share; without git
in the user's state folder, named after the map's real path.  `remembered` has its
format.  A file that other users can write is neither read nor written.  A file that
this user did not write on this machine (one from an archive) approves nothing.
Caches lie next to it, each under its own name.
"""

# ruff: noqa: PTH116, PTH118 (strings, as in `files`)

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from nixsecrets.errors import NixsecretsError
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo import files, owned, userstate
from nixsecrets.repo.git import STAGING_NAME
from nixsecrets.repo.remembered import (
    Remembered,
    parse,
    render,
    split_head,
    with_head,
)
from nixsecrets.repo.worktree import MAP_NAME, Repo

_FOLDER = "clone"
_FILE = "remembered"
_LOCK = "lock"
_PURPOSE = b"remembered\0"
_LARGEST = 16 << 20  # bytes; an approval takes some 200
_LARGEST_CACHE = 64 << 20
_HEAD = 65  # bytes before what is cached: the MAC in hex, and the end of its line


class Clone(NamedTuple):
    """The memory of one clone about one map.

    `base` exists or is in the user's home; `folders` are the nested folders below it
    that hold the file; `map_path` is relative to the top of the work tree.
    """

    base: Path
    folders: tuple[str, ...]
    map_path: str
    env: Mapping[str, str]

    def __repr__(self) -> str:
        """Return it without the environment, which may hold keys."""
        return f"Clone({self.place})"

    @classmethod
    def of(cls, repo: Repo, env: Mapping[str, str]) -> Self:
        """Return the memory of the clone that `repo` belongs to."""
        place = str(repo.root / MAP_NAME)
        if repo.git is not None:
            below = repo.relative_to_top(place)
            return cls(repo.git.common, (STAGING_NAME, _FOLDER), below, env)
        name = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
        try:
            base = userstate.base(env)
        except RuntimeError:  # the user has no home: nothing can be remembered
            base = Path(os.devnull)
        return cls(base, (STAGING_NAME, name), MAP_NAME, env)

    @property
    def place(self) -> Path:
        """Path of the file, whether or not it exists."""
        return self.base.joinpath(*self.folders, _FILE)

    def read(self) -> Remembered:
        """Return the facts; `damage` says why a file cannot be read or trusted."""
        try:
            if not os.path.lexists(self.place):
                return Remembered()
            self._check_folders()
            return self._parsed(self._bytes(self.place))
        except OSError as error:
            return Remembered(damage=os.strerror(error.errno or 0).lower())
        except _ObjectionError as error:
            return Remembered(damage=str(error))

    def change(self, edit: Callable[[Remembered], Remembered]) -> None:
        """Replace the facts by `edit(facts)`, atomically and under a lock.

        Corrupt lines are dropped.

        Raises:
            NixsecretsError: other users can write the file, a newer nixsecrets wrote
                it, or it cannot be written.
        """
        # what writes: `status` and `check` only read
        from nixsecrets.repo import journal, locking

        folder = str(self.place.parent)
        try:
            self._make_folders()
            with locking.locked(os.path.join(folder, _LOCK)):
                journal.drop_waiting(folder)  # of a run that died
                self._write(edit)
        except OSError as error:
            raise files.explained(error, "write", str(self.place)) from error
        except _ObjectionError as error:
            raise NixsecretsError(
                f"this clone cannot remember anything: {self.place}: {error}",
                error.hint,
            ) from error

    def cached(self, name: str) -> bytes:
        """Return what this user's last run cached under a name, empty if nothing."""
        place = self._cache(name)
        try:
            if not os.path.lexists(place):
                return b""
            self._check_folders()
            data = self._bytes(place, _LARGEST_CACHE)
        except (OSError, _ObjectionError):
            return b""
        mac, _, rest = data.partition(b"\n")
        signed = self._purpose(name) + rest
        if not mac.isascii() or not userstate.is_signed(self.env, signed, mac.decode()):
            return b""
        return rest

    def cache(self, name: str, data: bytes) -> None:
        """Cache `data` under a name; do nothing if the clone is not writable."""
        from nixsecrets.repo import locking  # few runs write

        mac = userstate.sign(self.env, self._purpose(name) + data)
        if mac is None or len(data) > _LARGEST_CACHE - _HEAD:
            return
        with contextlib.suppress(OSError, NixsecretsError, _ObjectionError):
            self._make_folders()
            place = self._cache(name)
            with locking.locked(str(self.place.with_name(_LOCK))):
                if os.path.lexists(place):
                    self._bytes(place, _LARGEST_CACHE)
                files.write_durably(str(place), b"%b\n%b" % (mac.encode(), data))

    def _cache(self, name: str) -> Path:
        """Return the path of a cache for this map; a clone may have several maps."""
        which = hashlib.sha256(os.fsencode(self.map_path)).hexdigest()[:16]
        return self.place.with_name(f"{name}-{which}")

    def _purpose(self, name: str) -> bytes:
        return f"{name}\0{self.map_path}\0".encode(errors="surrogateescape")

    def _write(self, edit: Callable[[Remembered], Remembered]) -> None:
        there = os.path.lexists(self.place)
        now = self._parsed(self._bytes(self.place)) if there else Remembered()
        if now.newer:
            raise _ObjectionError("a newer nixsecrets wrote it", "upgrade this one")
        facts = render(edit(now), self.map_path)
        mac = userstate.sign(self.env, _PURPOSE + facts)
        if mac is None:
            raise _ObjectionError(
                "no key to sign it can be kept in your state folder",
                "make $XDG_STATE_HOME (or ~/.local/state) a folder that you can write",
            )
        data = with_head(facts, mac)
        if not there or data != self._bytes(self.place):
            files.write_durably(str(self.place), data)

    def _parsed(self, data: bytes) -> Remembered:
        """Parse the file; if somebody else wrote it, only its removals count."""
        found = parse(data, self.map_path)
        mac, facts = split_head(data)
        if found.newer or userstate.is_signed(self.env, _PURPOSE + facts, mac):
            return found
        damage = found.damage or "you did not write it, or not on this machine"
        return Remembered(removed=found.removed, damage=damage)

    def _bytes(self, place: Path, most: int = _LARGEST) -> bytes:
        """Return the content of a file; raises `_ObjectionError` if not trusted."""
        around = os.lstat(place.parent)
        found = os.lstat(place)
        _raise_objection(owned.objection(found, folder=False, around=around))
        data = files.read_up_to(str(place), most)
        if data is None:
            raise _ObjectionError("it is too large")
        return data

    def _check_folders(self, *, make: bool = False) -> None:
        """Check each folder before anything in it is used; `make` creates them."""
        place = self.base
        for name in self.folders:
            around, place = os.stat(place), place / name
            if make:
                with contextlib.suppress(FileExistsError):
                    files.make_folder(str(place), 0o700)
            found = os.lstat(place)
            objection = owned.objection(found, folder=True, around=around)
            _raise_objection(objection and f"{place}: {objection}")

    def _make_folders(self) -> None:
        if not self.base.is_dir():
            self.base.mkdir(mode=0o700, parents=True)
        self._check_folders(make=True)


class _ObjectionError(Exception):
    """The file, or a folder on the way to it, is not trusted."""

    def __init__(
        self,
        message: str,
        hint: str = "inspect it, then remove it or restrict it to yourself",
    ) -> None:
        super().__init__(message)
        self.hint = hint


def _raise_objection(objection: str | None) -> None:
    if objection is not None:
        raise _ObjectionError(objection)
