"""The keys of a sops file: whether a key exists, and the type of its value.

Looks up a `key` like sops-nix (Mic92/sops-nix:pkgs/sops-install-secrets/main.go): in
the first document, with `/` between levels.  Nothing is decrypted: tokens have a type.
"""

import json
from enum import StrEnum

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import tree
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.spans import Node
from nixsecrets.files.sops.token import type_of


class Value(StrEnum):
    """What is at a key path."""

    TEXT = "text"
    OTHER = "other"
    TREE = "tree"
    ABSENT = "absent"


class Keys:
    """The tree of keys of one file."""

    __slots__ = ("_root",)

    def __init__(self, root: object) -> None:
        """Store the root of a parsed document."""
        self._root = root

    def top(self) -> frozenset[str]:
        """Return the top-level keys, without `sops`."""
        if not isinstance(self._root, dict):
            return frozenset()
        return frozenset(str(key) for key in self._root if key != "sops")

    def find(self, key: str) -> Value:
        """Return what is at `key`, with `/` between levels."""
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
    """Return the keys of a YAML or JSON file; other formats have none in sops-nix.

    Raises:
        SecretFileError: it cannot be parsed.
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
    """There is an unencrypted bare word, whose type only a YAML library knows."""


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
