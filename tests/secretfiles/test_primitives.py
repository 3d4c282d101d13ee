"""Our HMAC and HKDF are those of the libraries, whatever the sizes."""

import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import example, given
from hypothesis import strategies as st

from nixsecrets.secretfiles import primitives


@given(key=st.binary(max_size=200), message=st.binary(max_size=200))
@example(key=b"", message=b"")
@example(key=bytes(63), message=b"x")
@example(key=bytes(64), message=b"x")
@example(key=bytes(65), message=b"x")
def test_hmac_is_the_standard_library_s(key: bytes, message: bytes) -> None:
    expected = hmac.digest(key, message, "sha256")
    assert primitives.hmac_sha256(key, message) == expected


@given(key=st.binary(max_size=64), salt=st.binary(max_size=64), info=st.binary())
def test_hkdf_is_the_library_s(key: bytes, salt: bytes, info: bytes) -> None:
    expected = HKDF(SHA256(), 32, salt, info).derive(key)
    assert primitives.hkdf(key, salt, info) == expected


def test_hmac_gives_what_rfc_4231_says() -> None:
    found = primitives.hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex()
    assert found == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_hkdf_gives_what_rfc_5869_says() -> None:
    found = primitives.hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    assert found.hex().startswith("3cb25f25faacd57a90434f64d0362f2a")


def test_what_was_encrypted_opens_and_a_changed_byte_does_not() -> None:
    key, nonce = bytes(32), bytes(12)
    sealed = primitives.encrypted(key, nonce, b"hello")
    assert primitives.decrypted(key, nonce, sealed) == b"hello"
    assert primitives.decrypted(key, nonce, sealed[:-1] + b"!") is None
    assert primitives.decrypted(b"!" + key[1:], nonce, sealed) is None


def test_a_point_of_low_order_is_refused() -> None:
    with pytest.raises(ValueError, match="low order"):
        primitives.multiplied(bytes(range(32)), bytes(32))
