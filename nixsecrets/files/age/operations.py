"""Encrypting, decrypting and granting age files.

pyrage encrypts the payload to a throw-away identity, through which we learn the new
file key.  Then its stanza and any grease are dropped, and this module writes the header
with the recipients' stanzas in order.  Payloads too large for memory are written by
`payload` and read by pyrage, so that the writer does not verify itself (docs/adr/0013).
A grant changes only the header.  `verify` checks each result before it is used.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from io import BytesIO
from typing import BinaryIO

from nixsecrets.errors import IdentityError, KeyFormatError, SecretFileError
from nixsecrets.files.age import decrypting, payload, pyrage_port
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age.header import LARGE, AgeFile, Stanza
from nixsecrets.files.age.payload import Spooled
from nixsecrets.files.age.wrap import Proof, check_mac, header_mac, unwrap, wrap
from nixsecrets.frozen import field, frozen, replace
from nixsecrets.keys.identities import (
    Identity,
    PluginIdentity,
    SshRsaIdentity,
    X25519Identity,
)
from nixsecrets.keys.recipients import Recipient

_POST_QUANTUM = (b"-> mlkem768x25519 ", b"-> mlkem768p256tag ")


@frozen
class Sealed:
    """An age file that we wrote, with what `verify` needs to check the staged copy.

    `recipients` are those with new stanzas: after `seal` all of the file, in stanza
    order; after `grant` the added and replaced ones.  `places` has the index of each
    one's stanza, `proofs` a proof for each whose stanza is ours and not pyrage's, both
    in the order of `recipients`.  `digest` is the SHA-256 of the plaintext, None after
    `grant`, which does not decrypt it.  `file_key` is None if all recipients are
    post-quantum: only pyrage knows it then.
    """

    data: bytes = field(repr=False)
    recipients: tuple[Recipient, ...]
    places: tuple[int, ...]
    proofs: tuple[Proof, ...] = field(repr=False)
    file_key: bytes | None = field(repr=False)
    digest: bytes | None = field(repr=False)


@frozen
class Streamed:
    """An age file too large for memory; `sealed.data` is its header with the MAC."""

    sealed: Sealed
    content: Spooled

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes of the file; only once, as a file key is for one payload."""
        yield self.sealed.data
        key = self.sealed.file_key or b""  # `seal_large` always sets it
        yield from payload.encrypt(key, self.content.blocks())


def seal(
    plaintext: bytes, recipients: Sequence[Recipient], *, armored: bool = False
) -> Sealed:
    """Encrypt under a fresh file key, with one stanza per recipient in their order.

    Raises:
        KeyFormatError: a plugin is missing, or post-quantum and classic keys are mixed.
        SecretFileError: there is no recipient.
    """
    if not recipients:
        raise SecretFileError(
            "a secret without readers could never be decrypted",
            "give the rule readers, or name someone in `always`",
        )
    if any(recipient.post_quantum for recipient in recipients):
        return _seal_post_quantum(plaintext, recipients, armored=armored)
    throw_away = throw_away_identity()
    foreign = [recipient for recipient in recipients if not recipient.ours]
    raw = age_header.parse(
        pyrage_port.encrypt(plaintext, [*throw_away.recipients, *foreign])
    )
    _, *foreign_stanzas = _entries(raw, 1 + len(foreign))
    key = file_key(raw, [throw_away], first=0)
    wrapped = [wrap(key, one) if one.ours else None for one in recipients]
    theirs = iter(foreign_stanzas)  # in the order of their recipients
    stanzas = [one.encoded if one else next(theirs) for one in wrapped]
    return Sealed(
        data=_assemble(age_header.join_header(stanzas), key, raw, armored=armored),
        recipients=tuple(recipients),
        places=tuple(range(len(stanzas))),
        proofs=tuple(one.proof for one in wrapped if one),
        file_key=key,
        digest=hashlib.sha256(plaintext).digest(),
    )


def seal_large(content: Spooled, recipients: Sequence[Recipient]) -> Streamed | Sealed:
    """Encrypt a large value, which is read in blocks.

    For post-quantum recipients it is read into memory: only pyrage writes such files,
    and it does not reveal the file key.

    Raises:
        KeyFormatError: a plugin is missing, or post-quantum and classic keys are mixed.
        SecretFileError: there is no recipient.
    """
    if any(recipient.post_quantum for recipient in recipients):
        return seal(b"".join(content.blocks()), recipients)
    empty = seal(b"", recipients)
    file = age_header.parse(empty.data)
    header = file.binary[: file.payload_start]
    return Streamed(replace(empty, data=header, digest=content.digest), content)


