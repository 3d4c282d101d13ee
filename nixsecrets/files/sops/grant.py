"""The entries of sops files: wrapping the data key for a recipient, and the grant.

A grant runs no sops: the data key is unwrapped, wrapped again, and inserted as text;
the values are not decrypted.  The caller verifies the result (`verify`) before it
replaces a file.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence

from nixsecrets.errors import SecretFileError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import operations
from nixsecrets.files.age.payload import seal_chunk
from nixsecrets.files.age.wrap import FILE_KEY_SIZE, Proof, header_mac, wrap
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.spans import Edit, Entries
from nixsecrets.files.sops.state import has_noise, read_enc
from nixsecrets.frozen import field, frozen, replace
from nixsecrets.keys.identities import Identity
from nixsecrets.keys.recipients import Recipient
from nixsecrets.splice import apply_edits


@frozen
class WrittenEntry:
    """An age entry that we wrote, with what `verify` needs to check it.

    `proof` and `file_key` (of the `enc`) are None for kinds that only pyrage writes.
    """

    recipient: Recipient
    enc: str = field(repr=False)
    proof: Proof | None = field(repr=False)
    file_key: bytes | None = field(repr=False)


@frozen
class SopsSealed:
    """A sops file that we wrote, with what `verify` needs to check the staged copy.

    - `entries`: the age entries of the file; `written`: those of them that are new.
    - `inserted`: the edits of a grant, and `before`: the file that they were applied
      to; empty and None for a re-encrypted file.
    - `digest`: the SHA-256 of the plaintext as sops prints it, None if unknown.
    - `values`: for a file re-encrypted in place, the hash over all values in its MAC.
    - `foreign`: the entries of other kinds in each document (`Block.foreign`); empty if
      the data key is new.
    - `renewed`: the last so many of `written` replace entries that had grease.
    - `notes`: what sops spells differently.
    """

    data: bytes = field(repr=False)
    entries: Entries = field(repr=False)
    written: tuple[WrittenEntry, ...]
    inserted: tuple[Edit, ...] = field(repr=False)
    data_key: bytes = field(repr=False)
    digest: bytes | None = field(repr=False)
    values: bytes | None = field(default=None, repr=False)
    before: SopsFile | None = field(default=None, repr=False)
    foreign: tuple[Mapping[str, object], ...] = field(default=(), repr=False)
    renewed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The recipients of the new entries, without those that already had one."""
        asked = self.written[: len(self.written) - self.renewed]
        return tuple(entry.recipient for entry in asked)


def grant(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    *,
    add: Sequence[Recipient] = (),
    replace: Sequence[tuple[int, Recipient]] = (),
) -> SopsSealed:
    """Wrap the data key for more recipients; every other byte of the file stays.

    `add` is appended in order; each pair of `replace` gives the age entry at an index
    to another recipient.

    Raises:
        IdentityError: no identity decrypts an age entry.
        SecretFileError: the file is corrupt, has several key groups, or its documents
            have different recipients.
        KeyFormatError: a recipient's stanza cannot be written.
    """
    file = metadata.parse(path, data)
    require_agreement(file)
    key = data_key(file, identities)
    swapped = [(at, wrapped(key, recipient)) for at, recipient in replace]
    added = [wrapped(key, recipient) for recipient in add]
    edits = tuple(
        edit
        for block in file.blocks
        for edit in (
            *(e for at, entry in swapped for e in block.replace(at, *pair(entry))),
            *(block.append([pair(entry) for entry in added]) if added else ()),
        )
    )
    return SopsSealed(
        data=edited(file, edits),
        entries=file.entries.changed(
            [(at, pair(entry)) for at, entry in swapped], map(pair, added)
        ),
        written=(*(entry for _, entry in swapped), *added),
        inserted=edits,
        before=file,
        data_key=key,
        digest=None,
    )


def renewed(sealed: SopsSealed, path: str) -> SopsSealed:
    """Return a file in which new entries replace those with grease.

    The grease may be a stranger's stanza.  Entries of post-quantum keys stay: pyrage,
    which alone can write them, adds grease itself.
    """
    file = metadata.parse(path, sealed.data)
    entries = [
        (at, wrapped(sealed.data_key, reader))
        for at, entry in enumerate(file.entries)
        if (reader := entry.recipient) and not reader.post_quantum
        if has_noise(read_enc(entry.enc))
    ]
    if not entries:
        return sealed
    edits = [
        edit
        for block in file.blocks
        for at, entry in entries
        for edit in block.replace(at, *pair(entry))
    ]
    return replace(
        sealed,
        data=edited(file, edits),
        entries=file.entries.changed([(at, pair(one)) for at, one in entries], ()),
        written=(*sealed.written, *(entry for _, entry in entries)),
        renewed=len(entries),
    )


