"""What the bytes of an age file show without a key, map or lock: a first look.

For `check` over ten thousand files, in processes that load no keys.  `Shown` holds the
heads of the stanzas and whether the file can be decrypted at all, judged by the sizes
that C2SP age.md and known plugins give to stanzas and payloads; what an unknown plugin
writes is taken as it is.  Who the recipients are is for `state` to say.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from nixsecrets.errors import SecretFileError, TooLargeError
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


class Shown(NamedTuple):
    """What an age file shows, one value for all files that show the same.

    `heads` are those of the stanzas that may be somebody's (`AgeFile.heads`): without
    grease, unless it is `noisy`, with grease that no age program writes.  `fault` says
    why nobody can decrypt the file, `whole` that nothing speaks against it.
    """

    heads: tuple[bytes, ...]
    fault: str | None
    whole: bool
    armored: bool = False
    passphrase: bool = False
    noisy: bool = False
    too_large: bool = False


# One object for all files that show the same: it crosses a pipe once for each share.
_shown = lru_cache(maxsize=1024)(Shown)
Look = tuple[Shown, tuple[bytes, ...]]
"""What a file shows; and its MAC, in base64, and the nonce of its payload.

Files that share one of the two are copies: a grant changes only the MAC.
"""


def look(data: bytes, rest: int = 0) -> Look:
    """Return what a file that starts like an age file shows.

    Of a large one `data` may be the start: `rest` is the number of bytes not in it.
    """
    try:
        file = header.parse(data)
    except SecretFileError as error:
        large = isinstance(error, TooLargeError)
        return Shown((), error.message, whole=False, too_large=large), ()
    cut = payload_fault(file.payload_size + rest)
    heads, noisy = (file.heads, False) if file.native else possible_recipients(file)
    whole = not (cut or noisy or _content_fault(file))
    show = _shown(heads, cut, whole, file.armored, file.passphrase, noisy)
    nonce = file.binary[file.payload_start : file.payload_start + _NONCE]
    return show, (file.mac_text, nonce)


def possible_recipients(file: AgeFile) -> tuple[tuple[bytes, ...], bool]:
    """Return the heads of stanzas that may be somebody's, and whether there is noise.

    Noise is grease that rage does not write, grease alone, or more than one: somebody's
    stanza under such a type would otherwise go unseen.  Then these are all stanzas.
    """
    if len(file.places) == len(file.heads):
        return file.heads, False
    noise = [stanza for stanza in file.foreign if stanza.grease]
    if not file.places or len(noise) > 1 or not all(map(_as_rage_writes, noise)):
        return file.heads, True
    return tuple(file.heads[place] for place in file.places), False


def fault(file: AgeFile) -> str | None:
    """Say why a file cannot be whole, None where nothing speaks against it."""
    return payload_fault(file.payload_size) or _content_fault(file)


def _content_fault(file: AgeFile) -> str | None:
    """Say the same of a file whose payload is long enough."""
    if not file.native:
        if not file.places:
            return "it has no recipient"
        if not all(map(plausible, file.foreign)):
            return "an entry of its header has the wrong size for its type"
    if _readable(file):
        return "its payload is, or ends in, readable text"
    return None


def _as_rage_writes(stanza: Stanza) -> bool:
    return (
        _NOISE.fullmatch(stanza.type) is not None
        and len(stanza.args) <= _NOISE_WORDS
        and all(len(word) <= _NOISE_WORD for word in stanza.args)
        and len(stanza.body) <= _NOISE_BODY
    )


def plausible(stanza: Stanza) -> bool:
    """Return whether a stanza has the sizes of its type; of an unknown one it has."""
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
        return "its payload is truncated"
    last = (length - _NONCE) % _CHUNK
    if 0 < last < _TAG:
        return "its payload is truncated"
    if last == _TAG and length - _NONCE > _CHUNK:
        return "its payload ends in an empty chunk"
    return None


def _readable(file: AgeFile) -> bool:
    """Return whether the payload begins or ends in text, as ciphertext never does."""
    data, start = file.binary, file.payload_start
    begin = data[start : start + _TEXT_LOOKED_AT].translate(_TEXT_AS_X)
    end = data[-len(_TEXT_AT_THE_END) :].translate(_TEXT_AS_X)
    return _TEXT in begin or end == _TEXT_AT_THE_END
