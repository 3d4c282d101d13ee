"""The value engine: open, seal and replace values of a sops file, and its MAC.

As sops does it (getsops/sops aes/cipher.go; sops.go, Tree.Encrypt): the additional
data of a value are the keys above it, the MAC is over all values in the order of the
file.  The engine shows first that it has understood a file: the hash over what it
opened has to be the one that the file's MAC holds.  What it does not understand it
declines, and the real sops does the work.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops import token as sops_token
from nixsecrets.files.sops.datakey import hash_in_mac
from nixsecrets.files.sops.engine import place as sops_place
from nixsecrets.files.sops.engine import types
from nixsecrets.files.sops.metadata import SopsFile, SopsFormat
from nixsecrets.files.sops.selection import Selector, selector
from nixsecrets.files.sops.spans import Edit
from nixsecrets.files.sops.values import UNKNOWN_SPAN, Leaf, Place, leaves
from nixsecrets.splice import apply_edits

MAC_ONLY = "mac_only_encrypted"
# Goes into the hash first where only encrypted values follow (sops.go).
_MAC_ONLY_SEED = bytes.fromhex(
    "8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9]\d*)")
_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?")
_ODD_NUMBER = re.compile(
    r"[-+]?(?:0[xob]?[\d_a-fA-F]+|[\d_][\d_.]*|\.(?:inf|nan))", re.I
)
_YAML_BOOLS = {"true": True, "True": True, "TRUE": True}
_YAML_BOOLS |= {"false": False, "False": False, "FALSE": False}
_QUOTES = "\"'|>"
_EXACT_FLOAT = 2**53


class Value(NamedTuple):
    """A value, opened: what counts in the MAC, and its type (`str`, `int`, …).

    `sealed` tells whether the file has it encrypted; of an empty value (null, "")
    `plaintext` is empty and it never is.  A comment in a list is one of its items.
    """

    leaf: Leaf
    plaintext: bytes
    type: str
    sealed: bool

    def __repr__(self) -> str:
        """Show where it stands, never what it is."""
        return f"Value({self.leaf.place}, {self.type})"


Values = tuple[Value, ...]


class Replaced(NamedTuple):
    """A file with other values: its bytes, and the hash that its MAC holds."""

    data: bytes
    digest: bytes


def opened(file: SopsFile, key: bytes) -> Values | None:
    """Return every value of a file in order; None where it is not fully understood.

    Then its MAC was checked: the hash over these values is the one in it.
    """
    found = _values(file, key)
    if found is None or hash_in_mac(file, key) != digest(file, found):
        return None
    return found


def fits(file: SopsFile, key: bytes) -> bool | None:
    """Tell whether the MAC of a file fits its values; None where only sops knows.

    How sops spells a number that is not encrypted may be told wrongly, so a MAC that
    does not fit counts as wrong only where every value is encrypted.
    """
    found = _values(file, key)
    if found is None:
        return None
    if hash_in_mac(file, key) == digest(file, found):
        return True
    sure = all(value.sealed or value.leaf.empty for value in found)
    return False if sure else None


def digest(file: SopsFile, values: Iterable[Value]) -> bytes:
    """Return what the MAC of a file with these values has to hold."""
    only = bool(dict(file.options).get(MAC_ONLY)) and file.format is not _BINARY
    hashed = hashlib.sha512(_MAC_ONLY_SEED if only else b"")
    for value in values:  # sops writes the comments of a list as its items
        if value.type != "comment" and (value.sealed or not only):
            hashed.update(value.plaintext)
    return hashed.hexdigest().upper().encode()


def respelled(text: str, leaf: Leaf, token: str) -> Edit:
    """Return the edit that puts a token where an encrypted value stands."""
    start, end = leaf.span
    return start, end, text[start:end].replace(str(leaf.value), token)


def replaced(
    file: SopsFile, key: bytes, values: Mapping[Place, str], now: str
) -> Replaced | None:
    """Return the file with the texts of `values` at their places, the rest as it is.

    Only these values, the MAC and the time of the change (`now`: RFC 3339, UTC, no
    fractions) become other bytes.  A place that is not there is added after its last
    sibling.  None where that cannot be done with certainty.

    Raises:
        SecretFileError: the file's options would leave a new value unencrypted.

    """
    before = opened(file, key)
    if before is None:
        return None
    if unchanged(before, values):
        return Replaced(_encoded(file.text), digest(file, before))
    known = {value.leaf.place: value for value in before}
    if len(known) < len(before):  # JSON with a key twice
        return None
    text = file.text
    for place, value in values.items():  # one by one: each may move the next
        edit = (
            _edit(file, text, key, known[place], value)
            if place in known
            else sops_place.insertion(
                file.format, text, place, _token(key, place, value)
            )
        )
        if edit is None:
            return None
        text = apply_edits(text, [edit])
        if len(values) > 1:
            known = {v.leaf.place: v for v in _reread(file, text, key) or ()}
    for place in values.keys() - {value.leaf.place for value in before}:
        require_selected(file, text, place)
    after = _reread(file, text, key)
    if after is None or not _as_asked(before, after, values):
        return None
    hashed = digest(file, after)
    again = _parsed(file, text)
    edits = list(dated(again, key, hashed, now))
    if len(edits) != 2 * len(again.blocks):
        return None
    return Replaced(_encoded(apply_edits(text, edits)), hashed)


def require_selected(file: SopsFile, text: str, place: Place) -> None:
    """Check that the file's options want a new value encrypted.

    Raises:
        SecretFileError: they would leave it unencrypted.
    """
    names = tuple(step for step in place[1] if isinstance(step, str))
    there = Leaf(names, "")
    with contextlib.suppress(SecretFileError, RecursionError):
        found = leaves(file.format, _encoded(text))
        there = next((leaf for leaf in found if leaf.place == place), there)
    try:
        selected = _selects(file)(there)
    except ValueError:  # sops decides, and what it wrote is looked at
        return
    if not selected:
        raise SecretFileError(
            "the sops options of the file would leave the new value unencrypted",
            "choose a name that they encrypt, or put the value into another file",
        )


def unchanged(found: Values, values: Mapping[Place, str]) -> bool:
    """Tell whether these values are there already, as text."""
    texts = {v.leaf.place: v.plaintext for v in found if v.type == "str"}
    return all(texts.get(place) == text.encode() for place, text in values.items())


def dated(file: SopsFile, key: bytes, hashed: bytes, now: str) -> Iterator[Edit]:
    """Yield the edits of MAC and time of the last change in every document."""
    mac = sops_token.sealed(key, hashed, now.encode(), "str")
    for block in file.blocks:
        for name, old, new in (
            ("mac", file.mac, mac),
            ("lastmodified", file.lastmodified, now),
        ):
            node = block.fields.get(name)
            spelled = "" if node is None else file.text[node.start : node.end]
            if node and spelled.count(old) == 1 and _TIME.fullmatch(file.lastmodified):
                yield node.start, node.end, spelled.replace(old, new)


_BINARY = SopsFormat.BINARY


def _values(file: SopsFile, key: bytes) -> Values | None:
    """Return every value of a file, None where one is not as sops would have it."""
    try:
        selects = _selects(file)
        read = [
            _value(file, leaf, selects, key)
            for leaf in _with_spans(file.text, leaves(file.format, _encoded(file.text)))
        ]
    except (SecretFileError, ValueError, RecursionError):
        return None
    found = tuple(value for value in read if value is not None)
    return found if len(found) == len(read) else None


def _with_spans(text: str, found: Iterable[Leaf]) -> Iterator[Leaf]:
    """Give values whose place in the text was not told the one that their token has."""
    tokens: dict[str, list[tuple[int, int]]] = {}
    for leaf in found:
        if leaf.span != UNKNOWN_SPAN or not isinstance(leaf.value, str):
            yield leaf
            continue
        tokens = tokens or sops_token.spans(text)
        there = tokens.get(leaf.value, ())
        yield leaf._replace(span=there[0] if len(there) == 1 else UNKNOWN_SPAN)


def _selects(file: SopsFile) -> Selector:
    """Return what tells which values sops takes for encrypted.

    Raises:
        ValueError: a regular expression that cannot be followed.
    """
    if file.format is _BINARY:  # its store knows no options
        return lambda _: True
    return selector(file.options)


def _value(file: SopsFile, leaf: Leaf, selects: Selector, key: bytes) -> Value | None:
    if leaf.empty:
        return Value(leaf, b"", "str" if leaf.value == "" else "null", sealed=False)
    if selects(leaf):
        return _open(leaf, key)
    plain = _in_plaintext(file, leaf)
    return plain and Value(leaf, plain[0], plain[1], sealed=False)


def _open(leaf: Leaf, key: bytes) -> Value | None:
    text = leaf.value if isinstance(leaf.value, str) else ""
    found = sops_token.opened(text, key, sops_token.additional_data(leaf.path))
    return found and Value(leaf, found.plaintext, found.type, sealed=True)


def _in_plaintext(file: SopsFile, leaf: Leaf) -> tuple[bytes, str] | None:
    """Return an unencrypted value as sops hashes it, and its type; None: who knows."""
    value = leaf.value
    if isinstance(value, bool):
        return str(value).encode(), "bool"
    if not isinstance(value, str) or leaf.span == UNKNOWN_SPAN:
        return None
    if file.format is SopsFormat.DOTENV:
        return _encoded(value.replace("\\n", "\n")), "str"
    if file.format is SopsFormat.INI or file.text[leaf.span[0]] in _QUOTES:
        return _encoded(value), "str"
    if value in _YAML_BOOLS:
        return str(_YAML_BOOLS[value]).encode(), "bool"
    if _INTEGER.fullmatch(value):
        number = int(value)
        if file.format is SopsFormat.YAML or abs(number) < _EXACT_FLOAT:
            return str(number).encode(), "int"
    if _FLOAT.fullmatch(value):
        return types.float_text(float(value)), "float"
    if _TIME.fullmatch(value):
        return value.encode(), "time"
    return None if _ODD_NUMBER.match(value) else (_encoded(value), "str")


def _edit(file: SopsFile, text: str, key: bytes, old: Value, value: str) -> Edit | None:
    """Return the edit that gives a value that is there another text."""
    start, end = old.leaf.span
    if start < 0 or (old.type == "null" and isinstance(old.leaf.value, str)):
        return None
    if not value:
        return sops_place.spelled(file.format, text, (start, end), "")
    if old.sealed:
        return respelled(text, old.leaf, _token(key, old.leaf.place, value))
    if _selects(file)(old.leaf):  # an empty one until now
        token = _token(key, old.leaf.place, value)
        return sops_place.spelled(file.format, text, (start, end), token)
    return sops_place.spelled(file.format, text, (start, end), value)


def _token(key: bytes, place: Place, value: str) -> str:
    if not value:  # which sops leaves as it is
        return ""
    names = tuple(step for step in place[1] if isinstance(step, str))
    return sops_token.sealed(
        key, value.encode(), sops_token.additional_data(names), "str"
    )


def _parsed(file: SopsFile, text: str) -> SopsFile:
    return metadata.parse_as(file.format, _encoded(text))


def _reread(file: SopsFile, text: str, key: bytes) -> Values | None:
    """Return the values of an edited text.

    Raises:
        SecretFileError: one that was encrypted just now would be none for sops.
    """
    try:
        return _values(_parsed(file, text), key)
    except SecretFileError:
        return None


def _as_asked(before: Values, after: Values, values: Mapping[Place, str]) -> bool:
    """Tell whether the values are those from before, but for those that were asked."""
    told: Callable[[Value], tuple[object, ...]] = lambda v: (  # noqa: E731
        v.leaf.place,
        v.plaintext,
        v.type,
        v.leaf.value if v.leaf.place not in values else None,
    )
    kept = [told(value) for value in before if value.leaf.place not in values]
    still = [told(value) for value in after if value.leaf.place not in values]
    now = {v.leaf.place: v.plaintext for v in after if v.leaf.place in values}
    return kept == still and now == {p: v.encode() for p, v in values.items()}


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
