"""The types of a sops file's values: do they fit what the values hold?

sops writes the type of a value beside its ciphertext, where neither the value's own
authentication nor the MAC covers it.  A changed type makes sops refuse the whole file,
or hand over another value.  What can be told without a key is told by `retyped` and
`odd_length`, the rest by `misfits`.  Source: getsops/sops aes/cipher.go (how a value of
each type is spelled before it is encrypted).
"""

import math
import re
from collections.abc import Callable, Iterator

from nixsecrets.errors import SecretFileError
from nixsecrets.secretfiles import sopstoken
from nixsecrets.secretfiles.sopsmeta import SopsFile, SopsFormat
from nixsecrets.secretfiles.sopsvalues import Leaf, leaves

_TOKEN = re.compile(
    r"ENC\[AES256_GCM,(data:[^\],]*,iv:[^\],]*,tag:[^\],]*),type:(\w+)\]"
)
_TYPED = re.compile(r",type:(?:int|bool|float|time)\]")  # text fits any other type
_DATA = re.compile(r"data:([A-Za-z0-9+/]*={0,2}),")
_INT = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\S+")
# bytes of the plaintext, which AES-GCM keeps: True or False, and 64 bits
_LENGTHS = {"bool": range(4, 6), "int": range(1, 21)}


def misfits(file: SopsFile, key: bytes) -> Iterator[Leaf]:
    """Yield the values whose type is not one that their content can have.

    `key` is the file's data key; what it does not open is not judged.

    Raises:
        SecretFileError: the values of the file cannot be read.

    """
    if not _TYPED.search(file.text):
        return
    for leaf in leaves(file.format, file.text.encode("utf-8", "surrogateescape")):
        kind = _kind(leaf)
        if kind in _SPELLED:
            found = sopstoken.opened(str(leaf.value), leaf.path, key)
            if found is not None and not _SPELLED[kind](found.plaintext):
                yield leaf


def require_fitting(file: SopsFile, key: bytes) -> None:
    """Check that sops will take every value for what it is.

    Raises:
        SecretFileError: a value has a type that its content does not have.

    """
    for leaf in misfits(file, key):
        raise SecretFileError(f"{describe(leaf)}; sops refuses the file", HINT)


def odd_length(leaf: Leaf) -> bool:
    """Tell whether a value cannot be of its type, by the length of its ciphertext."""
    data = _DATA.search(leaf.value) if isinstance(leaf.value, str) else None
    lengths = _LENGTHS.get(_kind(leaf))
    if lengths is None or data is None:
        return False
    return len(data[1]) // 4 * 3 - data[1].count("=") not in lengths


def retyped(kind: SopsFormat, old: bytes, new: bytes) -> Iterator[Leaf]:
    """Yield the values of `new` that `old` has under another type, else the same.

    Nobody who encrypts a value keeps its ciphertext: somebody edited the type.

    Raises:
        SecretFileError: the values of `new` cannot be read.

    """
    before = dict(_TOKEN.findall(old.decode("utf-8", "surrogateescape")))
    for leaf in leaves(kind, new):
        token = _TOKEN.fullmatch(leaf.value) if isinstance(leaf.value, str) else None
        if token and before.get(token[1], token[2]) != token[2]:
            yield leaf


HINT = "restore the version before it: git log -p -- FILE"


def describe(leaf: Leaf) -> str:
    """Say which value it is, and what is wrong; nothing of its content."""
    keys = ".".join(leaf.path)
    shown = keys if keys.isprintable() and 0 < len(keys) <= 80 else "a value"
    return f"{shown} is marked as {_kind(leaf)}, which it was not encrypted as"


def _kind(leaf: Leaf) -> str:
    token = _TOKEN.fullmatch(leaf.value) if isinstance(leaf.value, str) else None
    return token[2] if token else ""


def _float(plaintext: bytes) -> bool:
    """Tell whether Go formats a float like this: the shortest, without an exponent."""
    try:
        number = float(plaintext)
    except ValueError:
        return False
    if not math.isfinite(number):
        return plaintext in {b"NaN", b"+Inf", b"-Inf"}
    return plaintext == sopstoken.float_text(number)


_SPELLED: dict[str, Callable[[bytes], bool]] = {
    "int": lambda plaintext: _INT.fullmatch(plaintext) is not None,
    "bool": lambda plaintext: plaintext in {b"True", b"False"},
    "float": _float,
    "time": lambda plaintext: _TIME.fullmatch(plaintext) is not None,
}
