"""Re-encrypting sops files, creating them, and replacing their content.

If every value is encrypted, the data key is replaced in place (`rekey`).  All other
changes of values are made by sops, on a copy whose only recipient is a throw-away
identity.  With that identity we decrypt the new data key, and write the real entries
with the code of the grant.  So sops never sees the user's identity.  The caller
verifies the result (`verify`) before it replaces a file.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops import (
    fidelity,
    grant,
    metadata,
    printed,
    rekey,
    run,
    selection,
    textfaults,
    workcopy,
)
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import contents, types
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.metadata import Options, SopsFile, SopsFormat
from nixsecrets.files.sops.program import Layout, SopsProgram
from nixsecrets.files.sops.token import COMMENT_END
from nixsecrets.files.sops.values import Place
from nixsecrets.files.sops.workcopy import WorkCopy, layout_of
from nixsecrets.frozen import replace
from nixsecrets.keys.identities import Identity
from nixsecrets.keys.recipients import Recipient


def reencrypt(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    recipients: Sequence[Recipient],
    *,
    options: Iterable[tuple[str, str | bool]] | None = None,
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Encrypt the same values under a fresh data key, for exactly `recipients`.

    Entries that are not age are dropped: only `recipients` get the new key, and no key
    service is contacted.  `options` None keeps the selection options of the file; with
    others, it is encrypted from scratch.

    Raises:
        IdentityError: no identity decrypts an age entry.
        SecretFileError: the file is corrupt, its MAC is wrong, it has several key
            groups, or there is no recipient.
        KeyFormatError: a recipient's stanza cannot be written.
        ProgramError: sops fails.
    """
    file = metadata.parse(path, data)
    key = data_key(file, identities)
    types.require_fitting(file, key)  # sops would refuse it with a vague message
    if not metadata.chooses_others(file, options):
        sealed = rekey.rekeyed(file, key, recipients, sops, workdir)
        if sealed is not None:
            return sealed
    copy = workcopy.copied(file, key, sops=sops, workdir=workdir)
    plaintext = copy.decrypt()
    if metadata.chooses_others(file, options):
        return _from_scratch(file, plaintext, recipients, options, sops, workdir)
    return _rotated(copy, recipients, plaintext, key)


