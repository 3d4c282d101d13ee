"""One new file: written with the mode and owner that it is to have in the end.

And what decides where it may wait: which mount a folder is on, and whether its file
system tells upper from lower case.
"""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from nixsecrets.repo import files, fsops
from nixsecrets.repo.worktree import BARE_STAGING_NAME, Repo

_O_PATH = getattr(os, "O_PATH", os.O_RDONLY)  # Linux: needs no read permission
_NEW_FILE_MODE = 0o644


class OwnerNotKeptError(Exception):
    """The file belongs to somebody else, and we may not make another one that does."""


def write(
    place: str,
    blocks: Iterable[bytes],
    old: os.stat_result | None,
    folder: os.stat_result,
) -> str:
    """Write a staged file with the mode and owner that it is to have in the end.

    Returns its SHA-256.
    """
    digest = hashlib.sha256()
    descriptor = fsops.ops.create(place, _NEW_FILE_MODE if old is None else 0o600)
    try:
        if old is None:
            files.give_new(descriptor, folder)
        else:
            _make_like(descriptor, old)
        for block in blocks:
            files.write_all(descriptor, block)
            digest.update(block)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _make_like(descriptor: int, old: os.stat_result) -> None:
    """Give a staged file the owner, group and mode of the file it will replace."""
    made = os.fstat(descriptor)
    owner = -1 if old.st_uid == made.st_uid else old.st_uid
    group = -1 if old.st_gid == made.st_gid else old.st_gid
    if (owner, group) != (-1, -1):
        try:
            fsops.ops.chown(descriptor, owner, group)
        except OSError as error:
            if error.errno not in files.MAY_NOT_GIVE:
                raise
            raise OwnerNotKeptError from error
    fsops.ops.chmod(descriptor, stat.S_IMODE(old.st_mode))


def mount_of(folder: str) -> tuple[int, str]:
    """Return what two folders share if a file can be renamed from one to the other.

    The device is not enough: a bind mount of the same file system refuses renames too.
    Linux tells the mount's number.
    """
    descriptor = os.open(folder, _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        device = os.fstat(descriptor).st_dev
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    finally:
        os.close(descriptor)
    return device, next((line for line in lines if line.startswith("mnt_id:")), "")


def ignores_case(repo: Repo) -> bool:
    """Return whether the tree's file system takes `.GIT` for `.git`."""
    name = BARE_STAGING_NAME if repo.git is None else ".git"
    try:
        return (repo.top / name).samefile(repo.top / name.upper())
    except FileNotFoundError:
        return False