def reencrypt(
    data: bytes,
    identities: Sequence[Identity],
    recipients: Sequence[Recipient],
    *,
    first: int | None = None,
) -> Sealed:
    """Encrypt the same plaintext to exactly `recipients`, under a fresh file key.

    The result is armored if `data` is.  `first` is the index of the entry (without
    grease) to try first.

    Raises:
        IdentityError: no identity decrypts the file.
        KeyFormatError: a plugin is missing, or post-quantum and classic keys are mixed.
        SecretFileError: the file is corrupt, or there is no recipient.
    """
    file = age_header.parse(data)
    plaintext = _decrypted(file, identities, first)
    return seal(plaintext, recipients, armored=file.armored)


def grant(
    data: bytes,
    identities: Sequence[Identity],
    *,
    add: Sequence[Recipient] = (),
    replace: Sequence[tuple[int, Recipient]] = (),
    first: int | None = None,
) -> Sealed:
    """Wrap the file key for more recipients; the payload does not change.

    `add` is appended in order; each pair of `replace` gives the entry at an index to
    another recipient; `first` is the index of the entry to try first.  Indexes do not
    count grease, which is dropped: it could be a file key wrapped for a stranger.

    Raises:
        IdentityError: no X25519 or ssh-ed25519 identity decrypts the file.
        SecretFileError: the file is corrupt, or its header was tampered with.
        KeyFormatError: a recipient is not `ours`, or the file is post-quantum.
    """
    file = age_header.parse(data)
    key = file_key(file, identities, first=first)
    _refuse_mixing(file, [*add, *(recipient for _, recipient in replace)])
    if not (add or replace):
        return Sealed(data, (), (), (), key, None)
    stanzas = [file.encoded[place] for place in file.places]
    places = [entry for entry, _ in replace]
    places += range(len(stanzas), len(stanzas) + len(add))
    new = [wrap(key, recipient) for _, recipient in replace]
    new += [wrap(key, recipient) for recipient in add]
    for place, wrapped in zip(places, new, strict=True):
        # a slice, as assigning to one at the end appends
        stanzas[place : place + 1] = [wrapped.encoded]
    header = age_header.join_header(stanzas)
    return Sealed(
        data=_assemble(header, key, file, armored=file.armored),
        recipients=tuple(wrapped.proof.recipient for wrapped in new),
        places=tuple(places),
        proofs=tuple(wrapped.proof for wrapped in new),
        file_key=key,
        digest=None,
    )


def file_key(
    file: AgeFile, identities: Sequence[Identity], *, first: int | None = None
) -> bytes:
    """Return the file key (16 bytes); the header's MAC is verified.

    `first` is the index of the entry (without grease) to try first.  Plugins and
    ssh-rsa keys cannot be used, as pyrage does not reveal the file key.

    Raises:
        IdentityError: no X25519 or ssh-ed25519 identity opens an entry.
        SecretFileError: the file is corrupt, or its header was tampered with.
    """
    key = _find_key(file, identities, first)
    if key is None:
        raise _nobody_opens(file)
    return key


def decrypt(data: bytes, identities: Sequence[Identity]) -> bytes:
    """Return the plaintext; plugins are tried last, one after the other.

    Raises:
        IdentityError: no identity decrypts the file.
        SecretFileError: the file is corrupt or was tampered with.
    """
    found = decrypting.decrypted(data, identities)
    return found or _decrypted(age_header.parse(data), identities, None)


def decrypt_to(
    source: BinaryIO, target: pyrage_port.Writable, identities: Sequence[Identity]
) -> None:
    """Write the plaintext of a large file without armor to `target`, chunk by chunk.

    Each chunk is authenticated before it is written; after an error some are missing.

    Raises:
        IdentityError: no identity decrypts the file.
        SecretFileError: the file is corrupt or was tampered with.
        OSError: `target` raised it.
    """
    _decrypt_to(source, start_of(source), target, identities, None)


def start_of(source: BinaryIO) -> AgeFile:
    """Parse the start of a large file without armor: the header and some payload.

    Raises:
        SecretFileError: the header is malformed.
    """
    source.seek(0)
    return age_header.parse(source.read(LARGE))


def decrypt_with_key(
    source: BinaryIO, head: AgeFile, key: bytes, target: pyrage_port.Writable
) -> None:
    """Write the plaintext of a file without armor whose file key is known.

    pyrage does not accept a file key, so it gets the payload with another header, whose
    only recipient is the throw-away identity.

    Raises:
        SecretFileError: the payload is corrupt or was tampered with.
    """
    throw_away = throw_away_identity()
    header = age_header.join_header([wrap(key, throw_away.recipients[0]).encoded])
    pyrage_port.decrypt_to(with_header(header, key, source, head), target, [throw_away])


def with_header(
    header: bytes, key: bytes, source: BinaryIO, head: AgeFile
) -> pyrage_port.Readable:
    """Return a file of another header with its MAC and the payload of `source`."""
    start = age_header.with_mac(header, header_mac(key, header))
    source.seek(head.payload_start)
    return _Concatenated(BytesIO(start), source)


