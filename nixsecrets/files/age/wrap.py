"""Wrapping a file key for one recipient, and unwrapping it (C2SP age.md).

Writes and opens `X25519` stanzas ("X25519 recipient stanza") and `ssh-ed25519` stanzas
(age's agessh package); pyrage handles every other type.  It enforces what the
specification demands: a share and a body of exactly the right size, canonical base64,
no all-zero shared secret, a fresh ephemeral secret for each stanza.  The primitives
below serve `payload`, too.
"""

import hmac
import os
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NoReturn

from nixsecrets.errors import KeyFormatError, SecretFileError
from nixsecrets.files.age.header import AgeFile, Stanza, decode_base64, encode_base64
from nixsecrets.frozen import field, frozen
from nixsecrets.keys.identities import Identity, SshEd25519Identity, X25519Identity
from nixsecrets.keys.recipients import Kind, Recipient, parse_recipient, tag_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

FILE_KEY_SIZE = 16
_SHARE_SIZE = 32
_BODY_SIZE = FILE_KEY_SIZE + 16
_LABELS = {
    Kind.X25519: b"age-encryption.org/v1/X25519",
    Kind.SSH_ED25519: b"age-encryption.org/v1/ssh-ed25519",
}
# All zero by the specification: a wrapping key encrypts one file key and no more.
_NONCE = bytes(12)


@frozen
class Proof:
    """The ephemeral secret of a stanza, which proves that `recipient` can open it.

    `share` is the secret's public half.  Anyone who holds the secret can open that
    stanza, so it never leaves the process that wrapped.
    """

    recipient: Recipient
    ephemeral: bytes = field(repr=False)
    share: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        """Refuse to be sent to another process."""
        raise TypeError("a proof is not to be pickled")


@frozen
class Wrapped:
    """A new stanza as a header spells it (`AgeFile.spelled`), and its proof."""

    spelled: bytes
    proof: Proof


def wrap(file_key: bytes, recipient: Recipient) -> Wrapped:
    """Wrap a file key (16 bytes) for one recipient of kind X25519 or ssh-ed25519.

    Raises:
        KeyFormatError: the recipient is of another kind.
        SecretFileError: its key is degenerate.
    """
    ephemeral = os.urandom(_SHARE_SIZE)
    proof = Proof(recipient, ephemeral, _public_half(ephemeral))
    return Wrapped(_stanza(file_key, proof, _target(recipient)), proof)


def opens_to(spelled: bytes, proof: Proof, file_key: bytes) -> bool:
    """Return whether the recipient's private key opens a stanza to `file_key`.

    The stanza is a function of the ephemeral secret, the recipient and the file key.
    It is computed again, from the recipient's text and not from its parsed key, and
    compared: the only proof for a recipient whose private key we lack.
    """
    target = _target_of_text(proof.recipient.text)
    return spelled == _stanza(file_key, proof, target)


def unwrap(stanza: Stanza, identity: Identity) -> bytes | None:
    """Return the file key that `identity` finds in `stanza`, None if it is not for it.

    Either key of a converted pair opens either form: an ssh key the stanzas for its
    conversion, and an X25519 secret the ssh stanzas of the key it was converted from.

    Raises:
        SecretFileError: a stanza of our types (for ssh-ed25519: with our tag) whose
            share or body is not as the specification demands.
    """
    if not isinstance(identity, X25519Identity | SshEd25519Identity):
        return None
    if stanza.type == Kind.X25519:
        opener = _opener(identity)
        share = _share(stanza, stanza.args)
        shared = _multiplied(opener.private, share)
        return _open(stanza.body, shared, share + opener.point, Kind.X25519)
    if stanza.type == Kind.SSH_ED25519:
        opener = _opener(identity)
        tweak = opener.tweaks.get(stanza.args[0]) if stanza.args else None
        if tweak is None:
            return None
        share = _share(stanza, stanza.args[1:])
        shared = _multiplied(tweak, _multiplied(opener.private, share))
        return _open(stanza.body, shared, share + opener.point, Kind.SSH_ED25519)
    return None


def load_libraries() -> None:
    """Load what wraps and opens: once before a process forks, not in every child."""
    import pyrage
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from nacl import bindings

    del pyrage, InvalidTag, AESGCM, bindings


def header_mac(file_key: bytes, header: bytes) -> bytes:
    """Return the MAC of a header (its bytes from the first one through `---`)."""
    return _hmac(hkdf(file_key, b"", b"header"), header)


def check_mac(file: AgeFile, key: bytes) -> None:
    """Raise `SecretFileError` unless the header's MAC is right under the file key."""
    if not hmac.compare_digest(header_mac(key, file.header), file.mac):
        raise SecretFileError(
            "the header of the age file was changed after it was written",
            "a merge or a person changed it: nixsecrets explain NS018 if git is"
            " merging, else restore it from a commit with an intact version",
        )


