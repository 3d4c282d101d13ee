"""Stanzas that we write are opened by age, and those of age by us."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import KeyFormatError, SecretFileError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age.header import Stanza
from nixsecrets.files.age.wrap import (
    Wrapped,
    decrypted,
    encrypted,
    header_mac,
    hkdf,
    opens_to,
    unwrap,
    wrap,
)
from nixsecrets.keys.recipients import Recipient, parse_recipient
from tests.files.agekeys import (
    Reader,
    age_encrypts,
    converted,
    reader,
    spelled,
    toy_reader,
)
from tests.fleet import age_key, rsa_key, ssh_key
from tests.keys.vectors import VECTORS, Vector

AGE = reader(age_key())
SSH = reader(ssh_key("wrap"))
CONVERTED = converted(SSH)
STRANGER = reader(age_key())
OURS = {"X25519": AGE, "ssh-ed25519": SSH, "converted": CONVERTED}
KEY = bytes(range(16))
ours = pytest.mark.parametrize("one", OURS.values(), ids=OURS.keys())


def stanza_of(wrapped: Wrapped) -> Stanza:
    """Decode a new stanza."""
    return age_header.decode(wrapped.encoded)


@ours
def test_age_opens_a_stanza_of_ours(one: Reader, tmp_path: Path) -> None:
    file = age_header.parse(age_encrypts(b"hello", AGE.recipient))
    key = unwrap(file.stanzas[0], AGE.identity)
    assert key is not None
    header = age_header.join_header([wrap(key, one.recipient).encoded])
    mac = header_mac(key, header)
    data = age_header.encode(header, mac, file.payload, armored=False)
    assert one.opens_with_age(data, tmp_path) == b"hello"


@ours
def test_a_stanza_of_age_opens_here_to_the_key_its_mac_is_made_with(
    one: Reader,
) -> None:
    file = age_header.parse(age_encrypts(b"hello", one.recipient))
    key = unwrap(file.stanzas[0], one.identity)
    assert key is not None
    assert header_mac(key, file.header) == file.mac


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.tag)
def test_known_keys_get_their_known_tag_and_open(vector: Vector) -> None:
    stanza = stanza_of(wrap(KEY, parse_recipient(vector.ssh)))
    assert (stanza.type, stanza.args[0]) == ("ssh-ed25519", vector.tag)
    other = stanza_of(wrap(KEY, parse_recipient(vector.age)))
    assert (other.type, len(other.args)) == ("X25519", 1)
    owner = reader_of(vector)
    assert [unwrap(one, owner.identity) for one in (stanza, other)] == [KEY, KEY]


def reader_of(vector: Vector) -> Reader:
    """Make a reader from the age secret of a vector."""
    from tests.fleet import AgeKey

    return reader(AgeKey(vector.secret, vector.age))


@pytest.mark.parametrize("form", [SSH, CONVERTED], ids=["ssh form", "converted"])
@pytest.mark.parametrize("key", [SSH, CONVERTED], ids=["by ssh key", "by age secret"])
def test_either_key_of_a_pair_opens_either_form(form: Reader, key: Reader) -> None:
    assert unwrap(stanza_of(wrap(KEY, form.recipient)), key.identity) == KEY


@ours
def test_nobody_else_opens_it(one: Reader) -> None:
    stanza = stanza_of(wrap(KEY, one.recipient))
    others = [STRANGER, reader(ssh_key("other")), reader(rsa_key()), toy_reader()]
    assert all(unwrap(stanza, other.identity) is None for other in others)


def test_a_stanza_of_another_type_is_nobodys() -> None:
    stanza = stanza_of(wrap(KEY, AGE.recipient))
    assert unwrap(replace(stanza, type="x25519"), AGE.identity) is None
    assert unwrap(Stanza("ssh-ed25519", (), b""), SSH.identity) is None


@ours
def test_each_wrapping_is_fresh_and_proves_itself(one: Reader) -> None:
    first, second = wrap(KEY, one.recipient), wrap(KEY, one.recipient)
    assert first.encoded != second.encoded
    assert opens_to(first.encoded, first.proof, KEY)
    assert opens_to(second.encoded, second.proof, KEY)
    assert not opens_to(first.encoded, second.proof, KEY)


@ours
def test_a_proof_holds_for_one_reader_one_key_and_one_stanza_only(one: Reader) -> None:
    wrapped = wrap(KEY, one.recipient)
    stanza, proof = stanza_of(wrapped), wrapped.proof
    flipped = bytes([stanza.body[0] ^ 1]) + stanza.body[1:]
    assert not opens_to(spelled(stanza), proof, bytes(16))
    assert not opens_to(
        spelled(stanza), replace(proof, recipient=STRANGER.recipient), KEY
    )
    assert not opens_to(spelled(replace(stanza, body=flipped)), proof, KEY)
    assert not opens_to(spelled(replace(stanza, args=("a", *stanza.args))), proof, KEY)
    assert not opens_to(spelled(replace(stanza, type="other")), proof, KEY)


def test_a_proof_goes_by_the_text_of_the_recipient_not_by_its_parsed_key() -> None:
    # As if memory had gone bad between parsing and wrapping.
    wrong = Recipient(AGE.recipient.kind, STRANGER.recipient.key, AGE.recipient.text)
    wrapped = wrap(KEY, wrong)
    assert not opens_to(wrapped.encoded, wrapped.proof, KEY)


def test_a_tag_of_another_key_is_passed_over() -> None:
    stanza = stanza_of(wrap(KEY, SSH.recipient))
    other = replace(stanza, args=("AAAAAA", stanza.args[1]))
    assert unwrap(other, SSH.identity) is None


LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
]
FRESH = X25519PrivateKey.generate().public_key().public_bytes_raw()


def base64(data: bytes) -> str:
    return age_header.encode_base64(data).decode()


SHARES = {
    "low order": [(base64(share),) for share in LOW_ORDER],
    "too short": [(base64(FRESH[:31]),)],
    "too long": [(base64(FRESH + b"\0"),)],
    "empty": [("",)],
    "no base64": [("*" * 43,)],
    "beyond ASCII": [("ä" * 43,)],
    "padded": [(base64(FRESH) + "=",)],
    "stray bits": [(base64(FRESH)[:-1] + "B",)],
    "missing": [()],
    "one too many": [(base64(FRESH), "a")],
}


@ours
@pytest.mark.parametrize("arguments", SHARES.values(), ids=SHARES.keys())
def test_a_degenerate_share_is_refused(
    one: Reader, arguments: list[tuple[str, ...]]
) -> None:
    stanza = stanza_of(wrap(KEY, one.recipient))
    for share in arguments:
        bad = replace(stanza, args=(*stanza.args[:-1], *share))
        with pytest.raises(SecretFileError):
            unwrap(bad, one.identity)


@ours
@pytest.mark.parametrize("size", [0, 16, 31, 33, 48])
def test_a_body_of_the_wrong_size_is_refused_unopened(one: Reader, size: int) -> None:
    stanza = replace(stanza_of(wrap(KEY, one.recipient)), body=bytes(size))
    with pytest.raises(SecretFileError):
        unwrap(stanza, one.identity)


def test_only_our_two_kinds_can_be_wrapped_for() -> None:
    for other in (reader(rsa_key()), toy_reader()):
        with pytest.raises(KeyFormatError) as caught:
            wrap(KEY, other.recipient)
        assert caught.value.hint


def test_repr_shows_no_secret() -> None:
    wrapped = wrap(KEY, AGE.recipient)
    assert "ephemeral" not in repr(wrapped)
    assert repr(wrapped.proof.ephemeral)[2:-1] not in repr(wrapped)
    assert "secret" not in repr(wrapped.proof)


# --- primitives -------------------------------------------------------------------


@given(key=st.binary(max_size=64), salt=st.binary(max_size=64), info=st.binary())
def test_hkdf_is_the_library_s(key: bytes, salt: bytes, info: bytes) -> None:
    assert hkdf(key, salt, info) == HKDF(SHA256(), 32, salt, info).derive(key)


def test_hkdf_gives_what_rfc_5869_says() -> None:
    found = hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    assert found.hex().startswith("3cb25f25faacd57a90434f64d0362f2a")


def test_what_was_encrypted_opens_and_a_changed_byte_does_not() -> None:
    key, nonce = bytes(32), bytes(12)
    sealed = encrypted(key, nonce, b"hello")
    assert decrypted(key, nonce, sealed) == b"hello"
    assert decrypted(key, nonce, sealed[:-1] + b"!") is None
    assert decrypted(b"!" + key[1:], nonce, sealed) is None
