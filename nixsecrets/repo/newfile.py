"""Writing one staged file, and properties of the file system that it is staged on.

The file gets its final mode and owner at once.
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
    """The file belongs to another user, and we are not allowed to chown(2) a copy."""


def write(
    place: str,
    blocks: Iterable[bytes],
    old: os.stat_result | None,
    folder: os.stat_result,
) -> str:
    """Write `blocks` to the new file `place`; return its SHA-256 in hex.

    Mode and owner are those of the file to be replaced (`old`), or for a new file the
    defaults in `folder`.

    Raises:
        OwnerNotKeptError: we are not allowed to give it the owner of `old`.
        OSError: it cannot be written.
    """
    digest = hashlib.sha256()
    descriptor = fsops.ops.create(place, _NEW_FILE_MODE if old is None else 0o600)
    try:
        if old is None:
            files.give_to_owner_of(folder, descriptor)
        else:
            _copy_owner_and_mode(old, descriptor)
        for block in blocks:
            files.write_all(descriptor, block)
            digest.update(block)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _copy_owner_and_mode(old: os.stat_result, descriptor: int) -> None:
    made = os.fstat(descriptor)
    owner = -1 if old.st_uid == made.st_uid else old.st_uid
    group = -1 if old.st_gid == made.st_gid else old.st_gid
    if (owner, group) != (-1, -1):
        try:
            fsops.ops.chown(descriptor, owner, group)
        except OSError as error:
            if error.errno not in files.CHOWN_REFUSED:
                raise
            raise OwnerNotKeptError from error
    fsops.ops.chmod(descriptor, stat.S_IMODE(old.st_mode))


def mount_of(folder: str) -> tuple[int, str]:
    """Return an id of the mount that `folder` is on: files can be renamed within it.

    The device number is not enough, as rename(2) fails between two bind mounts of one
    file system; on Linux the id has the mount's number, too.
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
    """Return whether the file system of the tree is case-insensitive."""
    name = BARE_STAGING_NAME if repo.git is None else ".git"
    try:
        return (repo.top / name).samefile(repo.top / name.upper())
    except FileNotFoundError:
        return False
