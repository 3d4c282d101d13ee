"""Assigning values in a sops file: some of them change, the rest stays as it is.

In place by the value engine, by the real sops where that declines; with the
re-encryption that other readers or options ask for.
"""

import dataclasses
import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import (
    extract,
    grant,
    keypath,
    metadata,
    operations,
    printed,
)
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import contents
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.keypath import Given
from nixsecrets.files.sops.metadata import SopsFile, SopsFormat
from nixsecrets.files.sops.opening import decrypt_with_key
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.token import COMMENT_END
from nixsecrets.keys.identities import Identity
from nixsecrets.keys.recipients import Recipient


def replace_values(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    given: Given,
    *,
    recipients: Sequence[Recipient],
    options: Iterable[tuple[str, str | bool]] | None = None,
    rotate: bool = False,
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Give some values of a file other texts; nothing else of it changes.

    For the readers that the file has, their entries and its data key stay.  For other
    readers, with `rotate`, or for other `options`, it is re-encrypted with the new
    values.

    Raises:
        UsageError: a path does not say which value.
        SecretFileError: a path names no single value, or as `reencrypt`.
    """
    file = metadata.parse(path, data)
    if operations.chooses_others(file, options):
        # first, for the file's own options may leave the new values in plaintext
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
    found = extract.placed(file, given)
    replaced = contents.replaced(file, key, found, _now()) if found else None
    if replaced is not None:
        new, kept, values = replaced.data, None, replaced.digest
        _require_comments(file, new, key, sops, workdir)
    else:
        new, kept = extract.set_by_sops(file, key, given, sops=sops, workdir=workdir)
        values = None
    same = operations.same_readers(file, recipients)
    if rotate or not same:
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
        new, tuple(file.entries), (), (), key, digest, values, foreign=foreign
    )
    return kept_entries if new == data else grant.renewed(kept_entries, path)


def _require_comments(
    file: SopsFile, new: bytes, key: bytes, sops: SopsProgram, workdir: Path
) -> None:
    """Check that sops still opens the comments of a file that got new keys.

    A comment is bound to the keys above it, and sops says to which a line belongs.

    Raises:
        SecretFileError: it would not open one any more.
    """
    again = metadata.parse_as(file.format, new)
    if COMMENT_END not in new or new.count(b"\n") == file.text.count("\n"):
        return
    after = decrypt_with_key(again, key, sops=sops, workdir=workdir)
    if COMMENT_END in after:
        before = decrypt_with_key(file, key, sops=sops, workdir=workdir)
        printed.require_comments(before, after)


def create_with_value(
    path: str,
    given: Given,
    recipients: Sequence[Recipient],
    *,
    options: Iterable[tuple[str, str | bool]] = (),
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed:
    """Encrypt a new file with one value; raises as `create`."""
    kind = metadata.format_for(path)
    (where,) = given.values
    text = keypath.first_text(kind, where, "placeholder")
    made = operations.create(
        path, text, recipients, options=options, sops=sops, workdir=workdir
    )
    return _with_values(kind, made, given)


def _with_values(kind: SopsFormat, made: SopsSealed, given: Given) -> SopsSealed:
    """Return a file that was just encrypted, with other values in it."""
    file = metadata.parse_as(kind, made.data)
    found = extract.placed(file, given)
    replaced = contents.replaced(file, made.data_key, found, _now())
    if replaced is None:
        raise SecretFileError(
            "the values cannot be set by these names",
            "write the whole file: nixsecrets edit FILE",
        )
    return dataclasses.replace(
        made, data=replaced.data, digest=None, values=replaced.digest
    )


def _now() -> str:
    """Return the time as sops writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
