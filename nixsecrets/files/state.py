"""The state of a secret file: its recipients, as far as known without a private key."""

from nixsecrets.files.sops.selectors import LeftOpen
from nixsecrets.frozen import NamedTuple, frozen
from nixsecrets.keys.foreign import ForeignKey
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient


@frozen
class Exact:
    """An age file in which the tag of every stanza matches exactly one known key."""

    recipients: tuple[Recipient, ...]


@frozen
class Recorded:
    """An age file with a record in the lock: hash, stanza types, count and tags agree.

    `how` the recipients are known, as in the lock: "written" or "adopted".
    """

    recipients: tuple[Recipient, ...]
    how: str


@frozen
class Stated:
    """A sops file: the labels of its entries, which agree with any tags in them."""

    recipients: tuple[Recipient, ...]


@frozen
class Unknown:
    """The recipients are unknown; `seen` describes each stanza (`ssh-rsa:TAG`)."""

    reason: str
    seen: tuple[str, ...] = ()


State = Exact | Recorded | Stated | Unknown


class Actual(NamedTuple):
    """One secret file on the disk (`state.recipients` in file order).

    - `key_prints`: age: the MAC of the header and the nonce of the payload; sops: the
      tag of each `enc` and the MAC.  Files that share one are copies of each other and
      share their symmetric key.
    - `others`: the keys of the PGP, KMS and Vault entries of a sops file.
    - `options`: the sops selection options in the file's metadata.
    - `refusal`: why nixsecrets cannot change the file (several key groups, scrypt).
    - `surely_complete`: a quick look found no fault; otherwise `files.faults` decides.
    - `left_open`: what a sops file has in plaintext that re-encrypting would encrypt.
    - `typed`: a sops file has values of types that restrict them (`engine.types`).
    - `noisy`: the indexes of sops entries with grease, which may be anyone's stanza; a
      grant replaces them.
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
    surely_complete: bool = False
    left_open: LeftOpen = LeftOpen()
    typed: bool = False
    noisy: tuple[int, ...] = ()

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The recipients; empty if they are unknown."""
        return () if isinstance(self.state, Unknown) else self.state.recipients


class NotSecret(NamedTuple):
    """A file that is not encrypted; `empty` if it has no bytes."""

    path: str
    sha256: str
    empty: bool = False


class Damaged(NamedTuple):
    """A file that looks like a secret but is corrupt or incomplete."""

    path: str
    backend: Backend
    sha256: str
    reason: str
    too_large: bool = False


class Record(NamedTuple):
    """The record of an age file in the lock; recipients in stanza order."""

    recipients: tuple[Recipient, ...]
    sha256: str
    how: str
