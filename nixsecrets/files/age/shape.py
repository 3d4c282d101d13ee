"""Can an age file that parses be a real one?  Sizes and randomness, without any key.

Sizes are those of the stanza types in C2SP age.md and of the plugins that are known;
what an unknown plugin writes is taken as it is.
"""

import re

from nixsecrets.files.age import header
from nixsecrets.files.age.header import AgeFile, Stanza

# type -> (bytes of each argument, bytes of the body); None: any
_SHAPES: dict[str, tuple[tuple[int | None, ...], int | None]] = {
    "X25519": ((32,), 32),
    "ssh-ed25519": ((4, 32), 32),
    "ssh-rsa": ((4,), None),
    "scrypt": ((16, None), 32),
    "mlkem768x25519": ((1120,), 32),
    "p256tag": ((4, 65), 32),
    "mlkem768p256tag": ((4, 1153), 32),
    "piv-p256": ((4, 33), 32),
}
# What rage writes as noise (age-core, grease_the_joint), and age programs ignore.
_NOISE = re.compile(r"[!-~]{1,8}-grease")
_NOISE_WORDS, _NOISE_WORD, _NOISE_BODY = 4, 8, 99
_SMALLEST_RSA = 256  # age takes no key below 2048 bits
# A payload: a nonce, then chunks (C2SP age.md, "Payload").
_NONCE = 16
_TAG = 16
_CHUNK = 64 * 1024 + _TAG
# Random bytes hold no such text: the odds are 1 in 10^13 for each place that it may
# begin in, and for the end, which is one place, 1 in 10^8.
_TEXT = b"x" * 32
_TEXT_LOOKED_AT = 4096
_TEXT_AT_THE_END = b"x" * 20
_TEXT_AS_X = bytes(120 if c in b"\t\n\r" or 32 <= c < 127 else 0 for c in range(256))


def fault(file: AgeFile, rest: int = 0) -> str | None:
    """Say why a file cannot be whole, None where nothing speaks against it.

    `rest` is the number of bytes of the payload that were not read.
    """
    cut = payload_fault(len(file.payload) + rest)
    if cut is not None:
        return cut
    if not file.entries:
        return "it has no recipient"
    if not all(map(plausible, file.entries)):
        return "an entry of its header is not of the size that its kind has"
    if readable(file.payload):
        return "its payload is, or ends in, readable text"
    return None


def suspicious_noise(file: AgeFile) -> bool:
    """Tell whether a header has grease that rage does not write, or more than one.

    A real stanza under such a type is one that nobody sees.
    """
    if len(file.places) == len(file.spelled):
        return False
    noise = [stanza for stanza in file.stanzas if stanza.grease]
    return len(noise) > 1 or not all(map(_as_rage_writes, noise))


def _as_rage_writes(stanza: Stanza) -> bool:
    return (
        _NOISE.fullmatch(stanza.type) is not None
        and len(stanza.args) <= _NOISE_WORDS
        and all(len(word) <= _NOISE_WORD for word in stanza.args)
        and len(stanza.body) <= _NOISE_BODY
    )


def plausible(stanza: Stanza) -> bool:
    """Tell whether a stanza has the sizes of its type; of an unknown one it has."""
    if stanza.type not in _SHAPES:
        return True  # of a plugin
    sizes, body = _SHAPES[stanza.type]
    if len(stanza.args) != len(sizes):
        return False
    if body is None:
        whole = len(stanza.body) >= _SMALLEST_RSA and len(stanza.body) % 16 == 0
    else:
        whole = len(stanza.body) == body
    return whole and all(
        size is None or _size(arg) == size
        for arg, size in zip(stanza.args, sizes, strict=True)
    )


def _size(argument: str) -> int:
    """Return how many bytes an argument stands for, -1 where it is no base64."""
    try:
        return len(header.decode_base64(argument.encode("ascii")))
    except ValueError:
        return -1


def payload_fault(length: int) -> str | None:
    """Say why no plaintext can have a payload of `length` bytes, or None.

    Finds truncated files without a key: a payload is a nonce of 16 bytes and chunks of
    up to 64 KiB, each 16 bytes longer than its plaintext; only the last may be shorter,
    and it is empty only where the whole plaintext is (C2SP age.md, "Payload").
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
    """Tell whether a payload begins or ends in text, as encrypted bytes never do."""
    end = bytes(payload[-len(_TEXT_AT_THE_END) :]).translate(_TEXT_AS_X)
    start = bytes(payload[:_TEXT_LOOKED_AT]).translate(_TEXT_AS_X)
    return _TEXT in start or end == _TEXT_AT_THE_END
