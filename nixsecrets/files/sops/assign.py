"""Setting single values of a sops file, for `set --key` and `generate --key`.

The value engine replaces them in place; sops does if the engine declines.  The file is
re-encrypted if its readers or options change, too.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops import (
    extract,
    grant,
    keypath,
    metadata,
    printed,
    selection,
    workcopy,
)
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import contents, place, replacement
from nixsecrets.files.sops.engine.place import At, Found
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.keypath import KeyPath, NewValues
from nixsecrets.files.sops.metadata import SopsFile, SopsFormat
from nixsecrets.files.sops.opening import decrypt_by_sops
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.rekey import timestamp
from nixsecrets.files.sops.token import COMMENT_END, type_of
from nixsecrets.files.sops.values import Place
from nixsecrets.files.sops.workcopy import WorkCopy
from nixsecrets.frozen import replace
from nixsecrets.keys.identities import Identity
from nixsecrets.keys.recipients import Recipient


def replace_values(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    given: NewValues,
    *,
    recipients: Sequence[Recipient],
    options: Iterable[tuple[str, str | bool]] | None = None,
    rotate: bool = False,
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Set some values of a file; nothing else of it changes.

    If `recipients` are the file's readers, its entries and its data key stay.  For
    other readers, with `rotate`, or for other `options`, it is re-encrypted with the
    new values.

    Raises:
        UsageError: a path is ambiguous.
        IdentityError: no identity decrypts an age entry.
        SecretFileError: a path does not name a single value, the file is corrupt, its
            MAC is wrong, or it has several key groups.
        KeyFormatError: a recipient's stanza cannot be written.
        ProgramError: sops is needed and fails.
    """
    file = metadata.parse(path, data)
    if metadata.chooses_others(file, options):
        from nixsecrets.files.sops import operations  # 6 ms; a value needs none of it

        # re-encrypt first: the file's own options may leave the new values in plaintext
        made = operations.reencrypt(
            path,
            data,
            identities,
            recipients,
            options=options,
            sops=sops,
            workdir=workdir,
        )
        return _with_values(file.format, made, given)
    key = data_key(file, identities)
    found = placed(file, given)
    replaced = replacement.replaced(file, key, found, timestamp()) if found else None
    if replaced is not None:
        new, kept, values = replaced.data, None, replaced.hashed
        _require_comments(file, new, key, sops, workdir)
    else:
        new, kept = _set_by_sops(file, key, given, sops=sops, workdir=workdir)
        values = None
    same = grant.same_readers(file, recipients)
    if rotate or not same:
        from nixsecrets.files.sops import operations  # as above

        return operations.reencrypt(
            path,
            new,
            identities,
            recipients,
            sops=sops,
            workdir=workdir,
        )
    foreign = tuple(block.foreign for block in file.blocks)
    digest = None if kept is None or new == data else hashlib.sha256(kept).digest()
    values = None if new == data else values
    kept_entries = SopsSealed(
        new, file.entries, (), (), key, digest, values, foreign=foreign
    )
    return kept_entries if new == data else grant.renewed(kept_entries, path)


def _require_comments(
    file: SopsFile, new: bytes, key: bytes, sops: SopsProgram, workdir: Path
) -> None:
    """Check that sops still decrypts the comments of a file with added keys.

    The encryption of a comment is bound to the keys above it, as sops determines them.

    Raises:
        SecretFileError: a comment would not decrypt any more.
    """
    again = metadata.parse_as(file.format, new)
    if COMMENT_END not in new or new.count(b"\n") == file.text.count("\n"):
        return  # no encrypted comments, or no added lines
    after = decrypt_by_sops(again, key, sops=sops, workdir=workdir)
    if COMMENT_END in after:
        before = decrypt_by_sops(file, key, sops=sops, workdir=workdir)
        printed.require_comments(before, after)


