"""Proof, on bytes read back, that a staged sops file is what it was meant to be.

Decides nothing and repairs nothing: any deviation is an error, and the caller then
throws the staged file away.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from nixsecrets.errors import SecretFileError
from nixsecrets.files.age import header
from nixsecrets.files.age.payload import open_chunk
from nixsecrets.files.age.state import fits
from nixsecrets.files.age.wrap import check_mac, opens_to
from nixsecrets.files.sops import datakey, grant, metadata, opening, publish, token
from nixsecrets.files.sops.engine import mac
from nixsecrets.files.sops.grant import SopsSealed, WrittenEntry
from nixsecrets.files.sops.metadata import SopsFile, SopsFormat
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.state import read_enc, stanzas_of
from nixsecrets.files.sops.yaml import YamlBlock
from nixsecrets.keys.identities import Identity, PluginIdentity, X25519Identity

# getsops/sops version/version.go; of the unusual ones sops is asked
_VERSION = re.compile(r"v?(?:0|[1-9]\d{0,9})(?:\.(?:0|[1-9]\d{0,9})){2}")
_OTHER_CONTENT = "its plaintext is not the one that was to be encrypted"


def verify_grant(path: str, old: bytes, new: bytes, sealed: SopsSealed) -> None:
    """Check a granted file: the new entries are right, and nothing else changed.

    Raises:
        SecretFileError: with what is wrong.

    """
    before = sealed.before
    if before is None or before.text != _text(old):
        _deviates("it was made of another file")
    _check_untouched(before.text, _text(new), sealed)
    metadata.require_readable(new)
    if not _as_planned(before, sealed):
        file = metadata.parse(path, new)
        _check_planned(file, sealed)
        _check_elsewhere(before, file)
    _check_written(sealed)


def verify_reencrypted(
    path: str, new: bytes, sealed: SopsSealed, identities: Sequence[Identity] = ()
) -> SopsFile:
    """Check a re-encrypted file as far as sops is not needed; return what was read.

    Its readers are those planned.  An identity that is one of them unwraps the data
    key; plugins are not asked once more, and where there is no such identity, the data
    key at hand is used.  `verify_values` has to follow.

    Raises:
        SecretFileError: with what is wrong.

    """
    file = metadata.parse(path, new)
    _check_planned(file, sealed)
    kept = [block.foreign for block in file.blocks]
    if kept != [*sealed.foreign, *[{}] * (len(kept) - len(sealed.foreign))]:
        _deviates("its entries that are not age are not those that were to stay")
    _check_written(sealed)
    native = [one for one in identities if not isinstance(one, PluginIdentity)]
    readers = [one for one in native if datakey.opens_with(file, one)]
    if readers:
        key = datakey.data_key(file, readers, opener=datakey.opened_by_pyrage)
        if key != sealed.data_key:
            _deviates("its data key is not the one that was wrapped")
    if sealed.values is not None and (
        mac.hash_in(file, sealed.data_key) != sealed.values
    ):
        _deviates(_OTHER_CONTENT)
    return file


def verify_values(
    written: Sequence[tuple[SopsFile, SopsSealed]],
    *,
    sops: SopsProgram,
    workdir: Path,
) -> dict[int, SecretFileError]:
    """Check that sops opens re-encrypted files to what was encrypted, MACs included.

    Returns what is wrong, by the place of the file in `written`.

    Raises:
        ProgramError: sops does not run.

    """
    in_place = [n for n, (_, s) in enumerate(written) if s.digest is None and s.values]
    read = _read_at_once(written, in_place, sops, workdir)
    refused: dict[int, SecretFileError] = {}
    for place, (file, sealed) in enumerate(written):
        if place in read or (sealed.values is None and sealed.digest is None):
            continue
        try:
            _read_alone(file, sealed, sops, workdir)
        except SecretFileError as error:
            refused[place] = error
    return refused


def _read_alone(
    file: SopsFile, sealed: SopsSealed, sops: SopsProgram, workdir: Path
) -> None:
    """Let sops say what is wrong with one file, if anything is."""
    plaintext = opening.decrypt_with_key(
        file, sealed.data_key, sops=sops, workdir=workdir
    )
    if sealed.digest not in {None, hashlib.sha256(plaintext).digest()}:
        _deviates(_OTHER_CONTENT)


def _judged_by_more(file: SopsFile) -> bool:
    """Return whether `sops decrypt` may refuse a file that can be read at once.

    It compares the version of the file with others, and prints a binary file only
    where its value is text.
    """
    if _VERSION.fullmatch(file.version) is None:
        return True
    binary = file.format is SopsFormat.BINARY
    return binary and any(t != "str" for t in token.types(file.text).values())


def _read_at_once(
    written: Sequence[tuple[SopsFile, SopsSealed]],
    places: Sequence[int],
    sops: SopsProgram,
    workdir: Path,
) -> set[int]:
    """Return which of some files sops read, its values being those of the MAC.

    sops stops at the first that it cannot read: that one is left out, and it starts
    again behind it.
    """
    left = [place for place in places if not _judged_by_more(written[place][0])]
    read: set[int] = set()
    nothing = False
    while len(left) > 1:
        throw_away = X25519Identity.generate("throw-away identity")
        only = throw_away.recipients[0]
        pairs = [written[place] for place in left]
        found = publish.read_by_sops(
            sops,
            [(f.format, grant.only_for(f, s.data_key, only)) for f, s in pairs],
            identity=throw_away.secret_text(),
            workdir=workdir,
        )
        if nothing and not found:
            break  # it is more than one file that stops it
        nothing = not found
        read |= {left[number] for number in found}
        stopped = next((n for n in range(len(left)) if n not in found), len(left))
        left = [place for place in left[stopped + 1 :] if place not in read]
    return read


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


def _as_planned(before: SopsFile, sealed: SopsSealed) -> bool:
    """Return whether the edits make the planned entries and change nothing else.

    They are read alone: a text that ends in entries stays one with more behind them.
    False says nothing: then the whole file is read again, which takes a grant of fifty
    readers a seventh longer.
    """
    block = before.blocks[0]
    grown = block.grown(sealed.inserted) if isinstance(block, YamlBlock) else None
    return grown == sealed.entries


def _check_elsewhere(old: SopsFile, new: SopsFile) -> None:
    """Check that nothing but entries was edited: without them, both are the same."""
    one = old.entries[0]
    if grant.with_only(old, one) != grant.with_only(new, one):
        _deviates("it changed outside of its entries")


def _check_planned(file: SopsFile, sealed: SopsSealed) -> None:
    if not file.agree or file.entries != sealed.entries:
        _deviates("its entries are not those that were planned")


def _check_written(sealed: SopsSealed) -> None:
    """Open the entries that we wrote; all of them stand in the file as planned."""
    for entry in sealed.written:
        _check_entry(entry, sealed.data_key)
        if (entry.recipient.text, entry.enc) not in sealed.entries:
            _deviates("an entry is labelled with somebody else's key")


def _check_entry(entry: WrittenEntry, data_key: bytes) -> None:
    """Check type and tag of a new entry, and that its reader finds the data key."""
    if entry.proof is None or entry.file_key is None:
        found = stanzas_of(read_enc(entry.enc))
        if len(found) != 1 or not fits(found[0], entry.recipient):
            _deviates("an entry does not fit its reader")
        return
    if entry.proof.recipient != entry.recipient:
        _deviates("an entry was wrapped for somebody else")
    enc = header.parse(entry.enc.encode())
    one = len(enc.encoded) == 1
    if not (one and opens_to(enc.encoded[0], entry.proof, entry.file_key)):
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
