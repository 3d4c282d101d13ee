"""Recipients: the public keys a file can be encrypted to.

`parse_recipient` validates completely: a `Recipient` needs no second check.  It loads
no cryptographic library, so that `check` can parse thousands of keys.  Owners are in
`book`, backends in `forms`, files with several keys in `publickeys`.
"""

import binascii
import re
from enum import StrEnum
from functools import lru_cache
from typing import NewType

from nixsecrets.errors import KeyFormatError
from nixsecrets.frozen import field, frozen
from nixsecrets.keys import bech32, convert, p256
from nixsecrets.keys.mistakes import (
    AGE_HINT,
    SSH_HINT,
    UnsupportedKeyError,
    explain,
    explain_base64,
    explain_bech32,
    refuse_private_key,
    refuse_unsupported_ssh,
)
from nixsecrets.keys.mistakes import (
    private_key_in as private_key_in,  # re-exported
)

KeyId = NewType("KeyId", str)
"""Identifies a key in any form: an ssh-ed25519 key and its X25519 form share it."""

LONGEST_KEY_TEXT = 16 * 1024
"""Characters; the longest real key, ssh-rsa with 16384 bits, has fewer than 3000."""

_MINIMUM_RSA_BITS = 2048
_SHOWN_LENGTH = 80


class Kind(StrEnum):
    """The kinds of recipient that age, rage and their plugins know."""

    X25519 = "X25519"
    SSH_ED25519 = "ssh-ed25519"
    SSH_RSA = "ssh-rsa"
    TAG = "tag"
    TAG_PQ = "tagpq"
    PQ = "pq"
    PLUGIN = "plugin"


