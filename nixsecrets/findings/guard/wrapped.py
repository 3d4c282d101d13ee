"""Private keys wrapped in base64: Kubernetes secrets, cloud-init, `base64 < keys.txt`.

A text has three encodings in base64, depending on whether it begins at the first,
second or third byte of a group; all three are searched for.
"""

import re
from binascii import a2b_base64, b2a_base64
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

_BLANKS = b" \t\r\n"
_BEGINNINGS = (
    *(b"AGE-SECRET-KEY-", b"AGE-PLUGIN-", b"-----BEGIN "),
    *(b"---- BEGIN SSH2", b"PuTTY-User-Key-", b"PrivateKey"),
    *(b"== ed25519v1-secret", b"Private-key-format", b"untrusted comment: "),
)
_LONGEST = 20_000  # characters that are decoded of one match


def _spelled(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the whole groups of `text` in base64, and the bytes before them.

    One pair for each of the three positions in a group.
    """
    for shift in range(3):
        lost = (3 - shift) % 3
        rest = text[lost:]
        yield b2a_base64(rest[: len(rest) // 3 * 3], newline=False), text[:lost]


_NEEDLES = tuple(pair for text in _BEGINNINGS for pair in _spelled(text))


def texts(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield decoded texts that begin like a private key, each with its offset.

    Lines may be broken anywhere, so offsets do not count white space (see `lines_of`).
    """
    joined = data.translate(None, _BLANKS)
    for needle, before in _NEEDLES:
        place = joined.find(needle)
        while place >= 0:
            run = re.compile(rb"[A-Za-z0-9+/]*").match(joined, place, place + _LONGEST)
            base64 = run[0] if run else b""
            yield before + decoded(base64), place
            place = joined.find(needle, place + len(base64))


def lines_of(data: bytes, places: list[int]) -> list[int]:
    """Return the lines (from 1) of offsets that do not count white space."""
    lines = data.split(b"\n") if places else []
    ends = list(accumulate(len(line.translate(None, _BLANKS)) for line in lines))
    return [bisect_right(ends, place) + 1 for place in places]


def decoded(base64: bytes) -> bytes:
    """Return the bytes of base64, without an incomplete last byte or padding."""
    base64 = base64.rstrip(b"=")
    base64 = base64[: len(base64) - 1] if len(base64) % 4 == 1 else base64
    return a2b_base64(base64 + b"=" * (-len(base64) % 4))
