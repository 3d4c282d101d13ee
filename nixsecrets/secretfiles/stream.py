"""Values too large for memory: payloads written and read one chunk at a time.

The payload of an age file is chunks of 64 KiB, each encrypted and authenticated by
itself (C2SP age.md, Payload; docs/adr/0013).  `Spooled` is such a value while it waits
for its readers: encrypted under a key that only this process knows, in a file that the
caller gives.  Headers are `ageops`'s.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from nixsecrets.errors import SecretFileError
from nixsecrets.secretfiles.chunk import CHUNK, NONCE, TAG, payload_key
from nixsecrets.secretfiles.primitives import decrypted, encrypted

LARGE = 4 << 20
"""Up to here (bytes) a value or a file is handled as a whole, in memory."""
_KEY = 16


@dataclass(frozen=True, slots=True)
class Spooled:
    """A value that waits in `file`; `size` in bytes, `digest` is its SHA-256."""

    file: BinaryIO = field(repr=False)
    key: bytes = field(repr=False)
    size: int
    digest: bytes = field(repr=False)

    def blocks(self) -> Iterator[bytes]:
        """Yield the value from its beginning, in blocks of up to 64 KiB.

        Raises:
            SecretFileError: the waiting file was damaged.
        """
        self.file.seek(0)
        return decrypt(self.key, self.file)

    def __len__(self) -> int:
        """Return the size: one byte or more is truth, as of bytes."""
        return self.size


def spooled(blocks: Iterable[bytes], file: BinaryIO) -> Spooled:
    """Encrypt `blocks` into an empty file, under a fresh key.

    Raises:
        OSError: it cannot be written.
    """
    key, digest, size = os.urandom(_KEY), hashlib.sha256(), 0

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
    """Yield the payload for a plaintext that comes in blocks of any size."""
    nonce = os.urandom(NONCE)
    key = payload_key(file_key, nonce)
    yield nonce
    for number, (chunk, last) in enumerate(_marked(_even(blocks, CHUNK))):
        yield encrypted(key, _counter(number, last=last), chunk)


def decrypt(file_key: bytes, payload: BinaryIO) -> Iterator[bytes]:
    """Yield the plaintext of a payload; each block is authentic when it comes.

    Raises:
        SecretFileError: it is damaged, or ends before its last chunk.
    """
    key = payload_key(file_key, payload.read(NONCE))
    chunks = iter(lambda: payload.read(CHUNK + TAG), b"")
    for number, (chunk, last) in enumerate(_marked(chunks)):
        plaintext = decrypted(key, _counter(number, last=last), chunk)
        if plaintext is None:
            raise SecretFileError(
                "what was read of the value changed on the disk", "try again"
            )
        yield plaintext


def _counter(number: int, *, last: bool) -> bytes:
    """Return STREAM's nonce: the chunk's number in 11 bytes, the mark of the last."""
    return number.to_bytes(11, "big") + bytes([last])


def _marked(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each chunk with whether it is the last; of nothing, one empty chunk."""
    rest = iter(chunks)
    ahead = next(rest, b"")
    for chunk in rest:
        yield ahead, False
        ahead = chunk
    yield ahead, True


def _even(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in blocks of `size`; only the last may be shorter."""
    held = bytearray()
    for block in blocks:
        held += block
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
