"""The conversion of ed25519 keys, against known answers and other implementations."""

import hashlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.keys import bech32, convert
from nixsecrets.keys.recipients import parse_recipient
from tests.fleet import program, reference_program, run_program, ssh_key
from tests.keys.vectors import VECTORS, Vector

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
SEEDS = st.binary(min_size=32, max_size=32)
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.tag)


def ed25519_public(seed: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def x25519_public(secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


@each_vector
def test_public_keys_convert_to_the_known_answers(vector: Vector) -> None:
    point = convert.x25519_of_ed25519(ed25519_public(vector.seed))
    assert bech32.encode("age", point) == vector.age


@each_vector
def test_secrets_convert_to_the_known_answers_without_clamping(vector: Vector) -> None:
    secret = convert.x25519_secret_of_seed(vector.seed)
    assert bech32.encode("age-secret-key-", secret).upper() == vector.secret


@given(SEEDS)
def test_the_two_halves_of_a_key_convert_to_two_halves_of_a_key(seed: bytes) -> None:
    converted = convert.x25519_of_ed25519(ed25519_public(seed))
    assert converted == x25519_public(convert.x25519_secret_of_seed(seed))
    convert.check_x25519(converted)


@given(SEEDS)
def test_a_converted_key_leads_back_to_the_original_and_its_mirror(
    seed: bytes,
) -> None:
    public = ed25519_public(seed)
    converted = convert.x25519_of_ed25519(public)
    candidates = convert.ed25519_of_x25519(converted)
    assert public in candidates
    assert [convert.x25519_of_ed25519(one) for one in candidates] == [converted] * 2


def double(x: int, y: int) -> tuple[int, int]:
    """Double a point of edwards25519 in affine coordinates (RFC 8032 section 5.1.4)."""
    product = D * x * x * y * y % P
    return (
        2 * x * y * pow(1 + product, -1, P) % P,
        (y * y + x * x) * pow(1 - product, -1, P) % P,
    )


def root(number: int) -> int | None:
    """Return a square root modulo 2^255 - 19 (RFC 8032 section 5.1.3)."""
    number %= P
    candidate = pow(number, (P + 3) // 8, P)
    for factor in (1, pow(2, (P - 1) // 4, P)):
        if candidate * factor % P * candidate * factor % P == number:
            return candidate * factor % P
    return None


def points_of_low_order() -> dict[str, bytes]:
    """Return the 8 points whose order divides 8, with y computed from the curve.

    Doubling a point of order 8 gives y = 0, so x^2 = -y^2 and d y^4 + 2 y^2 = 1.
    """
    half = root(1 + D)
    assert half is not None
    squares = [(sign * half - 1) * pow(D, -1, P) % P for sign in (1, -1)]
    eighths = [y for y in map(root, squares) if y is not None]
    found = {}
    for y in [1, P - 1, 0, *eighths, *(P - y for y in eighths)]:
        x = root((y * y - 1) * pow(D * y * y + 1, -1, P))
        if x is None:
            continue
        point = (x, y)
        for _ in range(3):
            point = double(*point)
        assert point == (0, 1), "not of low order: the test is wrong"
        for sign in (0, 1):
            found[f"y={y % 1000}, sign {sign}"] = (y | sign << 255).to_bytes(
                32, "little"
            )
    return found


def test_the_table_of_low_order_holds_eight_points_and_two_wrong_signs() -> None:
    # y = 1 and y = -1 have x = 0, where a set sign bit is one more bad spelling.
    assert len(points_of_low_order()) == 10


@pytest.mark.parametrize("public", points_of_low_order().values(), ids=str)
def test_points_of_low_order_are_refused(public: bytes) -> None:
    with pytest.raises(convert.PointError, match="low order"):
        convert.x25519_of_ed25519(public)


@pytest.mark.parametrize(
    ("public", "message"),
    [
        (b"", "0 bytes"),
        (bytes(31), "31 bytes"),
        (bytes(33), "33 bytes"),
        ((2).to_bytes(32, "little"), "not a point"),
        (P.to_bytes(32, "little"), "not reduced"),
        ((P + 1).to_bytes(32, "little"), "not reduced"),
        ((P + 3).to_bytes(32, "little"), "not reduced"),
        (b"\xff" * 32, "not reduced"),
    ],
)
def test_what_is_no_ed25519_key_is_refused(public: bytes, message: str) -> None:
    with pytest.raises(convert.PointError, match=message):
        convert.x25519_of_ed25519(public)


def test_half_of_all_numbers_are_points_and_libsodium_refuses_the_same() -> None:
    from nacl import bindings, exceptions

    accepted = 0
    for number in range(2, 202):
        public = hashlib.sha256(str(number).encode()).digest()[:31] + b"\0"
        try:
            ours = convert.x25519_of_ed25519(public)
        except convert.PointError:
            with pytest.raises((RuntimeError, exceptions.CryptoError)):
                bindings.crypto_sign_ed25519_pk_to_curve25519(public)
            continue
        accepted += 1
        # Not in the prime-order group in 7 of 8 cases, which libsodium minds.
        try:
            theirs = bindings.crypto_sign_ed25519_pk_to_curve25519(public)
        except (RuntimeError, exceptions.CryptoError):
            continue
        assert ours == theirs
    assert 60 < accepted < 140


@pytest.mark.parametrize(
    "u",
    [0, 1, P - 1, *convert._LOW_ORDER],
    ids=lambda u: f"u={u % 1000}",
)
def test_x25519_keys_of_low_order_are_refused_and_give_no_secret(u: int) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import (
        X25519PrivateKey,
        X25519PublicKey,
    )

    public = u.to_bytes(32, "little")
    with pytest.raises(ValueError, match=r".*"):
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(public))
    with pytest.raises(convert.PointError, match="low order"):
        convert.check_x25519(public)


@pytest.mark.parametrize("number", [P, P + 1, P + 9, 2**255, 2**255 + 9, 2**256 - 1])
def test_x25519_keys_that_are_not_reduced_are_refused(number: int) -> None:
    with pytest.raises(convert.PointError, match="not reduced"):
        convert.check_x25519(number.to_bytes(32, "little"))


def test_a_key_is_checked_in_well_below_a_millisecond() -> None:
    public = ed25519_public(bytes(32))
    start = time.process_time()
    for _ in range(50):
        convert.x25519_of_ed25519(public)
    assert (time.process_time() - start) / 50 < 0.001


def test_ssh_to_age_prints_the_same(tmp_path: Path) -> None:
    ssh_to_age = reference_program("ssh-to-age")
    env = {"HOME": str(tmp_path), "PATH": ""}
    for seed in range(20):
        key = ssh_key(f"convert {seed}")
        public = run_program(ssh_to_age, env=env, stdin=key.public.encode())
        assert public.decode().strip() == parse_recipient(key.public).converted().text


@each_vector
def test_age_keygen_derives_the_same_public_key(vector: Vector, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": ""}
    printed = run_program(
        program("age-keygen"), "-y", env=env, stdin=vector.secret.encode()
    )
    assert printed.decode().strip() == vector.age
