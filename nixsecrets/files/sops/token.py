"""One encrypted value of a sops file: opened, and sealed.

As getsops/sops aes/cipher.go: AES-256-GCM with an IV of 32 bytes, bound to the keys
above the value.
"""

import binascii
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

TOKEN = re.compile(r"ENC\[AES256_GCM,[^\]\n]*+\]")
_PARTS = re.compile(
    r"ENC\[AES256_GCM,data:([A-Za-z0-9+/=]++),iv:([A-Za-z0-9+/=]++),"
    r"tag:([A-Za-z0-9+/=]++),type:(str|int|float|bool|bytes|time|comment)\]"
)
TYPED = re.compile(
    r"ENC\[AES256_GCM,(data:[^\],]*,iv:[^\],]*,tag:[^\],]*),type:(\w+)\]"
)
_NO_TEXT = re.compile(rb",type:(?!str\])")
_TYPED = re.compile(r",type:(?:int|float|bool|time)\]")
_IV_SIZE = 32
_TAG_SIZE = 16


class Opened(NamedTuple):
    """A token, what is in it, what it is bound to, and its type (`str`, `int`, …)."""

    token: str
    plaintext: bytes
    about: bytes
    type: str

    def __repr__(self) -> str:
        """Show its type, never what is in it."""
        return f"Opened({self.type})"


def any_typed(text: str) -> bool:
    """Tell whether a text has a value of a type that not every content fits."""
    return _TYPED.search(text) is not None


def types(data: bytes) -> dict[str, str]:
    """Return the type of each ciphertext in a file, the first one where it has two."""
    return dict(reversed(TYPED.findall(data.decode("utf-8", "surrogateescape"))))


def any_retyped(old: bytes, new: bytes) -> bool:
    """Tell whether `new` has a ciphertext of `old` under another type.

    As fast as that can be told: most files have no type but that of text.
    """
    if not (_NO_TEXT.search(old) or _NO_TEXT.search(new)):
        return False
    before = types(old)
    return any(before.get(token, kind) != kind for token, kind in types(new).items())


def about(path: Sequence[str]) -> bytes:
    """Return what sops binds a value to: the keys above it."""
    return (":".join(path) + ":").encode("utf-8", "surrogateescape")


def opened(token: str, path: Sequence[str], key: bytes) -> Opened | None:
    """Open a value that stands at `path`; None where `key` does not open it there."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    parts = _PARTS.fullmatch(token)
    if not parts:
        return None
    bound = about(path)
    try:
        data, iv, tag = (binascii.a2b_base64(part) for part in parts.group(1, 2, 3))
        plaintext = AESGCM(key).decrypt(iv, data + tag, bound)
    except (InvalidTag, ValueError):
        return None
    return Opened(parts[0], plaintext, bound, parts[4])


def sealed(key: bytes, plaintext: bytes, about: bytes, kind: str) -> str:
    """Return what sops writes for a value: encrypted, and bound to `about`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    iv = os.urandom(_IV_SIZE)
    both = AESGCM(key).encrypt(iv, plaintext, about)
    data, tag = both[:-_TAG_SIZE], both[-_TAG_SIZE:]
    texts = (
        binascii.b2a_base64(part, newline=False).decode() for part in (data, iv, tag)
    )
    return "ENC[AES256_GCM,data:{},iv:{},tag:{},type:{}]".format(*texts, kind)


def float_text(number: float) -> bytes:
    """Return a number as strconv.FormatFloat(number, 'f', -1, 64) does."""
    from decimal import Decimal

    return format(Decimal(repr(number)), "f").removesuffix(".0").encode()
