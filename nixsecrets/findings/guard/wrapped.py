"""Text that is kept in base64: Kubernetes secrets, cloud-init, `base64 < keys.txt`.

What is looked for may begin at any byte, so at any of three places of a group of four
characters; each of the three spells it otherwise.
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
_LONGEST = 20_000  # characters that are decoded of one


def _spelled(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield whole groups of `text` in base64, and what of it stands before them."""
    for shift in range(3):
        lost = (3 - shift) % 3
        rest = text[lost:]
        yield b2a_base64(rest[: len(rest) // 3 * 3], newline=False), text[:lost]


_NEEDLES = tuple(pair for text in _BEGINNINGS for pair in _spelled(text))


def texts(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield texts that begin as a private key does, each with its place.

    Lines may be broken anywhere: the places do not count blanks (`lines_of`).
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
    """Return the lines, counted from 1, that hold places of the text without blanks."""
    lines = data.split(b"\n") if places else []
    ends = list(accumulate(len(line.translate(None, _BLANKS)) for line in lines))
    return [bisect_right(ends, place) + 1 for place in places]


def decoded(base64: bytes) -> bytes:
    """Return what whole groups of base64 stand for; padding may be missing."""
    base64 = base64.rstrip(b"=")
    base64 = base64[: len(base64) - 1] if len(base64) % 4 == 1 else base64
    return a2b_base64(base64 + b"=" * (-len(base64) % 4))
