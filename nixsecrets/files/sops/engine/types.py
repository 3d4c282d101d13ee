"""Verifying the types in the tokens of a sops file.

sops writes the type of a value next to its ciphertext, where neither the value's own
authentication nor the MAC covers it.  A changed type makes sops refuse the file, or
return another value.  `retyped` compares with earlier versions and needs no key;
`misfits` decrypts the values and checks their format (getsops/sops:aes/cipher.go).
"""

import math
import re
from collections.abc import Callable, Iterator

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import token
from nixsecrets.files.sops.metadata import SopsFile, SopsFormat
from nixsecrets.files.sops.token import type_of
from nixsecrets.files.sops.values import Leaf, leaves, printable_path
from nixsecrets.frozen import NamedTuple

_INT = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\S+")


class Retyped(NamedTuple):
    """A value whose type is not `was`, the one that it was encrypted with.

    `seen` if an earlier version has the type `was`; otherwise the content has it.
    """

    leaf: Leaf
    was: str
    seen: bool

    @property
    def message(self) -> str:
        """The key path and both types, without any content."""
        how = "and was" if self.seen else "but its content is"
        before = " before" if self.seen else ""
        return f"{_marked(self.leaf)}, {how} of type {self.was}{before}"


def misfits(file: SopsFile, key: bytes) -> Iterator[Retyped]:
    """Yield the values whose content does not have the format of their type.

    `key` is the file's data key; values that it does not decrypt are not checked.

    Raises:
        SecretFileError: the file cannot be parsed.
    """
    if not token.any_typed(file.text):
        return
    for leaf in leaves(file.format, file.data):
        kind = type_of(leaf.value)
        if kind in _SPELLED:
            bound = token.additional_data(leaf.path)
            found = token.opened(str(leaf.value), key, bound)
            if found is not None and not _SPELLED[kind](found.plaintext):
                yield Retyped(leaf, _content(found.plaintext), seen=False)


def require_fitting(file: SopsFile, key: bytes) -> None:
    """Check that every value has the format of its type.

    Raises:
        SecretFileError: one does not, so sops refuses the file.
    """
    for one in misfits(file, key):
        raise SecretFileError(f"{one.message}; sops rejects the file", HINT)


def retyped(kind: SopsFormat, old: bytes, new: bytes) -> Iterator[Retyped]:
    """Yield the values of `new` whose ciphertext has another type in `old`.

    `old` may be several versions, oldest first; the oldest type counts.

    Raises:
        SecretFileError: `new` cannot be parsed.
    """
    # encrypting always gives a new ciphertext: the same one means an edited type
    before = token.types(old.decode("utf-8", "surrogateescape"))
    for leaf in leaves(kind, new):
        is_now = type_of(leaf.value)
        if (was := before.get(token.without_type(leaf.value), is_now)) != is_now:
            yield Retyped(leaf, was, seen=True)


HINT = "restore the version before it: git log -p -- FILE"


def describe(leaf: Leaf) -> str:
    """Return a message about a value with a wrong type, if the right one is unknown."""
    return f"{_marked(leaf)}, which it was not encrypted as"


def _marked(leaf: Leaf) -> str:
    return f"{printable_path(leaf.path)} is marked as {type_of(leaf.value)}"


def _content(plaintext: bytes) -> str:
    """Return the first type whose format a content has, else "str"."""
    return next((kind for kind, fits in _SPELLED.items() if fits(plaintext)), "str")


def float_text(number: float) -> bytes:
    """Return a finite number as Go's strconv.FormatFloat(number, 'f', -1, 64) does."""
    from decimal import Decimal  # 6 ms; few files have floats

    return format(Decimal(repr(number)), "f").removesuffix(".0").encode()


def _float(plaintext: bytes) -> bool:
    """Return whether this is how Go formats a float: shortest, without an exponent."""
    try:
        number = float(plaintext)
    except ValueError:
        return False
    if not math.isfinite(number):
        return plaintext in {b"NaN", b"+Inf", b"-Inf"}
    return plaintext == float_text(number)


_SPELLED: dict[str, Callable[[bytes], bool]] = {
    "int": lambda plaintext: _INT.fullmatch(plaintext) is not None,
    "bool": lambda plaintext: plaintext in {b"True", b"False"},
    "float": _float,
    "time": lambda plaintext: _TIME.fullmatch(plaintext) is not None,
}
