"""Identities: private keys of all kinds, and parsing the files that hold them.

A keyring holds usable identities, locked ones that need a passphrase, and broken ones
with the reason.  `find` looks for the files.  No `repr` and no message has a secret.
"""

import os
import re
from collections.abc import Iterable
from typing import Any, Literal, Self, assert_never

from nixsecrets.errors import IdentityError, KeyFormatError
from nixsecrets.frozen import field, frozen, replace
from nixsecrets.keys import bech32, convert, identityfile, sshprivate
from nixsecrets.keys.plugins import PluginTalk, Silence
from nixsecrets.keys.recipients import (
    KeyId,
    Recipient,
    ed25519_blob,
    from_ssh_blob,
    parse_recipient,
)

_SECRET_SIZE = 32
_SECRET_PREFIX = "age-secret-key-"  # noqa: S105, a prefix and no secret
_PLUGIN_PREFIX = re.compile(r"age-plugin-([a-z0-9._+-]+)-")
_PUTTY_HINT = "convert it: puttygen FILE -O private-openssh -o NEW-FILE"


@frozen
class X25519Identity:
    """An age identity (`AGE-SECRET-KEY-1…`): 32 bytes, clamped where they are used."""

    source: str = field(compare=False)
    x25519_secret: bytes = field(repr=False)
    recipients: tuple[Recipient, ...] = field(compare=False)

    @classmethod
    def from_secret(cls, secret: bytes, source: str) -> Self:
        """Return the identity of a 32-byte secret; messages call it `source`."""
        # 20 ms: commands that open nothing must not pay for it
        # cryptography does it, too, but takes 15 ms to load; pyrage opens the files
        import pyrage

        text = bech32.encode(_SECRET_PREFIX, secret).upper()
        public = str(pyrage.x25519.Identity.from_str(text).to_public())
        return cls(source, secret, (parse_recipient(public),))

    @classmethod
    def generate(cls, source: str) -> Self:
        """Return a new random identity."""
        return cls.from_secret(os.urandom(_SECRET_SIZE), source)

    @property
    def ssh_blobs(self) -> tuple[bytes, ...]:
        """The two ssh-ed25519 wire blobs whose stanzas this secret may open.

        The secret may have been converted from an ssh key, and the conversion drops one
        bit of the public key; the tag of a stanza identifies the right one.
        """
        publics = convert.ed25519_of_x25519(self.recipients[0].key)
        return tuple(ed25519_blob(public) for public in publics)

    def secret_text(self) -> str:
        """Return `AGE-SECRET-KEY-1…`, as an identity file has it."""
        return bech32.encode(_SECRET_PREFIX, self.x25519_secret).upper()

    def to_pyrage(self) -> list[Any]:
        """Return the identity as pyrage objects."""
        import pyrage  # 5 ms; most files are opened without it

        return [pyrage.x25519.Identity.from_str(self.secret_text())]


@frozen
class SshEd25519Identity:
    """An ssh-ed25519 private key; opens stanzas for both of its forms."""

    source: str = field(compare=False)
    seed: bytes = field(repr=False)
    recipients: tuple[Recipient, ...] = field(compare=False)

    @classmethod
    def from_seed(cls, seed: bytes, public: bytes, source: str) -> Self:
        """Make the identity of an ed25519 seed and its public key (32 bytes each)."""
        recipient = from_ssh_blob(ed25519_blob(public))
        return cls(source, seed, (recipient, recipient.converted()))

    @property
    def x25519_secret(self) -> bytes:
        """The converted secret (32 bytes, not clamped), the same as ssh-to-age's."""
        return convert.x25519_secret_of_seed(self.seed)

    @property
    def ssh_blobs(self) -> tuple[bytes, ...]:
        """The ssh-ed25519 wire blob whose stanzas this secret opens."""
        return (self.recipients[0].key,)

    def secret_text(self) -> str:
        """Return the converted secret as `AGE-SECRET-KEY-1…`, as ssh-to-age prints."""
        return bech32.encode(_SECRET_PREFIX, self.x25519_secret).upper()

    def pem(self) -> bytes:
        """Return the OpenSSH private key file, without passphrase."""
        return sshprivate.openssh_pem(self.seed, self.recipients[0].key[-32:])

    def to_pyrage(self) -> list[Any]:
        """Return both forms of the identity as pyrage objects."""
        import pyrage  # 5 ms; most files are opened without it

        pem = self.pem()
        return [
            pyrage.ssh.Identity.from_buffer(pem),
            pyrage.x25519.Identity.from_str(self.secret_text()),
        ]


