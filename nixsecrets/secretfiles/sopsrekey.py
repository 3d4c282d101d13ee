"""The values of a sops file under another data key, in place: all else stays as it is.

As `sops rotate` does it, but without a run of 20 ms for each file, and without writing
comments and indentation anew (ADR 15).  It shows first that it has understood the file:
the hash over all values, worked out from what was opened, is the one that the file's
MAC holds.  What it does not understand it declines, and sops rotates.  Source:
getsops/sops aes/cipher.go and sops.go (additional data, MAC).
"""

import binascii
import hashlib
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from nixsecrets.errors import SecretFileError
from nixsecrets.secretfiles.sopsblock import Edit
from nixsecrets.secretfiles.sopskey import mac_of
from nixsecrets.secretfiles.sopsmeta import SopsFile
from nixsecrets.secretfiles.sopsvalues import Leaf, leaves

_TOKEN = re.compile(r"ENC\[AES256_GCM,[^\]\n]*+\]")
_PARTS = re.compile(
    r"ENC\[AES256_GCM,data:([A-Za-z0-9+/=]++),iv:([A-Za-z0-9+/=]++),"
    r"tag:([A-Za-z0-9+/=]++),type:(str|int|float|bool|bytes|comment)\]"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MAC_ONLY = "mac_only_encrypted"
_IV_SIZE = 32
_TAG_SIZE = 16


class _Value(NamedTuple):
    """An encrypted value, opened."""

    token: str
    plaintext: bytes
    about: bytes
    type: str


def rekeyed(
    file: SopsFile, old: bytes, new: bytes, now: str, *, comments: int = 0
) -> list[Edit] | None:
    """Return the edits that encrypt every value under `new` instead of `old`.

    `now` (RFC 3339, UTC, no fractions) becomes the time of the change.  The entries
    keep the old data key: they are the caller's, as are the encrypted `comments`, whose
    number is needed.  None where the file holds anything else but encrypted values, or
    several documents, or its MAC does not fit them.
    """
    if len(file.blocks) > 1 or dict(file.options).get(_MAC_ONLY):
        return None
    values = _opened(file, old)
    if values is None:
        return None
    # sops writes the comments of a list as its items
    hashed = (value for value in values if value.type != "comment")
    joined = b"".join(value.plaintext for value in hashed)
    found = hashlib.sha512(joined).hexdigest().upper().encode()
    if mac_of(file, old) != found:
        return None
    tokens = {v.token: sealed(new, v.plaintext, v.about, v.type) for v in values}
    tokens[file.mac] = sealed(new, found, now.encode(), "str")
    edits = [(*m.span(), tokens.get(m[0])) for m in _TOKEN.finditer(file.text)]
    changed = [(start, end, text) for start, end, text in edits if text is not None]
    time = _dated(file, now)
    # every value has to be found, and nothing else may be encrypted
    count = len(values) + 1
    if time is None or len(changed) != count or len(edits) != count + comments:
        return None
    return [*changed, time]


def opened_value(leaf: Leaf, key: bytes) -> bytes | None:
    """Return the plaintext of one encrypted value, None where `key` does not open it.

    The file's MAC is not looked at.
    """
    value = _open(leaf, key)
    return None if value is None else value.plaintext


def _opened(file: SopsFile, key: bytes) -> list[_Value] | None:
    """Return every value in the order of the file, None where one is not encrypted.

    sops leaves empty ones as they are, and they add nothing to its hash.
    """
    data = file.text.encode("utf-8", "surrogateescape")
    try:
        full = (leaf for leaf in leaves(file.format, data) if not leaf.empty)
        found = [_open(leaf, key) for leaf in full]
    except SecretFileError:
        return None
    values = [value for value in found if value is not None]
    return values if len(values) == len(found) and _told_apart(values) else None


def _told_apart(values: list[_Value]) -> bool:
    """Tell whether a token stands for one value only, so that its text names it."""
    return len({value.token for value in values}) == len(values)


def _open(leaf: Leaf, key: bytes) -> _Value | None:
    return opened(leaf.value, leaf.path, key) if isinstance(leaf.value, str) else None


def about(path: Sequence[str]) -> bytes:
    """Return what sops binds a value to: the keys above it."""
    return (":".join(path) + ":").encode("utf-8", "surrogateescape")


def opened(token: str, path: Sequence[str], key: bytes) -> _Value | None:
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
    return _Value(parts[0], plaintext, bound, parts[4])


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


def _dated(file: SopsFile, now: str) -> Edit | None:
    """Return the edit of the time of the last change."""
    node = file.blocks[0].fields["lastmodified"]
    spelled = file.text[node.start : node.end]
    if not _TIME.fullmatch(file.lastmodified) or spelled.count(file.lastmodified) != 1:
        return None
    return node.start, node.end, spelled.replace(file.lastmodified, now)
