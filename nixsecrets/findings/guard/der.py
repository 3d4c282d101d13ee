"""Private keys in DER (X.690), recognized by their structure.

PKCS#8 and its encrypted form (RFC 5958), PKCS#1 (RFC 8017), SEC1 (RFC 5915), PKCS#12
(RFC 7292).
"""

from nixsecrets.frozen import NamedTuple

_INTEGER, _OCTETS, _OID, _SEQUENCE = 0x02, 0x04, 0x06, 0x30
_PKCS7 = bytes.fromhex("2a864886f70d0107")
# Object identifiers of password-based encryption: PKCS#5 and PKCS#12.
_PASSWORDS = (bytes.fromhex("2a864886f70d0105"), bytes.fromhex("2a864886f70d010c01"))
_SMALLEST_MODULUS = 64


class _Element(NamedTuple):
    """A tag and the offsets of its content; `end` may exceed the data at hand."""

    tag: int
    start: int
    end: int


def private_key(data: bytes) -> tuple[str, int] | None:
    """Return the kind of private key that `data` begins with, and its size in bytes.

    None if it begins with none.  The first 64 bytes suffice.
    """
    whole = _element(data, 0)
    if whole is None or whole.tag != _SEQUENCE:
        return None
    first = _element(data, whole.start)
    second = first and _element(data, first.end)
    if first is None or second is None:
        return None
    what = _named(data, first, second)
    return (what, whole.end) if what else None


def _named(data: bytes, first: _Element, second: _Element) -> str | None:
    """Return the kind of key of a sequence that begins with these two elements."""
    # the first element is the version (an INTEGER) or, encrypted, the algorithm
    number = data[first.start : first.end]
    inner = _element(data, second.start)
    match first.tag, number, second.tag:
        case (0x02, b"\0" | b"\1", 0x30) if inner and inner.tag == _OID:
            return "a PKCS#8 private key"
        case (0x02, b"\0", 0x02) if second.end - second.start >= _SMALLEST_MODULUS:
            return "an RSA private key"
        case (0x02, b"\1", 0x04) if second.end - second.start in {28, 32, 48, 66}:
            return "an EC private key"
        case (0x02, b"\3", 0x30) if inner and _content(data, inner).startswith(_PKCS7):
            return "a PKCS#12 file"
        case (0x30, _, 0x04):
            scheme = _element(data, first.start)
            if scheme and _content(data, scheme).startswith(_PASSWORDS):
                return "an encrypted PKCS#8 private key"
        case _:
            pass
    return None


def _content(data: bytes, element: _Element) -> bytes:
    return data[element.start : element.end]


def _element(data: bytes, at: int) -> _Element | None:
    """Return the element at offset `at`, None if none begins there."""
    if len(data) < at + 2:
        return None
    tag, size, start = data[at], data[at + 1], at + 2
    if size & 0x80:  # long form: the length is in the next 1 to 3 bytes
        width = size & 0x7F
        if not 1 <= width <= 3 or len(data) < start + width:
            return None
        size = int.from_bytes(data[start : start + width], "big")
        start += width
    return _Element(tag, start, start + size)
