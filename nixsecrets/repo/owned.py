"""Whether a file or folder of ours is ours alone: its kind, its owner, its mode.

For what lies in a `.git` folder or a person's state folder and decides something: what
another user owns or may write, or a link leads to, decides nothing.
"""

import os
import stat

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def objection(
    found: os.stat_result, *, folder: bool, around: os.stat_result | None = None
) -> str | None:
    """Return why `found` (of `lstat` or `fstat`) is not to be trusted, None if it is.

    `around` is the folder that it lies in, which git or the system checked: root works
    for its owner (`sudo` in somebody's repository), so theirs counts as root's own.
    """
    wanted = stat.S_ISDIR if folder else stat.S_ISREG
    if not wanted(found.st_mode):
        what = "a link" if stat.S_ISLNK(found.st_mode) else "something else"
        return f"it is {what}, not a {'folder' if folder else 'regular file'}"
    owners = {os.geteuid()}
    if around is not None and os.geteuid() == 0:
        owners.add(around.st_uid)
    if found.st_uid not in owners:
        return f"it belongs to another user (uid {found.st_uid})"
    if found.st_mode & _OTHERS_WRITE:
        return f"others may write it (mode {stat.S_IMODE(found.st_mode):04o})"
    return None
