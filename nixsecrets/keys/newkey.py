"""A new ssh-ed25519 key pair, as ssh-keygen writes it.

Makes keys and nothing else; where the private half goes is the caller's affair.
"""

from dataclasses import dataclass, field

from nixsecrets.keys.recipients import Recipient, ed25519_blob, from_ssh_blob


@dataclass(frozen=True, slots=True)
class NewKey:
    """A public key, and its private half as an OpenSSH file without passphrase."""

    public: Recipient
    private: bytes = field(repr=False)


def new_ssh_key(comment: str) -> NewKey:
    """Return a key pair from the system's random numbers."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
    private = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()
    )
    return NewKey(from_ssh_blob(ed25519_blob(public), comment), private)
