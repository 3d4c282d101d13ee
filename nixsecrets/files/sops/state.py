"""What a sops file tells about its readers without a private key.

Labels are taken at their word where nothing can contradict them (X25519), and compared
with the tag inside the `enc` where there is one (ssh).  Opens nothing.
"""

import binascii
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from nixsecrets.errors import SecretFileError, TooLargeError
from nixsecrets.files.age import header, shape
from nixsecrets.files.age.header import AgeFile, Stanza
from nixsecrets.files.age.state import describe, fits, shown
from nixsecrets.files.kind import no_sops
from nixsecrets.files.sops import quick as sops_quick
from nixsecrets.files.sops.spans import refuse
from nixsecrets.files.sops.token import any_typed
from nixsecrets.files.state import Actual, Damaged, NotSecret, Stated, Unknown
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient, recipient_of

if TYPE_CHECKING:
    from nixsecrets.files.sops.metadata import SopsFile

_BEGIN = "-----BEGIN AGE ENCRYPTED FILE-----\n"
_END = "\n-----END AGE ENCRYPTED FILE-----\n"
# One stanza of the two kinds that nearly all files have; all else takes the long way.
_USUAL = re.compile(
    rb"age-encryption\.org/v1\n"
    rb"-> (X25519|ssh-ed25519 [A-Za-z0-9+/]{6}) ([A-Za-z0-9+/]{43})\n"
    rb"([A-Za-z0-9+/]{43})\n"
    rb"--- [A-Za-z0-9+/]{43}\n"
)
_TAG = 16
_PAYLOAD = 16 + 32 + _TAG  # nonce, data key, tag of the only chunk
# of base64 that ends in ==, where age wants the bits that nobody reads to be zero
_LAST_LETTERS = "AQgw"
_SHARE_PAYLOAD = _PAYLOAD + 1  # a shamir share instead of the data key


def read_actual(path: str, data: bytes, book: KeyBook) -> Actual | NotSecret | Damaged:
    """Read one file and say what it tells about its readers.

    `book` gives keys their names in what is said about an unknown state.
    """
    if looked := sops_quick.look(path, data):
        found = told(path, hashlib.sha256(data).hexdigest(), looked)
        return found or read_closely(path, data, book)
    if no_sops(data):
        return NotSecret(path, hashlib.sha256(data).hexdigest(), empty=not data)
    return read_closely(path, data, book)


def told(path: str, sha256: str, looked: sops_quick.Look) -> Actual | None:
    """Return what a quick look tells; None where the labels contradict the entries."""
    show, tags = looked
    stated = _agreed(show.labels, show.heads)
    if stated is None:
        return None
    return Actual(
        path=path,
        backend=Backend.SOPS,
        sha256=sha256,
        state=stated,
        key_prints=tags,
        options=show.options,
        plainly_whole=show.whole,
        left_open=show.left_open,
        typed=show.typed,
    )


@lru_cache(maxsize=1024)
def _agreed(labels: tuple[bytes, ...], heads: tuple[bytes, ...]) -> Stated | None:
    """Return whom the labels name, None unless each agrees with its stanza's head."""
    recipients = _labelled(tuple(label.decode() for label in labels))
    if len(recipients) == len(heads) and all(map(fits, shown(heads), recipients)):
        return Stated(recipients)
    return None


def read_closely(path: str, data: bytes, book: KeyBook) -> Actual | NotSecret | Damaged:
    """Do the same for a file in any spelling that sops or a formatter gives it."""
    from nixsecrets.files.sops import metadata  # mostly there is none, and no need

    sha256 = hashlib.sha256(data).hexdigest()
    try:
        file = metadata.parse(path, data)
        seen = [_shown_by(entry.enc) for entry in file.entries]
    except SecretFileError as error:
        if not metadata.looks_like_sops(path, data):
            return NotSecret(path, sha256, empty=not data)
        large = isinstance(error, TooLargeError)
        return Damaged(path, Backend.SOPS, sha256, error.message, too_large=large)
    from nixsecrets.files.sops.selection import left_open

    quick = sops_quick.look(path, data)  # only it looks at every byte
    state = _state(file, [stanzas for stanzas, _ in seen], book)
    return Actual(
        path=path,
        backend=Backend.SOPS,
        sha256=sha256,
        state=state,
        key_prints=(*(tag for _, tag in seen), sops_quick.mac_print(file.mac)),
        others=file.others,
        options=file.options,
        refusal=_refusal(file),
        plainly_whole=bool(quick and quick[0].whole) and isinstance(state, Stated),
        left_open=left_open(file.format, data, file.options),
        typed=any_typed(file.text),
    )


