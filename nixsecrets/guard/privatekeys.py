"""Private keys in any file: what they look like, told without quoting them.

Only what could be used counts: an age identity with a right checksum, a PEM block with
something in it, a WireGuard key under its name.  A mention of one in code or in a
manual does not.
"""

import base64
import re
from collections.abc import Iterator
from typing import NamedTuple

from nixsecrets.keys.bech32 import Bech32Error, decode

_AGE = re.compile(
    rb"age-(secret-key(?:-pq)?|plugin-[a-z0-9._+-]{1,64}?)-"
    rb"1([02-9ac-hj-np-z]{20,8000})",
    re.IGNORECASE,
)
_PEM = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{0,32})PRIVATE KEY(?: BLOCK)?-----"
    rb"(?:(?!-----).){0,2000}?[A-Za-z0-9+/]{32}",
    re.DOTALL,
)
_PUTTY = re.compile(rb"^PuTTY-User-Key-File-\d: ", re.MULTILINE)
_WIREGUARD = re.compile(
    rb"(?:private|preshared)[_-]?key[\"']?\s{0,8}[:=]\s{0,8}[\"']?"
    rb"([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)(?![A-Za-z0-9+/=])",
    re.IGNORECASE,
)
# "-----BEGIN " in base64, as Kubernetes and cloud-init keep PEM files.
_WRAPPED = re.compile(rb"LS0tLS1CRUdJTi[A-Za-z0-9+/\s]{32,20000}={0,2}")
_WORDS = (
    *(b"PRIVATE KEY", b"PuTTY-User-Key-File-", b"LS0tLS1CRUdJTi", b"AGE-", b"age-"),
    *(b"rivate", b"RIVATE", b"reshared", b"RESHARED"),
)
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


class Sighting(NamedTuple):
    """What kind of private key, and in which line (counted from 1)."""

    what: str
    line: int


def private_keys(data: bytes) -> Iterator[Sighting]:
    """Yield the private keys in a file, in no order."""
    encoding = _UTF16.get(data[:2])
    if encoding is not None:  # what a redirection in PowerShell writes
        data = data.decode(encoding, "replace").encode("utf-8", "replace")
    if not any(word in data for word in _WORDS):
        return  # a plain search is a hundred times faster
    for what, at in _found(data):
        yield Sighting(what, data.count(b"\n", 0, at) + 1)


def _found(data: bytes) -> Iterator[tuple[str, int]]:
    for match in _AGE.finditer(data):
        if what := _identity(match[1].decode().lower(), match[0].decode()):
            yield what, match.start()
    for match in _PEM.finditer(data):
        yield _pem(match[1]), match.start()
    for match in _PUTTY.finditer(data):
        yield "a PuTTY private key", match.start()
    for match in _WIREGUARD.finditer(data):
        if len(set(match[1])) > 8:  # 43 times the same letter is an example
            yield "a WireGuard private key", match.start()
    for match in _WRAPPED.finditer(data):
        text = re.sub(rb"\s", b"", match[0])
        inner = base64.b64decode(text[: len(text) // 4 * 4])
        if pem := _PEM.search(inner):
            yield f"{_pem(pem[1])} in base64", match.start()


def _identity(kind: str, text: str) -> str | None:
    """Say what an age identity is; None where its checksum says that it is none.

    What follows it may be of the same letters: shorter texts are tried, too.
    """
    known = {"secret-key": 74, "secret-key-pq": 77}
    for candidate in {text, text[: known.get(kind, len(text))]}:
        same_case = candidate.upper() if candidate[-1].isupper() else candidate.lower()
        try:
            decode(same_case)
        except Bech32Error:
            continue
        if kind == "secret-key-pq":
            return "a post-quantum age identity"
        return "an age identity" if kind == "secret-key" else "an age plugin identity"
    return None


def _pem(label: bytes) -> str:
    name = label.decode().strip()
    if name == "PGP":
        return "a PGP private key"
    return f"{name} private key".strip() if name else "a private key"
