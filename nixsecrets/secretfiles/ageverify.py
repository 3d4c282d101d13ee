"""Proof, on bytes read back, that a staged age file is what it was meant to be.

Decides nothing and repairs nothing: any deviation is an error, and the caller then
throws the staged file away.  Every stanza that we wrote has to open to the file key
for its reader; for one whose private key we lack there is no other proof.
"""

import hashlib
from collections.abc import Sequence
from typing import BinaryIO, NoReturn

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.keys.identities import Identity
from nixsecrets.keys.recipients import Recipient
from nixsecrets.secretfiles import agefile, rage
from nixsecrets.secretfiles.agefile import AgeFile
from nixsecrets.secretfiles.agelarge import (
    Streamed,
    behind,
    decrypt_to_with_key,
    start_of,
)
from nixsecrets.secretfiles.ageops import (
    Sealed,
    check_mac,
    decrypt,
    decrypt_with_key,
)
from nixsecrets.secretfiles.agestate import fits
from nixsecrets.secretfiles.wrap import header_mac, opens_to


def verify_grant(old: bytes, new: bytes, sealed: Sealed) -> None:
    """Check a granted file: the new stanzas are right, and nothing else changed.

    But for grease, of which none is left: it may be anybody's stanza.

    Raises:
        SecretFileError: with what is wrong.
    """
    if new == old and not sealed.recipients:
        return
    before, after = agefile.parse(old), agefile.parse(new)
    expected = [before.spelled[place] for place in before.places]
    found = list(after.spelled)
    grown = sum(place >= len(expected) for place in sealed.places)
    if len(found) != len(expected) + grown:
        _deviates("it does not have the number of readers that was planned")
    for place in sealed.places:
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
    """Check a sealed file: its readers are those planned, its plaintext is the old one.

    An identity that is one of the readers opens the file through pyrage, which shares
    no code with what wrote the header; where there is none, the file key opens it.

    Raises:
        SecretFileError: with what is wrong.
    """
    file = agefile.parse(new)
    if len(file.places) != len(sealed.recipients):
        _deviates("it does not have the number of readers that was planned")
    _check_stanzas(file, sealed)
    if hashlib.sha256(_open(file, sealed, identities)).digest() != sealed.digest:
        _deviates("its plaintext is not the one that was to be encrypted")


def verify_large(
    file: BinaryIO, streamed: Streamed, identities: Sequence[Identity] = ()
) -> None:
    """Check a large file as `verify_reencrypted` does, one chunk after the other.

    Raises:
        SecretFileError: with what is wrong.
    """
    sealed, head = streamed.sealed, start_of(file)
    if len(head.entries) != len(sealed.recipients):
        _deviates("it does not have the number of readers that was planned")
    _check_stanzas(head, sealed)
    key, digest = sealed.file_key, Digest()
    if key is None:
        _deviates("its key is not known")
    readers = _readers(sealed, identities)
    if readers:
        header = _header_for(head, sealed, readers)
        try:
            rage.decrypt_to(behind(header, key, file, head), digest, readers)
        except IdentityError:
            _deviates("the identity that should open it does not")
    else:
        decrypt_to_with_key(file, head, key, digest)
    if digest.value() != sealed.digest:
        _deviates("its plaintext is not the one that was to be encrypted")


class Digest:
    """A target that keeps nothing of a plaintext but its SHA-256."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._hash = hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        """Count more bytes in."""
        self._hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def value(self) -> bytes:
        """Return the 32 bytes."""
        return self._hash.digest()


def _check_stanzas(file: AgeFile, sealed: Sealed) -> None:
    """Open each stanza that we wrote; check type and tag of one that pyrage wrote."""
    ours: list[tuple[bytes, Recipient]] = []
    for place, recipient in zip(sealed.places, sealed.recipients, strict=True):
        spelled = file.spelled[place]
        if recipient.ours:
            ours.append((spelled, recipient))
        elif not fits(agefile.decode(spelled), recipient):
            _deviates("an entry does not fit its reader")
    if sealed.file_key is None:
        return
    check_mac(file, sealed.file_key)
    for (spelled, recipient), proof in zip(ours, sealed.proofs, strict=True):
        if proof.recipient != recipient:
            _deviates("an entry was wrapped for somebody else")
        if not opens_to(spelled, proof, sealed.file_key):
            _deviates("a reader would not be able to open it")


def _open(file: AgeFile, sealed: Sealed, identities: Sequence[Identity]) -> bytes:
    readers = _readers(sealed, identities)
    if readers:
        try:
            return rage.decrypt(_for_readers(file, sealed, readers), readers)
        except IdentityError:
            _deviates("the identity that should open it does not")
    if sealed.file_key is None:
        return decrypt(file.binary, identities)
    return decrypt_with_key(file, sealed.file_key)


def _readers(sealed: Sealed, identities: Sequence[Identity]) -> list[Identity]:
    wanted = set(sealed.recipients)
    return [one for one in identities if wanted.intersection(one.recipients)]


def _for_readers(file: AgeFile, sealed: Sealed, readers: Sequence[Identity]) -> bytes:
    """Return the file with the stanzas of these readers alone.

    pyrage takes time quadratic in the size of a header: 1 ms for one of 50 stanzas.
    """
    key = sealed.file_key
    if key is None:
        return file.binary
    header = _header_for(file, sealed, readers)
    return agefile.encode(header, header_mac(key, header), file.payload, armored=False)


def _header_for(file: AgeFile, sealed: Sealed, readers: Sequence[Identity]) -> bytes:
    keys = {recipient for one in readers for recipient in one.recipients}
    places = zip(sealed.places, sealed.recipients, strict=True)
    theirs = [file.spelled[place] for place, reader in places if reader in keys]
    return agefile.join_header(theirs)


def _deviates(reason: str) -> NoReturn:
    raise SecretFileError(
        f"the staged age file is not as planned: {reason}",
        "nothing was replaced; try again, and report it if it happens twice",
    )
