"""The age file format: parsing and writing header and armor.

The only grammar of C2SP age.md ("Header", "Recipient stanza", "Header MAC", "ASCII
armor"); fast enough for ten thousand files.  It decrypts nothing and does not read the
payload.  `wrap` opens stanzas, `state` determines recipients.  Parsing and writing a
header gives the same bytes: non-canonical encodings (base64 with stray bits or padding,
other line lengths) are refused, as the specification demands.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import NoReturn

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import ARMOR_BEGIN, ARMOR_END, BOM, MAGIC
from nixsecrets.frozen import NamedTuple, frozen
from nixsecrets.untrusted import limits

LARGE = 4 << 20
"""Bytes; larger files and values are processed in blocks, not in memory."""
_MAGIC = MAGIC + b"v1\n"
_HEADER_END = b"---"
_MAC_LINE = len(" ") + 43 + len("\n")  # what follows `---`
_COLUMNS = 64  # of base64 in a stanza's body and in armor
_TAG = 16
_DATA_KEY = 16 + 32 + _TAG  # payload of one chunk: nonce, data key, tag

# All quantifiers are possessive: matching a hostile header takes linear time.
_LETTER = rb"[A-Za-z0-9+/]"
_64_LETTERS = rb"%b{64}\n" % _LETTER
# Unpadded base64 may end in two or three letters, for one or two bytes; the unused low
# bits of the last letter (4 or 2) must be zero.
_TWO, _THREE = rb"%b[AQgw]" % _LETTER, rb"%b{2}[AEIMQUYcgkosw048]" % _LETTER
_32_BYTES = rb"%b{42}[AEIMQUYcgkosw048]" % _LETTER
# The stanzas of nearly all files: type and tag (the group), share and body (32 bytes
# each).  The group ends in a space, as no complete argument line does.
_NATIVE = rb"-> (X25519 |ssh-ed25519 %b{6} )%b\n%b\n" % (_LETTER, _32_BYTES, _32_BYTES)
_ARGUMENTS = rb"[!-~]++(?: [!-~]++)*+"
_BODY = rb"(?:%b)*+(?:%b{4}){0,15}+(?:%b|%b)?+\n" % (_64_LETTERS, _LETTER, _THREE, _TWO)
# With `^`, `split` tries each line once and not each "-> ", so it is linear.
_STANZA = re.compile(
    rb"^(?:%b|-> (%b)\n%b)" % (_NATIVE, _ARGUMENTS, _BODY), re.MULTILINE
)
_MAC = re.compile(rb"--- %b\n" % _32_BYTES)
_ARMOR = (
    rb"%b\n((?:%b(?=%b))*+(?=[A-Za-z0-9+/=]{1,64}\n)(?:%b{4})*+(?:%b=|%b==)?+\n)%b\n?"
    % (ARMOR_BEGIN, _64_LETTERS, _LETTER, _LETTER, _THREE, _TWO, ARMOR_END)
)
# The usual `enc` of a sops file: one native stanza (group 1: its head) and a payload of
# 16 bytes nonce, 32 bytes data key and a tag (group 2).
_ENC = re.compile(
    rb"%b%b%b.{48}(.{16})" % (re.escape(_MAGIC), _NATIVE, _MAC.pattern), re.DOTALL
)
# the letters of base64 of such an `enc`, by the length of its head
_ENC_LETTERS = {len(b"X25519 "): 312, len(b"ssh-ed25519 aaaaaa "): 328}
# the letters that may precede its "==": their 4 unused bits are zero
_LAST_LETTERS = frozenset("AQgw")
# only for error messages: a stanza and a MAC whose base64 need not be canonical
_LIKE_STANZA = rb"-> %b\n(?:%b)*+%b{0,63}+\n" % (_ARGUMENTS, _64_LETTERS, _LETTER)
_LIKE_MAC = rb"--- %b{43}\n" % _LETTER


@frozen
class Stanza:
    """One recipient's entry in a header: `-> type args…` and the decoded body."""

    type: str
    args: tuple[str, ...]
    body: bytes

    @property
    def grease(self) -> bool:
        """Whether this is random noise as rage and pyrage add it, not a recipient."""
        return self.type.endswith("-grease")


