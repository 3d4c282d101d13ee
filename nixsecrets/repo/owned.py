"""Whether only this user can change a file or folder: its type, owner and mode.

For files in a `.git` folder or a state folder that influence decisions: they must not
belong to another user, be writable for others or be links.
"""

import os
import stat

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def objection(
    found: os.stat_result, *, folder: bool, around: os.stat_result | None = None
) -> str | None:
    """Return why a file or folder cannot be trusted, None if it can.

    `found` is from `lstat` or `fstat`.  `around` is the parent folder, which git or the
    system trusts: root may work for its owner (`sudo` in a user's repository), so root
    accepts files of that owner.
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
