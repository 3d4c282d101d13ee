"""The primitives that age is made of (C2SP age.md): HMAC, HKDF, X25519, one AEAD.

The libraries are loaded when first asked for, and looked up once: a grant calls them
thirty times for each file.
"""

from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_BLOCK = 64  # bytes, of SHA-256
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-SHA256 of a message (RFC 2104), in half the time of `hmac`."""
    key = (key if len(key) <= _BLOCK else sha256(key).digest()).ljust(_BLOCK, b"\0")
    inner = sha256(key.translate(_INNER) + message).digest()
    return sha256(key.translate(_OUTER) + inner).digest()


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """Return HKDF-SHA256 of 32 bytes (RFC 5869): extract, then one block of expand."""
    return hmac_sha256(hmac_sha256(salt, key), info + b"\x01")


def encrypted(key: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """Return ciphertext and tag of ChaCha20-Poly1305, without associated data."""
    return _chacha()(key).encrypt(nonce, plaintext, None)


def decrypted(key: bytes, nonce: bytes, ciphertext: bytes) -> bytes | None:
    """Return the plaintext, None where the tag is not that of key and ciphertext."""
    try:
        return _chacha()(key).decrypt(nonce, ciphertext, None)
    except _invalid_tag():
        return None


def multiplied(secret: bytes, point: bytes) -> bytes:
    """Return X25519(secret, point).

    Raises `ValueError` for an all-zero result, which a point of low order gives.
    """
    from nacl.bindings import crypto_scalarmult

    try:
        return crypto_scalarmult(secret, point)
    except RuntimeError as error:
        raise ValueError("a point of low order") from error


def public_half(secret: bytes) -> bytes:
    """Return X25519(secret, base point)."""
    from nacl.bindings import crypto_scalarmult_base

    return crypto_scalarmult_base(secret)


@cache
def _chacha() -> "type[ChaCha20Poly1305]":
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305


@cache
def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