@frozen
class _Concatenated:
    start: BytesIO
    rest: BinaryIO

    def read(self, size: int = -1) -> bytes:
        return self.start.read(size) or self.rest.read(size)


def _decrypted(
    file: AgeFile, identities: Sequence[Identity], first: int | None
) -> bytes:
    plaintext = BytesIO()
    _decrypt_to(BytesIO(file.binary), file, plaintext, identities, first)
    return plaintext.getvalue()


def _decrypt_to(
    source: BinaryIO,
    head: AgeFile,
    target: pyrage_port.Writable,
    identities: Sequence[Identity],
    first: int | None,
) -> None:
    key = _find_key(head, identities, first)
    if key is not None:
        decrypt_with_key(source, head, key, target)
        return
    # the identities that only pyrage can use; plugins one at a time
    rsa = [one for one in identities if isinstance(one, SshRsaIdentity)]
    plugins = ([one] for one in identities if isinstance(one, PluginIdentity))
    groups: list[Sequence[Identity]] = [rsa, *plugins]
    failed: IdentityError | None = None
    for group in filter(None, groups):
        source.seek(0)
        try:
            pyrage_port.decrypt_to(source, target, group)
        except pyrage_port.NotAReaderError:
            continue
        except IdentityError as error:
            # another plugin may still succeed
            failed = error
        else:
            return
    raise failed or _nobody_opens(head)


@cache
def throw_away_identity() -> X25519Identity:
    """Return this process's identity that pyrage encrypts to and decrypts with.

    No file that leaves this module has a stanza for it.
    """
    return X25519Identity.generate("throw-away identity")


def _find_key(
    file: AgeFile, identities: Sequence[Identity], first: int | None
) -> bytes | None:
    """Return the file key of a file that one of our own kinds opens; verify the MAC."""
    for stanza in _likely_first(file, first):
        for identity in identities:
            key = unwrap(stanza, identity)
            if key is not None:
                check_mac(file, key)
                return key
    return None


def _likely_first(file: AgeFile, first: int | None) -> Iterator[Stanza]:
    """Yield the X25519 and ssh-ed25519 entries, starting with the one at `first`."""
    # ssh entries are skipped by their tag, X25519 entries take a multiplication each
    if first is not None and first < len(file.places):
        yield age_header.decode(file.encoded[file.places[first]])
    for kind in (b"-> ssh-ed25519 ", b"-> X25519 "):
        likely = (one for one in file.encoded if one.startswith(kind))
        yield from map(age_header.decode, likely)


def _seal_post_quantum(
    plaintext: bytes, recipients: Sequence[Recipient], *, armored: bool
) -> Sealed:
    """Encrypt with pyrage alone: the stanza of a throw-away identity is not allowed."""
    if not all(recipient.post_quantum for recipient in recipients):
        raise _mixed()
    raw = age_header.parse(pyrage_port.encrypt(plaintext, recipients))
    _entries(raw, len(recipients))
    data = age_header.encode(raw.header, raw.mac, raw.payload, armored=armored)
    digest = hashlib.sha256(plaintext).digest()
    return Sealed(data, tuple(recipients), tuple(raw.places), (), None, digest)


def _entries(raw: AgeFile, expected: int) -> list[bytes]:
    """Return the entries that pyrage wrote, which must be one per recipient.

    A plugin may write several for one recipient; then it would be unknown whose is
    which.
    """
    if len(raw.places) != expected:
        raise KeyFormatError(
            "an age plugin did not write one entry per recipient",
            "give that reader a key of another kind",
        )
    return [raw.encoded[place] for place in raw.places]


def _refuse_mixing(file: AgeFile, recipients: Sequence[Recipient]) -> None:
    """Refuse to add a classic stanza to a post-quantum file."""
    if recipients and any(one.startswith(_POST_QUANTUM) for one in file.encoded):
        raise _mixed()


def _mixed() -> KeyFormatError:
    return KeyFormatError(
        "age refuses post-quantum and classic recipients in one file",
        "give all readers of the file the same kind of key, or keep the secret in sops",
    )


def _nobody_opens(file: AgeFile) -> IdentityError:
    if file.passphrase:
        return IdentityError(
            "the age file is encrypted with a passphrase, not to recipients",
            "decrypt it with `age -d`, then encrypt it with `nixsecrets edit`",
        )
    return IdentityError(
        "no identity opens the age file",
        "pass the private key of one of its readers with --identity",
    )


def _assemble(header: bytes, key: bytes, file: AgeFile, *, armored: bool) -> bytes:
    """Return a file of a new header with its MAC and the payload of `file`."""
    mac = header_mac(key, header)
    return age_header.encode(header, mac, file.payload, armored=armored)
