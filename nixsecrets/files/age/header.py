"""The age file format, parsed and written byte for byte: header and armor.

The one grammar of C2SP age.md ("Header", "Recipient stanza", "Header MAC", "ASCII
armor"), for a single file and for ten thousand.  It decrypts nothing and never reads
the payload.  `wrap` knows what a stanza means, `state` who can open a file.  A
parsed header written again is the same bytes: whatever has two spellings (base64 with
stray bits, padding, other line lengths) is refused, as the specification demands.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import NamedTuple, NoReturn

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import ARMOR_BEGIN, ARMOR_END, BOM, MAGIC
from nixsecrets.files.kind import looks_like_age as looks_like_age
from nixsecrets.frozen import frozen
from nixsecrets.untrusted import limits

LARGE = 4 << 20
"""Size in bytes up to which a file or a value is handled as a whole, in memory."""
_MAGIC = MAGIC + b"v1\n"
_HEADER_END = b"---"
_MAC_LINE = len(" ") + 43 + len("\n")  # what follows `---`
_COLUMNS = 64  # of base64 in a stanza's body and in armor
_TAG = 16
_DATA_KEY = 16 + 32 + _TAG  # payload of one chunk: nonce, data key, tag

# Possessive quantifiers: a hostile header of many megabytes is read once, never again.
_LETTER = rb"[A-Za-z0-9+/]"
_64_LETTERS = rb"%b{64}\n" % _LETTER
# Two or three letters may end base64 without padding; no bit of the last is left over.
_TWO, _THREE = rb"%b[AQgw]" % _LETTER, rb"%b{2}[AEIMQUYcgkosw048]" % _LETTER
_32_BYTES = rb"%b{42}[AEIMQUYcgkosw048]" % _LETTER
# The stanzas of nearly all files: type and tag are captured, share and body are not.
# The captured text ends in a space, which no argument line does.
_NATIVE = rb"-> (X25519 |ssh-ed25519 %b{6} )%b\n%b\n" % (_LETTER, _32_BYTES, _32_BYTES)
_ARGUMENTS = rb"[!-~]++(?: [!-~]++)*+"
_BODY = rb"(?:%b)*+(?:%b{4}){0,15}+(?:%b|%b)?+\n" % (_64_LETTERS, _LETTER, _THREE, _TWO)
# `^` keeps `split` linear in garbage: it tries each line once, not each "-> " in it.
_STANZA = re.compile(
    rb"^(?:%b|-> (%b)\n%b)" % (_NATIVE, _ARGUMENTS, _BODY), re.MULTILINE
)
_MAC = re.compile(rb"--- %b\n" % _32_BYTES)
_ARMOR = re.compile(
    rb"%b\n((?:%b(?=%b))*+(?=[A-Za-z0-9+/=]{1,64}\n)(?:%b{4})*+(?:%b=|%b==)?+\n)%b\n?"
    % (ARMOR_BEGIN, _64_LETTERS, _LETTER, _LETTER, _THREE, _TWO, ARMOR_END)
)
# An `enc` of a sops file, as nearly all are: one native stanza (group 1: its head), and
# the payload (group 2: its tag).
_ENC = re.compile(
    rb"%b%b%b.{48}(.{16})" % (re.escape(_MAGIC), _NATIVE, _MAC.pattern), re.DOTALL
)
# How many letters of base64 that is, by the length of its head.
_ENC_LETTERS = {len(b"X25519 "): 312, len(b"ssh-ed25519 aaaaaa "): 328}
# Those that may stand before its "==": their unused bits are zero.
_LAST_LETTERS = frozenset("AQgw")
# To say what is wrong with a header: a stanza and a MAC but for their base64.
_LIKE_STANZA = re.compile(
    rb"-> %b\n(?:%b)*+%b{0,63}+\n" % (_ARGUMENTS, _64_LETTERS, _LETTER)
)
_LIKE_MAC = re.compile(rb"--- %b{43}\n" % _LETTER)


@frozen
class Stanza:
    """One recipient's entry in a header: `-> type args…` and the bytes of its body."""

    type: str
    args: tuple[str, ...]
    body: bytes

    @property
    def grease(self) -> bool:
        """Whether this is the noise that rage and pyrage add, and no recipient."""
        return self.type.endswith("-grease")


