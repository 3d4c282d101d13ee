"""The token of an encrypted value in a sops file: its grammar, encrypting, decrypting.

`ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]` (getsops/sops:aes/cipher.go).  The value is
encrypted with AES-256-GCM under the data key of the file, with associated data: the
keys above it, for the MAC the time of the last change.  This is the only module that
knows the syntax of tokens, and the only one that encrypts or decrypts values.
"""

import binascii
import os
import re
from collections.abc import Sequence

from nixsecrets.frozen import NamedTuple

MARK = "ENC[AES256_GCM,"
COMMENT_END = b",type:comment]"
TYPES = ("str", "int", "float", "bool", "bytes", "time", "comment")
_IV_SIZE = 32  # what sops writes; it also reads the usual 12 bytes
_TAG_SIZE = 16

# canonical base64: the unused bits of the last letter are zero
_LETTER = "[A-Za-z0-9+/]"
# the end, by the number of bytes after the last full group of three
_LAST = ("", "[AQgw]==", "[AEIMQUYcgkosw048]=")


def _base64(size: int) -> str:
    """Return a pattern for the base64 of exactly `size` bytes."""
    return f"{_LETTER}{{{size * 8 // 6}}}{_LAST[size % 3]}"


_DATA = rf"(?!,)(?:{_LETTER}{{4}})*+(?:{_LETTER}(?:{_LAST[1]}|{_LETTER}{_LAST[2]}))?+"
_IV = f"(?:{_base64(_IV_SIZE)}|{_base64(12)})"
_TAG = _base64(_TAG_SIZE)
_START = re.escape(MARK)


def _pattern(data: str, kind: str) -> str:
    return rf"{_START}data:{data},iv:{_IV},tag:{_TAG},type:{kind}\]"


TOKEN_PATTERN = _pattern(_DATA, f"(?:{'|'.join(TYPES)})")
"""A regular expression without groups for a token."""
MAC_PATTERN = _pattern(_base64(128), "str")
"""A regular expression without groups for a MAC: a SHA-512 in hexadecimal digits."""
# AES-GCM preserves lengths: "True" and "False" have 4 and 5 bytes, a 64-bit integer has
# up to 20 digits with its sign
_SIZES = {"bool": range(4, 6), "int": range(1, 21)}
# The group `sealed` is everything but the type.  `re` compiles the pattern at the first
# use: the hook starts for every commit, and most have no token.
_TOKEN = (
    rf"{_START}(?P<sealed>data:(?P<data>{_DATA}),iv:(?P<iv>{_IV}),tag:(?P<tag>{_TAG}))"
    r",type:(?P<type>\w+)\]"
)
_OTHER_THAN_TEXT = re.compile(rb",type:(?!str\])")
# data and type of well-formed tokens whose type restricts the size
_SIZED = r"data:([^,]*+),iv:[^,]*+,tag:[^,]*+,type:(int|bool)\]"
_TYPED = re.compile(r",type:(?:int|float|bool|time)\]")


class Opened(NamedTuple):
    """The plaintext of a token, and its type (one of `TYPES`)."""

    plaintext: bytes
    type: str

    def __repr__(self) -> str:
        """Show only the type, never the plaintext."""
        return f"Opened({self.type})"


def is_encrypted(value: object) -> bool:
    """Return whether a value is a token exactly as sops writes it.

    Canonical base64, an IV of 32 (or 12) bytes, a tag of 16 bytes, a known type.
    """
    return _parsed(value) is not None


def _parsed(value: object) -> "re.Match[str] | None":
    found = re.fullmatch(_TOKEN, value) if isinstance(value, str) else None
    return found if found and found["type"] in TYPES else None


def type_of(value: object) -> str:
    """Return the type in a token, "" if the value is not a token.

    The type may be one that sops does not know.
    """
    found = re.fullmatch(_TOKEN, value) if isinstance(value, str) else None
    return found["type"] if found else ""


def any_misfitting(text: str) -> bool:
    """Return whether a text has a token that is too long or too short for its type.

    All tokens of the text must be well-formed (`is_encrypted`).
    """
    # 3 bytes per 4 letters, minus the padding
    return any(
        len(data) * 3 // 4 - data.count("=") not in _SIZES[kind]
        for data, kind in re.findall(_SIZED, text)
    )


def without_type(value: object) -> str:
    """Return a token without its type, which identifies its ciphertext; else ""."""
    found = re.fullmatch(_TOKEN, value) if isinstance(value, str) else None
    return found["sealed"] if found else ""


def spans(text: str) -> dict[str, list[tuple[int, int]]]:
    """Return the spans (start, end) of each token in a text."""
    found: dict[str, list[tuple[int, int]]] = {}
    for token in re.finditer(_TOKEN, text):
        found.setdefault(token[0], []).append(token.span())
    return found


def any_typed(text: str) -> bool:
    """Return whether a text has a token of a type that restricts the plaintext."""
    return _TYPED.search(text) is not None


def types(text: str) -> dict[str, str]:
    """Return the type of each ciphertext (`without_type`); if repeated, the first."""
    found: dict[str, str] = {}
    for token in re.finditer(_TOKEN, text):
        found.setdefault(token["sealed"], token["type"])
    return found


def any_retyped(old: bytes, new: bytes) -> bool:
    """Return whether a ciphertext of the file `old` has another type in `new`."""
    # most files have only the type `str`, and need not be searched for tokens
    if not (_OTHER_THAN_TEXT.search(old) or _OTHER_THAN_TEXT.search(new)):
        return False
    before, after = (types(t.decode("utf-8", "surrogateescape")) for t in (old, new))
    return any(before.get(sealed, kind) != kind for sealed, kind in after.items())


def additional_data(path: Sequence[str]) -> bytes:
    """Return the associated data of a value: the keys above it, each with a colon."""
    return (":".join(path) + ":").encode("utf-8", "surrogateescape")


def opened(token: str, key: bytes, additional: bytes) -> Opened | None:
    """Decrypt a token under the data key (32 bytes) with its associated data.

    None if `token` is not a token, or does not decrypt.
    """
    # 20 ms, which commands that read no value must not pay
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    found = _parsed(token)
    if found is None:
        return None
    data, iv, tag = map(binascii.a2b_base64, found.group("data", "iv", "tag"))
    try:
        return Opened(AESGCM(key).decrypt(iv, data + tag, additional), found["type"])
    except (InvalidTag, ValueError):  # ValueError: the key has a wrong length
        return None


def sealed(key: bytes, plaintext: bytes, additional: bytes, kind: str) -> str:
    """Return the token of a value, encrypted under the data key (32 bytes).

    `plaintext` is not empty, and formatted as sops does for the type `kind`;
    `additional` is the associated data.
    """
    # 20 ms, which commands that encrypt no value must not pay
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    iv = os.urandom(_IV_SIZE)
    both = AESGCM(key).encrypt(iv, plaintext, additional)  # ciphertext and tag
    data, tag = both[:-_TAG_SIZE], both[-_TAG_SIZE:]
    texts = (
        binascii.b2a_base64(part, newline=False).decode() for part in (data, iv, tag)
    )
    return "{}data:{},iv:{},tag:{},type:{}]".format(MARK, *texts, kind)
