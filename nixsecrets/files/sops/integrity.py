"""Whether the MAC and the types of a sops file fit its values, without running sops.

A file whose MAC does not fit is opened by nobody: sops refuses it, and so does every
host.  Two edits that a merge, or a person, put into one text leave such a file: each
value opens, and its readers and metadata look as ever.  Types: see `engine.types`.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import contents
from nixsecrets.files.sops.engine import types as sops_types
from nixsecrets.files.sops.engine.types import Retyped
from nixsecrets.keys.identities import Identity, PluginIdentity

WRONG_MAC = "its MAC does not match its values, so nobody can decrypt it"


class Mac(Enum):
    """What was found out about the MAC of a file."""

    FITS = "fits"
    WRONG = "does not fit"
    UNREAD = "no available identity decrypts the file"
    UNSURE = "the file has a format that only sops can parse"
    SPLIT = "its data key is split over several key groups"


class Opened(NamedTuple):
    """What the data key of a file shows: of its MAC, and the types that do not fit."""

    mac: Mac
    types: tuple[Retyped, ...] = ()


def verify(
    path: str, data: bytes, identities: Sequence[Identity], *, mac: bool = True
) -> Opened:
    """Return whether the MAC fits, and which types do not.

    Plugins are not asked, and nothing is run.  Without `mac` only the types are looked
    at, and the MAC is `UNSURE` where the file was opened.

    Raises:
        SecretFileError: `data` is no complete sops file.
    """
    file = metadata.parse(path, data)
    if file.groups > 1:
        return Opened(Mac.SPLIT)
    known = [one for one in identities if not isinstance(one, PluginIdentity)]
    try:
        key = data_key(file, known)
    except IdentityError:
        return Opened(Mac.UNREAD)
    except SecretFileError:  # the data key opens the MAC of another version
        return Opened(Mac.WRONG)
    types = tuple(sops_types.misfits(file, key))
    fits = contents.fits(file, key) if mac else None
    if fits is None:
        return Opened(Mac.UNSURE, types)
    return Opened(Mac.FITS if fits else Mac.WRONG, types)
