"""Generators for new secrets: passwords and keys, from the system's random source."""

import base64
import secrets
import string
from collections.abc import Callable

from nixsecrets.frozen import field, frozen
from nixsecrets.keys.identities import X25519Identity
from nixsecrets.keys.newkey import new_ssh_key

_SIZE = 32
_ALPHABET = string.ascii_letters + string.digits + "-_"
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"


@frozen
class Fresh:
    """A new secret; `public` is its public key, if any, as one line without newline."""

    secret: bytes = field(repr=False)
    public: str | None = None


def password(length: int) -> Fresh:
    """Return `length` letters, digits, dashes and underscores (6 bits each)."""
    return _text("".join(secrets.choice(_ALPHABET) for _ in range(length)))


def passphrase(length: int) -> Fresh:
    """Return `length` pronounceable words of five letters (16 bits each).

    The words are proquints (arXiv 0901.4016): consonants and vowels in turn.
    """
    shape = (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS)
    words = ("".join(map(secrets.choice, shape)) for _ in range(length))
    return _text("-".join(words))


def hexadecimal(length: int) -> Fresh:
    """Return `length` random bytes in hexadecimal."""
    return _text(secrets.token_hex(length))


def base64_text(length: int) -> Fresh:
    """Return `length` random bytes as base64."""
    return _text(base64.b64encode(secrets.token_bytes(length)).decode())


def ssh_ed25519(_length: int) -> Fresh:
    """Return an OpenSSH private key file without passphrase and comment."""
    pair = new_ssh_key("")
    return Fresh(pair.private, pair.public.text)


def age(_length: int) -> Fresh:
    """Return an age identity file as `age-keygen` writes it, without a date."""
    identity = X25519Identity.generate("")
    public = identity.recipients[0].text
    text = f"# public key: {public}\n{identity.secret_text()}\n"
    return Fresh(text.encode(), public)


def wireguard(_length: int) -> Fresh:
    """Return a WireGuard private key as `wg genkey` prints it, without newline."""
    # 20 ms, which the other kinds do not need
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    secret = bytearray(secrets.token_bytes(_SIZE))
    # clamped (RFC 7748 section 5): `wg genkey` stores its keys that way
    secret[0] &= 248
    secret[31] = (secret[31] & 127) | 64
    public = X25519PrivateKey.from_private_bytes(bytes(secret)).public_key()
    shown = base64.b64encode(public.public_bytes_raw()).decode()
    return Fresh(base64.b64encode(bytes(secret)), shown)


def _text(text: str) -> Fresh:
    return Fresh(text.encode())


KINDS: dict[str, tuple[Callable[[int], Fresh], int]] = {
    "password": (password, 32),
    "passphrase": (passphrase, 6),
    "hex": (hexadecimal, 32),
    "base64": (base64_text, 32),
    "ssh-ed25519": (ssh_ed25519, 0),
    "age": (age, 0),
    "wireguard": (wireguard, 0),
}
"""Kind to (generator, default length); 0 means that the length is fixed."""
