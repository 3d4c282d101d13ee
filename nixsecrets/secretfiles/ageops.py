"""Sealing, opening and granting age files.

A header is ours to write, a payload never is: pyrage encrypts it to a throw-away
identity, through which the new file's key comes out; then the throw-away stanza and
any grease are dropped and the readers' stanzas are written, in their order.  A grant
touches nothing but the header.  Bytes in, bytes out: no file is opened here, and
nothing is believed to be right before `ageverify` has read it back.  What is too large
for memory is `agelarge`'s.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

from nixsecrets.errors import IdentityError, KeyFormatError, SecretFileError
from nixsecrets.keys.identities import (
    Identity,
    PluginIdentity,
    SshRsaIdentity,
    X25519Identity,
)
from nixsecrets.keys.recipients import Recipient
from nixsecrets.secretfiles import agefile, rage
from nixsecrets.secretfiles.agefile import AgeFile, Stanza
from nixsecrets.secretfiles.wrap import Proof, header_mac, unwrap, wrap

T = TypeVar("T")

_POST_QUANTUM = (b"-> mlkem768x25519 ", b"-> mlkem768p256tag ")


@dataclass(frozen=True, slots=True)
class Sealed:
    """An age file that we wrote, with what is needed to check it once it is staged.

    `recipients` are the readers written: all of the file after `seal`, in stanza
    order; only the new ones after `grant`.  `places` holds the index of each reader's
    stanza among all stanzas of the file, `proofs` one proof per reader whose stanza is
    ours (not pyrage's), both in the order of `recipients`.  `digest` is the SHA-256 of
    the plaintext, None after `grant`, which never sees it.  `file_key` is None where
    all readers are post-quantum: only pyrage knows it then.
    """

    data: bytes = field(repr=False)
    recipients: tuple[Recipient, ...]
    places: tuple[int, ...]
    proofs: tuple[Proof, ...] = field(repr=False)
    file_key: bytes | None = field(repr=False)
    digest: bytes | None = field(repr=False)


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
            "a secret without readers could never be opened again",
            "give the rule readers, or name somebody in `always`",
        )
    if any(recipient.post_quantum for recipient in recipients):
        return _seal_post_quantum(plaintext, recipients, armored=armored)
    throw_away = throw_away_identity()
    foreign = [recipient for recipient in recipients if not recipient.ours]
    raw = agefile.parse(rage.encrypt(plaintext, [*throw_away.recipients, *foreign]))
    _, *written = _entries(raw, 1 + len(foreign))
    key = file_key(raw, [throw_away], first=0)
    stanzas, proofs = _write_stanzas(key, recipients, iter(written))
    return Sealed(
        data=_assemble(agefile.join_header(stanzas), key, raw, armored=armored),
        recipients=tuple(recipients),
        places=tuple(range(len(stanzas))),
        proofs=proofs,
        file_key=key,
        digest=hashlib.sha256(plaintext).digest(),
    )


def reencrypt(
    data: bytes,
    identities: Sequence[Identity],
    recipients: Sequence[Recipient],
    *,
    first: int | None = None,
) -> Sealed:
    """Encrypt the same plaintext anew, to exactly `recipients`; armor stays armor.

    `first` is as for `grant`.  Raises what `decrypt` and `seal` raise.
    """
    file = agefile.parse(data)
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
    """Give more readers the file key, without a look at the payload.

    `add` is appended in order; each pair of `replace` puts another recipient in the
    place of an entry, and `first` is where our own is expected: both count entries as
    `Actual.recipients` does, grease left out.  All recipients must be `ours`.  Grease
    goes: nobody can tell noise from a wrapped key without knowing for whom.

    Raises:
        IdentityError: no identity is a reader of a kind that we open ourselves.
        SecretFileError: the header was tampered with; a new MAC would hide that.
        KeyFormatError: a recipient of a kind that only pyrage can write, or classic
            ones for a file that is post-quantum.
    """
    file = agefile.parse(data)
    key = file_key(file, identities, first=first)
    _refuse_mixing(file, [*add, *(recipient for _, recipient in replace)])
    if not (add or replace):
        return Sealed(data, (), (), (), key, None)
    stanzas = [file.spelled[place] for place in file.places]
    places = [entry for entry, _ in replace]
    places += range(len(stanzas), len(stanzas) + len(add))
    new = [wrap(key, recipient) for _, recipient in replace]
    new += [wrap(key, recipient) for recipient in add]
    for place, wrapped in zip(places, new, strict=True):
        stanzas[place : place + 1] = [wrapped.spelled]
    header = agefile.join_header(stanzas)
    return Sealed(
        data=_assemble(header, key, file, armored=file.armored),
        recipients=tuple(wrapped.proof.recipient for wrapped in new),
        places=tuple(places),
        proofs=tuple(wrapped.proof for wrapped in new),
        file_key=key,
        digest=None,
    )


def file_key(
    file: AgeFile | bytes, identities: Sequence[Identity], *, first: int | None = None
) -> bytes:
    """Return the file key (16 bytes), after the header's MAC was found right under it.

    `first` is the index of the entry (grease left out) that is tried first.  Plugins
    and ssh-rsa keys cannot be used: pyrage never hands out a file key.

    Raises:
        IdentityError: none of the identities opens an entry in this way.
        SecretFileError: the file is damaged, or its header was tampered with.
    """
    if isinstance(file, bytes):
        file = agefile.parse(file)
    key = find_key(file, identities, first)
    if key is None:
        raise _nobody_opens(file)
    return key


def decrypt(data: bytes, identities: Sequence[Identity]) -> bytes:
    """Return the plaintext; plugins are asked last, and only one after the other.

    Raises:
        IdentityError: none of the identities is a reader.
        SecretFileError: the file is damaged or was tampered with anywhere.
    """
    return _decrypted(agefile.parse(data), identities, None)


def _decrypted(
    file: AgeFile, identities: Sequence[Identity], first: int | None
) -> bytes:
    key = find_key(file, identities, first)
    if key is not None:
        return decrypt_with_key(file, key)
    return by_pyrage(file, identities, lambda group: rage.decrypt(file.binary, group))


def by_pyrage(
    file: AgeFile,
    identities: Sequence[Identity],
    attempt: Callable[[Sequence[Identity]], T],
) -> T:
    """Try the identities that only pyrage can use, plugins one after the other."""
    groups: list[list[Identity]] = [
        [one for one in identities if isinstance(one, SshRsaIdentity)],
    ]
    groups += ([one] for one in identities if isinstance(one, PluginIdentity))
    failed: IdentityError | None = None
    for group in filter(None, groups):
        try:
            return attempt(group)
        except rage.NotAReaderError:
            continue
        except IdentityError as error:
            # A plugin that does not answer must not hide one that would.
            failed = error
    raise failed or _nobody_opens(file)


def decrypt_with_key(file: AgeFile, key: bytes) -> bytes:
    """Return the plaintext of a file whose key is known.

    pyrage takes no file key, so it gets the payload behind a header whose only reader
    is the throw-away identity.

    Raises:
        SecretFileError: the payload is damaged or was tampered with.
    """
    throw_away = throw_away_identity()
    header = agefile.join_header([wrap(key, throw_away.recipients[0]).spelled])
    return rage.decrypt(_assemble(header, key, file, armored=False), [throw_away])


def check_mac(file: AgeFile, key: bytes) -> None:
    """Raise `SecretFileError` unless the header's MAC is right under the file key."""
    if not hmac.compare_digest(header_mac(key, file.header), file.mac):
        raise SecretFileError(
            "the header of the age file was changed after it was written",
            "a merge or somebody changed it: nixsecrets explain NS018 if git is"
            " merging, else take it from a commit in which it is whole",
        )


@cache
def throw_away_identity() -> X25519Identity:
    """Return the identity that stands in for the readers while pyrage is at work.

    One for each process: no file that leaves this module has a stanza for it.
    """
    return X25519Identity.generate("throw-away identity")


def find_key(
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
    """Yield the entries in the order of their promise.

    Comparing a tag costs nothing, each anonymous stanza a multiplication.
    """
    if first is not None and first < len(file.places):
        yield agefile.decode(file.spelled[file.places[first]])
    for kind in (b"-> ssh-ed25519 ", b"-> X25519 "):
        likely = (one for one in file.spelled if one.startswith(kind))
        yield from map(agefile.decode, likely)


def _write_stanzas(
    key: bytes, recipients: Sequence[Recipient], written: Iterator[bytes]
) -> tuple[list[bytes], tuple[Proof, ...]]:
    """Wrap the file key for our kinds; take the next of `written` for the others."""
    stanzas: list[bytes] = []
    proofs: list[Proof] = []
    for recipient in recipients:
        if recipient.ours:
            wrapped = wrap(key, recipient)
            stanzas.append(wrapped.spelled)
            proofs.append(wrapped.proof)
        else:
            stanzas.append(next(written))
    return stanzas, tuple(proofs)


def _seal_post_quantum(
    plaintext: bytes, recipients: Sequence[Recipient], *, armored: bool
) -> Sealed:
    """Leave the whole file to pyrage: a throw-away stanza would be a classic one."""
    if not all(recipient.post_quantum for recipient in recipients):
        raise _mixed()
    raw = agefile.parse(rage.encrypt(plaintext, recipients))
    _entries(raw, len(recipients))
    data = agefile.encode(raw.header, raw.mac, raw.payload, armored=armored)
    digest = hashlib.sha256(plaintext).digest()
    return Sealed(data, tuple(recipients), tuple(raw.places), (), None, digest)


def _entries(raw: AgeFile, expected: int) -> list[bytes]:
    """Return the entries pyrage wrote, which must be one for each recipient.

    The age protocol lets a plugin write several; which of them are whose could then
    not be told, neither now nor by `check`.
    """
    if len(raw.places) != expected:
        raise KeyFormatError(
            "an age plugin wrote another number of entries than one per recipient",
            "give that reader a key of another kind",
        )
    return [raw.spelled[place] for place in raw.places]


def _refuse_mixing(file: AgeFile, recipients: Sequence[Recipient]) -> None:
    """Keep classic stanzas out of a post-quantum file, which would be weakened."""
    if recipients and any(one.startswith(_POST_QUANTUM) for one in file.spelled):
        raise _mixed()


def _mixed() -> KeyFormatError:
    return KeyFormatError(
        "age refuses post-quantum and classic recipients in one file",
        "give all readers of the file keys of one sort, or keep the secret in sops",
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
    return agefile.encode(header, mac, file.payload, armored=armored)
