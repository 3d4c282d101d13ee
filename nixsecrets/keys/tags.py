"""Tags: 4-byte hashes by which an age stanza identifies a known public key."""

from nixsecrets.keys import p256
from nixsecrets.keys.recipients import Kind, Recipient, tag_of, unpadded_base64

_ML_KEM_768_SIZE = 1184
SHARE_TAGGED = {"p256tag": Kind.TAG, "mlkem768p256tag": Kind.TAG_PQ}
"""Stanza types whose tag depends on the encapsulated key, and the kind of key."""


def stanza_tag(recipient: Recipient) -> tuple[str, str] | None:
    """Return (stanza type, tag) of a key whose stanzas always carry the same tag.

    These are ssh keys and the keys of age-plugin-yubikey (`piv-p256`) and
    age-plugin-tpm (`tpm-ecc`).  None for keys with anonymous stanzas, and for those
    whose stanza types are in `SHARE_TAGGED`.
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
    """Return the tag of `recipient` in a stanza with the HPKE encapsulated key `share`.

    HKDF-Extract over the share and a hash of the P-256 point (C2SP age.md, "tagged
    recipient types").  None if the key has no stanzas of type `stanza`.
    """
    if SHARE_TAGGED.get(stanza) is not recipient.kind:
        return None
    import hashlib  # for the keys of few plugins
    import hmac

    point = recipient.key
    if recipient.kind is Kind.TAG_PQ:
        point = point[_ML_KEM_768_SIZE:]  # the P-256 point follows the ML-KEM key
    label = f"age-encryption.org/{stanza}".encode()
    hashed = hashlib.sha256(point).digest()[:4]
    return unpadded_base64(hmac.digest(label, share + hashed, "sha256")[:4])
