"""Rollbacks: secrets that are, or say that they are, older than a version before them.

Pure.  No key is needed to put an old version of a file back, and none to notice it.
Somebody who can open the file can write any date into it, which no one notices here.
"""

import re
from collections.abc import Callable, Sequence

from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.repo.history import Replaced

_DATE = re.compile(
    rb"lastmodified[\"']?[ \t]*[:=][ \t]*[\"']?"
    rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"
)
COMPARED = 5  # versions of a file, whose dates are looked at


def rolled_back(
    path: str,
    data: bytes,
    blob: str,
    versions: Sequence[Replaced],
    read: Callable[[str], bytes],
) -> Finding | None:
    """Tell whether a file is an older version of itself.

    To the byte, or by sops' date in it.  `blob` is what git calls `data`; `versions`
    are the earlier ones, the newest first, and `read` returns the content of one.
    """
    between = False
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
    """Return what sops wrote as the time of the last change; such texts sort."""
    found = _DATE.findall(data)
    return found[-1].decode() if found else None
