"""Age files too large for memory: sealed and opened piece by piece.

The header is `ageops`'; the payload is written by `stream`, and read by pyrage, so that
the writer does not check itself (docs/adr/0013-large-values-are-streamed.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO

from nixsecrets.keys.identities import Identity
from nixsecrets.keys.recipients import Recipient
from nixsecrets.secretfiles import agefile, ageops, rage, stream
from nixsecrets.secretfiles.agefile import AgeFile
from nixsecrets.secretfiles.stream import LARGE, Spooled
from nixsecrets.secretfiles.wrap import header_mac, wrap


@dataclass(frozen=True, slots=True)
class Streamed:
    """An age file too large for memory: `sealed.data` is its header alone."""

    sealed: ageops.Sealed
    content: Spooled

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes of the file; once, for a key has one payload."""
        yield self.sealed.data
        yield from stream.encrypt(self.sealed.file_key or b"", self.content.blocks())


def seal_large(
    content: Spooled, recipients: Sequence[Recipient]
) -> Streamed | ageops.Sealed:
    """Do as `seal` for a value that is not read as a whole.

    Post-quantum readers alone are the exception: only pyrage writes their payloads,
    and it never hands out a file key.  Raises as `seal`.
    """
    if any(recipient.post_quantum for recipient in recipients):
        return ageops.seal(b"".join(content.blocks()), recipients)
    header = ageops.seal(b"", recipients)
    file = agefile.parse(header.data)
    head = replace(
        header, data=file.binary[: file.payload_start], digest=content.digest
    )
    return Streamed(head, content)


def decrypt_to(
    file: BinaryIO, target: rage.Writable, identities: Sequence[Identity]
) -> None:
    """Write the plaintext of a large file, without armor, chunk by chunk.

    Each chunk is authentic when it is written; where this raises, some may be missing.
    Raises as `decrypt`, and what `target` raises.
    """
    head = start_of(file)
    key = ageops.find_key(head, identities, None)
    if key is not None:
        decrypt_to_with_key(file, head, key, target)
        return

    def attempt(group: Sequence[Identity]) -> None:
        file.seek(0)
        rage.decrypt_to(file, target, group)

    ageops.by_pyrage(head, identities, attempt)


def start_of(file: BinaryIO) -> AgeFile:
    """Return a large file without armor, of whose payload only the start is there.

    Raises:
        SecretFileError: it breaks the grammar.
    """
    file.seek(0)
    return agefile.parse(file.read(LARGE))


def decrypt_to_with_key(
    file: BinaryIO, head: AgeFile, key: bytes, target: rage.Writable
) -> None:
    """Write the plaintext of a file whose key is known; raises as `decrypt_to`."""
    throw_away = ageops.throw_away_identity()
    header = agefile.join_header([wrap(key, throw_away.recipients[0]).spelled])
    rage.decrypt_to(behind(header, key, file, head), target, [throw_away])


def behind(header: bytes, key: bytes, file: BinaryIO, head: AgeFile) -> rage.Readable:
    """Return the payload of a large file behind another header."""
    start = agefile.encode(header, header_mac(key, header), b"", armored=False)
    file.seek(head.payload_start)
    return _Behind(BytesIO(start), file)


@dataclass(frozen=True, slots=True)
class _Behind:
    start: BytesIO
    rest: BinaryIO

    def read(self, size: int = -1) -> bytes:
        return self.start.read(size) or self.rest.read(size)
