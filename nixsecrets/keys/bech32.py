"""Bech32, the text form of age keys (BIP 173, without its 90 character limit).

Converts between text and (prefix, bytes); what a prefix stands for is up to the caller.
"""

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {char: value for value, char in enumerate(_CHARSET)}
# the digits that `int(text, 32)` reads, so that Python converts 5-bit groups in C
_TO_BASE32 = str.maketrans(_CHARSET, "0123456789abcdefghijklmnopqrstuv")
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
# BIP 173 XORs in a generator for each of the 5 bits shifted out of the checksum: the
# result for all 32 combinations of these bits
_FEEDBACK = tuple(
    (g0 & -(top & 1))
    ^ (g1 & -(top >> 1 & 1))
    ^ (g2 & -(top >> 2 & 1))
    ^ (g3 & -(top >> 3 & 1))
    ^ (g4 & -(top >> 4 & 1))
    for top in range(32)
    for g0, g1, g2, g3, g4 in [_GENERATOR]
)
_CHECKSUM_LENGTH = 6


class Bech32Error(ValueError):
    """The text is not Bech32; the message says why and never quotes it."""


def decode(text: str) -> tuple[str, bytes]:
    """Return (prefix, data) of `text`; the prefix is in lower case.

    Raises:
        Bech32Error: it has mixed case, a wrong checksum or invalid characters.
    """
    if text != text.lower() and text != text.upper():
        raise Bech32Error("it mixes upper and lower case")
    text = text.lower()
    prefix, separator, payload = text.rpartition("1")
    if not separator or not prefix:
        raise Bech32Error("it has no prefix that ends in 1")
    if not all("!" <= char <= "~" for char in prefix):
        raise Bech32Error("its prefix has characters that no key has")
    if not _VALUES.keys() >= set(payload):
        raise Bech32Error("it has characters that no key has")
    if len(payload) < _CHECKSUM_LENGTH:
        raise Bech32Error("it is too short")
    if _checksum(prefix, [_VALUES[char] for char in payload]) != 1:
        raise Bech32Error("its checksum is wrong")
    return prefix, _to_bytes(payload[:-_CHECKSUM_LENGTH])


def encode(prefix: str, data: bytes) -> str:
    """Return the Bech32 text of `data` under the lower-case `prefix`."""
    values = _to_values(data)
    check = _checksum(prefix, values + [0] * _CHECKSUM_LENGTH) ^ 1
    # the 30 bits of the checksum as six groups of five, the highest first
    values += [check >> shift & 31 for shift in range(25, -1, -5)]
    return f"{prefix}1{''.join(_CHARSET[value] for value in values)}"


def _checksum(prefix: str, values: list[int]) -> int:
    """Return the `bech32_polymod` of BIP 173 over the expanded prefix and `values`."""
    codes = [ord(char) for char in prefix]
    check = 1
    for value in [
        *(code >> 5 for code in codes),
        0,
        *(code & 31 for code in codes),
        *values,
    ]:
        # 30 bits of state: the low 25 move up, the top 5 select the feedback
        check = (check & 0x1FFFFFF) << 5 ^ value ^ _FEEDBACK[check >> 25]
    return check


def _to_bytes(payload: str) -> bytes:
    size, padding = divmod(5 * len(payload), 8)
    number = int(payload.translate(_TO_BASE32) or "0", 32)
    # at most 4 bits of padding, all zero (BIP 173)
    if padding >= 5 or number & ((1 << padding) - 1):
        raise Bech32Error("its last character has stray bits")
    return (number >> padding).to_bytes(size, "big")


def _to_values(data: bytes) -> list[int]:
    padding = -8 * len(data) % 5  # zero bits that fill up the last group of five
    number = int.from_bytes(data, "big") << padding
    top = 8 * len(data) + padding - 5
    return [number >> shift & 31 for shift in range(top, -1, -5)]
