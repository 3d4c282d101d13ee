"""The age file format: bytes to header and back, byte for byte (C2SP age.md, v1).

Grammar only.  What a stanza means is `wrap`'s business, who may open a file
`agestate`'s; nothing here decrypts, and the payload is never looked into.  A parsed
header written again is the same bytes, because everything that has two spellings
(base64 with stray bits, padding, other line lengths) is refused as the format demands.
"""

import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from nixsecrets.errors import SecretFileError
from nixsecrets.secretfiles.sniff import ARMOR_BEGIN, BOM, MAGIC
from nixsecrets.secretfiles.sniff import looks_like_age as looks_like_age

_MAGIC = MAGIC + b"v1\n"
_HEADER_END = b"---"
_ARMOR_END = b"-----END AGE ENCRYPTED FILE-----"
_COLUMNS = 64
_NONCE = 16
_TAG = 16
_CHUNK = 64 * 1024 + _TAG
_MAC_LINE = len(" ") + 43 + len("\n")

# Possessive quantifiers: a hostile header of many megabytes is read once, never again.
_STANZA = re.compile(
    rb"-> ([!-~]++(?: [!-~]++)*+)\n"
    rb"((?:[A-Za-z0-9+/]{64}\n)*+)([A-Za-z0-9+/]{0,63}+)\n"
)
_MAC = re.compile(rb"--- ([A-Za-z0-9+/]{43})\n")


@dataclass(frozen=True, slots=True)
class Stanza:
    """One recipient's entry in a header: `-> type args…` and the bytes of its body."""

    type: str
    args: tuple[str, ...]
    body: bytes

    @property
    def grease(self) -> bool:
        """Whether this is the noise that rage and pyrage add, and no recipient."""
        return self.type.endswith("-grease")

    def encode(self) -> bytes:
        """Return the only spelling of this stanza, its final line feed included."""
        text = encode_base64(self.body)
        # A body that fills its last line is ended by an empty one, hence `+ 1`.
        starts = range(0, len(text) + 1, _COLUMNS)
        lines = [text[at : at + _COLUMNS] for at in starts]
        head = " ".join(("->", self.type, *self.args)).encode("ascii")
        return b"\n".join((head, *lines, b""))


@dataclass(frozen=True, slots=True)
class AgeFile:
    """A file taken apart: `binary` is the whole file without its armor.

    `mac` holds 32 bytes, not yet compared with anything; `header_end` is the offset
    just behind `---`, the end of what the MAC covers.
    """

    armored: bool
    stanzas: tuple[Stanza, ...]
    mac: bytes = field(repr=False)
    binary: bytes = field(repr=False)
    header_end: int

    @property
    def header(self) -> bytes:
        """The bytes that the MAC covers: from the first one through `---`."""
        return self.binary[: self.header_end]

    @property
    def payload(self) -> memoryview:
        """Nonce and encrypted chunks, uncopied."""
        return memoryview(self.binary)[self.header_end + _MAC_LINE :]

    @property
    def entries(self) -> tuple[Stanza, ...]:
        """The stanzas of recipients: all but the grease, in the order of the file."""
        return tuple(stanza for stanza in self.stanzas if not stanza.grease)

    @property
    def passphrase(self) -> bool:
        """Whether the file is encrypted to a passphrase (scrypt)."""
        return any(stanza.type == "scrypt" for stanza in self.stanzas)


def parse(data: bytes) -> AgeFile:
    """Take an age file apart; binary and armored files alike.

    Raises:
        SecretFileError: `data` breaks the grammar anywhere in armor or header.  The
            message says what is wrong in words that need no file name.
    """
    if data.startswith(MAGIC):
        return _parse_binary(data, armored=False)
    return _parse_binary(_unarmor(data), armored=True)


def encode_header(stanzas: Iterable[Stanza]) -> bytes:
    """Return a header from its first byte through `---`."""
    return b"".join((_MAGIC, *(stanza.encode() for stanza in stanzas), _HEADER_END))


def extend_header(header: bytes, stanzas: Iterable[Stanza]) -> bytes:
    """Return a header with more stanzas behind those that it has."""
    added = (stanza.encode() for stanza in stanzas)
    return b"".join((header.removesuffix(_HEADER_END), *added, _HEADER_END))


