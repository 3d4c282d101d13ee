"""What the payload of an age file cannot be, as far as that shows without a key."""

_NONCE = 16
_TAG = 16
_CHUNK = 64 * 1024 + _TAG
# Random bytes hold no such text: the odds are 1 in 10^13 for each place that it may
# begin in, and for the end, which is one place, 1 in 10^8.
_TEXT = b"x" * 32
_TEXT_LOOKED_AT = 4096
_TEXT_AT_THE_END = b"x" * 20
_TEXT_AS_X = bytes(120 if c in b"\t\n\r" or 32 <= c < 127 else 0 for c in range(256))


def fault(length: int) -> str | None:
    """Say why no plaintext can have a payload of `length` bytes, or None.

    Finds cut files without any key: a payload is a nonce of 16 bytes and chunks of up
    to 64 KiB, each 16 bytes longer than its plaintext; only the last may be shorter,
    and it is empty only where the whole plaintext is (C2SP age.md, Payload).
    """
    if length < _NONCE + _TAG:
        return "its payload is cut off"
    last = (length - _NONCE) % _CHUNK
    if 0 < last < _TAG:
        return "its payload is cut off"
    if last == _TAG and length - _NONCE > _CHUNK:
        return "its payload ends in an empty chunk"
    return None


def readable(payload: bytes | memoryview) -> bool:
    """Tell whether a payload begins or ends as text does: encrypted bytes never do."""
    end = bytes(payload[-len(_TEXT_AT_THE_END) :]).translate(_TEXT_AS_X)
    start = bytes(payload[:_TEXT_LOOKED_AT]).translate(_TEXT_AS_X)
    return _TEXT in start or end == _TEXT_AT_THE_END