class _Parsed(NamedTuple):
    # a NamedTuple is created in half the time of a frozen dataclass
    armored: bool
    binary: bytes
    payload_start: int
    heads: tuple[bytes, ...]
    native: bool


class AgeFile(_Parsed):
    """A parsed file.

    `binary` is the file without its armor, `payload_start` an offset in it.  The MAC
    has not been verified.  `heads` has the identifying part of each stanza: for X25519
    and ssh-ed25519 stanzas of the right sizes (native ones) the argument line up to the
    share ("X25519 ", "ssh-ed25519 TAG "), for others the complete line.  `native` means
    that all stanzas are native.
    """

    def __repr__(self) -> str:
        """Show neither stanzas nor payload."""
        return f"AgeFile({len(self.heads)} stanzas, armored={self.armored})"

    @property
    def header(self) -> bytes:
        """The bytes that the MAC covers: from the start through `---`."""
        return self.binary[: self.payload_start - _MAC_LINE]

    @property
    def mac(self) -> bytes:
        """The header MAC (32 bytes)."""
        return decode_base64(self.mac_text)

    @property
    def mac_text(self) -> bytes:
        """The header MAC in base64 (43 letters), as it follows `--- `."""
        end = self.payload_start - len("\n")
        return self.binary[end - 43 : end]

    @property
    def payload(self) -> memoryview:
        """Nonce and encrypted chunks, not copied."""
        return memoryview(self.binary)[self.payload_start :]

    @property
    def payload_size(self) -> int:
        """The number of bytes of the payload."""
        return len(self.binary) - self.payload_start

    @cached_property
    def encoded(self) -> Sequence[bytes]:
        """The stanzas as encoded in the file, each with its final line feed."""
        # from the first stanza's type to the last body without its line feed
        between = self.header[len(_MAGIC + b"-> ") : -len(b"\n" + _HEADER_END)]
        return [b"-> " + one + b"\n" for one in between.split(b"\n-> ")]

    @cached_property
    def stanzas(self) -> tuple[Stanza, ...]:
        """All stanzas, in the order of the file."""
        return tuple(map(decode, self.encoded))

    @cached_property
    def places(self) -> Sequence[int]:
        """The indexes, among all stanzas, of those that are not grease."""
        if self.native:
            return range(len(self.heads))
        types = enumerate(map(_type, self.heads))
        return [place for place, kind in types if not kind.endswith(b"-grease")]

    @property
    def foreign(self) -> list[Stanza]:
        """The stanzas that are not native: of other types, or of wrong sizes."""
        if self.native:
            return []
        pairs = zip(self.heads, self.encoded, strict=True)
        return [decode(stanza) for head, stanza in pairs if not head.endswith(b" ")]

    @property
    def entries(self) -> tuple[Stanza, ...]:
        """The stanzas that are not grease, in the order of the file."""
        return tuple(self.stanzas[at] for at in self.places)

    @property
    def passphrase(self) -> bool:
        """Whether the file is encrypted to a passphrase (scrypt)."""
        return not self.native and b"scrypt" in map(_type, self.heads)


class Enc(NamedTuple):
    """An `enc` of a sops file: an armored age file with the data key as its plaintext.

    `heads` are those of its stanzas (`AgeFile.heads`).  `tag` is the authentication tag
    (16 bytes) of its payload; entries with equal tags are copies.  `file` is the parsed
    file, None for the usual one with a single native stanza.
    """

    heads: tuple[bytes, ...]
    tag: bytes
    file: AgeFile | None = None


def starts_binary(data: bytes) -> bool:
    """Return whether a file starts like an age file without armor."""
    return data.startswith(_MAGIC)


