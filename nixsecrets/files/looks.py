"""A quick look at any file: what its bytes alone show, before map and lock are known.

Bytes in, values out, and no keys loaded: files are looked at while the rest of the
program is.  What is not spelled as age and sops spell it is left to the careful
readers; what a look means, to `age.state` and `sops.state`.
"""

import hashlib
from typing import NamedTuple

from nixsecrets.files.age import shape
from nixsecrets.files.kind import looks_like_age, no_sops
from nixsecrets.files.sops import quick


class Plain(NamedTuple):
    """Shown by a file that is not encrypted (`empty` when it has no bytes)."""

    empty: bool


Shown = shape.Shown | quick.Shown | Plain
Look = tuple[str, Shown, tuple[bytes, ...]]
"""The SHA-256 of a file (hex), what it shows, and what only copies of it have, too.

No class of its own: ten thousand of them go from one process to another.
"""


def look(path: str, data: bytes) -> Look | None:
    """Look at a whole file, None where only the careful readers can tell."""
    seen = _seen(path, data)
    return seen and (hashlib.sha256(data).hexdigest(), *seen)


def _seen(path: str, data: bytes) -> tuple[Shown, tuple[bytes, ...]] | None:
    if looks_like_age(data):
        return shape.look(data)
    looked = quick.look(path, data)
    if looked is None and no_sops(data):
        return Plain(empty=not data), ()
    return looked
