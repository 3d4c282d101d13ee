"""The quick look at an age file: a header of usual stanzas, as nearly every one is.

Every byte of the header is looked at; one that holds anything else is declined, and
`agefile` looks closely.  Loads no keys and decides nothing: who the readers are, is for
`agestate` to say.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from nixsecrets.files.age import shape
from nixsecrets.files.kind import MAGIC

_MAGIC = MAGIC + b"v1\n"
# 32 bytes in canonical base64, and what a header of usual stanzas is made of.
_32_BYTES = rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]"
_STANZA = re.compile(
    rb"-> (X25519|ssh-ed25519 [A-Za-z0-9+/]{6}) %b\n%b\n" % (_32_BYTES, _32_BYTES)
)
_LARGEST = 1 << 20  # of a header: `limits` has the number of stanzas
_MAC = re.compile(rb"--- (%b)\n" % _32_BYTES)


class Shown(NamedTuple):
    """What a file shows of its readers: the heads of its stanzas.

    A head is a stanza's type and, for ssh keys, the tag of the key.  `fault` says why
    the payload cannot be whole; `whole` that nothing speaks against it.
    """

    heads: tuple[bytes, ...]
    fault: str | None
    whole: bool


# One object for all files that show the same: it crosses a pipe once for each share.
_shown = lru_cache(maxsize=1024)(Shown)
Look = tuple[Shown, tuple[bytes, ...]]
"""What a file shows, one value for all that show the same; and its own MAC, in base64,
and the nonce of its payload.

Equal ones belong to copies; a grant to one of them changes the MAC alone.
"""
NONCE = 16


def header(data: bytes) -> bytes:
    """Return the header of an age file without armor, MAC included; "" of any other."""
    dashes = data.find(b"\n--- ") + 1
    mac = _MAC.match(data, dashes)
    return data[: mac.end()] if mac and data.startswith(_MAGIC) else b""


def look(data: bytes, rest: int = 0) -> Look | None:
    """Take an age file without armor in, None where its header is not a usual one.

    Of a large file `data` may be the start: `rest` is the number of bytes that are not
    in it.
    """
    head = header(data)
    if len(head) > _LARGEST:
        return None
    stanzas, _, mac = head[len(_MAGIC) : -1].rpartition(b"--- ")
    gap, *found = _STANZA.split(stanzas)
    if gap or not found or any(found[1::2]):
        return None
    fault = shape.payload_fault(len(data) + rest - len(head))
    whole = not fault and not shape.readable(memoryview(data)[len(head) :])
    prints = mac, data[len(head) : len(head) + NONCE]
    return _shown(tuple(found[0::2]), fault, whole), prints
