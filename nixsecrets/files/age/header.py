"""The age file format: bytes to header and back, byte for byte (C2SP age.md, v1).

Grammar only.  What a stanza means is `wrap`'s business, who may open a file
`agestate`'s; nothing here decrypts, and the payload is never looked into.  A parsed
header written again is the same bytes, because everything that has two spellings
(base64 with stray bits, padding, other line lengths) is refused as the format demands.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import ARMOR_BEGIN, BOM, MAGIC
from nixsecrets.files.kind import looks_like_age as looks_like_age
from nixsecrets.untrusted import limits

LARGE = 4 << 20
"""Size in bytes up to which a file or a value is handled as a whole, in memory."""
_MAGIC = MAGIC + b"v1\n"
_HEADER_END = b"---"
_ARMOR_END = b"-----END AGE ENCRYPTED FILE-----"
_COLUMNS = 64
_MAC_LINE = len(" ") + 43 + len("\n")

# Possessive quantifiers: a hostile header of many megabytes is read once, never again.
_64_CHARACTERS = rb"[A-Za-z0-9+/]{64}\n"
_QUADS = rb"(?:[A-Za-z0-9+/]{4}){0,15}+"
# What may end base64 without padding, so that no bit is left over: two or three.
_TWO, _THREE = rb"[A-Za-z0-9+/][AQgw]", rb"[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]"
_HEAD = rb"-> [!-~]++(?: [!-~]++)*+\n"
_STANZA = rb"%b(?:%b)*+%b(?:%b|%b)?+\n" % (_HEAD, _64_CHARACTERS, _QUADS, _THREE, _TWO)
_32_BYTES = rb"(?:[A-Za-z0-9+/]{4}){10}%b" % _THREE
_HEADER = re.compile(rb"%b(?:%b)++--- (%b)\n" % (re.escape(_MAGIC), _STANZA, _32_BYTES))
_ARMOR = re.compile(
    rb"%b\n((?:%b(?=[A-Za-z0-9+/]))*+"
    rb"(?=[A-Za-z0-9+/=]{1,64}\n)(?:[A-Za-z0-9+/]{4})*+(?:%b=|%b==)?+\n)%b"
    % (ARMOR_BEGIN, _64_CHARACTERS, _THREE, _TWO, _ARMOR_END)
)
# To say what is wrong with a header: a stanza but for its base64.
_ONE = re.compile(_STANZA)
_LIKE_ONE = re.compile(rb"%b(?:%b)*+[A-Za-z0-9+/]{0,63}+\n" % (_HEAD, _64_CHARACTERS))
_LIKE_MAC = re.compile(rb"--- [A-Za-z0-9+/]{43}\n")
_PASSPHRASE = re.compile(rb"^-> scrypt[ \n]", re.MULTILINE)


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


@dataclass(frozen=True)
class AgeFile:
    """A file taken apart: `binary` is the whole file without its armor.

    `header_end` is the offset just behind `---`, the end of what the MAC covers, which
    has not been compared with anything.  Stanzas are decoded when they are asked for:
    a grant looks at one of them, however many there are.
    """

    armored: bool
    binary: bytes = field(repr=False)
    header_end: int

    @property
    def header(self) -> bytes:
        """The bytes that the MAC covers: from the first one through `---`."""
        return self.binary[: self.header_end]

    @property
    def mac(self) -> bytes:
        """The 32 bytes that the header ends in."""
        return decode_base64(self.binary[self.header_end + 1 :][:43])

    @property
    def payload(self) -> memoryview:
        """Nonce and encrypted chunks, uncopied."""
        return memoryview(self.binary)[self.payload_start :]

    @property
    def payload_start(self) -> int:
        """The offset of the payload in `binary`."""
        return self.header_end + _MAC_LINE

    @cached_property
    def spelled(self) -> Sequence[bytes]:
        """The stanzas as the file spells them, the final line feed included."""
        below = self.binary[len(_MAGIC) : self.header_end - len(_HEADER_END)]
        return [b"-> " + one + b"\n" for one in below[3:-1].split(b"\n-> ")]

    @cached_property
    def stanzas(self) -> tuple[Stanza, ...]:
        """All stanzas, in the order of the file."""
        return tuple(map(decode, self.spelled))

    @cached_property
    def places(self) -> Sequence[int]:
        """The indexes of the stanzas that are no grease."""
        if b"-grease" not in self.header:
            return range(len(self.spelled))
        return [at for at, stanza in enumerate(self.stanzas) if not stanza.grease]

    @property
    def entries(self) -> tuple[Stanza, ...]:
        """The stanzas of recipients: all but the grease, in the order of the file."""
        return tuple(self.stanzas[at] for at in self.places)

    @property
    def passphrase(self) -> bool:
        """Whether the file is encrypted to a passphrase (scrypt)."""
        return _PASSPHRASE.search(self.binary, 0, self.header_end) is not None


def starts_binary(data: bytes) -> bool:
    """Tell whether a file starts like an age file without armor."""
    return data.startswith(_MAGIC)


def parse(data: bytes) -> AgeFile:
    """Take an age file apart; binary and armored files alike.

    Raises:
        SecretFileError: `data` breaks the grammar anywhere in armor or header.  The
            message says what is wrong in words that need no file name.
    """
    if data.startswith(MAGIC):
        return _parse_binary(data, armored=False)
    return _parse_binary(_unarmor(data), armored=True)


def decode(spelled: bytes) -> Stanza:
    """Return the stanza that a parsed file spells like this."""
    head, *lines = spelled[3:].split(b"\n")
    kind, *args = head.decode("ascii").split(" ")
    return Stanza(kind, tuple(args), decode_base64(b"".join(lines)))


def encode_header(stanzas: Iterable[Stanza]) -> bytes:
    """Return a header from its first byte through `---`."""
    return join_header(stanza.encode() for stanza in stanzas)


def join_header(spelled: Iterable[bytes]) -> bytes:
    """Return the same of stanzas as `AgeFile.spelled` has them."""
    return b"".join((_MAGIC, *spelled, _HEADER_END))


def encode(
    header: bytes, mac: bytes, payload: bytes | memoryview, *, armored: bool
) -> bytes:
    """Return a file made of `encode_header`'s bytes, the MAC and the payload."""
    binary = b"".join((with_mac(header, mac), payload))
    return _armor(binary) if armored else binary


