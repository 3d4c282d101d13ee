"""The recipients of a sops file, determined without a private key.

The labels are trusted if nothing can contradict them (X25519), and compared with the
tag in the `enc` if there is one (ssh).
"""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from nixsecrets.errors import SecretFileError, TooLargeError
from nixsecrets.files.age import header, shape
from nixsecrets.files.age.header import Enc, Stanza
from nixsecrets.files.age.state import describe, fits, shown
from nixsecrets.files.kind import looks_like_sops, no_sops
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.selectors import LeftOpen, Options, unusable
from nixsecrets.files.sops.spans import OURS, Block, Entry, refuse
from nixsecrets.files.sops.token import (
    MAC_PATTERN,
    MARK,
    TOKEN_PATTERN,
    any_misfitting,
    any_typed,
)
from nixsecrets.files.sops.yaml import YamlBlock
from nixsecrets.files.state import Actual, Damaged, NotSecret, Stated, Unknown
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.foreign import ForeignKey
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import recipient_of

_YAML_VALUES = re.compile(
    r"(?:[ ]*+(?:- )*+(?:(?:[A-Za-z_][\w./-]*+|\"[^\"\\\n]++\"):(?: |(?=\n)))?+"
    rf"(?:{TOKEN_PATTERN}|\"\"|null)?+(?: #{TOKEN_PATTERN})?+\n"
    rf"|[ ]*+#(?:{TOKEN_PATTERN})?+\n|\n)*+"
)
_FIELDS = OURS.union(metadata.FOREIGN)
# the MAC, its time and the version, in one text
_SIGNED = re.compile(
    rf"{MAC_PATTERN} \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    r" \d{1,4}\.\d{1,4}\.\d{1,4}"
)


class Shown(NamedTuple):
    """What a sops file shows; files that show the same share one object.

    - `heads`: for each entry those of the possible recipients (`AgeFile.heads`), as
      lines.
    - `refusal`: why nixsecrets cannot change the file.
    - `doubt`: why none of its labels can be trusted.
    - `complete`: all values and comments are encrypted, and no fault was found; False
      means unsure.
    - `typed` (`token.any_typed`), `options`, `others`, `left_open`, `noisy`: see
      `Actual`.
    """

    labels: tuple[str, ...]
    heads: tuple[bytes, ...]
    options: Options
    others: tuple[ForeignKey, ...]
    refusal: str | None
    doubt: str | None
    complete: bool
    left_open: LeftOpen
    typed: bool
    noisy: tuple[int, ...]


# Pickle sends an object that occurs repeatedly only once.  It is called with positional
# arguments, as keywords make the key of the cache longer.
_shown = lru_cache(maxsize=1024)(Shown)


class Broken(NamedTuple):
    """A file that looks like a sops file but cannot be parsed."""

    reason: str
    too_large: bool


Look = tuple[Shown | Broken, tuple[bytes, ...]]
"""What a file shows, and its key prints: the tag of each `enc`, and the end of the MAC.

Files that share one are copies of each other.
"""
# tag and type of the MAC's token
_MAC_END = len("tag:0123456789012345678901==,type:str]")


def look(path: str, data: bytes) -> Look | None:
    """Return what the bytes of a file show, None if it is not a sops file."""
    if no_sops(data):
        return None
    try:
        file = metadata.parse(path, data)
        usual = _native_entries(file.blocks[0])
        heads, tags, noisy = (*usual, []) if usual else _parsed_entries(file.entries)
    except SecretFileError as error:
        if not looks_like_sops(path, data):
            return None
        return Broken(error.message, isinstance(error, TooLargeError)), ()
    complete = bool(usual) and _surely_complete(file)
    left = LeftOpen()
    if not complete:
        # 30 ms; few files need it
        from nixsecrets.files.sops.selection import left_open

        left = left_open(file.format, data, file.options)
    refusal = _refusal(file)
    show = _shown(
        tuple(file.entries.labels),
        tuple(heads),
        file.options,
        file.others,
        refusal,
        refusal or _doubt(file),
        complete,
        left,
        any_typed(file.text),
        tuple(noisy),
    )
    # a copy may have new entries under the old data key; then the MAC is the same
    return show, (*tags, file.mac[-_MAC_END:].encode())


def read_actual(path: str, data: bytes, book: KeyBook) -> Actual | NotSecret | Damaged:
    """Return the state of one file; `book` has the names of keys for messages."""
    sha256 = hashlib.sha256(data).hexdigest()
    looked = look(path, data)
    if looked is None:
        return NotSecret(path, sha256, empty=not data)
    return interpret(path, sha256, looked, book)


