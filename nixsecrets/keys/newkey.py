"""Generation of ssh-ed25519 key pairs, as ssh-keygen writes them."""

from nixsecrets.frozen import field, frozen
from nixsecrets.keys.recipients import Recipient, ed25519_blob, from_ssh_blob
from nixsecrets.keys.sshprivate import openssh_pem


@frozen
class NewKey:
    """A public key, and its OpenSSH private key file without passphrase."""

    public: Recipient
    private: bytes = field(repr=False)


def new_ssh_key(comment: str) -> NewKey:
    """Return a new key pair; `comment` is that of the public key."""
    # 20 ms, which a command that generates no key must not pay
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    private = openssh_pem(key.private_bytes_raw(), public)
    return NewKey(from_ssh_blob(ed25519_blob(public), comment), private)
