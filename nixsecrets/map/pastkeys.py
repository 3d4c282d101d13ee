"""The keys of an earlier version of the map, even of one that is no longer valid.

`load` rejects what it does not understand.  A map in the git history may have another
version or contain mistakes; its keys count nevertheless.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeGuard

from nixsecrets.errors import TooLargeError
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.recipients import KeyId, Recipient, recipient_of
from nixsecrets.untrusted import limits

_MARKS = (b"ssh-", b"age1", b"\\")
_OWNERS = ("users", "hosts", "services")


class PastMap(NamedTuple):
    """Owner and key by key id, and the number of `[[retired]]` entries of each key."""

    keys: Mapping[KeyId, tuple[str, Recipient]]
    retired: Mapping[KeyId, int]


def read_past(data: bytes) -> PastMap | None:
    """Return the keys of an earlier map, None if it is not TOML."""
    text = data.decode("utf-8", "replace")
    try:
        limits.check_dotted("an earlier map", text)
        root = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, TooLargeError, ValueError, RecursionError):
        return None
    keys: dict[KeyId, tuple[str, Recipient]] = {}
    for kind in _OWNERS:
        for name, owner in _items(root.get(kind)):
            texts = owner.get("keys") if isinstance(owner, dict) else None
            for key in _parsed(texts):
                keys.setdefault(key.key_id, (name, key))
    found: object = root.get("retired")
    entries = [e for e in found if isinstance(e, dict)] if _is_list(found) else []
    retired = Counter(k.key_id for e in entries for k in _parsed([e.get("key")]))
    return PastMap(keys, retired)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()


def _parsed(texts: object) -> Iterator[Recipient]:
    for text in texts if isinstance(texts, list) else ():
        if isinstance(text, str) and (key := recipient_of(text)) is not None:
            yield key


def may_remove_a_key(old: bytes, new: bytes) -> bool:
    """Return whether a key of `old` may be missing in `new`, without parsing them.

    True if a line that could hold a key is gone.  A backslash counts: it can escape any
    letter of a key, or continue it on the next line.
    """
    gone = (old_line.lower() for old_line in _lines(old) - _lines(new))
    return any(any(mark in line for mark in _MARKS) for line in gone)


def _lines(data: bytes) -> set[bytes]:
    return set(data.splitlines())
