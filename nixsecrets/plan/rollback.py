"""Rollbacks: secrets that are older, by content or date, than an earlier version.

Restoring an old version of a file takes no key, and neither does detecting it.  A
reader of the file can forge its date; that is not detected.
"""

import re
from collections.abc import Callable, Sequence

from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.repo.history import Replaced

_DATE = (
    rb"lastmodified[\"']?[ \t]*[:=][ \t]*[\"']?"
    rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"
)
COMPARED = 5  # earlier versions of a file whose dates are compared


def rolled_back(
    path: str,
    data: bytes,
    blob: str,
    versions: Sequence[Replaced],
    read: Callable[[str], bytes],
) -> Finding | None:
    """Return the finding for a file that is an older version of itself, else None.

    It is, if it equals a replaced version byte for byte or if its sops date is older
    than that of an earlier version.  `blob` is the git id of `data`; `versions` are
    the earlier versions, newest first; `read` returns the bytes of a blob id.
    """
    between = False  # whether another version came after the equal one
    for version in versions:
        if version.blob == blob and between:
            message = f"is byte for byte the version that {_commit(version)} replaced"
            return Finding(path, Code.ROLLED_BACK, message)
        between = between or version.blob != blob
    now = _date(data)
    others = [one for one in versions[:COMPARED] if one.blob != blob]
    for version in others if now else ():
        then = _date(read(version.blob))
        if now and then and then > now:
            message = f"is dated {now}, but an earlier version {then}"
            return Finding(path, Code.ROLLED_BACK, message)
    return None


def _commit(version: Replaced) -> str:
    return f"{version.commit[:10]} of {version.day}"


def _date(data: bytes) -> str | None:
    """Return sops' `lastmodified` (RFC 3339, UTC: it sorts as text), None if absent."""
    found = re.findall(_DATE, data)
    return found[-1].decode() if found else None
