"""Whether a key could read an earlier version of a secret file."""

from collections.abc import Iterable
from enum import StrEnum

from nixsecrets.errors import SecretFileError
from nixsecrets.files.age import header
from nixsecrets.files.age.state import fits
from nixsecrets.files.kind import looks_like_age, looks_like_sops
from nixsecrets.files.sops import metadata
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.recipients import Recipient
from nixsecrets.keys.tags import SHARE_TAGGED, stanza_tag
from nixsecrets.repo.files import sha256


class Access(StrEnum):
    """Whether a key could read a version; PERHAPS if its stanzas are anonymous."""

    YES = "yes"
    PERHAPS = "perhaps"
    NO = "no"


def could_read(path: str, data: bytes, key: Recipient, lock: Lock) -> Access:
    """Return whether `key` could read a version of a file; `lock` has old records."""
    try:
        if looks_like_age(data):
            return _could_read_age(path, data, key, lock)
        return Access.YES if _names_key(path, data, key) else Access.NO
    except SecretFileError:  # a corrupt version: nobody could read it
        return Access.NO


def _could_read_age(path: str, data: bytes, key: Recipient, lock: Lock) -> Access:
    fitting = any(fits(stanza, key) for stanza in header.parse(data).entries)
    if not fitting or is_tagged(key):
        return Access.YES if fitting else Access.NO
    record = lock.record(path, sha256(data))
    if record is None:
        return Access.PERHAPS
    return Access.YES if _is_among(key, record.recipients) else Access.NO


def _names_key(path: str, data: bytes, key: Recipient) -> bool:
    texts = {key.text.encode(), key.converted().text.encode()}
    if not any(text in data for text in texts):
        return False
    if not looks_like_sops(path, data):
        return False
    entries = metadata.parse(path, data).entries
    return _is_among(key, (e.recipient for e in entries if e.recipient is not None))


def _is_among(key: Recipient, recipients: Iterable[Recipient]) -> bool:
    return any(recipient.key_id == key.key_id for recipient in recipients)


def is_tagged(key: Recipient) -> bool:
    """Return whether age stanzas for a key have a tag that identifies it."""
    return stanza_tag(key) is not None or key.kind in SHARE_TAGGED.values()
