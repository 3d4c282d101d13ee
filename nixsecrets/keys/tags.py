"""Tags: what an age stanza tells about its reader to those who know the public key.

Computes what the stanzas of a key carry; opens and compares nothing.
"""

import hashlib
import hmac

from nixsecrets.keys import p256
from nixsecrets.keys.recipients import Kind, Recipient, tag_of, unpadded_base64

_ML_KEM_768_SIZE = 1184
SHARE_TAGGED = {"p256tag": Kind.TAG, "mlkem768p256tag": Kind.TAG_PQ}
"""Stanza types whose tag depends on the share in the stanza, and their recipients."""


def stanza_tag(recipient: Recipient) -> tuple[str, str] | None:
    """Return (stanza type, tag) where this key's stanzas always carry the same tag.

    ssh keys, the keys of age-plugin-yubikey (`piv-p256`) and age-plugin-tpm
    (`tpm-ecc`).  None for stanzas that are anonymous or of `SHARE_TAGGED` types.
    """
    if recipient.tag:
        return recipient.kind.value, recipient.tag
    if recipient.kind is not Kind.PLUGIN:
        return None
    prefix, _, point = recipient.key.partition(b"\0")
    if prefix == b"age1yubikey":
        return "piv-p256", tag_of(point)
    if prefix == b"age1tpm":
        try:
            return "tpm-ecc", tag_of(p256.uncompress(point))
        except ValueError:
            return None
    return None


def share_tag(recipient: Recipient, stanza: str, share: bytes) -> str | None:
    """Return the tag that `recipient` has in a stanza with the HPKE share `share`.

    None where the key has no stanzas of type `stanza`.  HKDF-Extract over the share
    and a hash of the P-256 point (C2SP age.md, "tagged recipient types").
    """
    if SHARE_TAGGED.get(stanza) is not recipient.kind:
        return None
    point = recipient.key
    if recipient.kind is Kind.TAG_PQ:
        point = point[_ML_KEM_768_SIZE:]
    label = f"age-encryption.org/{stanza}".encode()
    hashed = hashlib.sha256(point).digest()[:4]
    return unpadded_base64(hmac.digest(label, share + hashed, "sha256")[:4])
