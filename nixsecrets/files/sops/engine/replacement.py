"""Replacing some values of a sops file; every other byte stays.

Only these values, the MAC and the time of the last change become other bytes.  A new
value is added after its last sibling.
"""

import contextlib
from collections.abc import Mapping

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import metadata, token
from nixsecrets.files.sops.engine import contents, mac, spelling
from nixsecrets.files.sops.engine.contents import Value, Values
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.selection import selector_of
from nixsecrets.files.sops.spans import Edit
from nixsecrets.files.sops.values import Leaf, Place, leaves, names_of
from nixsecrets.frozen import NamedTuple
from nixsecrets.splice import apply_edits


class Replaced(NamedTuple):
    """A file with replaced values: its bytes, and the hash in its MAC."""

    data: bytes
    hashed: bytes


def replaced(
    file: SopsFile, key: bytes, values: Mapping[Place, str], now: str
) -> Replaced | None:
    """Return the file with the texts of `values` at their places.

    `key` is the data key, `now` the time of the change (RFC 3339, UTC, no fractions).
    The result is parsed again, and may differ only in these values; None if it does
    not, or the engine does not understand the file.

    Raises:
        SecretFileError: the file's options would leave a new value unencrypted.
    """
    before = contents.opened(file, key)
    if before is None:
        return None
    if unchanged(before, values):
        return Replaced(file.data, mac.hash_of(file, before))
    there = {value.leaf.place for value in before}
    text = _edited(file, key, before, values)
    if text is None or len(there) < len(before):  # the latter: JSON with duplicate keys
        return None
    for place in values.keys() - there:
        require_selected(file, text, place)
    after = _read(file, text, key)
    if after is None or not _differ_only_in(before, after, values):
        return None
    hashed = mac.hash_of(file, after)
    again = _parsed(file, text)
    edits = mac.edits(again, key, hashed, now)
    if edits is None:
        return None
    return Replaced(apply_edits(text, edits).encode("utf-8", "surrogateescape"), hashed)


def unchanged(found: Values, values: Mapping[Place, str]) -> bool:
    """Return whether a file already has these values, as text."""
    texts = {v.leaf.place: v.plaintext for v in found if v.type == "str"}
    return all(texts.get(place) == text.encode() for place, text in values.items())


def require_selected(file: SopsFile, text: str, place: Place) -> None:
    """Check that the file's options select a new value for encryption.

    `text` is the file with a value at `place`, "" if it has none yet.

    Raises:
        SecretFileError: they do not.
    """
    there = Leaf(names_of(place), "")
    with contextlib.suppress(SecretFileError, RecursionError):
        found = leaves(file.format, text.encode("utf-8", "surrogateescape"))
        there = next((leaf for leaf in found if leaf.place == place), there)
    try:
        selected = selector_of(file)(there)
    except ValueError:  # left to sops, whose result is verified
        return
    if not selected:
        raise SecretFileError(
            "the sops options of the file would leave the new value unencrypted",
            "choose a name that they encrypt, or put the value into another file",
        )


def _edited(
    file: SopsFile, key: bytes, before: Values, values: Mapping[Place, str]
) -> str | None:
    """Return the text with the new values and its old MAC, None if unsure.

    One value at a time, since each edit moves the following spans.
    """
    text, known = file.text, {value.leaf.place: value for value in before}
    for place, value in values.items():
        if place in known:
            edit = _edit(file, text, key, known[place], value)
        else:
            new = _sealed(key, place, value)
            edit = spelling.insertion(file.format, text, place, new)
        if edit is None:
            return None
        text = apply_edits(text, [edit])
        if len(values) > 1:
            known = {v.leaf.place: v for v in _read(file, text, key) or ()}
    return text


def _edit(file: SopsFile, text: str, key: bytes, old: Value, value: str) -> Edit | None:
    """Return the edit that replaces an existing value, None if unsure."""
    start, end = old.leaf.span
    if start < 0 or (old.type == "null" and isinstance(old.leaf.value, str)):
        return None
    if old.sealed and value:
        return spelling.respelled(text, old.leaf, _sealed(key, old.leaf.place, value))
    if selector_of(file)(old.leaf):  # the old or the new value is empty
        value = _sealed(key, old.leaf.place, value)
    return spelling.spelled(file.format, text, (start, end), value)


def _sealed(key: bytes, place: Place, value: str) -> str:
    """Return the token of a text, "" for the empty one, which sops does not encrypt."""
    if not value:
        return ""
    bound = token.additional_data(names_of(place))
    return token.sealed(key, value.encode(), bound, "str")


def _parsed(file: SopsFile, text: str) -> SopsFile:
    return metadata.parse_as(file.format, text.encode("utf-8", "surrogateescape"))


def _read(file: SopsFile, text: str, key: bytes) -> Values | None:
    """Return the values of an edited text; its MAC, the old one, is not verified."""
    try:
        return contents.unverified(_parsed(file, text), key)
    except SecretFileError:
        return None


def _differ_only_in(before: Values, after: Values, values: Mapping[Place, str]) -> bool:
    """Return whether `after` has the texts of `values` and else equals `before`."""
    kept, still = (
        [
            (v.leaf.place, v.leaf.value, v.plaintext, v.type)
            for v in found
            if v.leaf.place not in values
        ]
        for found in (before, after)
    )
    now = {v.leaf.place: v.plaintext for v in after if v.leaf.place in values}
    return kept == still and now == {p: text.encode() for p, text in values.items()}