def wrapped(key: bytes, recipient: Recipient) -> WrittenEntry:
    """Return a new entry: an age file for one recipient, with its own file key."""
    if recipient.ours:
        file_key = os.urandom(FILE_KEY_SIZE)
        wrapped = wrap(file_key, recipient)
        header = age_header.join_header([wrapped.encoded])
        mac = header_mac(file_key, header)
        payload = seal_chunk(file_key, key)
        enc = age_header.encode(header, mac, payload, armored=True)
        return WrittenEntry(recipient, enc.decode(), wrapped.proof, file_key)
    sealed = operations.seal(key, [recipient], armored=True)
    proof = sealed.proofs[0] if sealed.proofs else None
    return WrittenEntry(recipient, sealed.data.decode(), proof, sealed.file_key)


def pair(entry: WrittenEntry) -> tuple[str, str]:
    """Return the label and the `enc` of an entry."""
    return entry.recipient.text, entry.enc


def edited(file: SopsFile, edits: Iterable[Edit]) -> bytes:
    """Return the content of a file after some edits."""
    return apply_edits(file.text, edits).encode("utf-8", "surrogateescape")


def only_for(file: SopsFile, key: bytes, recipient: Recipient) -> bytes:
    """Return the file with a single age recipient, for a run of sops.

    Entries of other kinds are removed: sops would contact the services in them.

    Raises:
        SecretFileError: they cannot be removed.
    """
    only = pair(wrapped(key, recipient))
    staged = edited(file, [e for block in file.blocks for e in block.bare(*only)])
    # parse the result: an entry in an unusual layout may have survived the edits
    if file.others or any(block.foreign for block in file.blocks):
        blocks = metadata.parse_as(file.format, staged).blocks
        if any(block.foreign for block in blocks):
            raise SecretFileError(
                "the entries of the file that are not age cannot be kept from sops",
                'remove them with sops: "sops rotate --help"',
            )
    return staged


def with_only(file: SopsFile, only: tuple[str, str]) -> bytes:
    """Return the file with all age entries replaced by one, in every document."""
    return edited(file, [edit for block in file.blocks for edit in block.only(*only)])


def with_entries(
    file: SopsFile,
    pairs: list[tuple[str, str]],
    written: tuple[WrittenEntry, ...],
    key: bytes,
    plaintext: bytes | None = None,
    *,
    values: bytes | None = None,
    before: SopsFile | None = None,
) -> SopsSealed:
    """Replace the only entry by the entries `pairs`, in every document.

    `before` is the file whose entries of other kinds are preserved; only if its data
    key is the same.
    """
    first, *rest = pairs
    olds = [] if before is None else list(before.blocks)
    # new documents get the entries of the first one
    olds += olds[:1] * (len(file.blocks) - len(olds))
    edits = [
        edit
        for block in file.blocks
        for edit in (*block.replace(0, *first), *(block.append(rest) if rest else ()))
    ]
    edits += (
        e
        for block, old in zip(file.blocks, olds, strict=False)
        for e in block.adopt(old)
    )
    return SopsSealed(
        data=edited(file, edits),
        entries=Entries([a for a, _ in pairs], [b for _, b in pairs]),
        written=written,
        inserted=(),
        data_key=key,
        digest=None if plaintext is None else hashlib.sha256(plaintext).digest(),
        values=values,
        foreign=tuple(old.foreign for old in olds[: len(file.blocks)]),
    )


def require_agreement(file: SopsFile) -> None:
    """Check that all documents have the same entries.

    Raises:
        SecretFileError: they do not.
    """
    if not file.agree:
        raise SecretFileError(
            "the documents of the file name different recipients",
            "re-encrypt it: nixsecrets rekey",
        )


def same_readers(file: SopsFile, recipients: Sequence[Recipient]) -> bool:
    """Return whether exactly these are the file's recipients, in these forms."""
    same = {e.recipient for e in file.entries} == set(recipients)
    return same and file.agree and not file.hidden
