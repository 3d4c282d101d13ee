"""Decrypting all values of a sops file, and verifying that they are complete.

Like sops (getsops/sops:sops.go, Tree.Decrypt; aes/cipher.go).  The engine verifies that
it understood a file: the hash over all decrypted values must be the one in the MAC.
Otherwise it declines (returns None), and the caller runs sops.
"""

import re
from collections.abc import Iterable, Iterator

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import token
from nixsecrets.files.sops.engine import mac, types
from nixsecrets.files.sops.metadata import SopsFile, SopsFormat
from nixsecrets.files.sops.selection import Selector, selector_of
from nixsecrets.files.sops.values import UNKNOWN_SPAN, Leaf, leaves
from nixsecrets.frozen import NamedTuple

_INTEGER = re.compile(r"[-+]?(?:0|[1-9]\d*)")
_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?")
# words that a YAML parser may read as a number: how sops formats them is unsure
_ODD_NUMBER = re.compile(
    r"[-+]?(?:0[xob]?[\d_a-fA-F]+|[\d_][\d_.]*|\.(?:inf|nan))", re.I
)
_YAML_BOOLS = {"true": True, "True": True, "TRUE": True}
_YAML_BOOLS |= {"false": False, "False": False, "FALSE": False}
_QUOTES = "\"'|>"
_EXACT_FLOAT = 2**53  # sops reads JSON numbers as float64, which is exact below


class Value(NamedTuple):
    """A value: its plaintext as sops hashes it, and its type (`str`, `int`, …).

    `sealed` is true if it is encrypted in the file.  An empty value (null, "") never
    is; its plaintext is empty.  A comment in a list is one of its items.
    """

    leaf: Leaf
    plaintext: bytes
    type: str
    sealed: bool

    def __repr__(self) -> str:
        """Show the place and the type, never the plaintext."""
        return f"Value({self.leaf.place}, {self.type})"


Values = tuple[Value, ...]


def opened(file: SopsFile, key: bytes) -> Values | None:
    """Return all values of a file in order; the MAC is verified.

    `key` is the data key.  None if the file is not fully understood, or the MAC does
    not match.
    """
    found = unverified(file, key)
    if found is None or mac.hash_in(file, key) != mac.hash_of(file, found):
        return None
    return found


def fits(file: SopsFile, key: bytes) -> bool | None:
    """Return whether the MAC of a file matches its values; None if unsure.

    How sops formats an unencrypted number is only guessed here, so a mismatch is
    certain only if all values are encrypted.
    """
    found = unverified(file, key)
    if found is None:
        return None
    if mac.hash_in(file, key) == mac.hash_of(file, found):
        return True
    sure = all(value.sealed or value.leaf.empty for value in found)
    return False if sure else None


def unverified(file: SopsFile, key: bytes) -> Values | None:
    """Return all values of a file in order, without verifying the MAC.

    None if a value is not encrypted although the options select it, does not decrypt
    under the data key `key`, or is not understood.
    """
    try:
        selects = selector_of(file)
        read = [
            _value(file, leaf, selects, key)
            for leaf in _with_spans(file.text, leaves(file.format, file.data))
        ]
    except (SecretFileError, ValueError, RecursionError):
        return None
    found = tuple(value for value in read if value is not None)
    return found if len(found) == len(read) else None


def _with_spans(text: str, found: Iterable[Leaf]) -> Iterator[Leaf]:
    """Set the spans of leaves from a YAML library, if their token is unique."""
    tokens: dict[str, list[tuple[int, int]]] = {}
    for leaf in found:
        if leaf.span != UNKNOWN_SPAN or not isinstance(leaf.value, str):
            yield leaf
            continue
        tokens = tokens or token.spans(text)
        there = tokens.get(leaf.value, ())
        yield leaf._replace(span=there[0] if len(there) == 1 else UNKNOWN_SPAN)


def _value(file: SopsFile, leaf: Leaf, selects: Selector, key: bytes) -> Value | None:
    if leaf.empty:
        return Value(leaf, b"", "str" if leaf.value == "" else "null", sealed=False)
    if selects(leaf):
        return _open(leaf, key)
    plain = _in_plaintext(file, leaf)
    return plain and Value(leaf, plain[0], plain[1], sealed=False)


def _open(leaf: Leaf, key: bytes) -> Value | None:
    text = leaf.value if isinstance(leaf.value, str) else ""
    found = token.opened(text, key, token.additional_data(leaf.path))
    return found and Value(leaf, found.plaintext, found.type, sealed=True)


def _in_plaintext(file: SopsFile, leaf: Leaf) -> tuple[bytes, str] | None:
    """Return what sops hashes for an unencrypted value, and its type; None if unsure.

    sops hashes what the parser of the format returns: for a bare YAML word a value of
    its type, formatted by Go.
    """
    value = leaf.value
    if isinstance(value, bool):
        return str(value).encode(), "bool"
    if not isinstance(value, str) or leaf.span == UNKNOWN_SPAN:
        return None
    if file.format is SopsFormat.DOTENV:
        return value.replace("\\n", "\n").encode(), "str"
    if file.format is SopsFormat.INI or file.text[leaf.span[0]] in _QUOTES:
        return value.encode(), "str"
    if value in _YAML_BOOLS:
        return str(_YAML_BOOLS[value]).encode(), "bool"
    if _INTEGER.fullmatch(value):
        number = int(value)
        if file.format is SopsFormat.YAML or abs(number) < _EXACT_FLOAT:
            return str(number).encode(), "int"
    if _FLOAT.fullmatch(value):
        return types.float_text(float(value)), "float"
    if mac.TIME.fullmatch(value):
        return value.encode(), "time"
    return None if _ODD_NUMBER.match(value) else (value.encode(), "str")
