"""The person's own state folder, and the key in it that signs what a run leaves behind.

What lies in a repository may have come with it, in an archive, and then belongs to
whoever unpacked it.  What carries a MAC under this key was written by this person, on
this machine.  The key never leaves its file (mode 0600).
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from nixsecrets.repo import files, owned

_FOLDER = "nixsecrets"
_KEY = "journal-key"
_KEY_BYTES = 32


def base(env: Mapping[str, str]) -> Path:
    """Return the folder for what programs remember: `XDG_STATE_HOME` or its default.

    Raises `RuntimeError` where the person has no home.
    """
    state = env.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return Path(state)
    return Path(env.get("HOME") or Path.home()) / ".local/state"


def sign(env: Mapping[str, str], data: bytes) -> str | None:
    """Return the MAC of `data` in hex; None where no key can be kept."""
    key = _key(env, make=True)
    return None if key is None else _mac(key, data)


def is_signed(env: Mapping[str, str], data: bytes, mac: str) -> bool:
    """Return whether `mac` is what `sign` gave for `data`, here and to this person."""
    key = _key(env, make=False)
    return key is not None and hmac.compare_digest(_mac(key, data), mac)


def _mac(key: bytes, data: bytes) -> str:
    return hmac.new(key, data, hashlib.sha256).hexdigest()


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
        return None  # a home that is not there or read-only: then nothing is signed
    return key if key is not None and len(key) == _KEY_BYTES else None


def _check(place: str, *, is_folder: bool) -> None:
    """Raise `OSError` where `place` is not the person's alone."""
    around = os.stat(os.path.dirname(place))  # noqa: PTH116, PTH120
    found = os.lstat(place)
    objection = owned.objection(found, folder=is_folder, around=around)
    if objection is not None:
        raise PermissionError(objection)
