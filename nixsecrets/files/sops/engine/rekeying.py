"""The values of a sops file under another data key, in place: all else stays as it is.

As `sops rotate` does it, but without a run of 20 ms for each file, and without writing
comments and indentation anew (ADR 15).  It shows first that it has understood the file:
the hash over all values, worked out from what was opened, is the one that the file's
MAC holds.  What it does not understand it declines, and sops rotates.  Source:
getsops/sops aes/cipher.go and sops.go (additional data, MAC).
"""

from nixsecrets.files.sops import token as sops_token
from nixsecrets.files.sops.engine import contents
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.spans import Edit
from nixsecrets.files.sops.values import UNKNOWN_SPAN


def rekeyed(
    file: SopsFile, old: bytes, new: bytes, now: str, *, comments: int = 0
) -> list[Edit] | None:
    """Return the edits that encrypt every value under `new` instead of `old`.

    `now` (RFC 3339, UTC, no fractions) becomes the time of the change.  The entries
    keep the old data key: they are the caller's, as are the encrypted `comments`, whose
    number is needed.  None where the file holds anything else but encrypted values, or
    several documents, or its MAC does not fit them.
    """
    only = dict(file.options).get(contents.MAC_ONLY)
    if len(file.blocks) > 1 or only:
        return None
    values = contents.opened(file, old)
    if values is None:
        return None
    full = [value for value in values if not value.leaf.empty]
    if not all(v.sealed and v.leaf.span != UNKNOWN_SPAN for v in full):
        return None
    # every value has to be found, and nothing else may be encrypted
    if file.text.count(sops_token.MARK) != len(full) + 1 + comments:
        return None
    hashed = contents.digest(file, values)
    dated = list(contents.dated(file, new, hashed, now))
    if len(dated) != 2:
        return None
    return [*(_again(file, value, new) for value in full), *dated]


def _again(file: SopsFile, value: contents.Value, key: bytes) -> Edit:
    bound = sops_token.additional_data(value.leaf.path)
    token = sops_token.sealed(key, value.plaintext, bound, value.type)
    return contents.respelled(file.text, value.leaf, token)