def parse(data: bytes) -> AgeFile:
    """Parse an age file, binary or armored.

    Raises:
        SecretFileError: armor or header are malformed (without a file name).
        TooLargeError: it has more than `limits.ENTRIES` recipients.
    """
    if data.startswith(_MAGIC):
        return _parse_binary(data, armored=False)
    if data.startswith(MAGIC):
        _refuse(_fault(data))
    binary = _unarmor(data)
    if not binary.startswith(_MAGIC):
        _refuse(_fault(binary))
    return _parse_binary(binary, armored=True)


def before_payload(data: bytes) -> bytes:
    """Return the header with the MAC of a binary age file; empty for any other file."""
    try:
        file = parse(data)
    except SecretFileError:
        return b""
    return b"" if file.armored else file.binary[: file.payload_start]


def read_enc(enc: str) -> Enc:
    """Parse the `enc` of a sops entry.

    Raises:
        SecretFileError: it is malformed, or its payload has a wrong size.
    """
    data = enc.encode("ascii", "replace")
    armor = re.fullmatch(_ARMOR, data)
    usual = armor and _ENC.fullmatch(binascii.a2b_base64(armor[1]))
    if usual:
        return Enc((usual[1],), usual[2])
    file = parse(data)
    if file.payload_size not in (_DATA_KEY, _DATA_KEY + 1):  # a Shamir share is longer
        _refuse("holds no data key")
    return Enc(file.heads, bytes(file.payload[-_TAG:]), file)


def read_encs(
    armors: Sequence[str], indent: int
) -> tuple[list[bytes], list[bytes]] | None:
    """Return the heads and tags of all `enc`s of a file, in a fast way.

    `armors` are the lines between the markers of each `enc`, all indented by `indent`
    blanks.  None unless each has one native stanza and the layout that sops writes.
    """
    try:
        binary = b"".join(map(binascii.a2b_base64, armors))
    except ValueError:
        return None
    # `split` gives three items for each `enc`: the text before it (which must be empty)
    # and the two groups; the last item is the rest
    *parts, behind = _ENC.split(binary)
    heads, tags = parts[1::3], parts[2::3]
    if behind or any(parts[::3]):
        return None
    # a2b_base64 skips line ends and indentation, but also invalid characters; with one
    # of these, the armor is longer than one with its head is
    sizes = _sizes(indent)
    if [sizes[len(head)] for head in heads] != list(map(len, armors)):
        return None
    if not {armor[-3] for armor in armors} <= _LAST_LETTERS:
        return None
    return heads, tags


