"""Saved drafts: edited texts that could not be stored in their secret.

Each is a file with a line of JSON (the secret, its version, the date) and the payload,
which the caller encrypts.  They are in the staging folder, or in memory if that is not
writable (a full disk).
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.frozen import frozen
from nixsecrets.repo import files, fsops, private
from nixsecrets.repo.locking import prepare_staging, staging_objection
from nixsecrets.repo.worktree import Repo

_FOLDER = "kept"
_PREFIX = "nixsecrets-kept-"


@frozen
class Kept:
    """A saved draft for the secret `path`.

    `before` is the SHA-256 of the version that was edited, None for a new secret.
    `when` is shown as it is.  If the payload is not `sealed` (encrypted), the file is
    in memory.
    """

    place: Path
    path: str
    before: str | None
    when: str
    sealed: bool = True


def keep(
    repo: Repo,
    env: Mapping[str, str],
    payload: bytes,
    *,
    path: str,
    before: str | None,
    when: str,
    sealed: bool,
) -> Kept:
    """Save a draft; one that is not `sealed` (encrypted) only in memory.

    Raises:
        NixsecretsError: it can be saved nowhere.
    """
    import json  # 2 ms, while the editor runs

    head = {"before": before, "path": path, "root": str(repo.root), "when": when}
    data = json.dumps(head | {"sealed": sealed}).encode() + b"\n" + payload
    if sealed:
        with contextlib.suppress(OSError, NixsecretsError):
            place = _in_staging(repo)
            files.write_durably(str(place), data)
            return Kept(place, path, before, when, sealed)
    place = private.lasting_folder(env, _PREFIX + os.urandom(16).hex()) / "text"
    try:
        files.write_durably(str(place), data)
    except OSError as error:
        raise files.explained(error, "save the draft in", str(place)) from error
    return Kept(place, path, before, when, sealed)


def _in_staging(repo: Repo) -> Path:
    prepare_staging(repo)
    folder = repo.staging / _FOLDER
    with contextlib.suppress(FileExistsError):
        files.make_folder(str(folder), 0o700)
    return folder / os.urandom(8).hex()


def kept(repo: Repo, env: Mapping[str, str], path: str | None = None) -> list[Kept]:
    """Return the drafts of this repository, or of one secret, oldest first."""
    places: list[Path] = []
    with contextlib.suppress(OSError):
        if staging_objection(repo) is None:
            places += (repo.staging / _FOLDER).glob("*")
    for parent in private.plaintext_folders(env):
        places += parent.glob(_PREFIX + "*/text")
    found = (_read_head(repo, place) for place in places)
    wanted = [one for one in found if one and path in {None, one.path}]
    return sorted(wanted, key=lambda one: (one.when, one.place))


def _read_head(repo: Repo, place: Path) -> Kept | None:
    import json  # as above

    try:
        head, _, _ = files.read_bytes_nofollow(str(place)).partition(b"\n")
        said = json.loads(head)
        # the folder in memory has drafts of all repositories of this user
        if said["root"] != str(repo.root) and _PREFIX in place.parent.name:
            return None
        if place.stat().st_uid != os.geteuid():
            return None
        return Kept(place, said["path"], said["before"], said["when"], said["sealed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # another user's, or incomplete after a power failure


def payload(one: Kept) -> bytes:
    """Return the payload of a draft.

    Raises:
        NixsecretsError: it cannot be read.
    """
    try:
        return files.read_bytes_nofollow(str(one.place)).partition(b"\n")[2]
    except OSError as error:
        raise files.explained(error, "read", str(one.place)) from error


def drop(one: Kept) -> None:
    """Remove a draft."""
    with contextlib.suppress(FileNotFoundError):
        fsops.ops.unlink(str(one.place))
    if _PREFIX in one.place.parent.name:
        with contextlib.suppress(OSError):
            fsops.ops.rmdir(str(one.place.parent))
