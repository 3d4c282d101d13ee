"""A payload of one chunk: a data key of sops, encrypted under an age file key.

We write it ourselves (C2SP age.md, Payload): a sops file has one for each reader, and
they all go through pyrage eight times slower.  Larger ones are pyrage's, or, where they
do not fit into memory, `stream`'s.  Says nothing about headers.
"""

import os

from nixsecrets.secretfiles.primitives import decrypted, encrypted, hkdf

NONCE = 16
TAG = 16
CHUNK = 64 * 1024
# STREAM: a counter of 11 bytes, and the mark of the last chunk.
_ONLY = bytes(11) + b"\x01"


def seal_chunk(file_key: bytes, plaintext: bytes) -> bytes:
    """Return nonce and chunk; `plaintext` has 1 byte to 64 KiB."""
    if not 0 < len(plaintext) <= CHUNK:
        raise ValueError("not one chunk")
    nonce = os.urandom(NONCE)
    return nonce + encrypted(payload_key(file_key, nonce), _ONLY, plaintext)


def open_chunk(file_key: bytes, payload: bytes) -> bytes | None:
    """Return the plaintext, None where the payload is not one chunk under the key."""
    nonce, chunk = payload[:NONCE], payload[NONCE:]
    if not TAG < len(chunk) <= CHUNK + TAG:
        return None
    return decrypted(payload_key(file_key, nonce), _ONLY, chunk)


def payload_key(file_key: bytes, nonce: bytes) -> bytes:
    """Return the payload key, which has the nonce as salt."""
    return hkdf(file_key, nonce, b"payload")
