"""Verifies a staged age file, on bytes read back from the disk.

Any deviation is an error; the caller then discards the staged file.  Every stanza that
we wrote has to open to the file key for its recipient, which `wrap.opens_to` computes
without the private key.
"""

import hashlib
from collections.abc import Sequence
from io import BytesIO
from typing import BinaryIO, NoReturn

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import pyrage_port
from nixsecrets.files.age.header import AgeFile
from nixsecrets.files.age.operations import (
    Sealed,
    Streamed,
    decrypt_to,
    decrypt_with_key,
    start_of,
    with_header,
)
from nixsecrets.files.age.state import fits
from nixsecrets.files.age.wrap import check_mac, opens_to
from nixsecrets.keys.identities import Identity
from nixsecrets.keys.recipients import Recipient


def verify_grant(old: bytes, new: bytes, sealed: Sealed) -> None:
    """Check a granted file: the new stanzas are right, and nothing else changed.

    Except that no grease is left, since it could be anybody's stanza.

    Raises:
        SecretFileError: the file deviates from `sealed`; the message says in what.
    """
    if new == old and not sealed.recipients:
        return
    before, after = age_header.parse(old), age_header.parse(new)
    expected = [before.spelled[place] for place in before.places]
    found = list(after.spelled)
    grown = sum(place >= len(expected) for place in sealed.places)
    if len(found) != len(expected) + grown:
        _deviates("it does not have the number of readers that was planned")
    for place in sealed.places:  # replaces a stanza, or behind the last one adds one
        expected[place : place + 1] = [found[place]]
    if found != expected:
        _deviates("an entry changed that was to stay")
    # Bytes compare at once, memoryviews one byte after the other.
    if bytes(after.payload) != bytes(before.payload):
        _deviates("its payload changed")
    if after.armored != before.armored:
        _deviates("its armor came or went")
    _check_stanzas(after, sealed)


def verify_reencrypted(
    new: bytes, sealed: Sealed, identities: Sequence[Identity] = ()
) -> None:
    """Check an encrypted file: recipients and plaintext are those of `sealed`.

    An identity that is one of the recipients opens the file through pyrage, which
    shares no code with what wrote the header; without one, the file key opens it.

    Raises:
        SecretFileError: the file deviates from `sealed`; the message says in what.
    """
    file = age_header.parse(new)
    _check_sealed(BytesIO(file.binary), file, sealed, identities)


def verify_large(
    file: BinaryIO, streamed: Streamed, identities: Sequence[Identity] = ()
) -> None:
    """Check a large file, `streamed.blocks()` read back, chunk by chunk.

    Recipients and plaintext must be those of `streamed`, as for `verify_reencrypted`.

    Raises:
        SecretFileError: the file deviates from them; the message says in what.
    """
    _check_sealed(file, start_of(file), streamed.sealed, identities)


class Digest:
    """A target for a plaintext that keeps only its SHA-256."""

    def __init__(self) -> None:
        """Begin with an empty plaintext."""
        self._hash = hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        """Hash `data`; return its length."""
        self._hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def value(self) -> bytes:
        """Return the SHA-256 (32 bytes) of what was written."""
        return self._hash.digest()


def _check_stanzas(file: AgeFile, sealed: Sealed) -> None:
    """Open each stanza that we wrote; check type and tag of one that pyrage wrote."""
    ours: list[tuple[bytes, Recipient]] = []
    for place, recipient in zip(sealed.places, sealed.recipients, strict=True):
        spelled = file.spelled[place]
        if recipient.ours:
            ours.append((spelled, recipient))
        elif not fits(age_header.decode(spelled), recipient):
            _deviates("an entry does not fit its reader")
    if sealed.file_key is None:
        return
    check_mac(file, sealed.file_key)
    for (spelled, recipient), proof in zip(ours, sealed.proofs, strict=True):
        if proof.recipient != recipient:
            _deviates("an entry was wrapped for somebody else")
        if not opens_to(spelled, proof, sealed.file_key):
            _deviates("a reader would not be able to open it")


def _check_sealed(
    source: BinaryIO, head: AgeFile, sealed: Sealed, identities: Sequence[Identity]
) -> None:
    if len(head.places) != len(sealed.recipients):
        _deviates("it does not have the number of readers that was planned")
    _check_stanzas(head, sealed)
    digest = Digest()
    _decrypt(source, head, sealed, identities, digest)
    if digest.value() != sealed.digest:
        _deviates("its plaintext is not the one that was to be encrypted")


def _decrypt(
    source: BinaryIO,
    head: AgeFile,
    sealed: Sealed,
    identities: Sequence[Identity],
    digest: Digest,
) -> None:
    """Decrypt as one of the recipients, through pyrage; without one, by the file key.

    pyrage gets the stanzas of these recipients alone: it takes time quadratic in the
    size of a header, 1 ms for one of 50 stanzas.
    """
    wanted, key = set(sealed.recipients), sealed.file_key
    ours = [one for one in identities if wanted.intersection(one.recipients)]
    if key is not None and not ours:
        decrypt_with_key(source, head, key, digest)
        return
    try:
        if key is None:  # post-quantum: only pyrage can open it
            decrypt_to(source, digest, ours)
        else:
            header = _header_for(head, sealed, ours)
            pyrage_port.decrypt_to(with_header(header, key, source, head), digest, ours)
    except IdentityError:
        if not ours:
            raise
        _deviates("the identity that should open it does not")


def _header_for(file: AgeFile, sealed: Sealed, readers: Sequence[Identity]) -> bytes:
    """Return a header with the stanzas of `readers` alone, through `---`."""
    keys = {recipient for one in readers for recipient in one.recipients}
    places = zip(sealed.places, sealed.recipients, strict=True)
    theirs = [file.spelled[place] for place, reader in places if reader in keys]
    return age_header.join_header(theirs)


def _deviates(reason: str) -> NoReturn:
    raise SecretFileError(
        f"the staged age file is not as planned: {reason}",
        "nothing was replaced; try again, and report it if it happens twice",
    )
