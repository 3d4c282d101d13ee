"""What a sops file tells about its readers without a private key.

Labels are taken at their word where nothing can contradict them (X25519), and compared
with the tag inside the `enc` where there is one (ssh).  Opens nothing.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from nixsecrets.errors import SecretFileError, TooLargeError
from nixsecrets.files.age import header, shape
from nixsecrets.files.age.header import Enc, Stanza
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
        encs = [read_enc(entry.enc) for entry in file.entries]
    except SecretFileError as error:
        if not metadata.looks_like_sops(path, data):
            return NotSecret(path, sha256, empty=not data)
        large = isinstance(error, TooLargeError)
        return Damaged(path, Backend.SOPS, sha256, error.message, too_large=large)
    from nixsecrets.files.sops.selection import left_open

    quick = sops_quick.look(path, data)  # only it looks at every byte
    state = _state(file, list(map(stanzas_of, encs)), book)
    return Actual(
        path=path,
        backend=Backend.SOPS,
        sha256=sha256,
        state=state,
        key_prints=(*(enc.tag for enc in encs), sops_quick.mac_print(file.mac)),
        others=file.others,
        options=file.options,
        refusal=_refusal(file),
        plainly_whole=bool(quick and quick[0].whole) and isinstance(state, Stated),
        left_open=left_open(file.format, data, file.options),
        typed=any_typed(file.text),
    )


def read_enc(enc: str) -> Enc:
    """Return what an `enc` shows.

    Raises:
        SecretFileError: it is not an age file, or its payload is not a data key.
    """
    try:
        return header.read_enc(enc)
    except SecretFileError as error:
        refuse(f"has an enc in its sops metadata that {error.reason}")


def has_noise(enc: str) -> bool:
    """Tell whether there is a stanza that nobody is supposed to open."""
    file = read_enc(enc).file
    return file is not None and len(file.places) != len(file.heads)


def stanzas_of(enc: Enc) -> tuple[Stanza, ...]:
    """Return the stanzas that may be for somebody, with types and arguments only."""
    if enc.file is None:
        return shown(enc.heads)
    return shown(shape.possible_recipients(enc.file)[0])


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