@frozen
class Recipient:
    """A validated public key; equality compares kind and key bytes.

    `key` is the 32-byte point (X25519), the ssh wire blob (ssh kinds), or the Bech32
    data (`tag`, `tagpq`, `pq`; for plugins after the Bech32 prefix and a NUL).  `text`
    is the canonical text without comment.  `key_id` is the same for both forms of an
    ssh-ed25519 key.
    """

    kind: Kind
    key: bytes = field(repr=False)
    text: str = field(compare=False)
    comment: str = field(default="", compare=False)
    key_id: KeyId = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Compute `key_id` once: it is compared for each reader of each file."""
        if self.ours:
            key_id = f"{Kind.X25519}:{self.point.hex()}"
        else:
            key_id = f"{self.kind}:{_sha256(self.key).hex()}"
        object.__setattr__(self, "key_id", KeyId(key_id))

    def __hash__(self) -> int:
        """Return the hash of the key bytes; `bytes` objects cache theirs."""
        return hash(self.key)

    @property
    def ours(self) -> bool:
        """Whether nixsecrets itself writes this key's stanzas, rather than pyrage."""
        return self.kind in (Kind.X25519, Kind.SSH_ED25519)

    @property
    def post_quantum(self) -> bool:
        """Whether age refuses to mix this key with classic recipients in one file."""
        return self.kind in (Kind.PQ, Kind.TAG_PQ)

    @property
    def point(self) -> bytes:
        """The X25519 public key (32 bytes); ValueError if the kind has none."""
        if self.kind is Kind.X25519:
            return self.key
        if self.kind is Kind.SSH_ED25519:
            return _point_of_blob(self.key)
        raise ValueError(f"a key of kind {self.kind} has no X25519 point")

    def converted(self) -> "Recipient":
        """Return the X25519 form of an ssh-ed25519 key, any other key unchanged."""
        if self.kind is not Kind.SSH_ED25519:
            return self
        return _x25519_recipient(_point_of_blob(self.key))

    @property
    def tag(self) -> str | None:
        """The tag in this key's ssh stanzas (6 characters); None for other kinds.

        Unpadded base64 of the first 4 bytes of the SHA-256 of the wire blob (C2SP
        age.md, "ssh-ed25519 recipient stanza").
        """
        if self.kind in (Kind.SSH_ED25519, Kind.SSH_RSA):
            return tag_of(self.key)
        return None

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` as `ssh-keygen -l` prints it; for other kinds the key's text."""
        if self.kind in (Kind.SSH_ED25519, Kind.SSH_RSA):
            return "SHA256:" + unpadded_base64(_sha256(self.key))
        return self.text

    @property
    def id(self) -> str:
        """The id of this recipient in the lock: 16 hex digits of its text's SHA-256."""
        return _sha256(self.text.encode()).hex()[:16]

    @property
    def line(self) -> str:
        """The text with the comment, as a `.pub` file has it, without newline."""
        return f"{self.text} {self.comment}".rstrip()

    @property
    def shown(self) -> str:
        """The text for messages, shortened in the middle if longer than a line."""
        if len(self.text) <= _SHOWN_LENGTH:
            return self.text
        return f"{self.text[:32]}…{self.text[-16:]}"


def _sha256(data: bytes) -> bytes:
    import hashlib  # loads OpenSSL (5 ms), which the hook does not need

    return hashlib.sha256(data).digest()


def unpadded_base64(data: bytes) -> str:
    """Return the base64 of `data` without `=` padding, as age and ssh write it."""
    return _base64(data).rstrip("=")


def _base64(data: bytes) -> str:
    # the module base64 takes a millisecond to load
    return binascii.b2a_base64(data, newline=False).decode()


@lru_cache(maxsize=8192)
def tag_of(key: bytes) -> str:
    """Return the tag of `key`: unpadded base64 of the first 4 bytes of its SHA-256."""
    return unpadded_base64(_sha256(key)[:4])


@lru_cache(maxsize=8192)
def parse_recipient(text: str) -> Recipient:
    """Parse one public key.

    Accepts surrounding blanks, an ssh comment and upper-case Bech32.  No message quotes
    the text, which may be a private key.

    Raises:
        UnsupportedKeyError: the key is valid, and age cannot encrypt to it.
        KeyFormatError: `text` is not a public key.
    """
    text = text.strip()
    _refuse_what_is_no_key(text)
    if text[:4].lower() == "age1":
        return _parse_bech32(text)
    word = text.split(maxsplit=1)[0]
    if word in _SSH_KINDS:
        return _parse_ssh(text)
    refuse_unsupported_ssh(word)
    raise explain(text)


def recipient_of(text: str) -> Recipient | None:
    """Parse one public key; None if it is not one that this version supports."""
    try:
        return parse_recipient(text)
    except KeyFormatError:
        return None


def from_ssh_blob(blob: bytes, comment: str = "") -> Recipient:
    """Return the recipient of an ssh wire blob (RFC 4253 section 6.6).

    Raises:
        UnsupportedKeyError: age does not support the type, or the key is too weak.
        KeyFormatError: the blob is corrupt.
    """
    name, rest = ssh_string(blob)
    if name == b"ssh-ed25519":
        _public, rest = ssh_string(rest)
        _check_end(rest)
        _point_of_blob(blob)
        kind = Kind.SSH_ED25519
    elif name == b"ssh-rsa":
        _check_rsa(rest)
        kind = Kind.SSH_RSA
    else:
        refuse_unsupported_ssh(name.decode("ascii", "replace"))
        raise KeyFormatError("the ssh key names a kind that does not exist", SSH_HINT)
    text = f"{kind} {_base64(blob)}"
    return Recipient(kind, blob, text, comment)


def from_x25519(point: bytes) -> Recipient:
    """Return the recipient of a 32-byte X25519 public key.

    Raises:
        KeyFormatError: the point is not reduced, or of low order.
    """
    try:
        convert.check_x25519(point)
    except convert.PointError as error:
        raise KeyFormatError(f"the age key is invalid: {error}", AGE_HINT) from error
    return _x25519_recipient(point)


def ed25519_blob(public: bytes) -> bytes:
    """Return the ssh wire blob (51 bytes) of a 32-byte ed25519 public key."""
    name = b"ssh-ed25519"
    return len(name).to_bytes(4, "big") + name + len(public).to_bytes(4, "big") + public


_SSH_KINDS = (Kind.SSH_ED25519.value, Kind.SSH_RSA.value)
_ED25519_BLOB_PREFIX = ed25519_blob(bytes(32))[:19]  # all but the 32 bytes of the key
# Bytes: an ML-KEM-768 key (1184), followed by an X25519 key or an uncompressed P-256
# point (C2SP age.md, "post-quantum" and "tagged recipient types").
_NATIVE_SIZES = {
    "age1tag": (Kind.TAG, p256.COMPRESSED_SIZE),
    "age1pq": (Kind.PQ, 1184 + 32),
    "age1tagpq": (Kind.TAG_PQ, 1184 + p256.UNCOMPRESSED_SIZE),
}
_PLUGIN_NAME = re.compile(r"[a-z0-9._+-]+")


@lru_cache(maxsize=8192)
def _point_of_blob(blob: bytes) -> bytes:
    if len(blob) != 51 or not blob.startswith(_ED25519_BLOB_PREFIX):
        raise KeyFormatError("the ssh-ed25519 key has the wrong length", SSH_HINT)
    try:
        return convert.x25519_of_ed25519(blob[-32:])
    except convert.PointError as error:
        raise KeyFormatError(
            f"the ssh-ed25519 key is invalid: {error}", SSH_HINT
        ) from error


@lru_cache(maxsize=8192)
def _x25519_recipient(point: bytes) -> Recipient:
    return Recipient(Kind.X25519, point, bech32.encode("age", point))


def _parse_bech32(text: str) -> Recipient:
    try:
        prefix, data = bech32.decode(text)
    except bech32.Bech32Error as error:
        raise explain_bech32(text, error) from error
    if prefix == "age":
        return from_x25519(data)
    name = prefix.removeprefix("age1")
    if name == prefix or not _PLUGIN_NAME.fullmatch(name):
        raise KeyFormatError("the age key has a prefix that no key has", AGE_HINT)
    kind, size = _NATIVE_SIZES.get(prefix, (Kind.PLUGIN, len(data)))
    if len(data) != size:
        raise KeyFormatError(
            f"the {prefix} key is {len(data)} bytes long, not {size}", AGE_HINT
        )
    _check_p256(kind, data)
    key = prefix.encode() + b"\0" + data if kind is Kind.PLUGIN else data
    return Recipient(kind, key, text.lower())


def _check_p256(kind: Kind, data: bytes) -> None:
    try:
        if kind is Kind.TAG:
            p256.uncompress(data)
        elif kind is Kind.TAG_PQ:
            p256.check_uncompressed(data[-p256.UNCOMPRESSED_SIZE :])
    except ValueError as error:
        raise KeyFormatError(
            f"the age1{kind} key is invalid: {error}", AGE_HINT
        ) from error


def _parse_ssh(text: str) -> Recipient:
    word, encoded, comment = [*text.split(maxsplit=2), "", ""][:3]
    if not encoded:
        raise KeyFormatError(f"the {word} key has nothing after its kind", SSH_HINT)
    try:
        blob = binascii.a2b_base64(encoded, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise explain_base64(word, encoded) from error
    if _base64(blob) != encoded:
        raise KeyFormatError(f"the {word} key ends in stray characters", SSH_HINT)
    recipient = from_ssh_blob(blob, comment)
    if recipient.kind != word:
        raise KeyFormatError(
            f"the key says {word} and holds {recipient.kind}", SSH_HINT
        )
    return recipient


def ssh_string(data: bytes) -> tuple[bytes, bytes]:
    """Split off the first string of ssh wire data (RFC 4251 section 5): (string, rest).

    Raises:
        KeyFormatError: the data ends before the string does.
    """
    size = int.from_bytes(data[:4], "big")
    if len(data) < max(4, 4 + size):
        raise KeyFormatError("the ssh key is truncated", SSH_HINT)
    return data[4 : 4 + size], data[4 + size :]


def _check_end(rest: bytes) -> None:
    if rest:
        raise KeyFormatError("the ssh key has trailing data", SSH_HINT)


def _check_rsa(fields: bytes) -> None:
    """Check the exponent and the modulus of an ssh-rsa blob (RFC 4253 section 6.6)."""
    exponent_bytes, rest = ssh_string(fields)
    modulus_bytes, rest = ssh_string(rest)
    _check_end(rest)
    exponent, modulus = _positive(exponent_bytes), _positive(modulus_bytes)
    if not modulus & 1 or not exponent & 1 or exponent < 3:
        raise KeyFormatError("the ssh-rsa key has numbers no key has", SSH_HINT)
    if modulus.bit_length() < _MINIMUM_RSA_BITS:
        raise UnsupportedKeyError(
            f"the ssh-rsa key has {modulus.bit_length()} bits; age takes none below "
            f"{_MINIMUM_RSA_BITS}",
            "make a new key: ssh-keygen -t ed25519",
        )


def _positive(mpint: bytes) -> int:
    """Return the number of a positive ssh mpint in its shortest form (RFC 4251, 5)."""
    number = int.from_bytes(mpint, "big", signed=True)
    if number <= 0 or len(mpint) != number.bit_length() // 8 + 1:
        raise KeyFormatError("the ssh-rsa key has numbers no key has", SSH_HINT)
    return number


def _refuse_what_is_no_key(text: str) -> None:
    refuse_private_key(text)
    if not text:
        raise KeyFormatError("the key is empty", AGE_HINT)
    if len(text) > LONGEST_KEY_TEXT:
        raise KeyFormatError("the text is longer than any public key", AGE_HINT)
    if not text.replace("\t", " ").isprintable():
        raise KeyFormatError(
            "the key has a line break or a control character in it",
            "give one key, as one line",
        )