@frozen
class _Target:
    """Where a recipient's stanzas are aimed: what `_stanza` needs, computed once.

    `head` is the argument line but for the share.  `point` stands in the salt.
    `effective` is what the ephemeral secret is multiplied with: for ssh-ed25519 the
    point times the tweak, since scalar multiplications commute; that saves one of two
    for every stanza after the first.
    """

    head: bytes
    point: bytes
    effective: bytes
    label: bytes


@frozen
class _Opener:
    """What an identity needs to open stanzas; the tweaks of its ssh keys by tag."""

    private: bytes = field(repr=False)
    point: bytes
    tweaks: dict[str, bytes] = field(repr=False)


def _derive_target(recipient: Recipient) -> _Target:
    if recipient.kind not in _LABELS:
        raise KeyFormatError(
            f"a stanza of kind {recipient.kind} can only be written by re-encrypting",
            "run `nixsecrets rekey` for the file",
        )
    head, effective = b"-> X25519 ", recipient.point
    if recipient.kind is Kind.SSH_ED25519:
        head = f"-> ssh-ed25519 {recipient.tag} ".encode()
        effective = _multiplied(_tweak(recipient.key), recipient.point)
    return _Target(head, recipient.point, effective, _LABELS[recipient.kind])


_target = lru_cache(maxsize=8192)(_derive_target)


@lru_cache(maxsize=8192)
def _target_of_text(text: str) -> _Target:
    # Not through `_target`, whose cache would answer with what is to be checked.
    return _derive_target(parse_recipient(text))


@lru_cache(maxsize=64)
def _opener(identity: X25519Identity | SshEd25519Identity) -> _Opener:
    point = _public_half(identity.x25519_secret)
    tweaks = {tag_of(blob): _tweak(blob) for blob in identity.ssh_blobs}
    return _Opener(identity.x25519_secret, point, tweaks)


def _tweak(blob: bytes) -> bytes:
    """Return the scalar by which an ssh key differs from its X25519 conversion."""
    return hkdf(b"", blob, _LABELS[Kind.SSH_ED25519])


def _stanza(file_key: bytes, proof: Proof, target: _Target) -> bytes:
    """Return a stanza: the share, and the file key under HKDF of the shared secret.

    The salt is share and recipient, the info the label of the type.
    """
    shared = _multiplied(proof.ephemeral, target.effective)
    key = hkdf(shared, proof.share + target.point, target.label)
    body = encrypted(key, _NONCE, file_key)
    share = encode_base64(proof.share)
    return b"%b%b\n%b\n" % (target.head, share, encode_base64(body))


def _share(stanza: Stanza, args: tuple[str, ...]) -> bytes:
    """Return the ephemeral share, after all sizes were checked.

    The body's size matters before anything is decrypted: a longer one could be built
    to open under several keys (C2SP age.md, "partitioning oracle attacks").
    """
    if len(args) == 1 and len(stanza.body) == _BODY_SIZE:
        try:
            share = decode_base64(args[0].encode())
        except ValueError:
            share = b""
        if len(share) == _SHARE_SIZE:
            return share
    raise SecretFileError(
        f"a stanza of type {stanza.type} of the age file is malformed",
        "restore the file from git, or encrypt the secret again",
    )


def _open(body: bytes, shared: bytes, salt: bytes, kind: Kind) -> bytes | None:
    """Return the file key in a body, None where it is for another key."""
    return decrypted(hkdf(shared, salt, _LABELS[kind]), _NONCE, body)


# --- primitives -------------------------------------------------------------------
#
# The libraries are imported on first use and looked up once: a grant calls these
# functions thirty times for each file.


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes of HKDF-SHA256 (RFC 5869): extract, then one block of expand."""
    return _hmac(_hmac(salt, key), info + b"\x01")


def encrypted(key: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """Return ciphertext and tag of ChaCha20-Poly1305, without associated data."""
    return _chacha()(key).encrypt(nonce, plaintext, None)


def decrypted(key: bytes, nonce: bytes, ciphertext: bytes) -> bytes | None:
    """Return the plaintext, None where the tag does not fit key and ciphertext."""
    try:
        return _chacha()(key).decrypt(nonce, ciphertext, None)
    except _invalid_tag():
        return None


def _multiplied(secret: bytes, point: bytes) -> bytes:
    """Return X25519(secret, point).

    Raises:
        SecretFileError: the result is all zero, as for a point of low order.
    """
    from nacl.bindings import crypto_scalarmult

    try:
        return crypto_scalarmult(secret, point)
    except RuntimeError:
        raise SecretFileError(
            "a stanza of the age file holds a degenerate share",
            "someone tampered with the file; restore it from git",
        ) from None


def _public_half(secret: bytes) -> bytes:
    """Return X25519(secret, base point)."""
    from nacl.bindings import crypto_scalarmult_base

    return crypto_scalarmult_base(secret)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


@cache
def _chacha() -> "type[ChaCha20Poly1305]":
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305


@cache
def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
