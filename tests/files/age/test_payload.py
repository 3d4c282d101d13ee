"""Payloads written chunk by chunk are valid: pyrage reads them."""

import hashlib
from collections.abc import Iterator
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import SecretFileError
from nixsecrets.files.age import operations, verify
from nixsecrets.files.age import payload as age_payload
from nixsecrets.files.age.payload import decrypt, encrypt, spooled
from tests.files.agekeys import reader
from tests.fleet import age_key, rsa_key, ssh_key

CHUNK = 64 * 1024
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5]
KEY = bytes(range(16))
READERS = {
    "age": reader(age_key()),
    "ssh-ed25519": reader(ssh_key("stream")),
    "ssh-rsa": reader(rsa_key()),
}


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the data in pieces of `size`."""
    yield from (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_spooled_comes_back(size: int) -> None:
    data = bytes(size)
    file = BytesIO()
    value = spooled(pieces(data, 1000), file)
    assert (value.size, value.digest) == (size, hashlib.sha256(data).digest())
    assert b"".join(value.blocks()) == data
    assert b"".join(value.blocks()) == data, "and again"
    assert size < 64 or data[:64] not in file.getvalue()


@given(st.lists(st.binary(max_size=3 * CHUNK), max_size=5))
def test_the_size_of_blocks_does_not_matter(blocks: list[bytes]) -> None:
    payload = BytesIO(b"".join(encrypt(KEY, blocks)))
    assert b"".join(decrypt(KEY, payload)) == b"".join(blocks)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", READERS)
def test_a_large_file_is_one_that_pyrage_opens(kind: str, size: int) -> None:
    identity, recipient = READERS[kind].identity, READERS[kind].recipient
    data = bytes(size)
    made = operations.seal_large(spooled([data], BytesIO()), [recipient])
    assert isinstance(made, operations.Streamed)
    whole = b"".join(made.blocks())
    assert operations.decrypt(whole, [identity]) == data
    out = BytesIO()
    operations.decrypt_to(BytesIO(whole), out, [identity])
    assert out.getvalue() == data
    verify.verify_large(BytesIO(whole), made, [identity])
    verify.verify_large(BytesIO(whole), made, [])


@pytest.mark.parametrize("identities", [True, False])
@pytest.mark.parametrize("kind", READERS)
def test_a_staged_file_that_differs_anywhere_is_refused(
    kind: str, *, identities: bool
) -> None:
    identity, recipient = READERS[kind].identity, READERS[kind].recipient
    made = operations.seal_large(
        spooled([bytes(2 * CHUNK + 9)], BytesIO()), [recipient]
    )
    assert isinstance(made, operations.Streamed)
    whole = b"".join(made.blocks())
    header, ring = len(made.sealed.data), [identity] if identities else []
    for at in (30, header - 3, header + 2, header + 20, header + CHUNK + 40, -1):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        with pytest.raises(SecretFileError):
            verify.verify_large(BytesIO(damaged), made, ring)
    for cut in (whole[:-1], whole[: header + 16 + CHUNK + 16], whole + b"x"):
        with pytest.raises(SecretFileError):
            verify.verify_large(BytesIO(cut), made, ring)


def test_another_plaintext_for_the_same_readers_is_refused() -> None:
    identity, recipient = READERS["age"].identity, READERS["age"].recipient
    made = operations.seal_large(spooled([b"one"], BytesIO()), [recipient])
    assert isinstance(made, operations.Streamed)
    payload = age_payload.encrypt(made.sealed.file_key or b"", [b"two"])
    other = made.sealed.data + b"".join(payload)
    with pytest.raises(SecretFileError, match="its plaintext is not the one"):
        verify.verify_large(BytesIO(other), made, [identity])


def test_a_waiting_value_that_changed_on_the_disk_is_noticed() -> None:
    file = BytesIO()
    value = spooled([bytes(3 * CHUNK)], file)
    for at in (5, 20, CHUNK + 50, -1):
        damaged = bytearray(file.getvalue())
        damaged[at] ^= 1
        broken = age_payload.Spooled(
            BytesIO(damaged), value.key, value.size, value.digest
        )
        with pytest.raises(SecretFileError, match="changed on disk"):
            list(broken.blocks())


def test_a_target_that_fails_is_not_called_a_damaged_file() -> None:
    identity, recipient = READERS["age"].identity, READERS["age"].recipient
    data = operations.seal(bytes(CHUNK), [recipient]).data

    class Full(BytesIO):
        def write(self, _data: object, /) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        operations.decrypt_to(BytesIO(data), Full(), [identity])
