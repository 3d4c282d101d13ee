"""Re-encrypting sops files, creating them, and giving them other content.

Where every value is encrypted, the data key changes in place (`rekey`).  Whatever else
touches values is the work of the real sops program, on a staged copy whose only age
recipient is a throw-away identity; the data key is then taken out with that identity
and the real entries are written by the code of the grant.  So sops never sees a
person's identity.  Bytes in, bytes out; the caller verifies what was written (`verify`)
before it replaces anything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nixsecrets.errors import SecretFileError
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

    Entries that are not age go: nobody but `recipients` gets the new key, and nobody is
    contacted.  `options` None keeps the selection options of the file; with others it
    is encrypted from scratch.

    Raises:
        IdentityError: no identity opens an age entry.
        SecretFileError: the file is damaged (its MAC included), or has key groups.
        KeyFormatError: a recipient cannot be written.
        ProgramError: sops does not run.

    """
    file = metadata.parse(path, data)
    key = data_key(file, identities)
    types.require_fitting(file, key)
    if not chooses_others(file, options):
        sealed = rekey.rekeyed(file, key, recipients, sops, workdir)
        if sealed is not None:
            return sealed
    copy = workcopy.copied(file, key, sops=sops, workdir=workdir)
    plaintext = copy.decrypt()
    if chooses_others(file, options):
        return _anew(file, plaintext, recipients, options, sops, workdir)
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
    """Encrypt a new file; its format follows from `path`.

    Raises:
        SecretFileError: sops cannot read the content in that format, would change or
            leave open a value of it, or there is no recipient.
        KeyFormatError: a recipient cannot be written.
        ProgramError: sops does not run.

    """
    kind = metadata.format_for(path)
    chosen = _options_for(kind, options)
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
    """Give a file other content; values that stay the same keep their ciphertext.

    Where `recipients` is None or names the readers that the file has, its entries stay
    byte for byte, those that are not age included; with other readers, or `rotate`, the
    data key is rotated, and entries that are not age go.  `options` None keeps the
    file's; others encrypt it from scratch.  Content that is what the file holds already
    leaves the file as it is.

    Raises what `create` and `reencrypt` raise.
    """
    file = metadata.parse(path, data)
    if chooses_others(file, options):
        readers = _labelled(file) if recipients is None else recipients
        return _anew(file, plaintext, readers, options, sops, workdir)
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
    same = recipients is None or same_readers(file, recipients)
    other_readers = rotate or not same
    selection.require_encrypted(file.format, current.data, file.options)
    kept = current.decrypt()
    notes = fidelity.require_kept(file.format, plaintext, kept, _texts(file, key))
    if current is copy and not other_readers:
        return SopsSealed(data, file.entries, (), (), key, None, foreign=foreign)
    if recipients is None or not other_readers:
        again = metadata.parse_as(file.format, current.data)
        same_key = grant.with_entries(again, entries, (), key, kept, before=file)
        made = grant.renewed(same_key, path)
    else:
        made = _rotated(current, recipients, kept, key)
    return replace(made, notes=notes)


def _texts(file: SopsFile, key: bytes) -> dict[Place, str]:
    """Return the values of a file that are text, as far as it is understood."""
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


def _anew(
    file: SopsFile,
    plaintext: bytes,
    recipients: Sequence[Recipient],
    options: Iterable[tuple[str, str | bool]] | None,
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Encrypt from scratch, because sops cannot change a file's selection options."""
    chosen, layout = _options_for(file.format, options or ()), layout_of(file)
    return _create(file.format, plaintext, recipients, chosen, layout, sops, workdir)


def chooses_others(
    file: SopsFile, options: Iterable[tuple[str, str | bool]] | None
) -> bool:
    """Return whether `options` are other than those that the file follows."""
    if options is None:
        return False
    return _options_for(file.format, options) != _options_for(file.format, file.options)


def same_readers(file: SopsFile, recipients: Sequence[Recipient]) -> bool:
    """Return whether exactly these are the file's readers, in these forms."""
    same = {e.recipient for e in file.entries} == set(recipients)
    return same and file.agree and not file.hidden


def _rotated(
    copy: WorkCopy, recipients: Sequence[Recipient], plaintext: bytes, old_key: bytes
) -> SopsSealed:
    """Let sops make a new data key, then write the readers' entries."""
    rotated = copy.rotated()
    kept = plaintext
    if COMMENT_END in rotated.data:  # which sops may have moved, or lost
        kept = rotated.decrypt()
        printed.require_same(copy.format, plaintext, kept)
    sealed = _finished(rotated, recipients, kept)
    if sealed.data_key == old_key:
        raise SecretFileError(
            "sops kept the data key that it was to replace",
            "nothing was replaced; is it the real sops?",
        )
    return sealed


def _finished(
    copy: WorkCopy, recipients: Sequence[Recipient], plaintext: bytes
) -> SopsSealed:
    """Write the readers' entries in the place of the throw-away one."""
    rekey.require_readers(recipients)
    file = metadata.parse_as(copy.format, copy.data)
    key = data_key(file, [copy.identity])
    written = tuple(grant.wrapped(key, recipient) for recipient in recipients)
    pairs = list(map(grant.pair, written))
    return grant.with_entries(file, pairs, written, key, plaintext)


def _labelled(file: SopsFile) -> list[Recipient]:
    """Return the readers that the file has now."""
    found = [entry.recipient for entry in file.entries]
    named = [recipient for recipient in found if recipient is not None]
    if len(named) != len(found):
        raise SecretFileError(
            "the file has an age entry whose label is not a recipient",
            "set its recipients: nixsecrets rekey",
        )
    return named


def _options_for(
    kind: SopsFormat, options: Iterable[tuple[str, str | bool]]
) -> Options:
    """Return the options that sops follows for this format (binary: none)."""
    return () if kind is SopsFormat.BINARY else metadata.canonical_options(options)
