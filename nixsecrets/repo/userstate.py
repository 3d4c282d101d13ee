"""The user's state folder, and the MAC key in it that authenticates files of a clone.

A file in a repository may have come in an archive, and belongs to the user who unpacked
it.  A valid MAC under this key shows that this user wrote it on this machine.  The key
file has mode 0600.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from nixsecrets.repo import files, owned

_FOLDER = "nixsecrets"
_KEY = "journal-key"
_KEY_BYTES = 32


def base(env: Mapping[str, str]) -> Path:
    """Return `XDG_STATE_HOME`, or its default `~/.local/state`.

    Raises:
        RuntimeError: the user has no home.
    """
    state = env.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return Path(state)
    return Path(env.get("HOME") or Path.home()) / ".local/state"


def sign(env: Mapping[str, str], data: bytes) -> str | None:
    """Return the MAC of `data` in hex; None if no key can be stored."""
    key = _key(env, make=True)
    return None if key is None else _mac(key, data)


def is_signed(env: Mapping[str, str], data: bytes, mac: str) -> bool:
    """Return whether `mac` is the MAC of `data` under this user's key."""
    key = _key(env, make=False)
    if key is None:
        return False
    import hmac  # most clones remember nothing

    return hmac.compare_digest(_mac(key, data), mac)


def _mac(key: bytes, data: bytes) -> str:
    import hmac  # as above

    return hmac.digest(key, data, "sha256").hex()


def _key(env: Mapping[str, str], *, make: bool) -> bytes | None:
    try:
        folder = base(env) / _FOLDER
        place = str(folder / _KEY)
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(str(folder), is_folder=True)
        if make and not os.path.lexists(place):
            files.write_durably(place, os.urandom(_KEY_BYTES))
        _check(place, is_folder=False)
        key = files.read_up_to(place, _KEY_BYTES)
    except (OSError, RuntimeError):
        return None  # no home, or a read-only one: nothing is signed
    return key if key is not None and len(key) == _KEY_BYTES else None


def _check(place: str, *, is_folder: bool) -> None:
    """Raise `PermissionError` if another user can change `place`."""
    around = os.stat(os.path.dirname(place))  # noqa: PTH116, PTH120
    found = os.lstat(place)
    objection = owned.objection(found, folder=is_folder, around=around)
    if objection is not None:
        raise PermissionError(objection)
