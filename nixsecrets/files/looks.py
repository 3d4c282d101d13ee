"""A quick look at any file: what its bytes alone show, before map and lock are known.

Bytes in, values out, and no keys loaded: files are looked at while the rest of the
program is.  What a look means is for `age.state` and `sops.state` to say.
"""

import hashlib
from typing import NamedTuple

from nixsecrets.files.age import shape
from nixsecrets.files.kind import looks_like_age
from nixsecrets.files.sops import state


class Plain(NamedTuple):
    """Shown by a file that is not encrypted (`empty` when it has no bytes)."""

    empty: bool


Shown = shape.Shown | state.Shown | state.Broken | Plain
Look = tuple[str, Shown, tuple[bytes, ...]]
"""The SHA-256 of a file (hex), what it shows, and what only copies of it have, too.

No class of its own: ten thousand of them go from one process to another.
"""


def look(path: str, data: bytes) -> Look:
    """Return what a whole file shows."""
    return (hashlib.sha256(data).hexdigest(), *seen(path, data))


def seen(path: str, data: bytes) -> tuple[Shown, tuple[bytes, ...]]:
    """Return what a whole file shows, and what only copies of it have, too."""
    if looks_like_age(data):
        return shape.look(data)
    return state.look(path, data) or (Plain(empty=not data), ())
