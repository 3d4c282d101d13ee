"""Re-keying a sops file in place: a new data key for its values and comments.

The value engine does it; sops verifies the comments, if there are any.
"""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import grant, metadata, printed
from nixsecrets.files.sops.datakey import DATA_KEY_SIZE
from nixsecrets.files.sops.engine import mac, rekeying
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.opening import decrypt_by_sops
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.spans import Edit
from nixsecrets.frozen import replace
from nixsecrets.keys.recipients import Recipient


def rekeyed(
    file: SopsFile,
    old_key: bytes,
    recipients: Sequence[Recipient],
    sops: SopsProgram,
    workdir: Path,
) -> SopsSealed | None:
    """Return the file with values and comments under a new data key.

    None if the value engine declines and only sops can do it.

    Raises:
        SecretFileError: there is no recipient, or the file is corrupt.
        KeyFormatError: a recipient's stanza cannot be written.
        ProgramError: sops is needed and fails.
    """
    new_key = os.urandom(DATA_KEY_SIZE)
    before: bytes | None = None
    # The encryption of a comment is bound to the keys that sops counts above it.  For
    # one that was in plaintext they have to be guessed, and sops has to confirm it:
    # by printing the same values and comments as before.
    guesses: dict[int, int] = {}
    while True:
        made = _in_place(file, old_key, new_key, recipients, guesses)
        if made is None:
            return None
        sealed, remarks = made
        if not remarks.edits:
            return sealed
        if before is None:
            before = decrypt_by_sops(file, old_key, sops=sops, workdir=workdir)
        written = metadata.parse_as(file.format, sealed.data)
        after = decrypt_by_sops(written, new_key, sops=sops, workdir=workdir)
        if printed.same(file.format, before, after):
            return replace(sealed, digest=hashlib.sha256(after).digest())
        # sops prints a comment that it cannot decrypt as its token: try the next guess
        wrong = [at for at, token in remarks.guessed.items() if token.encode() in after]
        if not wrong:
            return None
        guesses |= {at: guesses.get(at, 0) + 1 for at in wrong}


def _in_place(
    file: SopsFile,
    old_key: bytes,
    new_key: bytes,
    recipients: Sequence[Recipient],
    guesses: Mapping[int, int],
) -> tuple[SopsSealed, rekeying.Comments] | None:
    """Return the file under a new key, and its comments; None if unsure."""
    remarks = rekeying.comment_edits(file, old_key, new_key, guesses)
    if remarks is None:
        return None
    changed = rekeying.value_edits(
        file, old_key, new_key, timestamp(), comments=remarks.known
    )
    values = mac.hash_in(file, old_key)
    if changed is None or values is None:
        return None
    require_readers(recipients)
    written = tuple(grant.wrapped(new_key, recipient) for recipient in recipients)
    pairs = list(map(grant.pair, written))
    entries = file.blocks[0].bare(*pairs[0])
    edits = [*changed, *entries, *_outside(remarks.edits, entries)]
    single = metadata.parse_as(file.format, grant.edited(file, edits))
    sealed = grant.with_entries(single, pairs, written, new_key, values=values)
    return sealed, remarks


def timestamp() -> str:
    """Return the current time as sops writes it (RFC 3339, UTC, no fractions)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _outside(edits: Sequence[Edit], others: Sequence[Edit]) -> list[Edit]:
    """Return the edits that are not inside the span of one of `others`."""
    return [
        one
        for one in edits
        if not any(start <= one[0] and one[1] <= end for start, end, _ in others)
    ]


def require_readers(recipients: Sequence[Recipient]) -> None:
    """Raise `SecretFileError` if there is no recipient."""
    if not recipients:
        raise SecretFileError(
            "a secret without readers could never be decrypted",
            "give the rule readers, or name someone in `always`",
        )