class _Parsed(NamedTuple):
    # Made in half the time of a frozen dataclass: one for each file of a repository.
    armored: bool
    binary: bytes
    payload_start: int
    heads: tuple[bytes, ...]
    native: bool


class AgeFile(_Parsed):
    """A parsed file: `binary` is the whole file without its armor.

    `payload_start` is an offset in it.  The MAC has not been compared with anything.
    `heads` has, for each stanza, what shows its recipient: of X25519 and ssh-ed25519
    stanzas of the right sizes the argument line up to the share ("X25519 ",
    "ssh-ed25519 TAG "), of any other the whole line.  `native` says that all are of the
    former sort.  Stanzas are decoded on demand: a grant looks at one of them, however
    many there are.
    """

    def __repr__(self) -> str:
        """Show neither stanzas nor payload."""
        return f"AgeFile({len(self.heads)} stanzas, armored={self.armored})"

    @property
    def header(self) -> bytes:
        """The bytes that the MAC covers: from the first one through `---`."""
        return self.binary[: self.payload_start - _MAC_LINE]

    @property
    def mac(self) -> bytes:
        """The 32 bytes that the header ends in."""
        return decode_base64(self.mac_text)

    @property
    def mac_text(self) -> bytes:
        """The MAC as the header spells it: 43 letters of base64 behind `--- `."""
        end = self.payload_start - len("\n")
        return self.binary[end - 43 : end]

    @property
    def payload(self) -> memoryview:
        """Nonce and encrypted chunks, uncopied."""
        return memoryview(self.binary)[self.payload_start :]

    @property
    def payload_size(self) -> int:
        """The number of bytes of the payload."""
        return len(self.binary) - self.payload_start

    @cached_property
    def spelled(self) -> Sequence[bytes]:
        """The stanzas as the file spells them, the final line feed included."""
        # from the first stanza's type to the last body, without its line feed
        between = self.header[len(_MAGIC + b"-> ") : -len(b"\n" + _HEADER_END)]
        return [b"-> " + one + b"\n" for one in between.split(b"\n-> ")]

    @cached_property
    def stanzas(self) -> tuple[Stanza, ...]:
        """All stanzas, in the order of the file."""
        return tuple(map(decode, self.spelled))

    @cached_property
    def places(self) -> Sequence[int]:
        """The indexes of the stanzas that are not grease."""
        if self.native:
            return range(len(self.heads))
        types = enumerate(map(_type, self.heads))
        return [place for place, kind in types if not kind.endswith(b"-grease")]

    @property
    def foreign(self) -> list[Stanza]:
        """The stanzas that are not native: of other types, or of wrong sizes."""
        if self.native:
            return []
        pairs = zip(self.heads, self.spelled, strict=True)
        return [decode(spelled) for head, spelled in pairs if not head.endswith(b" ")]

    @property
    def entries(self) -> tuple[Stanza, ...]:
        """The stanzas of recipients: all but the grease, in the order of the file."""
        return tuple(self.stanzas[at] for at in self.places)

    @property
    def passphrase(self) -> bool:
        """Whether the file is encrypted to a passphrase (scrypt)."""
        return not self.native and b"scrypt" in map(_type, self.heads)


class Enc(NamedTuple):
    """What the `enc` of a sops entry shows, an age file that holds the data key.

    `heads` are those of its stanzas (`AgeFile.heads`).  `tag` ends its payload: entries
    that share it are copies.  `file` is None for one native stanza, as nearly all have,
    else the parsed file.
    """

    heads: tuple[bytes, ...]
    tag: bytes
    file: AgeFile | None = None


def starts_binary(data: bytes) -> bool:
    """Return whether a file starts like an age file without armor."""
    return data.startswith(_MAGIC)