def read_enc(enc: str) -> tuple[Stanza, ...]:
    """Return the stanzas of an `enc`, but for grease of the kind that rage writes.

    Raises:
        SecretFileError: it is not an age file, or its payload is not a data key.

    """
    usual = _usual(enc)
    if usual is None:
        return _entries(_parsed(enc))
    kind, *tag = usual[1].decode().split(" ")
    wrapped = binascii.a2b_base64(usual[3] + b"=")
    return (Stanza(kind, (*tag, usual[2].decode()), wrapped),)


def _shown_by(enc: str) -> tuple[tuple[Stanza, ...], bytes]:
    """Return the same with types and tags only, and the payload's last 16 bytes.

    These are the tag of its encryption: equal ones belong to copies.
    """
    usual = _usual(enc)
    if usual is None:
        file = _parsed(enc)
        return _entries(file), bytes(file.payload[-_TAG:])
    return shown((usual[1],)), usual.string[-_TAG:]


def _entries(file: AgeFile) -> tuple[Stanza, ...]:
    """Return what may be for somebody: grease that rage does not write, too."""
    return file.stanzas if shape.suspicious_noise(file) else file.entries


def has_noise(enc: str) -> bool:
    """Tell whether there is a stanza that nobody is supposed to open."""
    if _usual(enc) is not None:
        return False
    file = _parsed(enc)
    return len(file.places) != len(file.spelled)


def _usual(enc: str) -> "re.Match[bytes] | None":
    """Return the header of an `enc` if it is one of nearly all."""
    if not (enc.startswith(_BEGIN) and enc.endswith(_END)):
        return None
    body = enc[len(_BEGIN) : -len(_END)].replace("\n", "")
    try:
        binary = binascii.a2b_base64(body, strict_mode=True)
    except ValueError:
        refuse("has an enc in its sops metadata that is damaged")
    usual = _USUAL.match(binary)
    if usual is None or len(binary) - usual.end() != _PAYLOAD:
        return None
    return usual if body[-3] in _LAST_LETTERS else None


def _parsed(enc: str) -> AgeFile:
    try:
        file = header.parse(enc.encode("ascii", "replace"))
    except SecretFileError as error:
        refuse(f"has an enc in its sops metadata that {error.reason}")
    if len(file.payload) not in (_PAYLOAD, _SHARE_PAYLOAD):
        refuse("has an enc in its sops metadata that holds no data key")
    return file


def _refusal(file: "SopsFile") -> str | None:
    if file.groups > 1 or not (file.entries or file.others):
        return f"it splits its data key over {file.groups} key groups"
    if not file.entries:
        return "it has no age recipient: only sops itself can open it"
    return None


def _state(
    file: "SopsFile", stanzas: Sequence[tuple[Stanza, ...]], book: KeyBook
) -> Stated | Unknown:
    reason = _contradiction(file, stanzas, book)
    if reason:
        seen = ("+".join(map(describe, found)) or "none" for found in stanzas)
        return Unknown(reason, tuple(seen))
    return Stated(_labelled(tuple(entry.label for entry in file.entries)))


@lru_cache(maxsize=1024)
def _labelled(labels: tuple[str, ...]) -> tuple[Recipient, ...]:
    """Return the keys that labels spell: one tuple for all files that share them."""
    keys = map(recipient_of, labels)
    return tuple(recipient for recipient in keys if recipient is not None)


def _contradiction(
    file: "SopsFile", stanzas: Sequence[tuple[Stanza, ...]], book: KeyBook
) -> str | None:
    """Say why the labels cannot be believed, None where nothing contradicts them."""
    if refusal := _refusal(file):
        return refusal
    if not file.agree:
        return "its documents name different recipients"
    if file.hidden:
        return "it has key groups beside its recipients, which sops ignores"
    for number, (entry, found) in enumerate(
        zip(file.entries, stanzas, strict=True), start=1
    ):
        if entry.recipient is None:
            return f"the label of entry {number} is not a recipient"
        if len(found) != 1:
            return f"entry {number} ({book.label(entry.recipient)}) is not for one key"
        if not fits(found[0], entry.recipient):
            return f"entry {number} is not for {book.label(entry.recipient)}"
    return None
