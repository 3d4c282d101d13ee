"""Who can decrypt an age file, determined from its header without a private key.

Fast enough for ten thousand files: it compares tags and hashes, and loads no
cryptographic library.  What cannot be determined is `Unknown`, never a guess.  It does
not protect against somebody who can write to the repository (docs/threat-model.md).
"""

from functools import lru_cache
from typing import assert_never

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
"""The recipients that the lock records for a file, None if it has no valid record."""

# stanza types whose first argument is a tag, with their number of arguments
_TAGGED = {"ssh-ed25519": 2, "ssh-rsa": 1, "piv-p256": 2, "tpm-ecc": 2}
_TAGGED |= dict.fromkeys(SHARE_TAGGED, 2)
_SCRYPT = "it is encrypted with a passphrase"
# why the recipients are unknown
_CHANGED = "it changed after nixsecrets.lock recorded its recipients"
_NO_RECORD = "nixsecrets.lock does not record its recipients"


def interpret(
    path: str, sha256: str, looked: shape.Look, book: KeyBook, record: Record | None
) -> Actual | Damaged:
    """Return the state of a file, given the result of `shape.look` for it.

    `book` has the keys whose tags are recognized.  `record` is the lock's line for this
    hash, else the latest one for this path, None if it has neither.
    """
    show, prints = looked
    if show.fault is not None:
        return Damaged(path, Backend.AGE, sha256, show.fault, show.too_large)
    return Actual(
        path=path,
        backend=Backend.AGE,
        sha256=sha256,
        state=_state(show, book, *_recorded(record, sha256)),
        key_prints=prints,
        armored=show.armored,
        refusal=_SCRYPT if show.passphrase else None,
        surely_complete=show.complete,
    )


@lru_cache(maxsize=1024)
def shown(heads: tuple[bytes, ...]) -> tuple[Stanza, ...]:
    """Return the stanzas of some heads, without bodies; the share of native ones is "".

    `heads` is as in `AgeFile.heads`.
    """
    words = (head.decode("ascii").split(" ") for head in heads)
    return tuple(Stanza(kind, tuple(args), b"") for kind, *args in words)


def fits(stanza: Stanza, recipient: Recipient) -> bool:
    """Return whether `stanza` can be that of `recipient`, by its type and its tag.

    The stanza type of a plugin is unknown; if the plugin is known to write tags, the
    tag must match.
    """
    match recipient.kind:
        case Kind.X25519:
            return stanza.type == "X25519" and len(stanza.args) == 1
        case Kind.PQ:
            return stanza.type == "mlkem768x25519"
        case Kind.PLUGIN:
            usual = stanza_tag(recipient)
            return not usual or usual[0] != stanza.type or _carries(stanza, recipient)
        case Kind.SSH_ED25519 | Kind.SSH_RSA | Kind.TAG | Kind.TAG_PQ:
            return _carries(stanza, recipient)
        case _ as never:
            assert_never(never)


def describe(stanza: Stanza) -> str:
    """Return the type of a stanza, with its tag if it has one (`TYPE:TAG`)."""
    if _has_tag(stanza):
        return f"{stanza.type}:{stanza.args[0]}"
    return stanza.type


def _recorded(record: Record | None, sha256: str) -> tuple[Readers, str]:
    """Return the recorded recipients and how they are known; or None and why not."""
    if record is None:
        return None, _NO_RECORD
    if record.sha256 != sha256:
        return None, _CHANGED
    return record.recipients, record.how


@lru_cache(maxsize=1024)  # thousands of files show the same stanzas
def _state(show: shape.Shown, book: KeyBook, readers: Readers, why: str) -> State:
    """Return the state; `readers` and `why` are the result of `_recorded`."""
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
    """Return the owners of all entries by their tags, None if one is not known."""
    tagged = [_owner(stanza, book) for stanza in entries]
    owners = tuple(recipient for recipient in tagged if recipient)
    return Exact(owners) if len(owners) == len(entries) else None


def _owner(stanza: Stanza, book: KeyBook) -> Recipient | None:
    """Return the only known key with the tag of a stanza, None if not exactly one."""
    if not _has_tag(stanza):
        return None
    known = book.by_tag(stanza.type, stanza.args[0], _share(stanza))
    return known[0] if len(known) == 1 else None


def _why_unknown(entries: tuple[Stanza, ...], book: KeyBook, why: str) -> str:
    """Return the reason: an unknown tag if all stanzas have tags, else the lock's."""
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
    """Return whether a stanza is of a type with a tag and has all its arguments."""
    return len(stanza.args) == _TAGGED.get(stanza.type)


def _share(stanza: Stanza) -> bytes:
    """Return the HPKE encapsulated key if a stanza's tag depends on it, else b''."""
    if stanza.type not in SHARE_TAGGED:
        return b""
    try:
        return header.decode_base64(stanza.args[1].encode("ascii"))
    except ValueError:
        return b""
