"""A quick look at any file: what its bytes show without map, lock and keys.

Loads no code for keys: worker processes look at files while the main process is still
importing.  `age.state` and `sops.state` interpret the results.
"""

import hashlib
from typing import TYPE_CHECKING, TypeAlias

from nixsecrets.files.age import shape
from nixsecrets.files.kind import looks_like_age
from nixsecrets.frozen import NamedTuple

if TYPE_CHECKING:  # 5 ms, which an age file by itself does not need
    from nixsecrets.files.sops import state


class Plain(NamedTuple):
    """A file that is not encrypted; `empty` if it has no bytes."""

    empty: bool


Shown: TypeAlias = "shape.Shown | state.Shown | state.Broken | Plain"
Look: TypeAlias = tuple[str, "Shown", tuple[bytes, ...]]
"""The SHA-256 of a file (hex), what it shows, and its key prints (`Actual.key_prints`).

A plain tuple, because it pickles faster: workers send ten thousand of them.
"""


def look(path: str, data: bytes) -> Look:
    """Return what the complete content of a file shows, with its SHA-256."""
    return (hashlib.sha256(data).hexdigest(), *seen(path, data))


def seen(path: str, data: bytes) -> "tuple[Shown, tuple[bytes, ...]]":
    """Return what the complete content of a file shows, and its key prints."""
    if looks_like_age(data):
        return shape.look(data)
    from nixsecrets.files.sops import state  # as above

    return state.look(path, data) or (Plain(empty=not data), ())


def is_sops(shown: "Shown") -> bool:
    """Return whether a file shows that sops encrypted it, completely or not."""
    return not isinstance(shown, shape.Shown | Plain)
