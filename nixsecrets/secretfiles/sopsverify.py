"""Proof, on bytes read back, that a staged sops file is what it was meant to be.

Decides nothing and repairs nothing: any deviation is an error, and the caller then
throws the staged file away.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from nixsecrets.errors import SecretFileError
from nixsecrets.keys.identities import Identity, PluginIdentity
from nixsecrets.secretfiles import agefile, sopskey, sopsmeta, sopsops
from nixsecrets.secretfiles.ageops import check_mac
from nixsecrets.secretfiles.agestate import fits
from nixsecrets.secretfiles.chunk import open_chunk
from nixsecrets.secretfiles.program import SopsProgram
from nixsecrets.secretfiles.sopsgrant import SopsSealed, WrittenEntry
from nixsecrets.secretfiles.sopsmeta import SopsFile
from nixsecrets.secretfiles.sopsstate import read_enc
from nixsecrets.secretfiles.wrap import opens_to


def verify_grant(path: str, old: bytes, new: bytes, sealed: SopsSealed) -> None:
    """Check a granted file: the new entries are right, and nothing else changed.

    Raises:
        SecretFileError: with what is wrong.

    """
    _check_untouched(_text(old), _text(new), sealed)
    _check_entries(sopsmeta.parse(path, new), sealed)


def verify_reencrypted(
    path: str,
    new: bytes,
    sealed: SopsSealed,
    identities: Sequence[Identity] = (),
    *,
    sops: SopsProgram,
    workdir: Path,
) -> None:
    """Check a file that sops wrote: its readers are those planned, and sops opens it
    to the plaintext that was to be encrypted, MAC included.

    An identity that is one of the readers unwraps the data key; plugins are not asked
    once more, and where there is no such identity, the data key at hand is used.

    Raises:
        SecretFileError: with what is wrong.
        ProgramError: sops does not run.

    """
    file = sopsmeta.parse(path, new)
    _check_entries(file, sealed)
    native = [one for one in identities if not isinstance(one, PluginIdentity)]
    readers = [one for one in native if sopskey.opens_with(file, one)]
    if readers:
        key = sopskey.data_key(file, readers, opener=sopskey.opened_by_pyrage)
        if key != sealed.data_key:
            _deviates("its data key is not the one that was wrapped")
    if sealed.digest is None and sealed.values is None:
        return
    plaintext = sopsops.decrypt_with_key(
        file, sealed.data_key, sops=sops, workdir=workdir
    )
    if sealed.values is not None:
        # sops found its values to be those of its MAC
        same = sopskey.mac_of(file, sealed.data_key) == sealed.values
    else:
        same = hashlib.sha256(plaintext).digest() == sealed.digest
    if not same:
        _deviates("its plaintext is not the one that was to be encrypted")


def _check_untouched(old: str, new: str, sealed: SopsSealed) -> None:
    """Walk both texts along the edits: what lies between them must be the same."""
    at, before = 0, 0
    for start, end, text in sorted(sealed.inserted, key=lambda edit: edit[:2]):
        length = start - before
        if old[before:start] != new[at : at + length]:
            _deviates("it changed outside of the new entries")
        at, before = at + length, end
        if not new.startswith(text, at):
            _deviates("a new entry is not the one that was written")
        at += len(text)
    if old[before:] != new[at:]:
        _deviates("it changed outside of the new entries")


def _check_entries(file: SopsFile, sealed: SopsSealed) -> None:
    """Check all entries against the plan, and open those that we wrote."""
    if not file.agree or file.entries != sealed.entries:
        _deviates("its entries are not those that were planned")
    for entry in sealed.written:
        _check_entry(entry, sealed.data_key)
        if (entry.recipient.text, entry.enc) not in file.entries:
            _deviates("an entry is labelled with somebody else's key")


def _check_entry(entry: WrittenEntry, data_key: bytes) -> None:
    """Check type and tag of a new entry, and that its reader finds the data key."""
    if entry.proof is None or entry.file_key is None:
        found = read_enc(entry.enc)
        if len(found) != 1 or not fits(found[0], entry.recipient):
            _deviates("an entry does not fit its reader")
        return
    if entry.proof.recipient != entry.recipient:
        _deviates("an entry was wrapped for somebody else")
    enc = agefile.parse(entry.enc.encode())
    one = len(enc.spelled) == 1
    if not (one and opens_to(enc.spelled[0], entry.proof, entry.file_key)):
        _deviates("a reader would not be able to open it")
    check_mac(enc, entry.file_key)
    if open_chunk(entry.file_key, bytes(enc.payload)) != data_key:
        _deviates("a reader would find another data key")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _deviates(reason: str) -> NoReturn:
    raise SecretFileError(
        f"the staged sops file is not as planned: {reason}",
        "nothing was replaced; try again, and report it if it happens twice",
    )