def encode(
    header: bytes, mac: bytes, payload: bytes | memoryview, *, armored: bool
) -> bytes:
    """Put a file together from `encode_header`'s bytes, the MAC and the payload."""
    binary = b"".join((header, b" ", encode_base64(mac), b"\n", payload))
    return _armor(binary) if armored else binary


def payload_fault(length: int) -> str | None:
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


def encode_base64(data: bytes) -> bytes:
    """Return base64 without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=")


def decode_base64(text: bytes) -> bytes:
    """Return the bytes of canonical base64 without padding.

    Raises:
        ValueError: the text is any other spelling, or no base64 at all.
    """
    padded = text + b"=" * (-len(text) % 4)
    data = binascii.a2b_base64(padded, strict_mode=True)
    if encode_base64(data) != text:
        raise ValueError("base64 is not canonical")
    return data


def _parse_binary(data: bytes, *, armored: bool) -> AgeFile:
    if data.startswith(_MAGIC[:-1] + b"\r\n"):
        _refuse("is spoilt by CRLF line ends, as core.autocrlf of git makes them")
    if not data.startswith(_MAGIC):
        _refuse("is of a version other than 1, or damaged in its first line")
    stanzas: list[Stanza] = []
    at = len(_MAGIC)
    while match := _STANZA.match(data, at):
        try:
            stanzas.append(_stanza(*match.groups()))
        except ValueError:
            _refuse(f"is damaged: stanza {len(stanzas) + 1} is not canonical base64")
        at = match.end()
    end = _MAC.match(data, at)
    if not end:
        _refuse(f"has a header that is damaged or cut off at entry {len(stanzas) + 1}")
    if not stanzas:
        _refuse("has a header without any recipient")
    try:
        mac = decode_base64(end[1])
    except ValueError:
        _refuse("is damaged: the MAC of its header is not canonical base64")
    if len(stanzas) > 1 and any(stanza.type == "scrypt" for stanza in stanzas):
        _refuse("mixes a passphrase with other recipients, which age forbids")
    return AgeFile(armored, tuple(stanzas), mac, data, at + len(_HEADER_END))


def _stanza(head: bytes, full: bytes, last: bytes) -> Stanza:
    """Build a stanza from its argument line, its full body lines and its last line.

    Raises:
        ValueError: the body is not canonical base64.
    """
    kind, *args = head.decode("ascii").split(" ")
    text = full.replace(b"\n", b"") + last if full else last
    return Stanza(kind, tuple(args), decode_base64(text))


def _armor(binary: bytes) -> bytes:
    text = binascii.b2a_base64(binary, newline=False)
    starts = range(0, len(text), _COLUMNS)
    lines = [text[at : at + _COLUMNS] for at in starts]
    return b"\n".join((ARMOR_BEGIN, *lines, _ARMOR_END, b""))


def _unarmor(data: bytes) -> bytes:
    """Return what the armor holds.

    Blanks are allowed around the armor and nowhere inside it, line ends are LF or CRLF;
    beyond that armor has one spelling only, so it is compared with its own encoding.
    """
    text = data.strip(b" \t\r\n")
    if text.startswith(BOM):
        _refuse("starts with a byte order mark, which age does not accept")
    if not text.startswith(ARMOR_BEGIN):
        raise SecretFileError(
            "the file is not an age file", "encrypt it with `nixsecrets edit`"
        )
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if not text.endswith(b"\n" + _ARMOR_END):
        _refuse("is damaged: its armor does not end as it should")
    base64 = text[len(ARMOR_BEGIN) : -len(_ARMOR_END)].replace(b"\n", b"")
    try:
        binary = binascii.a2b_base64(base64, strict_mode=True)
    except ValueError:
        _refuse("is damaged: its armor is not base64")
    if _armor(binary)[:-1] != text:
        _refuse("is damaged: its armor is not spelled as age demands")
    return binary


def _refuse(predicate: str) -> NoReturn:
    raise SecretFileError(
        f"the age file {predicate}",
        "restore it from git, or encrypt the secret again",
    )