@cache
def _sizes(indent: int) -> dict[int, int]:
    """Return the length of an indented armor by the length of the stanza's head."""
    # `-(-n // m)` rounds up: the number of lines, each with its indentation
    return {
        head: letters + -(-letters // _COLUMNS) * (indent + len("\n")) - len("\n")
        for head, letters in _ENC_LETTERS.items()
    }


def decode(encoded: bytes) -> Stanza:
    """Return the stanza of an item of `AgeFile.encoded`."""
    head, *lines = encoded.removeprefix(b"-> ").split(b"\n")
    kind, *args = head.decode("ascii").split(" ")
    return Stanza(kind, tuple(args), decode_base64(b"".join(lines)))


def join_header(encoded: Iterable[bytes]) -> bytes:
    """Return a header through `---` of stanzas that are encoded as in a file."""
    return b"".join((_MAGIC, *encoded, _HEADER_END))


def encode(
    header: bytes, mac: bytes, payload: bytes | memoryview, *, armored: bool
) -> bytes:
    """Return a file of a header (through `---`), its MAC (32 bytes) and a payload."""
    binary = b"".join((with_mac(header, mac), payload))
    return _armor(binary) if armored else binary


def with_mac(header: bytes, mac: bytes) -> bytes:
    """Return the bytes before the payload: a header (through `---`) and its MAC."""
    return b"%b %b\n" % (header, encode_base64(mac))


def encode_base64(data: bytes) -> bytes:
    """Return base64 without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=")


def decode_base64(text: bytes) -> bytes:
    """Decode canonical base64 without padding.

    Raises:
        ValueError: the text is not canonical, or not base64.
    """
    padded = text + b"=" * (-len(text) % 4)
    data = binascii.a2b_base64(padded, strict_mode=True)
    if encode_base64(data) != text:
        raise ValueError("base64 is not canonical")
    return data


def _parse_binary(data: bytes, *, armored: bool) -> AgeFile:
    # The MAC line is the first with two dashes: lines of stanzas are "-> …" or base64.
    end = data.find(b"\n--- ") + 1
    if end > limits.ENTRIES:  # bytes: only then may it have more than so many stanzas
        stanzas = data.count(b"\n-> ", 0, end)
        limits.check("the age file", stanzas, limits.ENTRIES, "recipients")
    # `split` gives three items for each stanza: the text before it (must be empty)
    # and the two groups, of which one is None: the head of a native stanza or the line
    # of any other; the last item is the rest.
    found = _STANZA.split(data[len(_MAGIC) : end])
    native = found[1::3]
    mac = _MAC.match(data, end)
    if not (mac and native) or any(found[::3]):
        _refuse(_fault(data))
    if None not in native:
        return AgeFile(armored, data, mac.end(), tuple(native), native=True)
    heads = [a or b for a, b in zip(native, found[2::3], strict=True)]
    file = AgeFile(armored, data, mac.end(), tuple(heads), native=False)
    if file.passphrase and len(heads) > 1:
        _refuse("mixes a passphrase with other recipients, which age forbids")
    return file


def _fault(data: bytes) -> str:
    """Return what is wrong with a header that does not match the grammar."""
    if data.startswith(_MAGIC[:-1] + b"\r\n"):
        return "is corrupted by CRLF line ends, as git's core.autocrlf writes them"
    if not data.startswith(_MAGIC):
        return "has a version other than 1, or a corrupt first line"
    at, number = len(_MAGIC), 1
    while stanza := _STANZA.match(data, at):
        at, number = stanza.end(), number + 1
    if re.match(_LIKE_STANZA, data[at:]):
        return f"is corrupt: stanza {number} is not canonical base64"
    if not re.match(_LIKE_MAC, data[at:]):
        return f"has a header that is corrupt or truncated at entry {number}"
    if number == 1:
        return "has a header without any recipient"
    return "is corrupt: the MAC of its header is not canonical base64"


def _type(head: bytes) -> bytes:
    return head.partition(b" ")[0]


def _armor(binary: bytes) -> bytes:
    text = binascii.b2a_base64(binary, newline=False)
    starts = range(0, len(text), _COLUMNS)
    lines = [text[at : at + _COLUMNS] for at in starts]
    return b"\n".join((ARMOR_BEGIN, *lines, ARMOR_END, b""))


def _unarmor(data: bytes) -> bytes:
    """Return the binary file in an armor; only blanks around it and CRLF may vary."""
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
    found = re.fullmatch(_ARMOR, text)
    if not found:
        _refuse(_armor_fault(text))
    return binascii.a2b_base64(found[1])


def _armor_fault(text: bytes) -> str:
    """Return what is wrong with armor that does not match the grammar."""
    if not text.endswith(b"\n" + ARMOR_END):
        return "is corrupt: its armor has no valid end"
    base64 = text[len(ARMOR_BEGIN) : -len(ARMOR_END)].replace(b"\n", b"")
    try:
        binascii.a2b_base64(base64, strict_mode=True)
    except ValueError:
        return "is corrupt: its armor is not base64"
    return "is corrupt: its armor is not canonical"


def _refuse(predicate: str) -> NoReturn:
    raise SecretFileError(
        predicate,
        "restore it from git, or encrypt the secret again",
        subject="the age file",
    )