def parse(data: bytes) -> AgeFile:
    """Return an age file, binary or armored, as header and payload.

    Raises:
        SecretFileError: `data` breaks the grammar anywhere in armor or header.  The
            message says what is wrong in words that need no file name.
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
    """Return the header of a file without armor, MAC included; "" of any other."""
    try:
        file = parse(data)
    except SecretFileError:
        return b""
    return b"" if file.armored else file.binary[: file.payload_start]


def read_enc(enc: str) -> Enc:
    """Return what an `enc` shows; raises `SecretFileError` as `parse`.

    Its payload must have the size of a data key, or of a share of one (Shamir).
    """
    data = enc.encode("ascii", "replace")
    armor = _ARMOR.fullmatch(data)
    usual = armor and _ENC.fullmatch(binascii.a2b_base64(armor[1]))
    if usual:
        return Enc((usual[1],), usual[2])
    file = parse(data)
    if file.payload_size not in (_DATA_KEY, _DATA_KEY + 1):
        _refuse("holds no data key")
    return Enc(file.heads, bytes(file.payload[-_TAG:]), file)


def read_encs(
    armors: Sequence[str], indent: int
) -> tuple[list[bytes], list[bytes]] | None:
    """Return heads and tags of all `enc`s of a file, as `read_enc` would.

    None unless each has one native stanza and is spelled as sops does: `armors` are the
    lines between the markers, each indented by `indent` blanks.
    """
    try:
        binary = b"".join(map(binascii.a2b_base64, armors))
    except ValueError:
        return None
    # of each what stands before it (nothing), its head, and its tag
    *parts, behind = _ENC.split(binary)
    heads, tags = parts[1::3], parts[2::3]
    if behind or any(parts[::3]):
        return None
    # What is not base64 was skipped: line ends, and what must not be there, which
    # leaves fewer bytes than so many lines have.
    sizes = _sizes(indent)
    if [sizes[len(head)] for head in heads] != list(map(len, armors)):
        return None
    if not {armor[-3] for armor in armors} <= _LAST_LETTERS:
        return None
    return heads, tags


@cache
def _sizes(indent: int) -> dict[int, int]:
    """Return, by the length of its head, how long an indented armor must be."""
    return {
        head: letters + -(-letters // _COLUMNS) * (indent + len("\n")) - len("\n")
        for head, letters in _ENC_LETTERS.items()
    }


def decode(spelled: bytes) -> Stanza:
    """Return the stanza of which `spelled` is one item of `AgeFile.spelled`."""
    head, *lines = spelled.removeprefix(b"-> ").split(b"\n")
    kind, *args = head.decode("ascii").split(" ")
    return Stanza(kind, tuple(args), decode_base64(b"".join(lines)))


def join_header(spelled: Iterable[bytes]) -> bytes:
    """Return a header through `---`, of stanzas as `AgeFile.spelled` has them."""
    return b"".join((_MAGIC, *spelled, _HEADER_END))


def encode(
    header: bytes, mac: bytes, payload: bytes | memoryview, *, armored: bool
) -> bytes:
    """Return a file made of `join_header`'s bytes, the MAC and the payload."""
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
    # No line of a stanza begins with two dashes: it begins with "-> " or is base64.
    end = data.find(b"\n--- ") + 1
    if end > limits.ENTRIES:  # it may have as many stanzas
        stanzas = data.count(b"\n-> ", 0, end)
        limits.check("the age file", stanzas, limits.ENTRIES, "recipients")
    # Three items for each stanza: what stands before it, which must be nothing, and the
    # two groups of `_STANZA`, one of them None; and at the end, what stands behind all.
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
    """Say what is wrong with a header."""
    if data.startswith(_MAGIC[:-1] + b"\r\n"):
        return "is corrupted by CRLF line ends, as git's core.autocrlf writes them"
    if not data.startswith(_MAGIC):
        return "has a version other than 1, or a corrupt first line"
    at, number = len(_MAGIC), 1
    while stanza := _STANZA.match(data, at):
        at, number = stanza.end(), number + 1
    if _LIKE_STANZA.match(data, at):
        return f"is corrupt: stanza {number} is not canonical base64"
    if not _LIKE_MAC.match(data, at):
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
