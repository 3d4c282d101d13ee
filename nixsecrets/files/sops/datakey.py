"""The data key of a sops file: decrypted with an identity, and checked with the MAC.

Decides which `enc` to try first.  Only plugin identities run a program.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.files.age import pyrage_port
from nixsecrets.files.sops.engine import mac
from nixsecrets.files.sops.metadata import Entry, SopsFile
from nixsecrets.keys.identities import Identity, PluginIdentity
from nixsecrets.keys.recipients import Kind, recipient_of

DATA_KEY_SIZE = 32
_PLUGIN_KINDS = (Kind.PLUGIN, Kind.TAG, Kind.TAG_PQ, Kind.PQ)


Opener = Callable[[bytes, Sequence[Identity]], bytes]
"""Decrypts one `enc` with identities; raises `IdentityError` or `SecretFileError`."""


def opened(enc: bytes, identities: Sequence[Identity]) -> bytes:
    """Return the data key in an `enc`, with our own code if possible, else with pyrage.

    Raises:
        IdentityError: no identity decrypts it.
        SecretFileError: it is corrupt.
    """
    # 5 ms, which `opened_by_pyrage` needs for few keys
    from nixsecrets.files.age import header, operations
    from nixsecrets.files.age.payload import open_chunk

    file = header.parse(enc)
    try:
        key = operations.file_key(file, identities)
    except IdentityError:
        return pyrage_port.decrypt(enc, identities)
    plaintext = open_chunk(key, bytes(file.payload))
    if plaintext is None:
        raise SecretFileError("an entry of the file is corrupt", "restore it from git")
    return plaintext


def opened_by_pyrage(enc: bytes, identities: Sequence[Identity]) -> bytes:
    """Return the data key in an `enc`, with pyrage, which shares no code with us.

    Raises:
        IdentityError: no identity decrypts it.
        SecretFileError: it is corrupt.
    """
    try:
        return pyrage_port.decrypt(enc, identities)
    except pyrage_port.NotAReaderError:
        # pyrage cannot open ssh stanzas with a converted X25519 secret
        return opened(enc, identities)


def data_key(
    file: SopsFile, identities: Sequence[Identity], *, opener: Opener = opened
) -> bytes:
    """Return the data key (32 bytes); it is verified to decrypt the file's MAC.

    Raises:
        IdentityError: no identity decrypts an age entry.
        SecretFileError: the key does not decrypt the MAC, or there are several key
            groups.
    """
    if file.groups > 1 or not (file.entries or file.others):
        raise SecretFileError(
            f"the file splits its data key over {file.groups} key groups",
            'change it with "sops updatekeys", or put all keys into one group',
        )
    key = _native_key(file, identities, opener)
    if key is None:
        key = _plugin_key(file, identities)
    if len(key) != DATA_KEY_SIZE or mac.hash_in(file, key) is None:
        raise SecretFileError(
            "the data key of the file does not open its MAC",
            "it was changed without sops, or merged by hand: nixsecrets explain NS019",
        )
    return key


def opens_with(file: SopsFile, identity: Identity) -> bool:
    """Return whether an age entry has the label of a key of `identity`, in any form."""
    ours = {recipient.key_id for recipient in identity.recipients}
    labelled = map(recipient_of, file.entries.labels)
    return any(one is not None and one.key_id in ours for one in labelled)


def _native_key(
    file: SopsFile, identities: Sequence[Identity], opener: Opener
) -> bytes | None:
    """Return the data key if an identity that is no plugin finds it.

    Entries labelled with a key that we have come first, then the rest, whose labels
    may be wrong.
    """
    known = [one for one in identities if not isinstance(one, PluginIdentity)]
    if not known:
        return None
    for entry, candidates in _likely_first(file, known):
        with contextlib.suppress(IdentityError, SecretFileError):
            return opener(_enc(entry), candidates)
    return None


def _likely_first(
    file: SopsFile, known: Sequence[Identity]
) -> Iterator[tuple[Entry, Sequence[Identity]]]:
    owners = {r.key_id: one for one in known for r in one.recipients}
    others: list[int] = []  # their labels may be wrong, so they are tried last
    for at, recipient in enumerate(map(recipient_of, file.entries.labels)):
        if recipient and recipient.key_id in owners:
            yield file.entries[at], [owners[recipient.key_id]]
        else:
            others.append(at)
    for at in others:
        yield file.entries[at], known


def _plugin_key(file: SopsFile, identities: Sequence[Identity]) -> bytes:
    """Return the data key, decrypted by a plugin; one plugin and entry at a time.

    Only for entries of kinds that plugins handle, as a plugin may ask for a touch.
    """
    failed = IdentityError(
        "no identity opens the sops file",
        "pass the private key of one of its readers with --identity",
    )
    plugins = [one for one in identities if isinstance(one, PluginIdentity)]
    for entry, plugin in itertools.product(file.entries, plugins):
        if entry.recipient and entry.recipient.kind not in _PLUGIN_KINDS:
            continue
        try:
            return pyrage_port.decrypt(_enc(entry), [plugin])
        except (pyrage_port.NotAReaderError, SecretFileError):
            continue
        except IdentityError as error:
            failed = error
    raise failed


def _enc(entry: Entry) -> bytes:
    return entry.enc.encode("ascii", "replace")
