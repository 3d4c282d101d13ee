"""What the bytes of an age file show without keys, map and lock: a quick look.

For `check` over ten thousand files, in worker processes that load no keys.  `Shown` has
the heads of the stanzas, and whether anybody could decrypt the file by the sizes of its
stanzas (C2SP age.md and known plugins; unknown types have any size) and its payload.
`state` determines the recipients.
"""

import re
from functools import lru_cache

from nixsecrets.errors import SecretFileError, TooLargeError
from nixsecrets.files.age import header
from nixsecrets.files.age.header import AgeFile, Stanza
from nixsecrets.frozen import NamedTuple

# type -> (bytes of each argument, bytes of the body); None means any size
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
# the grease that rage writes (str4d/rage:age-core/src/format.rs, `grease_the_joint`)
_NOISE = re.compile(r"[!-~]{1,8}-grease")
_NOISE_WORDS, _NOISE_WORD, _NOISE_BODY = 4, 8, 99
_SMALLEST_RSA = 256  # bytes of the body: age refuses keys below 2048 bits
# sizes in a payload: a nonce, then chunks (C2SP age.md, "Payload")
_NONCE = 16
_TAG = 16
_CHUNK = 64 * 1024 + _TAG
# The odds of a run of 32 text characters in ciphertext are 1 in 10^13 for each offset;
# at the end, where only one offset counts, those of 20 characters are 1 in 10^8.
_TEXT = b"x" * 32
_TEXT_LOOKED_AT = 4096
_TEXT_AT_THE_END = b"x" * 20
# a translation table: text characters to "x", all other bytes to NUL
_TEXT_AS_X = bytes(120 if c in b"\t\n\r" or 32 <= c < 127 else 0 for c in range(256))


class Shown(NamedTuple):
    """What an age file shows; files that show the same share one object.

    `heads` are those of the possible recipients (`AgeFile.heads`): without grease,
    unless it is `noisy`, with suspicious grease (see `possible_recipients`).  `fault`
    says why nobody can decrypt the file; `complete` means that no fault was found.
    """

    heads: tuple[bytes, ...]
    fault: str | None
    complete: bool
    armored: bool = False
    passphrase: bool = False
    noisy: bool = False
    too_large: bool = False


# pickle sends an object that occurs repeatedly only once
_shown = lru_cache(maxsize=1024)(Shown)
Look = tuple[Shown, tuple[bytes, ...]]
"""What a file shows; and its key prints: the MAC in base64 and the payload's nonce.

Files that share one of the two are copies of each other: a grant changes only the MAC.
"""


def look(data: bytes, rest: int = 0) -> Look:
    """Return what a file that starts like an age file shows.

    `data` may be only its start; `rest` is the number of bytes after it.
    """
    try:
        file = header.parse(data)
    except SecretFileError as error:
        large = isinstance(error, TooLargeError)
        return Shown((), error.message, complete=False, too_large=large), ()
    cut = payload_fault(file.payload_size + rest)
    heads, noisy = (file.heads, False) if file.native else possible_recipients(file)
    complete = not (cut or noisy or _content_fault(file))
    show = _shown(heads, cut, complete, file.armored, file.passphrase, noisy)
    nonce = file.binary[file.payload_start : file.payload_start + _NONCE]
    return show, (file.mac_text, nonce)


def possible_recipients(file: AgeFile) -> tuple[tuple[bytes, ...], bool]:
    """Return the heads of the possible recipients, and whether grease is suspicious.

    A stranger's stanza could pretend to be grease.  So grease is suspicious if rage
    does not write it like that, if there is more than one, or nothing else; then the
    heads of all stanzas are returned.
    """
    if len(file.places) == len(file.heads):
        return file.heads, False
    noise = [stanza for stanza in file.foreign if stanza.grease]
    if not file.places or len(noise) > 1 or not all(map(_is_rage_grease, noise)):
        return file.heads, True
    return tuple(file.heads[place] for place in file.places), False


def fault(file: AgeFile) -> str | None:
    """Return why nobody can decrypt a file, None if no fault was found."""
    return payload_fault(file.payload_size) or _content_fault(file)


def _content_fault(file: AgeFile) -> str | None:
    """Return a fault of stanzas or payload other than the payload's size."""
    if not file.native:
        if not file.places:
            return "it has no recipient"
        if not all(map(plausible, file.foreign)):
            return "an entry of its header has the wrong size for its type"
    if _readable(file):
        return "its payload is, or ends in, readable text"
    return None


def _is_rage_grease(stanza: Stanza) -> bool:
    """Return whether a grease stanza has the sizes that rage's have."""
    return (
        _NOISE.fullmatch(stanza.type) is not None
        and len(stanza.args) <= _NOISE_WORDS
        and all(len(word) <= _NOISE_WORD for word in stanza.args)
        and len(stanza.body) <= _NOISE_BODY
    )


def plausible(stanza: Stanza) -> bool:
    """Return whether a stanza has the sizes of its type; True for unknown types."""
    if stanza.type not in _SHAPES:
        return True  # of a plugin
    sizes, body = _SHAPES[stanza.type]
    if len(stanza.args) != len(sizes):
        return False
    if body is None:
        body_fits = len(stanza.body) >= _SMALLEST_RSA and len(stanza.body) % 16 == 0
    else:
        body_fits = len(stanza.body) == body
    return body_fits and all(
        size is None or _size(arg) == size
        for arg, size in zip(stanza.args, sizes, strict=True)
    )


def _size(argument: str) -> int:
    """Return the decoded length of a base64 argument, -1 if it is not base64."""
    try:
        return len(header.decode_base64(argument.encode("ascii")))
    except ValueError:
        return -1


def payload_fault(length: int) -> str | None:
    """Return why a payload of `length` bytes is invalid, None if it is not.

    This detects truncated files: a payload is a nonce of 16 bytes and chunks of up to
    64 KiB with 16 bytes more each; only the last may be shorter, and its plaintext is
    empty only if it is the only one (C2SP age.md, "Payload").
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
