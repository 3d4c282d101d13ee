"""Conversion of ed25519 keys to X25519 keys, as ssh-to-age does it.

Integer arithmetic modulo 2^255 - 19 (RFC 7748 section 4.1): `check` converts public
keys, and loading a cryptographic library would dominate its run time.  Python's
integers are not constant-time; only public keys go through them.  A private key is only
hashed.
"""

_P = 2**255 - 19
_A = 486662
_KEY_SIZE = 32
# u-coordinates of the points whose order divides 8, on the curve and on its twist.
# X25519 with such a public key gives an all-zero shared secret for every private key.
_LOW_ORDER = frozenset(
    {
        0,
        1,
        _P - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


class PointError(ValueError):
    """The bytes are not a valid public key; the message says why."""


def x25519_of_ed25519(public: bytes) -> bytes:
    """Return the X25519 public key (32 bytes) of an ed25519 public key (32 bytes).

    u = (1 + y) / (1 - y).

    Raises:
        PointError: age or libsodium would refuse the key: it is not 32 bytes long, y is
            not reduced, or the point is not on the curve or of low order.
    """
    # the top bit is the sign of x, which u does not depend on
    y = _reduced(public, int.from_bytes(public, "little") & (2**255 - 1))
    if y == 1:
        raise PointError("it is a point of low order")
    u = (1 + y) * pow(1 - y, -1, _P) % _P
    _refuse_low_order(u)
    # the curve equation v^2 = u^3 + A u^2 + u has a solution v
    if not _is_square(u * (u * u + _A * u + 1)):
        raise PointError("it is not a point of the curve")
    return u.to_bytes(_KEY_SIZE, "little")


def check_x25519(public: bytes) -> None:
    """Check an X25519 public key.

    Raises:
        PointError: it is not 32 bytes long, not reduced, or of low order.
    """
    _refuse_low_order(_reduced(public, int.from_bytes(public, "little")))


def ed25519_of_x25519(public: bytes) -> tuple[bytes, bytes]:
    """Return the two ed25519 public keys (32 bytes each) that convert to `public`.

    They differ in the sign bit, which the conversion drops.
    """
    u = int.from_bytes(public, "little")
    y = (u - 1) * pow(u + 1, -1, _P) % _P
    return (
        y.to_bytes(_KEY_SIZE, "little"),
        (y | 1 << 255).to_bytes(_KEY_SIZE, "little"),
    )


def x25519_secret_of_seed(seed: bytes) -> bytes:
    """Return the X25519 secret (32 bytes) of an ed25519 seed (32 bytes).

    It is not clamped: X25519 clamps at every use, and ssh-to-age does not clamp it
    either, so both print the same age identity.
    """
    import hashlib  # loads OpenSSL (5 ms), which the hook does not need

    return hashlib.sha512(seed).digest()[:_KEY_SIZE]


def _reduced(public: bytes, number: int) -> int:
    if len(public) != _KEY_SIZE:
        raise PointError(f"it is {len(public)} bytes long, not {_KEY_SIZE}")
    if number >= _P:
        raise PointError("its number is not reduced, as no program writes it")
    return number


def _refuse_low_order(u: int) -> None:
    if u in _LOW_ORDER:
        raise PointError("it is a point of low order")


def _is_square(number: int) -> bool:
    return pow(number, (_P - 1) // 2, _P) != _P - 1


def is_ed25519_pair(data: bytes) -> bool:
    """Return whether 64 bytes are an ed25519 seed and its public key (RFC 8032)."""
    # 20 ms; this is needed for text that looks like such a pair, in the guard
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(data[:32]).public_key()
    return public.public_bytes_raw() == data[32:]
