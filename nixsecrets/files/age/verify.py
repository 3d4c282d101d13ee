"""Verification of a staged age file, on bytes read back from the disk.

Any deviation is an error, and the caller discards the staged file.  `wrap.opens_to`
verifies without private keys that every stanza we wrote opens to the file key.
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
    """Verify a granted file: the new stanzas are right, and nothing else changed.

    Except that the grease was dropped, since it could be anyone's stanza.

    Raises:
        SecretFileError: the file deviates from `sealed`; the message says how.
    """
    if new == old and not sealed.recipients:
        return
    before, after = age_header.parse(old), age_header.parse(new)
    expected = [before.encoded[place] for place in before.places]
    found = list(after.encoded)
    grown = sum(place >= len(expected) for place in sealed.places)
    if len(found) != len(expected) + grown:
        _deviates("it does not have the number of readers that was planned")
    for place in sealed.places:  # replaces a stanza, or appends one at the end
        expected[place : place + 1] = [found[place]]
    if found != expected:
        _deviates("an entry changed that was to stay")
    # comparing bytes is a memcmp, comparing memoryviews a loop over items
    if bytes(after.payload) != bytes(before.payload):
        _deviates("its payload changed")
    if after.armored != before.armored:
        _deviates("its armor came or went")
    _check_stanzas(after, sealed)


def verify_reencrypted(
    new: bytes, sealed: Sealed, identities: Sequence[Identity] = ()
) -> None:
    """Verify a re-encrypted file: its recipients and plaintext are those of `sealed`.

    If an identity is one of the recipients, pyrage decrypts the file with it, which
    shares no code with the writer of the header; otherwise the file key is used.

    Raises:
        SecretFileError: the file deviates from `sealed`; the message says how.
    """
    file = age_header.parse(new)
    _check_sealed(BytesIO(file.binary), file, sealed, identities)


def verify_large(
    file: BinaryIO, streamed: Streamed, identities: Sequence[Identity] = ()
) -> None:
    """Verify a large file, chunk by chunk: recipients and plaintext as in `streamed`.

    If an identity is one of the recipients, pyrage decrypts the file with it; otherwise
    the file key is used.

    Raises:
        SecretFileError: the file deviates from `streamed`; the message says how.
    """
    _check_sealed(file, start_of(file), streamed.sealed, identities)


class Digest:
    """A writable stream that keeps only the SHA-256 of what is written."""

    def __init__(self) -> None:
        """Start with nothing written."""
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
    """Verify each stanza that we wrote; check the type and tag of pyrage's."""
    ours: list[tuple[bytes, Recipient]] = []
    for place, recipient in zip(sealed.places, sealed.recipients, strict=True):
        encoded = file.encoded[place]
        if recipient.ours:
            ours.append((encoded, recipient))
        elif not fits(age_header.decode(encoded), recipient):
            _deviates("an entry does not fit its reader")
    if sealed.file_key is None:  # only pyrage knows it, and has written all stanzas
        return
    check_mac(file, sealed.file_key)
    for (encoded, recipient), proof in zip(ours, sealed.proofs, strict=True):
        if proof.recipient != recipient:
            _deviates("an entry was wrapped for somebody else")
        if not opens_to(encoded, proof, sealed.file_key):
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
    """Decrypt with an identity that is a recipient, through pyrage; else the file key.

    pyrage gets only the stanzas of these recipients: it takes time quadratic in the
    size of the header, 1 ms for 50 stanzas.
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
    """Return a header (through `---`) with only the stanzas of `readers`."""
    keys = {recipient for one in readers for recipient in one.recipients}
    places = zip(sealed.places, sealed.recipients, strict=True)
    theirs = [file.encoded[place] for place, reader in places if reader in keys]
    return age_header.join_header(theirs)


def _deviates(reason: str) -> NoReturn:
    raise SecretFileError(
        f"the staged age file is not as planned: {reason}",
        "nothing was replaced; try again, and report it if it happens twice",
    )
