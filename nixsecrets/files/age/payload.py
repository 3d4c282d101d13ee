"""The payload of an age file: chunks of 64 KiB, each encrypted and authenticated.

C2SP age.md, "Payload": a nonce of 16 bytes, then STREAM with ChaCha20-Poly1305 under a
key derived from the file key and the nonce.  pyrage handles the payloads of ordinary
age files.  This module handles the data key in each entry of a sops file, a single
chunk (docs/adr/0004), and values too large for memory (docs/adr/0013); `Spooled` stores
such a value until its recipients are known.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from nixsecrets.errors import SecretFileError
from nixsecrets.files.age.wrap import FILE_KEY_SIZE, decrypted, encrypted, hkdf
from nixsecrets.frozen import field, frozen

CHUNK = 64 * 1024
_NONCE = 16
_TAG = 16


@frozen
class Spooled:
    """A large value, encrypted in `file` under a key that only this process knows.

    `size` is the length of the value in bytes, `digest` its SHA-256.
    """

    file: BinaryIO = field(repr=False)
    key: bytes = field(repr=False)
    size: int
    digest: bytes = field(repr=False)

    def blocks(self) -> Iterator[bytes]:
        """Yield the value from its beginning, in blocks of up to 64 KiB.

        Raises:
            SecretFileError: `file` changed since the value was written.
        """
        self.file.seek(0)
        return decrypt(self.key, self.file)

    def __len__(self) -> int:
        """Return the size; an empty value is false, as for `bytes`."""
        return self.size


def spooled(blocks: Iterable[bytes], file: BinaryIO) -> Spooled:
    """Encrypt `blocks` into an empty file, under a fresh key.

    Raises:
        OSError: the file cannot be written.
    """
    key, digest, size = os.urandom(FILE_KEY_SIZE), hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for block in blocks:
            digest.update(block)
            size += len(block)
            yield block

    for part in encrypt(key, counted()):
        file.write(part)
    file.flush()
    return Spooled(file, key, size, digest.digest())


def encrypt(file_key: bytes, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the payload of a plaintext, which is given in blocks of any size."""
    nonce = os.urandom(_NONCE)
    key = _payload_key(file_key, nonce)
    yield nonce
    for number, (chunk, last) in enumerate(_with_last(_chunked(blocks))):
        yield encrypted(key, _counter(number, last=last), chunk)


def decrypt(file_key: bytes, payload: BinaryIO) -> Iterator[bytes]:
    """Yield the plaintext of a payload; each block is authenticated before.

    Raises:
        SecretFileError: a chunk was changed, or the payload is truncated.
    """
    key = _payload_key(file_key, payload.read(_NONCE))
    # the last-chunk flag is part of the nonce, so a truncated payload does not decrypt
    chunks = iter(lambda: payload.read(CHUNK + _TAG), b"")
    for number, (chunk, last) in enumerate(_with_last(chunks)):
        plaintext = decrypted(key, _counter(number, last=last), chunk)
        if plaintext is None:
            raise SecretFileError("the spooled value changed on disk", "try again")
        yield plaintext


def seal_chunk(file_key: bytes, plaintext: bytes) -> bytes:
    """Return the payload (nonce and one chunk) of 1 byte to 64 KiB of plaintext."""
    if not 0 < len(plaintext) <= CHUNK:
        raise ValueError("not one chunk")
    return b"".join(encrypt(file_key, [plaintext]))


def open_chunk(file_key: bytes, payload: bytes) -> bytes | None:
    """Return the plaintext of a single chunk, None if it does not decrypt."""
    nonce, chunk = payload[:_NONCE], payload[_NONCE:]
    if not _TAG < len(chunk) <= CHUNK + _TAG:
        return None
    return decrypted(_payload_key(file_key, nonce), _counter(0, last=True), chunk)


def _payload_key(file_key: bytes, nonce: bytes) -> bytes:
    return hkdf(file_key, nonce, b"payload")


def _counter(number: int, *, last: bool) -> bytes:
    """Return the nonce of a chunk: its number in 11 bytes, then 1 for the last or 0."""
    return number.to_bytes(11, "big") + bytes([last])


def _with_last(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each chunk and whether it is the last; for none, one empty last chunk."""
    rest = iter(chunks)
    ahead = next(rest, b"")  # one chunk ahead, to know whether it is the last
    for chunk in rest:
        yield ahead, False
        ahead = chunk
    yield ahead, True


def _chunked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in chunks of 64 KiB; only the last may be shorter."""
    held = bytearray()
    for block in blocks:
        held += block
        while len(held) >= CHUNK:
            yield bytes(held[:CHUNK])
            del held[:CHUNK]
    if held:
        yield bytes(held)
