"""The values of a secret file as pieces, for comparing versions of files.

Each encrypted value of a sops file is a piece; an age file, or a binary sops file, is a
single piece.  sops runs only for values that `token` cannot decrypt.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from nixsecrets.files.age import header, operations
from nixsecrets.files.kind import looks_like_age
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops import token as sops_token
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.keypath import KeyPath
from nixsecrets.files.sops.metadata import SopsFile, SopsFormat
from nixsecrets.files.sops.token import is_encrypted, type_of
from nixsecrets.files.sops.values import Leaf, Names, Place, leaves
from nixsecrets.frozen import field, frozen
from nixsecrets.keys.identities import Identity

BySops = Callable[[SopsFile, bytes], bytes]
"""Decrypts a sops file with its data key, through the sops program."""


@frozen
class Piece:
    """One value: its key path (empty for a whole file), ciphertext and plaintext.

    `place` has the parts of the path for `--key` (`[2]` is a document), None if `--key`
    cannot name the value.  Pieces with equal tokens have equal plaintexts; `plaintext`
    is None if it was not decrypted.
    """

    path: Names
    place: Names | None
    token: str
    plaintext: bytes | None = field(default=None, repr=False)


def sealed(path: str, data: bytes) -> tuple[Piece, ...]:
    """Return the pieces of a secret file without their plaintexts.

    Raises:
        SecretFileError: it is not a secret file, or an incomplete one.
    """
    if looks_like_age(data):
        return (_age_piece(data),)
    file = metadata.parse(path, data)
    return tuple(_piece(file, leaf) for leaf in _encrypted(file))


def opened(
    path: str, data: bytes, identities: Sequence[Identity], by_sops: BySops
) -> tuple[Piece, ...]:
    """Return the pieces of a secret file with their plaintexts.

    Raises:
        IdentityError: no identity decrypts the file.
        SecretFileError: it is corrupt.
        ProgramError: sops is needed and fails.
    """
    if looks_like_age(data):
        return (_age_piece(data, operations.decrypt(data, identities)),)
    file = metadata.parse(path, data)
    key = data_key(file, identities)
    found = list(_encrypted(file))
    values = [_opened_value(leaf, key) for leaf in found]
    if None in values:
        values = _values_by_sops(file, found, by_sops(file, key))
    pairs = zip(found, values, strict=True)
    return tuple(_piece(file, leaf, value) for leaf, value in pairs)


def _encrypted(file: SopsFile) -> Iterator[Leaf]:
    data = file.data
    found = (one for one in leaves(file.format, data) if is_encrypted(one.value))
    # a comment in a list is an item, so it must not be filtered out before `leaves`
    return (one for one in found if type_of(one.value) != "comment")


def _values_by_sops(
    file: SopsFile, found: Sequence[Leaf], text: bytes
) -> list[bytes | None]:
    if file.format is SopsFormat.BINARY:
        return [text for _ in found]
    # matched by path and place; an ambiguous match counts as unknown
    there: dict[tuple[Names, Place], list[object]] = {}
    for leaf in leaves(file.format, text, plaintext=True):
        there.setdefault((leaf.path, leaf.place), []).append(leaf.value)
    every = (there.get((leaf.path, leaf.place), []) for leaf in found)
    return [str(v[0]).encode() if len(v) == 1 else None for v in every]


def _opened_value(leaf: Leaf, key: bytes) -> bytes | None:
    """Return the plaintext of one encrypted value; the file's MAC is not verified."""
    bound = sops_token.additional_data(leaf.path)
    found = sops_token.opened(str(leaf.value), key, bound)
    return None if found is None else found.plaintext


def _age_piece(data: bytes, plaintext: bytes | None = None) -> Piece:
    payload = bytes(header.parse(data).payload)
    return Piece((), (), hashlib.sha256(payload).hexdigest(), plaintext)


def _piece(file: SopsFile, leaf: Leaf, plaintext: bytes | None = None) -> Piece:
    if file.format is SopsFormat.BINARY:
        return Piece((), (), str(leaf.value), plaintext)
    return Piece(leaf.path, _nameable(file, leaf), str(leaf.value), plaintext)


def _nameable(file: SopsFile, leaf: Leaf) -> Names | None:
    """Return the parts of the path for `--key`, None for a value below an empty key."""
    document, steps = leaf.place
    names = tuple(map(str, steps))
    if not all(names):
        return None
    path = KeyPath(names, document if len(file.blocks) > 1 else None)
    return path.parts