@frozen
class SshRsaIdentity:
    """An ssh-rsa private key; `pem` is an OpenSSH key file without passphrase."""

    source: str = field(compare=False)
    pem: bytes = field(repr=False, compare=False)
    recipients: tuple[Recipient, ...]

    def to_pyrage(self) -> list[Any]:
        """Return the identity as pyrage objects."""
        import pyrage  # 5 ms; most files are opened without it

        return [pyrage.ssh.Identity.from_buffer(self.pem)]


@frozen
class PluginIdentity:
    """The identity of an age plugin; only the plugin can use it."""

    source: str = field(compare=False)
    name: str
    text: str = field(repr=False)
    talk: PluginTalk = field(default_factory=Silence, repr=False, compare=False)

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Empty: the public key cannot be derived from a plugin identity."""
        return ()

    def to_pyrage(self) -> list[Any]:
        """Return the identity as pyrage objects.

        Raises:
            IdentityError: the plugin's program is not installed.
        """
        import pyrage  # 5 ms; most files are opened without it

        try:
            identity = pyrage.plugin.Identity.from_str(self.text)
            return [pyrage.plugin.IdentityPluginV1(self.name, [identity], self.talk)]
        except (pyrage.IdentityError, pyrage.DecryptError) as error:
            raise IdentityError(
                f"the age plugin {self.name} cannot be used for {self.source}",
                f"put the program age-plugin-{self.name} on PATH",
            ) from error


Identity = X25519Identity | SshEd25519Identity | SshRsaIdentity | PluginIdentity


@frozen
class Locked:
    """An ssh key or an age identity file that needs a passphrase.

    `recipients` is empty if the public keys are unknown without the passphrase.
    """

    source: str = field(compare=False)
    kind: Literal["ssh key", "age identity file"]
    data: bytes = field(repr=False)
    recipients: tuple[Recipient, ...] = field(default=(), compare=False)

    def unlock(self, passphrase: str) -> tuple[Identity, ...]:
        """Return the identities in the file.

        Raises:
            IdentityError: the passphrase is wrong, or there is no usable identity.
        """
        try:
            return self._unlock(passphrase)
        except IdentityError as error:
            raise IdentityError(
                f"{self.source}: {error.message}", error.hint
            ) from error

    def _unlock(self, passphrase: str) -> tuple[Identity, ...]:
        if self.kind == "ssh key":
            secret = passphrase.encode("utf-8", "surrogateescape")
            return (_ssh_identity(sshprivate.load(self.data, secret), self.source),)
        inside = parse_identities(_open_age(self.data, passphrase), self.source)
        if not inside.identities:
            reasons = [broken.reason for broken in inside.broken]
            raise IdentityError("; ".join(reasons) or "it holds no identity")
        return inside.identities


@frozen
class Broken:
    """An identity, or a file of them, that cannot be used, and why."""

    source: str
    reason: str
    hint: str | None = None


@frozen
class Keyring:
    """The identities of one or more files, each once: usable, locked and broken."""

    identities: tuple[Identity, ...] = ()
    locked: tuple[Locked, ...] = ()
    broken: tuple[Broken, ...] = ()

    @property
    def key_ids(self) -> frozenset[KeyId]:
        """The public keys of the usable identities, as far as known."""
        return _key_ids(self.identities)

    @property
    def locked_key_ids(self) -> frozenset[KeyId]:
        """The public keys of the locked identities, as far as known."""
        return _key_ids(self.locked)

    def merge(self, other: "Keyring") -> "Keyring":
        """Return the union of two keyrings, without duplicates; `self` comes first."""
        return Keyring(
            tuple(dict.fromkeys(self.identities + other.identities)),
            tuple(dict.fromkeys(self.locked + other.locked)),
            tuple(dict.fromkeys(self.broken + other.broken)),
        )

    def with_talk(self, talk: PluginTalk) -> "Keyring":
        """Return a copy whose plugin identities prompt through `talk`."""
        return replace(
            self,
            identities=tuple(
                replace(item, talk=talk) if isinstance(item, PluginIdentity) else item
                for item in self.identities
            ),
        )


def _key_ids(items: Iterable[Identity | Locked]) -> frozenset[KeyId]:
    return frozenset(
        recipient.key_id for item in items for recipient in item.recipients
    )


def both_forms(recipient: Recipient) -> tuple[Recipient, ...]:
    """Return an ssh-ed25519 key and its X25519 form; only the key for other kinds."""
    return tuple(dict.fromkeys((recipient, recipient.converted())))


def identity_text(identity: Identity) -> str:
    """Return the unencrypted text of an identity file with this identity.

    It goes to other processes of nixsecrets, never to disk.
    """
    match identity:
        case X25519Identity():
            return identity.secret_text()
        case SshEd25519Identity():
            return identity.pem().decode()
        case SshRsaIdentity():
            return identity.pem.decode()
        case PluginIdentity():
            return identity.text
        case _ as never:
            assert_never(never)


def parse_identities(data: bytes, source: str) -> Keyring:
    """Parse an identity file: age identities, ssh private keys, or one encrypted file.

    `source` is its name in messages.  Never raises: an entry that cannot be used
    becomes `Broken`, and the others are still returned.
    """
    if identityfile.is_encrypted(data):
        return _parse_encrypted(data, source)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _broken(source, "it is not an identity file")
    if text.startswith("PuTTY-User-Key-File-"):
        return _broken(source, "it is a PuTTY key", _PUTTY_HINT)
    found: list[Identity | Locked] = []
    broken: dict[str, Broken] = {}
    for line, item in identityfile.items(text):
        try:
            found.append(_parse_item(item, source))
        except (IdentityError, KeyFormatError) as error:
            # once per reason: a file of another kind would fail at every line
            reason = f"line {line}: {error.message}"
            broken.setdefault(error.message, Broken(source, reason, error.hint))
    if not found and not broken:
        return _broken(source, "it holds no identity")
    return Keyring(
        tuple(item for item in found if not isinstance(item, Locked)),
        tuple(item for item in found if isinstance(item, Locked)),
        tuple(broken.values()),
    )


def _parse_item(item: str, source: str) -> Identity | Locked:
    if item.startswith("-----BEGIN "):
        return _parse_pem(item.encode(), source)
    prefix = item.upper()
    if prefix.startswith("AGE-SECRET-KEY-PQ-"):
        raise IdentityError(
            "post-quantum identities cannot be used here",
            "use an AGE-SECRET-KEY-1 identity: age-keygen",
        )
    if prefix.startswith(("AGE-SECRET-KEY-", "AGE-PLUGIN-")):
        return _parse_age_identity(item, source)
    if prefix.startswith(("AGE1", "SSH-", "AAAA")):
        raise IdentityError(
            "this is a public key, not an identity",
            "give the private file: for ssh the one without .pub",
        )
    raise IdentityError(
        "this is not an identity",
        "an identity is AGE-SECRET-KEY-1…, AGE-PLUGIN-…, or an ssh private key file",
    )


def _parse_age_identity(word: str, source: str) -> Identity:
    try:
        prefix, data = bech32.decode(word)
    except bech32.Bech32Error as error:
        raise IdentityError(
            f"the identity is corrupt: {error}", "copy the whole line again"
        ) from error
    if prefix == _SECRET_PREFIX and len(data) == _SECRET_SIZE:
        return X25519Identity.from_secret(data, source)
    plugin = _PLUGIN_PREFIX.fullmatch(prefix)
    if not plugin:
        raise IdentityError("the identity is corrupt", "copy the whole line again")
    return PluginIdentity(source, plugin[1], word.upper())


def _parse_pem(pem: bytes, source: str) -> Identity | Locked:
    if b"\n-----END " not in pem:
        raise IdentityError("the private key has no end", "copy the whole file again")
    protection = sshprivate.inspect(pem)
    if not protection.locked:
        return _ssh_identity(sshprivate.load(pem), source)
    recipients: tuple[Recipient, ...] = ()
    if protection.public_blob:
        # the OpenSSH container has the public key unencrypted
        recipients = both_forms(from_ssh_blob(protection.public_blob))
    return Locked(source, "ssh key", pem, recipients)


def _ssh_identity(
    key: sshprivate.Ed25519Key | sshprivate.RsaKey, source: str
) -> Identity:
    match key:
        case sshprivate.Ed25519Key(seed, public):
            return SshEd25519Identity.from_seed(seed, public, source)
        case sshprivate.RsaKey(pem, public_line):
            return SshRsaIdentity(source, pem, (parse_recipient(public_line),))


def _parse_encrypted(data: bytes, source: str) -> Keyring:
    try:
        binary = identityfile.dearmored(data)
    except ValueError:
        return _broken(source, "the encrypted identity file is corrupt")
    if not identityfile.wants_passphrase(binary):
        return _broken(
            source,
            "the file is encrypted, but not with a passphrase",
            "decrypt it first: age -d -i IDENTITY FILE",
        )
    return Keyring(locked=(Locked(source, "age identity file", binary),))


def _open_age(data: bytes, passphrase: str) -> bytes:
    import pyrage  # 5 ms; only for a locked age identity file

    try:
        opened: bytes = pyrage.passphrase.decrypt(data, passphrase)
    except pyrage.DecryptError as error:
        raise IdentityError(
            "the passphrase is wrong, or the file is corrupt"
        ) from error
    return opened


def _broken(source: str, reason: str, hint: str | None = None) -> Keyring:
    return Keyring(broken=(Broken(source, reason, hint),))
