"""Verification of a staged sops file, on bytes read back from the disk.

Any deviation is an error, and the caller discards the staged file.
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
from nixsecrets.files.sops import datakey, grant, metadata, opening, token
from nixsecrets.files.sops.engine import mac
from nixsecrets.files.sops.grant import SopsSealed, WrittenEntry
from nixsecrets.files.sops.metadata import SopsFile, SopsFormat
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.state import read_enc, stanzas_of
from nixsecrets.files.sops.yaml import YamlBlock
from nixsecrets.keys.identities import Identity, PluginIdentity, X25519Identity

# usual versions (getsops/sops:version/version.go); sops itself judges the others
_VERSION = re.compile(r"v?(?:0|[1-9]\d{0,9})(?:\.(?:0|[1-9]\d{0,9})){2}")
_OTHER_CONTENT = "its plaintext is not the one that was to be encrypted"


def verify_grant(path: str, old: bytes, new: bytes, sealed: SopsSealed) -> None:
    """Verify a granted file: the new entries are right, and nothing else changed.

    Raises:
        SecretFileError: the file deviates from `sealed`; the message says how.
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
    """Verify a re-encrypted file as far as possible without sops; return it parsed.

    Its entries are as planned, and an identity that is one of the recipients, except a
    plugin, unwraps the data key.  The caller must call `verify_values` afterwards.

    Raises:
        SecretFileError: the file deviates from `sealed`; the message says how.
    """
    file = metadata.parse(path, new)
    _check_planned(file, sealed)
    kept = [block.foreign for block in file.blocks]
    if kept != [*sealed.foreign, *[{}] * (len(kept) - len(sealed.foreign))]:
        _deviates("its entries that are not age are not those that were to stay")
    _check_written(sealed)
    # a plugin would ask for a touch again
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
    """Verify that sops decrypts re-encrypted files to the same values, with good MACs.

    Returns the errors by the index of the file in `written`.

    Raises:
        ProgramError: sops cannot be run.
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
    """Verify one file with `sops decrypt`; raises `SecretFileError`."""
    plaintext = opening.decrypt_by_sops(
        file, sealed.data_key, sops=sops, workdir=workdir
    )
    if sealed.digest not in {None, hashlib.sha256(plaintext).digest()}:
        _deviates(_OTHER_CONTENT)


def _decrypt_may_refuse(file: SopsFile) -> bool:
    """Return whether `sops decrypt` may refuse a file that `sops publish` accepts.

    It checks the version in the metadata, and that the value of a binary file is text.
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
    """Return the indexes of the files that sops decrypts with good MACs.

    sops stops at the first file that it refuses: that one is skipped, and another run
    continues after it.
    """
    left = [place for place in places if not _decrypt_may_refuse(written[place][0])]
    read: set[int] = set()
    nothing = False
    while len(left) > 1:
        throw_away = X25519Identity.generate("throw-away identity")
        only = throw_away.recipients[0]
        pairs = [written[place] for place in left]
        from nixsecrets.files.sops import publish  # 3 ms, for many files at once

        found = publish.read_by_sops(
            sops,
            [(f.format, grant.only_for(f, s.data_key, only)) for f, s in pairs],
            identity=throw_away.secret_text(),
            workdir=workdir,
        )
        if nothing and not found:
            break  # two runs without a result: the reason is not a single file
        nothing = not found
        read |= {left[number] for number in found}
        stopped = next((n for n in range(len(left)) if n not in found), len(left))
        left = [place for place in left[stopped + 1 :] if place not in read]
    return read


def _check_untouched(old: str, new: str, sealed: SopsSealed) -> None:
    """Check that both texts are the same outside of the edits."""
    at, before = 0, 0  # offsets in the new and in the old text
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
    """Return whether the edits result in the planned entries and change nothing else.

    Parses only the added text, as it is appended to the other entries.  False means
    unsure: then the complete file is parsed again, which makes a grant in a file with
    fifty recipients a seventh slower.
    """
    block = before.blocks[0]
    grown = block.grown(sealed.inserted) if isinstance(block, YamlBlock) else None
    return grown == sealed.entries


def _check_elsewhere(old: SopsFile, new: SopsFile) -> None:
    """Check that only entries were edited: with a single entry, both are the same."""
    one = old.entries[0]
    if grant.with_only(old, one) != grant.with_only(new, one):
        _deviates("it changed outside of its entries")


def _check_planned(file: SopsFile, sealed: SopsSealed) -> None:
    if not file.agree or file.entries != sealed.entries:
        _deviates("its entries are not those that were planned")


def _check_written(sealed: SopsSealed) -> None:
    """Verify the entries that we wrote, and that the file has them."""
    for entry in sealed.written:
        _check_entry(entry, sealed.data_key)
        if (entry.recipient.text, entry.enc) not in sealed.entries:
            _deviates("an entry is labelled with somebody else's key")


def _check_entry(entry: WrittenEntry, data_key: bytes) -> None:
    """Verify that the recipient of a new entry can decrypt the data key.

    For an entry that pyrage wrote, only check the type and the tag.
    """
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
