"""Verifying the MAC and the value types of a sops file, without running sops.

sops refuses a file with a wrong MAC, and so does every host.  Such a file is the result
of merging two edits as text: each value decrypts, and recipients and metadata look
normal.  `engine.types` verifies types.
"""

from collections.abc import Sequence
from enum import Enum

from nixsecrets.errors import IdentityError, SecretFileError
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import contents
from nixsecrets.files.sops.engine import types as sops_types
from nixsecrets.files.sops.engine.types import Retyped
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.identities import Identity, PluginIdentity

WRONG_MAC = "its MAC does not match its values, so nobody can decrypt it"


class Mac(Enum):
    """The result of verifying the MAC of a file."""

    FITS = "fits"
    WRONG = "does not fit"
    UNREAD = "no available identity decrypts the file"
    UNSURE = "the file has a format that only sops can parse"
    SPLIT = "its data key is split over several key groups"


class Opened(NamedTuple):
    """The result of verifying a file: its MAC, and the values with wrong types."""

    mac: Mac
    types: tuple[Retyped, ...] = ()


def verify(
    path: str, data: bytes, identities: Sequence[Identity], *, mac: bool = True
) -> Opened:
    """Verify the MAC and the types of a file, without plugins and without sops.

    Without `mac`, only the types; the MAC is `UNSURE` then, if the file was decrypted.

    Raises:
        SecretFileError: `data` is not a complete sops file.
    """
    file = metadata.parse(path, data)
    if file.groups > 1:
        return Opened(Mac.SPLIT)
    known = [one for one in identities if not isinstance(one, PluginIdentity)]
    try:
        key = data_key(file, known)
    except IdentityError:
        return Opened(Mac.UNREAD)
    except SecretFileError:  # no data key decrypts the MAC: it is of another version
        return Opened(Mac.WRONG)
    types = tuple(sops_types.misfits(file, key))
    fits = contents.fits(file, key) if mac else None
    if fits is None:
        return Opened(Mac.UNSURE, types)
    return Opened(Mac.FITS if fits else Mac.WRONG, types)
