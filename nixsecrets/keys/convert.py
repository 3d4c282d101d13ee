"""The arithmetic that makes an X25519 key of an ed25519 key, as ssh-to-age does.

Plain numbers modulo 2^255 - 19 (RFC 7748 section 4.1), because `check` needs the
public half and shall not pay for loading a cryptographic library.  Only public keys
go through the arithmetic; a secret key is hashed, never computed with, so it does not
matter that Python's integers take a time that depends on their value.
"""

_P = 2**255 - 19
_A = 486662
_KEY_SIZE = 32
# u of every point whose order divides 8, on the curve and on its twist: the shared
# secret with such a key is zero whatever the other side chooses.
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
    """The bytes are no public key that anybody can have."""


def x25519_of_ed25519(public: bytes) -> bytes:
    """Return the X25519 public key (32 bytes) of an ed25519 public key (32 bytes).

    u = (1 + y) / (1 - y).  Raises `PointError` where age or libsodium would refuse the
    key: a length other than 32, y not reduced, not on the curve, or of low order.
    """
    y = _reduced(public, int.from_bytes(public, "little") & (2**255 - 1))
    if y == 1:
        raise PointError("it is a point of low order")
    u = (1 + y) * pow(1 - y, -1, _P) % _P
    _refuse_low_order(u)
    if not _is_square(u * (u * u + _A * u + 1)):
        raise PointError("it is not a point of the curve")
    return u.to_bytes(_KEY_SIZE, "little")


def check_x25519(public: bytes) -> None:
    """Raise `PointError` unless `public` is a reduced X25519 key of high order."""
    _refuse_low_order(_reduced(public, int.from_bytes(public, "little")))


def ed25519_of_x25519(public: bytes) -> tuple[bytes, bytes]:
    """Return the two ed25519 public keys that convert to the X25519 key `public`.

    They differ in the sign bit, which the conversion drops; one of them is the key
    that was converted, if `public` came from one at all.
    """
    u = int.from_bytes(public, "little")
    y = (u - 1) * pow(u + 1, -1, _P) % _P
    return (
        y.to_bytes(_KEY_SIZE, "little"),
        (y | 1 << 255).to_bytes(_KEY_SIZE, "little"),
    )


def x25519_secret_of_seed(seed: bytes) -> bytes:
    """Return the X25519 secret (32 bytes) of an ed25519 seed (32 bytes).

    It is not clamped, as ssh-to-age leaves it: X25519 clamps where it is used, and
    the text of the age identity comes out the same.
    """
    # loads OpenSSL, and the hook has nothing to hash
    import hashlib

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
    """Tell whether 64 bytes are an ed25519 seed and its public half (RFC 8032)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(data[:32]).public_key()
    return public.public_bytes_raw() == data[32:]