def create_with_value(
    path: str,
    given: NewValues,
    recipients: Sequence[Recipient],
    *,
    options: Iterable[tuple[str, str | bool]] = (),
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Encrypt a new file with a single value.

    Raises:
        SecretFileError: there is no recipient, or the options leave it in plaintext.
        KeyFormatError: a recipient's stanza cannot be written.
        ProgramError: sops fails.
    """
    from nixsecrets.files.sops import operations  # as above

    kind = format_for(path)
    (where,) = given.values
    text = keypath.first_text(kind, where, "placeholder")
    made = operations.create(
        path, text, recipients, options=options, sops=sops, workdir=workdir
    )
    return _with_values(kind, made, given)


def _with_values(kind: SopsFormat, made: SopsSealed, given: NewValues) -> SopsSealed:
    """Return a newly encrypted file with some of its values replaced."""
    file = metadata.parse_as(kind, made.data)
    found = placed(file, given)
    replaced = replacement.replaced(file, made.data_key, found, timestamp())
    if replaced is None:
        raise SecretFileError(
            "the values cannot be set by these names",
            "write the whole file: nixsecrets edit FILE",
        )
    return replace(made, data=replaced.data, digest=None, values=replaced.hashed)


def holds(
    path: str, data: bytes, identities: Sequence[Identity], given: NewValues
) -> bool:
    """Return whether a file has these values already; False if unsure.

    Raises:
        UsageError: a path is ambiguous.
        IdentityError: no identity decrypts an age entry.
        SecretFileError: a path does not name a single value, or the file is corrupt.
    """
    file = metadata.parse(path, data)
    places = placed(file, given)
    found = contents.opened(file, data_key(file, identities)) if places else None
    return found is not None and replacement.unchanged(found, places)


def placed(file: SopsFile, given: NewValues) -> dict[Place, str]:
    """Return the given values by place; empty if the engine cannot read the file.

    Raises:
        UsageError: a path is ambiguous: it does not name its document.
        SecretFileError: there is something other than a value at a path.
    """
    found = {
        place.find(file.format, file.text, path): value
        for path, value in given.values.items()
    }
    for one in found:
        comment = type_of(one.value) == "comment"  # an item of a list
        if comment or one.at in (At.BRANCH, At.BELOW):
            _refuse_dropping()
    if any(one.at is At.UNKNOWN for one in found):
        return {}  # left to sops
    return {one.place: value for one, value in found.items()}


def _refuse_dropping() -> None:
    raise SecretFileError(
        "other values would be dropped: the file has something else at that place",
        "name a value, not a branch; or change its form with `nixsecrets edit`",
    )


def _set_by_sops(
    file: SopsFile, key: bytes, given: NewValues, *, sops: SopsProgram, workdir: Path
) -> tuple[bytes, bytes]:
    """Set values with sops, one by one; return the file and its plaintext.

    The data key and the entries stay.  Afterwards all other values are compared.

    Raises:
        SecretFileError: sops cannot set a value, or changed another one.
    """
    copy = current = workcopy.copied(file, key, sops=sops, workdir=workdir)
    for wanted, value in given.values.items():
        known = place.find(file.format, file.text, wanted)
        if known.at in (At.NEW, At.UNKNOWN):
            there = extract.by_sops(copy, wanted)
            if there is None:
                replacement.require_selected(file, "", (0, wanted.names))
        current = current.with_value(_expression(known, wanted, copy), value)
    selection.require_encrypted(file.format, current.data, file.options)
    before, after = copy.decrypt(), current.decrypt()
    printed.require_comments(before, after)
    if printed.changed_elsewhere(file.format, before, after, given.values):
        _refuse_dropping()
    again = metadata.parse_as(file.format, current.data)
    pairs: list[tuple[str, str]] = list(file.entries)
    sealed = grant.with_entries(again, pairs, (), key, before=file)
    return sealed.data, after


def _expression(known: Found, wanted: KeyPath, copy: WorkCopy) -> str:
    """Return a key path as an expression for sops (`["a"][0]`).

    Raises:
        SecretFileError: sops has no expression for it.
    """
    ways = list(keypath.expressions(wanted))
    if not ways:
        raise SecretFileError(
            "the value cannot be set safely at that place",
            "change it in an editor: nixsecrets edit FILE",
        )
    if known.at is At.UNKNOWN:
        there = extract.by_sops(copy, wanted)
        return there[0] if there else ways[0]
    steps = known.place[1]
    return "".join(f"[{s}]" if isinstance(s, int) else f'["{s}"]' for s in steps)
