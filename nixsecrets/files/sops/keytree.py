"""The keys of a sops file: is a key path there, and of what type is its value?

As sops-nix looks a `key` up (pkgs/sops-install-secrets): in the first document, `/`
descends; values need not be decrypted, because sops writes their type beside them.
"""

import json
from enum import StrEnum

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import tree
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.spans import Node
from nixsecrets.files.sops.token import type_of


class Value(StrEnum):
    """What stands at a key path."""

    TEXT = "text"
    OTHER = "other"
    TREE = "tree"
    ABSENT = "absent"


class Keys:
    """The tree of keys of one file; it holds ciphertext and shows none."""

    __slots__ = ("_root",)

    def __init__(self, root: object) -> None:
        """Take a document as a parser returned it."""
        self._root = root

    def top(self) -> frozenset[str]:
        """Return the keys at the top, without the one of the metadata."""
        if not isinstance(self._root, dict):
            return frozenset()
        return frozenset(str(key) for key in self._root if key != "sops")

    def find(self, key: str) -> Value:
        """Return what stands at `key`, as sops-nix descends: `/` between names."""
        here = self._root
        first, *_ = names = key.split("/")
        if first == "sops":
            return Value.ABSENT
        for name in names:
            if not isinstance(here, dict) or name not in here:
                return Value.ABSENT
            here = here[name]
        return _kind(here)


def _kind(value: object) -> Value:
    if isinstance(value, dict | list):
        return Value.TREE
    if not isinstance(value, str):
        return Value.OTHER
    return Value.TEXT if type_of(value) in ("", "str") else Value.OTHER


def keys_of(kind: SopsFormat, data: bytes) -> Keys:
    """Return the keys of a YAML or JSON file; the other formats are used whole.

    Raises:
        SecretFileError: it cannot be read.
    """
    text = data.decode("utf-8", "surrogateescape")
    try:
        return Keys(json.loads(text))
    except (ValueError, RecursionError) as error:
        if kind is not SopsFormat.YAML:
            raise SecretFileError("is not JSON", subject="the file") from error
    try:
        documents = tree.documents(text)
        return Keys(_plain(documents[0], text) if documents else None)
    except (SecretFileError, _UnsureError, RecursionError):
        return Keys(next(tree.loaded(text), None))


class _UnsureError(Exception):
    """A bare word that is not encrypted: only a YAML library knows its type."""


def _plain(node: Node, text: str) -> object:
    match node.value:
        case dict() as members:
            return {
                key: None if key == "sops" else _plain(inner, text)
                for key, inner in members.items()
            }
        case list() as items:
            return [_plain(inner, text) for inner in items]
        case str() as word:
            if text[node.start] not in "\"'" and not type_of(word):
                raise _UnsureError
            return word
        case value:
            return value
