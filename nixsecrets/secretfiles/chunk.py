"""A payload of one chunk: a data key of sops, encrypted under an age file key.

We write it ourselves (C2SP age.md, Payload): a sops file has one for each reader, and
they all go through pyrage eight times slower.  Larger ones are pyrage's, or, where they
do not fit into memory, `stream`'s.  Says nothing about headers.
"""

import hmac
import os

NONCE = 16
TAG = 16
CHUNK = 64 * 1024
# STREAM: a counter of 11 bytes, and the mark of the last chunk.
_ONLY = bytes(11) + b"\x01"


def seal_chunk(file_key: bytes, plaintext: bytes) -> bytes:
    """Return nonce and chunk; `plaintext` has 1 byte to 64 KiB."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    if not 0 < len(plaintext) <= CHUNK:
        raise ValueError("not one chunk")
    nonce = os.urandom(NONCE)
    return nonce + ChaCha20Poly1305(payload_key(file_key, nonce)).encrypt(
        _ONLY, plaintext, None
    )


def open_chunk(file_key: bytes, payload: bytes) -> bytes | None:
    """Return the plaintext, None where the payload is not one chunk under the key."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    nonce, chunk = payload[:NONCE], payload[NONCE:]
    if not TAG < len(chunk) <= CHUNK + TAG:
        return None
    cipher = ChaCha20Poly1305(payload_key(file_key, nonce))
    try:
        return cipher.decrypt(_ONLY, chunk, None)
    except InvalidTag:
        return None


def payload_key(file_key: bytes, nonce: bytes) -> bytes:
    """Return the payload key: HKDF-SHA256 with the nonce as salt (RFC 5869)."""
    extracted = hmac.digest(nonce, file_key, "sha256")
    return hmac.digest(extracted, b"payload\x01", "sha256")
