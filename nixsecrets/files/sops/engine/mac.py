"""The MAC of a sops file: reading, computing and writing it.

A SHA-512 over all values in the order of the file, in upper-case hexadecimal, encrypted
as a token under the data key with the time of the last change as associated data
(getsops/sops:sops.go, Tree.Encrypt; cmd/sops/common/common.go, EncryptTree).
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import token
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.spans import Edit

if TYPE_CHECKING:  # the data key of a file is found without reading its values
    from nixsecrets.files.sops.engine.contents import Value

MAC_ONLY = "mac_only_encrypted"
# hashed first if the MAC covers only encrypted values (sops.go: MACOnlyEncrypted)
_MAC_ONLY_SEED = bytes.fromhex(
    "8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69"
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def hash_in(file: SopsFile, key: bytes) -> bytes | None:
    """Return the hash in the file's MAC, None if the data key does not decrypt it."""
    found = token.opened(file.mac, key, _associated_time(file.lastmodified))
    return found.plaintext if found and found.type == "str" else None


def _associated_time(time: str) -> bytes:
    """Return an RFC 3339 time as Go formats it: the associated data of the MAC."""
    return re.sub(r"\.\d+|\+00:00$", "", time).encode()


def hash_of(file: SopsFile, values: "Iterable[Value]") -> bytes:
    """Return the hash for the MAC of a file with these values."""
    binary = file.format is SopsFormat.BINARY  # sops reads no options there
    only = bool(dict(file.options).get(MAC_ONLY)) and not binary
    # where values are opened, cryptography is loaded; hashlib brings another OpenSSL
    from cryptography.hazmat.primitives.hashes import SHA512, Hash

    hashed = Hash(SHA512())
    hashed.update(_MAC_ONLY_SEED if only else b"")
    for value in values:
        # sops writes comments in a list as items, and does not hash comments
        if value.type != "comment" and (value.sealed or not only):
            hashed.update(value.plaintext)
    return hashed.finalize().hex().upper().encode()


def edits(file: SopsFile, key: bytes, hashed: bytes, now: str) -> list[Edit] | None:
    """Return the edits that write a new MAC and its time into every document.

    `hashed` is the hash, `key` the data key, `now` the time (RFC 3339, UTC, no
    fractions).  None if the old MAC or its time is not formatted as sops does.
    """
    if not TIME.fullmatch(file.lastmodified):
        return None
    mac = token.sealed(key, hashed, now.encode(), "str")
    found: list[Edit] = []
    for block in file.blocks:
        for name, old, new in (
            ("mac", file.mac, mac),
            ("lastmodified", file.lastmodified, now),
        ):
            node = block.fields.get(name)
            spelled = "" if node is None else file.text[node.start : node.end]
            if node is None or spelled.count(old) != 1:
                return None
            found.append((node.start, node.end, spelled.replace(old, new)))
    return found
