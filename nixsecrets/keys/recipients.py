"""Recipients: the public keys a file can be encrypted to."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

KeyId = NewType("KeyId", str)
"""One per key whatever its form: an ssh-ed25519 key and its conversion share it."""


class Kind(StrEnum):
    """The kinds of recipient that age, rage and their plugins know."""

    X25519 = "X25519"
    SSH_ED25519 = "ssh-ed25519"
    SSH_RSA = "ssh-rsa"
    TAG = "tag"
    TAG_PQ = "tagpq"
    PQ = "pq"
    PLUGIN = "plugin"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A validated public key; equal when kind and key bytes are equal.

    `key` is the 32-byte point (X25519), the ssh wire blob (ssh kinds), or the bech32
    data (`tag`, `tagpq`, `pq`; for plugins with the prefix `hrp NUL`).  `text` is the
    canonical text without comment.
    """

    kind: Kind
    key: bytes
    text: str = field(compare=False)
    comment: str = field(default="", compare=False)