def create(
    path: str,
    plaintext: bytes,
    recipients: Sequence[Recipient],
    *,
    options: Iterable[tuple[str, str | bool]] = (),
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Encrypt a new file; `path` determines its format.

    Raises:
        SecretFileError: sops cannot parse the content in that format, would change a
            value or leave one in plaintext, or there is no recipient.
        KeyFormatError: a recipient's stanza cannot be written.
        ProgramError: sops fails.
    """
    kind = format_for(path)
    chosen = metadata.options_for(kind, options)
    return _create(kind, plaintext, recipients, chosen, Layout(), sops, workdir)


def replace_content(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    plaintext: bytes,
    *,
    recipients: Sequence[Recipient] | None = None,
    options: Iterable[tuple[str, str | bool]] | None = None,
    rotate: bool = False,
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Replace the content of a file; unchanged values keep their ciphertext.

    If `recipients` is None, or they are the file's readers, all entries stay unchanged.
    For other readers, or with `rotate`, the data key is rotated, and entries that are
    not age are dropped.  `options` None keeps the file's options; with others, it is
    encrypted from scratch.  If the content is the same, the file stays unchanged.

    Raises:
        IdentityError: no identity decrypts an age entry.
        SecretFileError: the file is corrupt, its MAC is wrong, it has several key
            groups, there is no recipient, or sops cannot parse the content, would
            change a value or leave one in plaintext.
        KeyFormatError: a recipient's stanza cannot be written.
        ProgramError: sops fails.
    """
    file = metadata.parse(path, data)
    if metadata.chooses_others(file, options):
        readers = _labelled(file) if recipients is None else recipients
        return _from_scratch(file, plaintext, readers, options, sops, workdir)
    if recipients is None:
        grant.require_agreement(file)
    key = data_key(file, identities)
    copy = workcopy.copied(file, key, sops=sops, workdir=workdir)
    textfaults.require_sound(file.format, plaintext)
    try:
        current = copy.edited(plaintext)
    except run.RefusedTextError as error:
        raise textfaults.explained(file.format, plaintext, error) from error
    entries: list[tuple[str, str]] = list(file.entries)
    foreign = tuple(block.foreign for block in file.blocks)
    same = recipients is None or grant.same_readers(file, recipients)
    other_readers = rotate or not same
    selection.require_encrypted(file.format, current.data, file.options)
    # decrypted again, because sops may have changed values or lost comments
    kept = current.decrypt()
    notes = fidelity.require_kept(file.format, plaintext, kept, _texts(file, key))
    if current is copy and not other_readers:  # the content is the same
        return SopsSealed(data, file.entries, (), (), key, None, foreign=foreign)
    if recipients is None or not other_readers:
        again = metadata.parse_as(file.format, current.data)
        same_key = grant.with_entries(again, entries, (), key, kept, before=file)
        made = grant.renewed(same_key, path)
    else:
        made = _rotated(current, recipients, kept, key)
    return replace(made, notes=notes)


def _texts(file: SopsFile, key: bytes) -> dict[Place, str]:
    """Return the values of a file as text by place; empty if the engine declines."""
    return {
        value.leaf.place: value.plaintext.decode("utf-8", "replace")
        for value in contents.opened(file, key) or ()
    }


def _create(
    kind: SopsFormat,
    plaintext: bytes,
    recipients: Sequence[Recipient],
    options: Options,
    layout: Layout,
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    textfaults.require_sound(kind, plaintext)
    try:
        copy = workcopy.encrypted(
            kind, plaintext, options, layout=layout, sops=sops, workdir=workdir
        )
    except run.RefusedTextError as error:
        raise textfaults.explained(kind, plaintext, error) from error
    selection.require_encrypted(kind, copy.data, options)
    kept = copy.decrypt()
    notes = fidelity.require_kept(kind, plaintext, kept)
    made = _finished(copy, recipients, kept)
    return replace(made, notes=notes)


def _from_scratch(
    file: SopsFile,
    plaintext: bytes,
    recipients: Sequence[Recipient],
    options: Iterable[tuple[str, str | bool]] | None,
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Encrypt as a new file, because sops cannot change a file's selection options."""
    chosen, layout = metadata.options_for(file.format, options or ()), layout_of(file)
    return _create(file.format, plaintext, recipients, chosen, layout, sops, workdir)


def _rotated(
    copy: WorkCopy, recipients: Sequence[Recipient], plaintext: bytes, old_key: bytes
) -> SopsSealed:
    """Rotate the data key with sops, then write the recipients' entries."""
    rotated = copy.rotated()
    kept = plaintext
    if COMMENT_END in rotated.data:  # sops may have moved or lost comments
        kept = rotated.decrypt()
        printed.require_same(copy.format, plaintext, kept)
    sealed = _finished(rotated, recipients, kept)
    # a wrapper in place of sops could do nothing
    if sealed.data_key == old_key:
        raise SecretFileError(
            "sops kept the data key that it was to replace",
            "nothing was replaced; is it the real sops?",
        )
    return sealed


def _finished(
    copy: WorkCopy, recipients: Sequence[Recipient], plaintext: bytes
) -> SopsSealed:
    """Replace the entry of the throw-away identity by those of `recipients`."""
    rekey.require_readers(recipients)
    file = metadata.parse_as(copy.format, copy.data)
    key = data_key(file, [copy.identity])
    written = tuple(grant.wrapped(key, recipient) for recipient in recipients)
    pairs = list(map(grant.pair, written))
    return grant.with_entries(file, pairs, written, key, plaintext)


def _labelled(file: SopsFile) -> list[Recipient]:
    """Return the recipients in the labels of the file."""
    found = [entry.recipient for entry in file.entries]
    named = [recipient for recipient in found if recipient is not None]
    if len(named) != len(found):
        raise SecretFileError(
            "the file has an age entry whose label is not a recipient",
            "set its recipients: nixsecrets rekey",
        )
    return named
