"""Verification detects every deviation in the staged bytes."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import operations
from nixsecrets.files.age.header import AgeFile, Stanza
from nixsecrets.files.age.operations import Sealed
from nixsecrets.files.age.verify import verify_grant, verify_reencrypted
from nixsecrets.files.age.wrap import header_mac, wrap
from nixsecrets.keys.identities import SshRsaIdentity
from tests.files.age.test_operations import post_quantum_recipient
from tests.files.agekeys import Reader, age_encrypts, encode_header, reader
from tests.fleet import age_key, rsa_key, ssh_key

ALICE = reader(age_key())
BOB = reader(age_key())
WEB = reader(ssh_key("verify web"))
DB = reader(ssh_key("verify db"))
RSA = reader(rsa_key())
TO = [ALICE.recipient, WEB.recipient, RSA.recipient]
SECRET = b"secret"
SEALED = operations.seal(SECRET, TO)
OLD = age_encrypts(SECRET, *TO)
ADD, REPLACE = [BOB.recipient], [(1, DB.recipient)]
GRANTED = operations.grant(OLD, [ALICE.identity], add=ADD, replace=REPLACE)


def rewritten(
    sealed: Sealed, stanzas: list[Stanza], payload: bytes | None = None
) -> bytes:
    """Write other stanzas or another payload under the same file key, MAC and all."""
    assert sealed.file_key
    header = encode_header(stanzas)
    mac = header_mac(sealed.file_key, header)
    rest = age_header.parse(sealed.data).payload if payload is None else payload
    return age_header.encode(header, mac, rest, armored=False)


@pytest.mark.parametrize(
    "by", [[], [ALICE], [WEB], [RSA], [BOB], [BOB, WEB]], ids=range(6)
)
@pytest.mark.parametrize("armored", [False, True], ids=["binary", "armored"])
def test_a_sealed_file_is_right(by: list[Reader], armored: bool) -> None:
    sealed = operations.seal(SECRET, TO, armored=armored)
    verify_reencrypted(sealed.data, sealed, [one.identity for one in by])


@pytest.mark.parametrize("armored", [False, True], ids=["binary", "armored"])
def test_a_granted_file_is_right(armored: bool) -> None:
    old = age_encrypts(SECRET, *TO, armored=armored)
    granted = operations.grant(old, [WEB.identity], add=ADD, replace=REPLACE)
    verify_grant(old, granted.data, granted)


Change = Callable[[AgeFile], list[Stanza]]


def with_body(stanza: Stanza) -> Stanza:
    """Return a stanza with another file key."""
    return replace(stanza, body=bytes(len(stanza.body)))


def swapped(file: AgeFile) -> list[Stanza]:
    """Return the stanzas with the first two swapped."""
    first, second, *rest = file.stanzas
    return [second, first, *rest]


CHANGES: dict[str, Change] = {
    "one more reader": lambda file: [
        *file.stanzas,
        age_header.decode(wrap(bytes(16), DB.recipient).encoded),
    ],
    "one reader less": lambda file: list(file.stanzas[:-1]),
    "another order": swapped,
    "another reader of the same type": lambda file: [
        age_header.decode(wrap(bytes(16), DB.recipient).encoded)
        if one.type == "ssh-ed25519"
        else one
        for one in file.stanzas
    ],
    "a wrong file key in the first entry": lambda file: [
        with_body(file.stanzas[0]),
        *file.stanzas[1:],
    ],
    "a wrong file key in an ssh entry": lambda file: [
        with_body(one) if one.type == "ssh-ed25519" else one for one in file.stanzas
    ],
    "a wrong file key in every entry": lambda file: [
        with_body(one) for one in file.stanzas
    ],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_stanzas_than_sealed_are_noticed(change: Change) -> None:
    bad = rewritten(SEALED, change(age_header.parse(SEALED.data)))
    with pytest.raises(SecretFileError):
        verify_reencrypted(bad, SEALED, [])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_stanzas_than_granted_are_noticed(change: Change) -> None:
    bad = rewritten(GRANTED, change(age_header.parse(GRANTED.data)))
    with pytest.raises(SecretFileError):
        verify_grant(OLD, bad, GRANTED)


def test_an_entry_in_the_right_place_for_somebody_else_is_noticed() -> None:
    # A stanza that is whole and opens, only not for the reader who was named.
    assert SEALED.file_key
    stranger = age_header.decode(wrap(SEALED.file_key, BOB.recipient).encoded)
    file = age_header.parse(SEALED.data)
    with pytest.raises(SecretFileError, match="would not be able"):
        verify_reencrypted(rewritten(SEALED, [stranger, *file.stanzas[1:]]), SEALED, [])


def test_a_reader_of_pyrages_that_cannot_open_is_noticed_by_that_reader() -> None:
    file = age_header.parse(SEALED.data)
    bad = rewritten(SEALED, [*file.stanzas[:2], with_body(file.stanzas[2])])
    with pytest.raises(SecretFileError):
        verify_reencrypted(bad, SEALED, [RSA.identity])


def test_an_identity_that_only_claims_to_be_a_reader_is_noticed() -> None:
    named = reader(rsa_key(number=1)).recipient
    sealed = operations.seal(SECRET, [named])
    assert isinstance(RSA.identity, SshRsaIdentity)
    claims = replace(RSA.identity, recipients=(named,))
    with pytest.raises(SecretFileError, match="should open it"):
        verify_reencrypted(sealed.data, sealed, [claims])


@pytest.mark.parametrize("by", [[], [ALICE], [RSA]], ids=["nobody", "ours", "rsa"])
def test_another_plaintext_is_noticed(by: list[Reader]) -> None:
    identities = [one.identity for one in by]
    other = replace(SEALED, digest=os.urandom(32))
    with pytest.raises(SecretFileError, match="plaintext"):
        verify_reencrypted(SEALED.data, other, identities)
    flipped = SEALED.data[:-1] + bytes([SEALED.data[-1] ^ 1])
    with pytest.raises(SecretFileError):
        verify_reencrypted(flipped, SEALED, identities)


def test_a_payload_that_changed_during_a_grant_is_noticed() -> None:
    file = age_header.parse(GRANTED.data)
    bad = rewritten(GRANTED, list(file.stanzas), bytes(file.payload) + b"x")
    with pytest.raises(SecretFileError, match="payload"):
        verify_grant(OLD, bad, GRANTED)


def test_armor_that_came_or_went_is_noticed() -> None:
    file = age_header.parse(GRANTED.data)
    armored = age_header.encode(file.header, file.mac, file.payload, armored=True)
    with pytest.raises(SecretFileError):
        verify_grant(OLD, armored, GRANTED)


def test_a_wrong_mac_is_noticed() -> None:
    sealed, granted = (
        age_header.encode(file.header, bytes(32), file.payload, armored=False)
        for file in (age_header.parse(SEALED.data), age_header.parse(GRANTED.data))
    )
    with pytest.raises(SecretFileError):
        verify_reencrypted(sealed, SEALED, [])
    with pytest.raises(SecretFileError):
        verify_grant(OLD, granted, GRANTED)


def test_half_a_file_is_noticed() -> None:
    for end in (0, 10, len(SEALED.data) // 2):
        with pytest.raises(SecretFileError):
            verify_reencrypted(SEALED.data[:end], SEALED, [])


def test_a_post_quantum_file_that_nobody_here_opens_is_not_called_right() -> None:
    sealed = operations.seal(SECRET, [post_quantum_recipient()])
    with pytest.raises(IdentityError):
        verify_reencrypted(sealed.data, sealed, [ALICE.identity])
