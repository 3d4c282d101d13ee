"""What a sops file holds, or one value of it, as the value engine alone opens it."""

from collections.abc import Sequence

from nixsecrets.files.sops import keypath, metadata
from nixsecrets.files.sops.datakey import data_key, opened_by_pyrage
from nixsecrets.files.sops.engine import contents, place, printing
from nixsecrets.files.sops.engine.place import At, Found
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.keys.identities import Identity


def whole(path: str, data: bytes, identities: Sequence[Identity]) -> bytes | None:
    """Return the plaintext as sops prints it; None where sops has to be asked.

    Raises:
        SecretFileError: the file is corrupt.
        IdentityError: no identity opens an age entry.
    """
    file = metadata.parse(path, data)
    return printing.printed(file, data_key(file, identities, opener=opened_by_pyrage))


def value(
    path: str, data: bytes, identities: Sequence[Identity], key: str
) -> bytes | None:
    """Return the value at a typed key path; None where `extract` has to ask sops.

    Raises:
        UsageError: that is no path.
        SecretFileError: the file is corrupt.
        IdentityError: no identity opens an age entry.
    """
    file = metadata.parse(path, data)
    found = place.find(file.format, file.text, keypath.key_path(file.format, key))
    if found.at is not At.VALUE:
        return None
    return opened(file, data_key(file, identities, opener=opened_by_pyrage), found)


def opened(file: SopsFile, key: bytes, found: Found) -> bytes | None:
    """Return the value at a place of a file, `key` being its data key.

    None where the engine declines the file, or null stands there.
    """
    if found.at is At.VALUE:
        for one in contents.opened(file, key) or ():
            if one.leaf.place == found.place and one.type != "null":
                is_bool = one.type == "bool"
                return one.plaintext.lower() if is_bool else one.plaintext
    return None
