"""Wrapping a file key for one recipient, and unwrapping it (C2SP age.md).

For `X25519` stanzas ("X25519 recipient stanza") and `ssh-ed25519` stanzas
(FiloSottile/age:agessh/agessh.go); pyrage handles all other types.  Enforces the
specification: a share and a body of exactly the right size, canonical base64, no
all-zero shared secret, a fresh ephemeral secret for each stanza.
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
_BODY_SIZE = FILE_KEY_SIZE + 16  # with the tag of ChaCha20-Poly1305
_LABELS = {
    Kind.X25519: b"age-encryption.org/v1/X25519",
    Kind.SSH_ED25519: b"age-encryption.org/v1/ssh-ed25519",
}
# all zero by the specification, as each wrapping key encrypts only one file key
_NONCE = bytes(12)


@frozen
class Proof:
    """The ephemeral secret of a stanza, to verify that `recipient` can open it.

    `share` is its public key.  Anyone who knows the secret can open the stanza, so it
    must not leave the process.
    """

    recipient: Recipient
    ephemeral: bytes = field(repr=False)
    share: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError("a proof is not to be pickled")


@frozen
class Wrapped:
    """A new stanza, encoded as in a header (`AgeFile.encoded`), and its proof."""

    encoded: bytes
    proof: Proof


def wrap(file_key: bytes, recipient: Recipient) -> Wrapped:
    """Wrap a file key (16 bytes) for one recipient of kind X25519 or ssh-ed25519.

    Raises:
        KeyFormatError: the recipient is of another kind.
        SecretFileError: its public key has low order.
    """
    ephemeral = os.urandom(_SHARE_SIZE)
    proof = Proof(recipient, ephemeral, _public_half(ephemeral))
    return Wrapped(_stanza(file_key, proof, _target(recipient)), proof)


def opens_to(encoded: bytes, proof: Proof, file_key: bytes) -> bool:
    """Return whether the recipient's private key opens a stanza to `file_key`.

    The stanza is a function of the ephemeral secret, the recipient and the file key.
    So it is computed once more, with the key parsed again from the recipient's text,
    and compared.  That is the only proof without the private key.
    """
    target = _target_of_text(proof.recipient.text)
    return encoded == _stanza(file_key, proof, target)


def unwrap(stanza: Stanza, identity: Identity) -> bytes | None:
    """Return the file key (16 bytes) in `stanza`, None if `identity` does not open it.

    An ssh key also opens the stanzas for its X25519 form, and a converted X25519 secret
    those for the ssh key.

    Raises:
        SecretFileError: the stanza is X25519, or ssh-ed25519 with the identity's tag,
            and its share or body is malformed.
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
    """Import the cryptographic libraries before a fork, so that no child has to."""
    import pyrage
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from nacl import bindings

    del pyrage, InvalidTag, AESGCM, bindings


def header_mac(file_key: bytes, header: bytes) -> bytes:
    """Return the MAC (32 bytes) of a header, its bytes from the start through `---`."""
    return _hmac(hkdf(file_key, b"", b"header"), header)


def check_mac(file: AgeFile, key: bytes) -> None:
    """Verify the header's MAC under the file key.

    Raises:
        SecretFileError: it is wrong.
    """
    if not hmac.compare_digest(header_mac(key, file.header), file.mac):
        raise SecretFileError(
            "the header of the age file was changed after it was written",
            "a merge or a person changed it: nixsecrets explain NS018 if git is"
            " merging, else restore it from a commit with an intact version",
        )


@frozen
class _Target:
    """What `_stanza` needs of a recipient, computed once.

    `head` is the argument line without the share.  `point` is the X25519 public key,
    a part of the salt.  `effective` is the point that the ephemeral secret is
    multiplied with: for ssh-ed25519 the public key times the tweak.  As scalar
    multiplications commute, that saves one of two for each further stanza.
    """

    head: bytes
    point: bytes
    effective: bytes
    label: bytes


@frozen
class _Opener:
    """What `unwrap` needs of an identity; `tweaks` of its ssh keys by their tags."""

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
    # not through `_target`, whose cached result is what has to be verified
    return _derive_target(parse_recipient(text))


@lru_cache(maxsize=64)
def _opener(identity: X25519Identity | SshEd25519Identity) -> _Opener:
    point = _public_half(identity.x25519_secret)
    tweaks = {tag_of(blob): _tweak(blob) for blob in identity.ssh_blobs}
    return _Opener(identity.x25519_secret, point, tweaks)


def _tweak(blob: bytes) -> bytes:
    """Return the scalar that an ssh-ed25519 stanza adds to the key exchange."""
    return hkdf(b"", blob, _LABELS[Kind.SSH_ED25519])


def _stanza(file_key: bytes, proof: Proof, target: _Target) -> bytes:
    """Return an encoded stanza: the share, and the file key encrypted as its body.

    The wrapping key is HKDF of the shared secret, with share and public key as salt and
    the type's label as info.
    """
    shared = _multiplied(proof.ephemeral, target.effective)
    key = hkdf(shared, proof.share + target.point, target.label)
    body = encrypted(key, _NONCE, file_key)
    share = encode_base64(proof.share)
    return b"%b%b\n%b\n" % (target.head, share, encode_base64(body))


def _share(stanza: Stanza, args: tuple[str, ...]) -> bytes:
    """Return the ephemeral share (32 bytes) of a stanza; check all sizes.

    The size of the body must be checked before decryption: a longer one could decrypt
    under several keys (C2SP age.md, "partitioning oracle attacks").
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
    """Return the file key in a stanza's body, None if it is for another key."""
    return decrypted(hkdf(shared, salt, _LABELS[kind]), _NONCE, body)


# --- primitives -------------------------------------------------------------------
#
# The libraries take 20 to 35 ms to import, so they are imported on first use.  A grant
# calls these functions thirty times per file, so the lookups are cached.


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes of HKDF-SHA256 (RFC 5869): extract, then one block of expand."""
    return _hmac(_hmac(salt, key), info + b"\x01")


def encrypted(key: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """Return ciphertext and tag of ChaCha20-Poly1305, without associated data."""
    return _chacha()(key).encrypt(nonce, plaintext, None)


def decrypted(key: bytes, nonce: bytes, ciphertext: bytes) -> bytes | None:
    """Return the plaintext of ChaCha20-Poly1305, None if the tag is wrong."""
    try:
        return _chacha()(key).decrypt(nonce, ciphertext, None)
    except _invalid_tag():
        return None


def _multiplied(secret: bytes, point: bytes) -> bytes:
    """Return X25519(secret, point) (RFC 7748).

    Raises:
        SecretFileError: the result is all zero: the point has low order.
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