def interpret(path: str, sha256: str, looked: Look, book: KeyBook) -> Actual | Damaged:
    """Return the state of a file from a look; `book` has names of keys for messages."""
    show, tags = looked
    if isinstance(show, Broken):
        return Damaged(path, Backend.SOPS, sha256, show.reason, show.too_large)
    stated = None if show.doubt else _stated(show.labels, show.heads)
    return Actual(
        path=path,
        backend=Backend.SOPS,
        sha256=sha256,
        state=stated or _unknown(show, book),
        key_prints=tags,
        others=show.others,
        options=show.options,
        refusal=show.refusal,
        surely_complete=show.complete and stated is not None,
        left_open=show.left_open,
        typed=show.typed,
        noisy=show.noisy,
    )


@lru_cache(maxsize=1024)
def _stated(labels: tuple[str, ...], heads: tuple[bytes, ...]) -> Stated | None:
    """Return the keys in the labels, None unless each matches its entry's stanza."""
    recipients = tuple(
        recipient
        for label, found in zip(labels, map(_stanzas, heads), strict=True)
        if len(found) == 1
        and (recipient := recipient_of(label))
        and fits(found[0], recipient)
    )
    return Stated(recipients) if len(recipients) == len(labels) else None


def _stanzas(heads: bytes) -> tuple[Stanza, ...]:
    return shown(tuple(heads.splitlines()))


def _unknown(show: Shown, book: KeyBook) -> Unknown:
    found = list(map(_stanzas, show.heads))
    seen = ("+".join(map(describe, stanzas)) or "none" for stanzas in found)
    return Unknown(show.doubt or _contradiction(show, found, book), tuple(seen))


def _contradiction(show: Shown, found: list[tuple[Stanza, ...]], book: KeyBook) -> str:
    """Return why the first label that cannot be trusted cannot."""
    pairs = zip(show.labels, found, strict=True)
    for number, (label, stanzas) in enumerate(pairs, start=1):
        recipient = recipient_of(label)
        if recipient is None:
            return f"the label of entry {number} is not a recipient"
        if len(stanzas) != 1:
            return f"entry {number} ({book.label(recipient)}) is not for one key"
        if not fits(stanzas[0], recipient):
            return f"entry {number} is not for {book.label(recipient)}"
    return "its labels do not fit its entries"


def _refusal(file: SopsFile) -> str | None:
    own = bool(file.entries)
    if file.groups > 1 or not (own or file.others):
        return f"it splits its data key over {file.groups} key groups"
    return None if own else "it has no age recipient: only sops itself can open it"


def _doubt(file: SopsFile) -> str | None:
    """Return why no label can be trusted, None if nothing contradicts them."""
    if not file.agree:
        return "its documents name different recipients"
    if file.hidden:
        return "it has key groups in addition to its recipients, which sops ignores"
    return None


def _surely_complete(file: SopsFile) -> bool:
    """Return whether `files.faults` would find nothing; False means unsure.

    Only for YAML of one document with its metadata at the end; the caller checks the
    entries.
    """
    block = file.blocks[0]
    if not (isinstance(block, YamlBlock) and block.standard):
        return False
    values, fields = block.standard.above, block.standard.fields
    return bool(
        fields.keys() <= _FIELDS
        and fields.get("mac_only_encrypted") in (None, "true")
        and _SIGNED.fullmatch(f"{file.mac} {file.lastmodified} {file.version}")
        and not unusable(file.options)
        and MARK in values
        and _YAML_VALUES.fullmatch(values)
        and not any_misfitting(values)
    )


# --- entries --------------------------------------------------------------------------


def read_enc(enc: str) -> Enc:
    """Parse the `enc` of an entry.

    Raises:
        SecretFileError: it is not an age file, or its payload is not a data key.
    """
    try:
        return header.read_enc(enc)
    except SecretFileError as error:
        refuse(f"has an enc in its sops metadata that {error.reason}")


def has_noise(enc: Enc) -> bool:
    """Return whether an `enc` has grease."""
    return enc.file is not None and len(enc.file.places) != len(enc.file.heads)


def stanzas_of(enc: Enc) -> tuple[Stanza, ...]:
    """Return the stanzas of the possible recipients, without bodies."""
    return shown(_heads(enc))


def _heads(enc: Enc) -> tuple[bytes, ...]:
    return shape.possible_recipients(enc.file)[0] if enc.file else enc.heads


def _parsed_entries(
    entries: Iterable[Entry],
) -> tuple[list[bytes], list[bytes], list[int]]:
    """Return the heads and the tag of each entry, and the indexes of those with grease.

    Raises `SecretFileError` for an invalid entry.
    """
    encs = [read_enc(entry.enc) for entry in entries]
    heads = [b"\n".join(_heads(enc)) for enc in encs]
    noisy = [place for place, enc in enumerate(encs) if has_noise(enc)]
    return heads, [enc.tag for enc in encs], noisy


def _native_entries(block: Block) -> tuple[list[bytes], list[bytes]] | None:
    """Return the heads and the tag of each entry of a block in sops' own layout.

    None for another layout, or unless all entries have one native stanza.
    """
    if not isinstance(block, YamlBlock) or block.standard is None:
        return None
    return header.read_encs(block.entries.encs, len(block.entries.pad))
