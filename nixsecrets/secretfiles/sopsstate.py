"""What a sops file tells about its readers without a private key.

Labels are taken at their word where nothing can contradict them (X25519), and compared
with the tag inside the `enc` where there is one (ssh).  Opens nothing.
"""

import binascii
import hashlib
import re
from collections.abc import Iterator

from nixsecrets.errors import SecretFileError
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.keys.tags import stanza_tag
from nixsecrets.secretfiles import agefile, sopsmeta
from nixsecrets.secretfiles.sopsblock import refuse
from nixsecrets.secretfiles.sopsmeta import SopsFile
from nixsecrets.secretfiles.state import Actual, Damaged, NotSecret, Stated, Unknown

_BEGIN = "-----BEGIN AGE ENCRYPTED FILE-----\n"
_END = "\n-----END AGE ENCRYPTED FILE-----\n"
_USUAL = re.compile(
    rb"age-encryption\.org/v1\n"
    rb"-> (?:(X25519)|(ssh-ed25519) ([A-Za-z0-9+/]{6})) [A-Za-z0-9+/]{43}\n"
    rb"[A-Za-z0-9+/]{43}\n"
    rb"--- [A-Za-z0-9+/]{43}\n"
)
_PAYLOAD = 16 + 32 + 16  # nonce, data key, tag of the only chunk
_STANZA_TYPES = {
    Kind.X25519: ("X25519",),
    Kind.SSH_ED25519: ("ssh-ed25519",),
    Kind.SSH_RSA: ("ssh-rsa",),
    Kind.TAG: ("p256tag",),
    Kind.TAG_PQ: ("mlkem768p256tag",),
    Kind.PQ: ("mlkem768x25519",),
}


def read_actual(path: str, data: bytes, book: KeyBook) -> Actual | NotSecret | Damaged:
    """Read one file and say what it tells about its readers.

    `book` gives keys their names in what is said about an unknown state.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    if not sopsmeta.looks_like_sops(path, data):
        return NotSecret(path, sha256, empty=not data)
    try:
        file = sopsmeta.parse(path, data)
        stanzas = [read_enc(entry.enc) for entry in file.entries]
    except SecretFileError as error:
        reason = error.message.removeprefix("the file ")
        return Damaged(path, Backend.SOPS, sha256, reason)
    return Actual(
        path=path,
        backend=Backend.SOPS,
        sha256=sha256,
        state=_state(file, stanzas, book),
        key_prints=tuple(_prints(file)),
        others=file.others,
        options=file.options,
        refusal=_refusal(file),
    )


def read_enc(enc: str) -> tuple[tuple[str, str | None], ...]:
    """Return (type, tag) of every stanza in an `enc` but grease; tag of ssh ones only.

    Raises:
        SecretFileError: it is not an age file, or its payload is not a data key.

    """
    if enc.startswith(_BEGIN) and enc.endswith(_END):
        body = enc[len(_BEGIN) : -len(_END)].replace("\n", "")
        try:
            binary = binascii.a2b_base64(body, strict_mode=True)
        except ValueError:
            refuse("is damaged: an enc of its sops metadata is not base64")
        usual = _USUAL.match(binary)
        if usual and len(binary) - usual.end() == _PAYLOAD:
            if usual[1]:
                return (("X25519", None),)
            return (("ssh-ed25519", usual[3].decode()),)
    return _read_unusual(enc)


def _read_unusual(enc: str) -> tuple[tuple[str, str | None], ...]:
    try:
        file = agefile.parse(enc.encode("ascii", "replace"))
    except SecretFileError as error:
        what = error.message.removeprefix("the file ")
        raise SecretFileError(
            f"the file has an enc in its sops metadata that {what}", error.hint
        ) from error
    if len(file.payload) not in (_PAYLOAD, _PAYLOAD + 1):  # 33 bytes: a shamir share
        refuse("has an enc in its sops metadata that holds no data key")
    return tuple(
        (s.type, s.args[0] if s.type.startswith("ssh-") and s.args else None)
        for s in file.entries
    )


def _prints(file: SopsFile) -> Iterator[str]:
    for enc in dict.fromkeys(entry.enc for entry in file.entries):
        yield hashlib.sha256(enc.encode("utf-8", "surrogateescape")).hexdigest()


def _refusal(file: SopsFile) -> str | None:
    try:
        sopsmeta.require_one_group(file)
    except SecretFileError as error:
        return error.message.removeprefix("the file ")
    if not file.entries:
        return "has no age recipient; only sops itself can open it"
    return None


def _state(
    file: SopsFile, stanzas: list[tuple[tuple[str, str | None], ...]], book: KeyBook
) -> Stated | Unknown:
    seen = tuple(_described(found) for found in stanzas)
    reason = _contradiction(file, stanzas, book)
    if reason:
        return Unknown(reason, seen)
    labelled = (entry.recipient for entry in file.entries)
    return Stated(tuple(r for r in labelled if r is not None))


def _described(stanzas: tuple[tuple[str, str | None], ...]) -> str:
    return "+".join(f"{kind}:{tag}" if tag else kind for kind, tag in stanzas) or "none"


def _contradiction(
    file: SopsFile, stanzas: list[tuple[tuple[str, str | None], ...]], book: KeyBook
) -> str | None:
    """Say why the labels cannot be believed, None where nothing contradicts them."""
    if file.groups > 1:
        return f"its data key is split over {file.groups} key groups"
    if not file.agree:
        return "its documents name different recipients"
    for number, (entry, found) in enumerate(
        zip(file.entries, stanzas, strict=True), start=1
    ):
        if entry.recipient is None:
            return f"the label of entry {number} is not a recipient"
        if len(found) != 1:
            return f"entry {number} ({book.label(entry.recipient)}) is not for one key"
        if not _fits(entry.recipient, *found[0]):
            return f"entry {number} is not for {book.label(entry.recipient)}"
    return None


def _fits(recipient: Recipient, kind: str, tag: str | None) -> bool:
    types = _STANZA_TYPES.get(recipient.kind)
    if types is not None and kind not in types:
        return False
    return tag is None or stanza_tag(recipient) == (kind, tag)
