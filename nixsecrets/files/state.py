"""What a secret file tells about its readers without a private key."""

from typing import NamedTuple

from nixsecrets.files.sops.selectors import LeftOpen
from nixsecrets.frozen import frozen
from nixsecrets.keys.foreign import ForeignKey
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient


@frozen
class Exact:
    """An age file whose every stanza carries a tag that fits exactly one known key."""

    recipients: tuple[Recipient, ...]


@frozen
class Recorded:
    """An age file that the lock vouches for: hash, types, count and tags agree."""

    recipients: tuple[Recipient, ...]
    how: str


@frozen
class Stated:
    """A sops file: its labels, checked against the tags where there are any."""

    recipients: tuple[Recipient, ...]


@frozen
class Unknown:
    """The readers are unknown; `seen` describes each stanza (`ssh-rsa:tag`)."""

    reason: str
    seen: tuple[str, ...] = ()


State = Exact | Recorded | Stated | Unknown


class Actual(NamedTuple):
    """One secret file as it lies on the disk (`state.recipients` in file order).

    `key_prints` are the MAC of the age header and the nonce of its payload, or the tags
    that end each sops `enc` and the MAC: two files that share one were copied from each
    other and share their symmetric key.
    `others` are the keys of the PGP, KMS and Vault entries of a sops file.
    `options` are the sops selection options that the file records.  `refusal` says why
    the file cannot be changed by us (several key groups, scrypt), else None.
    `left_open` is what a sops file has in plaintext that re-encrypting would encrypt.
    `plainly_whole` says that a quick look found it whole; where it did not,
    `files.faults` looks closely.  `typed` says that values of a sops file have types
    that not every content fits (`engine.types`).  `noisy` are the places of sops
    entries that hold noise, which may be anybody's stanza: a grant replaces them.
    """

    path: str
    backend: Backend
    sha256: str
    state: State
    key_prints: tuple[bytes, ...] = ()
    others: tuple[ForeignKey, ...] = ()
    options: tuple[tuple[str, str | bool], ...] = ()
    armored: bool = False
    refusal: str | None = None
    plainly_whole: bool = False
    left_open: LeftOpen = LeftOpen()
    typed: bool = False
    noisy: tuple[int, ...] = ()

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The readers found; empty where the state is unknown."""
        return () if isinstance(self.state, Unknown) else self.state.recipients


class NotSecret(NamedTuple):
    """A file that is not encrypted (`empty` when it has no bytes)."""

    path: str
    sha256: str
    empty: bool = False


class Damaged(NamedTuple):
    """A file that starts like a secret and is not a whole one."""

    path: str
    backend: Backend
    sha256: str
    reason: str
    too_large: bool = False


class Record(NamedTuple):
    """The lock's word on one age file: readers in stanza order, hash, how known."""

    recipients: tuple[Recipient, ...]
    sha256: str
    how: str
