"""Encrypting, decrypting and granting age files.

This module writes headers.  pyrage writes the payload, for a throw-away identity that
yields the new file key; then the throw-away stanza and any grease are dropped and the
recipients' stanzas are written, in their order.  Payloads too large for memory are
written by `payload` and read by pyrage, so that the writer does not check itself
(docs/adr/0013).  A grant changes nothing but the header.  Nothing made here is used
before `verify` has read it back.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from io import BytesIO
from typing import BinaryIO

from nixsecrets.errors import IdentityError, KeyFormatError, SecretFileError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import payload, pyrage_port
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
    """An age file that we wrote, with what verifies it once it is staged.

    `recipients` are those whose stanzas are new: all of the file after `seal`, in
    stanza order; those added or replaced after `grant`.  `places` holds the index of
    each one's stanza among all stanzas, `proofs` a proof for each whose stanza is ours
    (not pyrage's), both in the order of `recipients`.  `digest` is the SHA-256 of the
    plaintext, None after `grant`, which never sees it.  `file_key` is None where all
    recipients are post-quantum: only pyrage knows it then.
    """

    data: bytes = field(repr=False)
    recipients: tuple[Recipient, ...]
    places: tuple[int, ...]
    proofs: tuple[Proof, ...] = field(repr=False)
    file_key: bytes | None = field(repr=False)
    digest: bytes | None = field(repr=False)


@frozen
class Streamed:
    """An age file too large for memory: `sealed.data` is its header, MAC included."""

    sealed: Sealed
    content: Spooled

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes of the file; once, since a file key encrypts one payload."""
        yield self.sealed.data
        key = self.sealed.file_key or b""  # never None: `seal_large`
        yield from payload.encrypt(key, self.content.blocks())


def seal(
    plaintext: bytes, recipients: Sequence[Recipient], *, armored: bool = False
) -> Sealed:
    """Encrypt under a fresh file key, with one stanza per recipient in their order.

    Raises:
        KeyFormatError: a recipient cannot be written (its plugin is missing, it is
            post-quantum and others are not).
        SecretFileError: there is no recipient at all.
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
    stanzas = [one.spelled if one else next(theirs) for one in wrapped]
    return Sealed(
        data=_assemble(age_header.join_header(stanzas), key, raw, armored=armored),
        recipients=tuple(recipients),
        places=tuple(range(len(stanzas))),
        proofs=tuple(one.proof for one in wrapped if one),
        file_key=key,
        digest=hashlib.sha256(plaintext).digest(),
    )


def seal_large(content: Spooled, recipients: Sequence[Recipient]) -> Streamed | Sealed:
    """Encrypt a value that is not read as a whole; raises what `seal` raises.

    For post-quantum recipients it is read as a whole: only pyrage writes such files,
    and it never hands out a file key.
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

    Armor stays armor.  `first` is the index of the entry (grease left out) that is
    tried first.  Raises what `decrypt` and `seal` raise.
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
    """Wrap the file key for more recipients; the payload stays byte for byte.

    `add` is appended in order; each pair of `replace` puts another recipient in the
    place of an entry, and `first` is where our own is expected: both count entries as
    `Actual.recipients` does, grease left out.  All recipients must be `ours`.  Grease
    is dropped: nobody can distinguish it from a file key wrapped for a stranger.

    Raises:
        IdentityError: no identity is a reader of a kind that we open ourselves.
        SecretFileError: the header was tampered with; a new MAC would hide that.
        KeyFormatError: a recipient of a kind that only pyrage can write, or classic
            ones for a file that is post-quantum.
    """
    file = age_header.parse(data)
    key = file_key(file, identities, first=first)
    _refuse_mixing(file, [*add, *(recipient for _, recipient in replace)])
    if not (add or replace):
        return Sealed(data, (), (), (), key, None)
    stanzas = [file.spelled[place] for place in file.places]
    places = [entry for entry, _ in replace]
    places += range(len(stanzas), len(stanzas) + len(add))
    new = [wrap(key, recipient) for _, recipient in replace]
    new += [wrap(key, recipient) for recipient in add]
    for place, wrapped in zip(places, new, strict=True):  # behind the last one it adds
        stanzas[place : place + 1] = [wrapped.spelled]
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
    """Return the file key (16 bytes), after the header's MAC was found right under it.

    `first` is the index of the entry (grease left out) that is tried first.  Plugins
    and ssh-rsa keys cannot be used: pyrage never hands out a file key.

    Raises:
        IdentityError: none of the identities opens an entry in this way.
        SecretFileError: the file is damaged, or its header was tampered with.
    """
    key = _find_key(file, identities, first)
    if key is None:
        raise _nobody_opens(file)
    return key


def decrypt(data: bytes, identities: Sequence[Identity]) -> bytes:
    """Return the plaintext; plugins are tried last, one after the other.

    Raises:
        IdentityError: none of the identities is a reader.
        SecretFileError: the file is damaged or was tampered with anywhere.
    """
    return _decrypted(age_header.parse(data), identities, None)


def decrypt_to(
    source: BinaryIO, target: pyrage_port.Writable, identities: Sequence[Identity]
) -> None:
    """Write the plaintext of a large file without armor, chunk by chunk.

    Each chunk is authentic when it is written; where this raises, some are missing.
    Raises what `decrypt` and `target` raise.
    """
    _decrypt_to(source, start_of(source), target, identities, None)


def start_of(source: BinaryIO) -> AgeFile:
    """Return the parsed start of a large file without armor: header, some payload.

    Raises:
        SecretFileError: the file breaks the grammar.
    """
    source.seek(0)
    return age_header.parse(source.read(LARGE))


def decrypt_with_key(
    source: BinaryIO, head: AgeFile, key: bytes, target: pyrage_port.Writable
) -> None:
    """Write the plaintext of a file without armor whose file key is known.

    pyrage takes no file key, so it reads the payload behind a header whose only
    recipient is the throw-away identity.

    Raises:
        SecretFileError: the payload is damaged or was tampered with.
    """
    throw_away = throw_away_identity()
    header = age_header.join_header([wrap(key, throw_away.recipients[0]).spelled])
    pyrage_port.decrypt_to(with_header(header, key, source, head), target, [throw_away])


def with_header(
    header: bytes, key: bytes, source: BinaryIO, head: AgeFile
) -> pyrage_port.Readable:
    """Return the payload of `source` behind another header, with its MAC."""
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
    # pyrage for the identities that only it can use, plugins one after the other
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
            # A plugin that does not answer must not hide one that would.
            failed = error
        else:
            return
    raise failed or _nobody_opens(head)


@cache
def throw_away_identity() -> X25519Identity:
    """Return the identity that stands in for the readers while pyrage is at work.

    One for each process: no file that leaves this module has a stanza for it.
    """
    return X25519Identity.generate("throw-away identity")


def _find_key(
    file: AgeFile, identities: Sequence[Identity], first: int | None
) -> bytes | None:
    """Return the file key if an identity of our own kinds finds it, MAC checked."""
    for stanza in _likely_first(file, first):
        for identity in identities:
            key = unwrap(stanza, identity)
            if key is not None:
                check_mac(file, key)
                return key
    return None


def _likely_first(file: AgeFile, first: int | None) -> Iterator[Stanza]:
    """Yield the entries of our kinds, the likeliest first.

    Comparing a tag costs nothing, each anonymous stanza a multiplication.
    """
    if first is not None and first < len(file.places):
        yield age_header.decode(file.spelled[file.places[first]])
    for kind in (b"-> ssh-ed25519 ", b"-> X25519 "):
        likely = (one for one in file.spelled if one.startswith(kind))
        yield from map(age_header.decode, likely)


def _seal_post_quantum(
    plaintext: bytes, recipients: Sequence[Recipient], *, armored: bool
) -> Sealed:
    """Leave the whole file to pyrage: a throw-away stanza would be a classic one."""
    if not all(recipient.post_quantum for recipient in recipients):
        raise _mixed()
    raw = age_header.parse(pyrage_port.encrypt(plaintext, recipients))
    _entries(raw, len(recipients))
    data = age_header.encode(raw.header, raw.mac, raw.payload, armored=armored)
    digest = hashlib.sha256(plaintext).digest()
    return Sealed(data, tuple(recipients), tuple(raw.places), (), None, digest)


def _entries(raw: AgeFile, expected: int) -> list[bytes]:
    """Return the entries pyrage wrote, which must be one for each recipient.

    The age protocol lets a plugin write several; nothing could then tell which belong
    to whom.
    """
    if len(raw.places) != expected:
        raise KeyFormatError(
            "an age plugin did not write one entry per recipient",
            "give that reader a key of another kind",
        )
    return [raw.spelled[place] for place in raw.places]


def _refuse_mixing(file: AgeFile, recipients: Sequence[Recipient]) -> None:
    """Raise rather than weaken a post-quantum file by a classic stanza."""
    if recipients and any(one.startswith(_POST_QUANTUM) for one in file.spelled):
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
    """Put a new header with its MAC before the payload of `file`."""
    mac = header_mac(key, header)
    return age_header.encode(header, mac, file.payload, armored=armored)
