"""ssh private key files: whether they need a passphrase, and opening them.

Reads the unencrypted part of the OpenSSH container (PROTOCOL.key of openssh-portable)
itself; the library `cryptography` reads the private part.
"""

import binascii
import os

from nixsecrets.errors import IdentityError, KeyFormatError
from nixsecrets.frozen import field, frozen
from nixsecrets.keys.recipients import ssh_string

_MAGIC = b"openssh-key-v1\0"
_OPENABLE_CIPHERS = ("aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com")
_OPENSSH = "OPENSSH PRIVATE KEY"
_PADDED_TO = 8  # bytes, where there is no cipher
_COLUMNS = 70  # letters in a line, as ssh-keygen writes them
_LABELS = (_OPENSSH, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY")


@frozen
class Ed25519Key:
    """The seed (32 bytes) of an ed25519 key and its public key (32 bytes)."""

    seed: bytes = field(repr=False)
    public: bytes


@frozen
class RsaKey:
    """An rsa key as an OpenSSH file without passphrase, and its public key line."""

    pem: bytes = field(repr=False)
    public: str


@frozen
class Protection:
    """Whether a key file needs a passphrase, and its public blob if readable."""

    locked: bool
    public_blob: bytes | None


def inspect(pem: bytes) -> Protection:
    """Return how the private key file `pem` is protected.

    Raises:
        IdentityError: the file is corrupt, is not a supported kind of key, or is
            encrypted with a cipher that `cryptography` does not support.
    """
    label = pem.split(b"\n", 1)[0].strip().strip(b"-").removeprefix(b"BEGIN ").decode()
    if label not in _LABELS:
        raise IdentityError(
            f"a file of type {label} is no age identity",
            "use an age identity, or an ssh key of type ed25519 or rsa",
        )
    if label == _OPENSSH:
        return _inspect_openssh(pem)
    locked = label.startswith("ENCRYPTED") or b"\nProc-Type: 4,ENCRYPTED" in pem
    return Protection(locked, None)


def _inspect_openssh(pem: bytes) -> Protection:
    cipher, blob, _ = _container(pem)
    if cipher == "none":
        return Protection(locked=False, public_blob=blob)
    if cipher not in _OPENABLE_CIPHERS:
        raise IdentityError(
            f"the ssh key is locked with the cipher {cipher}, which cannot be opened",
            "encrypt it again, with the same passphrase if you like: "
            "ssh-keygen -p -Z aes256-ctr -f FILE",
        )
    return Protection(locked=True, public_blob=blob)


def _container(pem: bytes) -> tuple[str, bytes, bytes]:
    """Return the cipher's name, the public blob and the rest of an OpenSSH key."""
    try:
        encoded = b"".join(pem.strip().split(b"\n")[1:-1])
        data = binascii.a2b_base64(encoded, strict_mode=True)
        if not data.startswith(_MAGIC):
            raise ValueError("no OpenSSH key")
        cipher, rest = ssh_string(data[len(_MAGIC) :])
        _kdf, rest = ssh_string(rest)
        _kdf_options, rest = ssh_string(rest)
        blob, private = ssh_string(rest[4:])  # after the number of keys, which is 1
        return cipher.decode("ascii"), blob, private
    except (binascii.Error, ValueError) as error:
        raise IdentityError(
            "the ssh private key is corrupt", "copy the whole file again"
        ) from error


def load(pem: bytes, passphrase: bytes | None = None) -> Ed25519Key | RsaKey:
    """Open the private key file `pem`.

    Raises:
        IdentityError: the passphrase is wrong, the file is corrupt, or the key is
            neither ed25519 nor rsa; the message quotes nothing of the file.
    """
    # 30 ms: only commands that open an ssh key need it
    usual = None if passphrase else _unlocked_ed25519(pem)
    if usual is not None:
        return usual
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = _load(pem, passphrase)
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519Key(key.private_bytes_raw(), key.public_key().public_bytes_raw())
    if isinstance(key, RSAPrivateKey):
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        unlocked = key.private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
        return RsaKey(unlocked, public.decode())
    raise IdentityError(
        "age opens nothing with this kind of private key",
        "use an ssh key of type ed25519 or rsa, or an age identity",
    )


def _unlocked_ed25519(pem: bytes) -> Ed25519Key | None:
    """Return an ed25519 key that is not locked, as ssh-keygen writes it.

    cryptography, which reads every other one, takes 20 ms to load.  None for those, and
    for a key in which anything is odd.
    """
    if not pem.startswith(b"-----BEGIN " + _OPENSSH.encode()):
        return None
    try:
        cipher, blob, private = _container(pem)
        kind, rest = ssh_string(blob)
        public, _ = ssh_string(rest)
        section, end = ssh_string(private)
        check, again, rest = section[:4], section[4:8], section[8:]
        same_kind, rest = ssh_string(rest)
        same_public, rest = ssh_string(rest)
        pair, rest = ssh_string(rest)
        _comment, padding = ssh_string(rest)
    except (IdentityError, KeyFormatError):
        return None
    usual = (
        cipher == "none"
        and kind == same_kind == b"ssh-ed25519"
        and check == again
        and public == same_public == pair[32:]
        and len(pair) == 2 * len(public) == 64
        and padding == bytes(range(1, len(padding) + 1))
        and len(section) % _PADDED_TO == 0
        and not end
    )
    return Ed25519Key(pair[:32], public) if usual else None


def _load(pem: bytes, passphrase: bytes | None) -> object:
    # as in `load`
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )

    openssh = pem.startswith(b"-----BEGIN OPENSSH")
    reader = load_ssh_private_key if openssh else load_pem_private_key
    try:
        # Validating the primes of a 4096-bit key takes 0.3 s.  It protects against a
        # key chosen by somebody else; this one is the operator's own.
        return reader(pem, passphrase, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm as error:
        raise IdentityError(
            "the private key is of a kind, or locked in a way, that cannot be opened",
            "convert it with: ssh-keygen -p -f FILE",
        ) from error
    except (ValueError, TypeError, InvalidTag) as error:
        if passphrase is None:
            raise IdentityError(
                "the private key is corrupt", "copy the whole file again"
            ) from error
        raise IdentityError("the passphrase is wrong") from error


def openssh_pem(seed: bytes, public: bytes) -> bytes:
    """Return the OpenSSH private key file, without passphrase, of an ed25519 key.

    Both are 32 bytes.  The format is that of PROTOCOL.key in OpenSSH.
    """
    check = os.urandom(4)  # twice the same: what is decrypted wrongly shows
    kind = b"ssh-ed25519"
    section = b"".join(
        (check, check, *map(_string, (kind, public, seed + public, b"")))
    )
    section += bytes(range(1, 1 + -len(section) % _PADDED_TO))
    blob = _string(kind) + _string(public)
    locks = (b"none", b"none", b"")  # cipher, key derivation and its options
    head = _MAGIC + b"".join(map(_string, locks)) + (1).to_bytes(4, "big")
    text = binascii.b2a_base64(head + _string(blob) + _string(section), newline=False)
    lines = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
    label = _OPENSSH.encode()
    begin, end = b"-----BEGIN %b-----" % label, b"-----END %b-----" % label
    return b"\n".join((begin, *lines, end, b""))


def _string(data: bytes) -> bytes:
    """Return a string as ssh writes it (RFC 4251 section 5)."""
    return len(data).to_bytes(4, "big") + data
