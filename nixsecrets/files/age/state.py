"""Who can decrypt an age file, as far as its header shows without a private key.

Pure, and fast enough for ten thousand files: tags and hashes are compared, nothing is
decrypted and no cryptographic library is loaded.  What cannot be determined is
`Unknown`, never a guess; nothing here protects against somebody who can write to the
repository (docs/threat-model.md).
"""

from functools import lru_cache

from nixsecrets.files.age import header, shape
from nixsecrets.files.age.header import Stanza
from nixsecrets.files.state import (
    Actual,
    Damaged,
    Exact,
    Record,
    Recorded,
    State,
    Unknown,
)
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.keys.tags import SHARE_TAGGED, share_tag, stanza_tag

Readers = tuple[Recipient, ...] | None
"""The readers that the lock records for a file, None where it has no word on it."""

# Stanza types whose first argument is a tag, and how many arguments they have.
_TAGGED = {"ssh-ed25519": 2, "ssh-rsa": 1, "piv-p256": 2, "tpm-ecc": 2}
_TAGGED |= dict.fromkeys(SHARE_TAGGED, 2)
_SCRYPT = "it is encrypted with a passphrase"
# Why the lock does not say who its recipients are.
_CHANGED = "it changed after nixsecrets.lock recorded its recipients"
_NO_RECORD = "nixsecrets.lock does not record its recipients"


def interpret(
    path: str, sha256: str, looked: shape.Look, book: KeyBook, record: Record | None
) -> Actual | Damaged:
    """Return the state of a file of which `looked` is what its bytes show.

    `book` holds the keys whose tags are recognised.  `record` is the lock's line for
    this hash, else the latest one for this path, None where the lock has none.
    """
    show, prints = looked
    if show.fault is not None:
        return Damaged(path, Backend.AGE, sha256, show.fault, show.too_large)
    return Actual(
        path=path,
        backend=Backend.AGE,
        sha256=sha256,
        state=_state(show, book, *_word(record, sha256)),
        key_prints=prints,
        armored=show.armored,
        refusal=_SCRYPT if show.passphrase else None,
        plainly_whole=show.whole,
    )


@lru_cache(maxsize=1024)
def shown(heads: tuple[bytes, ...]) -> tuple[Stanza, ...]:
    """Return stanzas with their types and arguments; the share of native ones is ""."""
    words = (head.decode("ascii").split(" ") for head in heads)
    return tuple(Stanza(kind, tuple(args), b"") for kind, *args in words)


def fits(stanza: Stanza, recipient: Recipient) -> bool:
    """Return whether `stanza` can be that of `recipient`, by its type and its tag.

    Plugins choose their types; where one is known to write tags, those must agree.
    """
    match recipient.kind:
        case Kind.X25519:
            return stanza.type == "X25519" and len(stanza.args) == 1
        case Kind.PQ:
            return stanza.type == "mlkem768x25519"
        case Kind.PLUGIN:
            usual = stanza_tag(recipient)
            return not usual or usual[0] != stanza.type or _carries(stanza, recipient)
        case _:
            return _carries(stanza, recipient)


def describe(stanza: Stanza) -> str:
    """Return what a stanza shows of its recipient: its type, and its tag if any."""
    if _has_tag(stanza):
        return f"{stanza.type}:{stanza.args[0]}"
    return stanza.type


def _word(record: Record | None, sha256: str) -> tuple[Readers, str]:
    """Return the readers that the lock records, and how; or None, and why not."""
    if record is None:
        return None, _NO_RECORD
    if record.sha256 != sha256:
        return None, _CHANGED
    return record.recipients, record.how


@lru_cache(maxsize=1024)  # thousands show the same stanzas; they share one state
def _state(show: shape.Shown, book: KeyBook, readers: Readers, why: str) -> State:
    """Return who the recipients are; `readers` and `why` as from `_word`."""
    entries = shown(show.heads)
    if show.passphrase:
        return _unknown(_SCRYPT, entries)
    if show.noisy:
        return _unknown("it has more noise than age programs write", entries)
    if exact := _exact(entries, book):
        return exact
    if readers is None:
        return _unknown(_why_unknown(entries, book, why), entries)
    if len(entries) == len(readers) and all(map(fits, entries, readers)):
        return Recorded(readers, why)
    return _unknown("nixsecrets.lock records other recipients than it shows", entries)


def _exact(entries: tuple[Stanza, ...], book: KeyBook) -> Exact | None:
    """Return the owners of all entries by their tags, None where one has none."""
    tagged = [_owner(stanza, book) for stanza in entries]
    owners = tuple(recipient for recipient in tagged if recipient)
    return Exact(owners) if len(owners) == len(entries) else None


def _owner(stanza: Stanza, book: KeyBook) -> Recipient | None:
    """Return the one known key whose tag the stanza carries."""
    if not _has_tag(stanza):
        return None
    known = book.by_tag(stanza.type, stanza.args[0], _share(stanza))
    return known[0] if len(known) == 1 else None


def _why_unknown(entries: tuple[Stanza, ...], book: KeyBook, why: str) -> str:
    """Name the first obstacle: an unknown tag where all have one, else the lock."""
    strangers = [stanza for stanza in entries if not _owner(stanza, book)]
    if all(_has_tag(stanza) for stanza in entries):
        return f"no single known key has the tag of {describe(strangers[0])}"
    return why


def _unknown(reason: str, stanzas: tuple[Stanza, ...]) -> Unknown:
    return Unknown(reason, tuple(describe(stanza) for stanza in stanzas))


def _carries(stanza: Stanza, recipient: Recipient) -> bool:
    """Return whether the stanza carries the tag of the recipient."""
    if not _has_tag(stanza):
        return False
    if stanza.type in SHARE_TAGGED:
        tag = share_tag(recipient, stanza.type, _share(stanza))
        return tag == stanza.args[0]
    return (stanza.type, stanza.args[0]) == stanza_tag(recipient)


def _has_tag(stanza: Stanza) -> bool:
    """Return whether the stanza is of a type with a tag, and of that type's shape."""
    return len(stanza.args) == _TAGGED.get(stanza.type)


def _share(stanza: Stanza) -> bytes:
    """Return the HPKE share of a stanza whose tag depends on it, else nothing."""
    if stanza.type not in SHARE_TAGGED:
        return b""
    try:
        return header.decode_base64(stanza.args[1].encode("ascii"))
    except ValueError:
        return b""