def with_mac(header: bytes, mac: bytes) -> bytes:
    """Return the bytes before the payload: a header and its MAC."""
    return b"%b %b\n" % (header, encode_base64(mac))


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
    stanzas = data.count(b"\n-> ", 0, max(data.find(b"\n---"), 0))
    limits.check("the age file", stanzas, limits.ENTRIES, "recipients")
    header = _HEADER.match(data)
    if not header:
        _refuse(_fault(data))
    file = AgeFile(armored, data, header.start(1) - 1)
    if file.passphrase and len(file.spelled) > 1:
        _refuse("mixes a passphrase with other recipients, which age forbids")
    return file


def _fault(data: bytes) -> str:
    """Say what is wrong with a header."""
    if data.startswith(_MAGIC[:-1] + b"\r\n"):
        return "is spoilt by CRLF line ends, as core.autocrlf of git makes them"
    if not data.startswith(_MAGIC):
        return "is of a version other than 1, or damaged in its first line"
    at, number = len(_MAGIC), 1
    while stanza := _ONE.match(data, at):
        at, number = stanza.end(), number + 1
    if _LIKE_ONE.match(data, at):
        return f"is damaged: stanza {number} is not canonical base64"
    if not _LIKE_MAC.match(data, at):
        return f"has a header that is damaged or cut off at entry {number}"
    if number == 1:
        return "has a header without any recipient"
    return "is damaged: the MAC of its header is not canonical base64"


def _armor(binary: bytes) -> bytes:
    text = binascii.b2a_base64(binary, newline=False)
    starts = range(0, len(text), _COLUMNS)
    lines = [text[at : at + _COLUMNS] for at in starts]
    return b"\n".join((ARMOR_BEGIN, *lines, _ARMOR_END, b""))


def _unarmor(data: bytes) -> bytes:
    """Return what the armor holds.

    Blanks are allowed around the armor and nowhere inside it, line ends are LF or CRLF;
    beyond that armor has one spelling only.
    """
    text = data.strip(b" \t\r\n")
    if text.startswith(BOM):
        _refuse("starts with a byte order mark, which age does not accept")
    if not text.startswith(ARMOR_BEGIN):
        raise SecretFileError(
            "is not an age file",
            "encrypt it with `nixsecrets edit`",
            subject="the file",
        )
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    found = _ARMOR.fullmatch(text)
    if not found:
        _refuse(_armor_fault(text))
    return binascii.a2b_base64(found[1])


def _armor_fault(text: bytes) -> str:
    """Say what is wrong with armor."""
    if not text.endswith(b"\n" + _ARMOR_END):
        return "is damaged: its armor does not end as it should"
    base64 = text[len(ARMOR_BEGIN) : -len(_ARMOR_END)].replace(b"\n", b"")
    try:
        binascii.a2b_base64(base64, strict_mode=True)
    except ValueError:
        return "is damaged: its armor is not base64"
    return "is damaged: its armor is not spelled as age demands"


def _refuse(predicate: str) -> NoReturn:
    raise SecretFileError(
        predicate,
        "restore it from git, or encrypt the secret again",
        subject="the age file",
    )
