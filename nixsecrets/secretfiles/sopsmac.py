"""Does the MAC of a sops file fit its values?  Told without running sops.

A file whose MAC does not fit is opened by nobody: sops refuses it, and so does every
host.  Two edits that a merge, or a person, put into one text leave such a file: each
value opens, and its readers and metadata look as ever.
"""

from collections.abc import Sequence
from enum import Enum

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.keys.identities import Identity, PluginIdentity
from nixsecrets.secretfiles import sopsengine, sopsmeta
from nixsecrets.secretfiles.sopskey import data_key

WRONG_MAC = "its MAC does not fit its values, so that nobody can open it"


class Mac(Enum):
    """What was found out about the MAC of a file."""

    FITS = "fits"
    WRONG = "does not fit"
    UNREAD = "no identity at hand opens the file"
    UNSURE = "the file is spelled in a way that only sops follows"


def verify_mac(path: str, data: bytes, identities: Sequence[Identity]) -> Mac:
    """Return whether the MAC fits; plugins are not asked, and nothing is run.

    Raises:
        SecretFileError: `data` is no whole sops file.
    """
    file = sopsmeta.parse(path, data)
    if file.groups > 1:
        return Mac.UNSURE
    known = [one for one in identities if not isinstance(one, PluginIdentity)]
    try:
        key = data_key(file, known)
    except IdentityError:
        return Mac.UNREAD
    except SecretFileError:  # the data key opens the MAC of another version
        return Mac.WRONG
    fits = sopsengine.fits(file, key)
    if fits is None:
        return Mac.UNSURE
    return Mac.FITS if fits else Mac.WRONG
