"""Duplicate keys in a sops file, which sops accepts.

Of JSON the whole tree is searched, since the leaves of two objects may all differ.
"""

from collections.abc import Iterator

from nixsecrets.files.sops import json
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.spans import Members, Node
from nixsecrets.files.sops.values import (
    Leaf,
    Lines,
    Names,
    Place,
    decoded,
    leaves,
)


def repeated(kind: SopsFormat, data: bytes) -> list[tuple[Names, int]]:
    """Return the duplicate keys, each with the line of its second occurrence.

    Raises:
        SecretFileError: the file cannot be parsed with certainty.
    """
    if kind is SopsFormat.JSON:
        text = decoded(data)
        return list(_repeated((), json.document(text, repeats=True), Lines(text)))
    seen: dict[Place, Leaf] = {}
    found = leaves(kind, data)
    again = [leaf for leaf in found if seen.setdefault(leaf.place, leaf) is not leaf]
    return [(leaf.path, leaf.line) for leaf in again]


def _repeated(path: Names, node: Node, lines: Lines) -> Iterator[tuple[Names, int]]:
    if isinstance(node.value, Members):
        for key, inner in node.value.again:
            yield (*path, key), lines.line(inner.start)
        for key, inner in node.value.in_order():
            yield from _repeated((*path, key), inner, lines)
    elif isinstance(node.value, list):
        for inner in node.value:
            yield from _repeated(path, inner, lines)
