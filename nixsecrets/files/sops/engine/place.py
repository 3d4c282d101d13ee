"""Finding the place of a key path in a sops file.

sops does not encrypt keys, so this needs no private key.
"""

from enum import Enum

from nixsecrets.errors import SecretFileError, UsageError
from nixsecrets.files.sops.keypath import NUMBER, KeyPath
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.spans import Node
from nixsecrets.files.sops.values import Leaf, Place, leaves, roots
from nixsecrets.frozen import NamedTuple


class At(Enum):
    """What is at a place.

    NEW: nothing, and a value can be added.  BRANCH: a mapping or list with values.
    BELOW: a part of the path is a single value.  UNKNOWN: `tree` cannot parse the file.
    """

    VALUE = "value"
    NEW = "new"
    BRANCH = "branch"
    BELOW = "below"
    UNKNOWN = "unknown"


class Found(NamedTuple):
    """A place, and what is there; `value` is as in the file, None for null."""

    place: Place
    at: At
    value: object = None


def find(kind: SopsFormat, text: str, path: KeyPath) -> Found:
    """Return the place of a key path; numbers are indexes in lists, keys in mappings.

    Raises:
        UsageError: the file has no such document, or several documents have the path.
    """
    if kind in (SopsFormat.DOTENV, SopsFormat.INI):
        return _find_line(kind, text, path)
    documents = roots(kind, text)
    if documents is None:
        return _find_leaf(kind, text, path)
    if path.document is not None and path.document >= len(documents):
        raise UsageError(
            f"the file has no document {path.document + 1}",
            f"it has {len(documents)}; [1]/… names a value of the first",
        )
    if path.document is not None:
        return _walked(documents[path.document], path.document, path)
    found = [_walked(root, number, path) for number, root in enumerate(documents)]
    there = [one for one in found if one.at in (At.VALUE, At.BRANCH)]
    if len(there) == 1 or (len(found) == 1 and not there):
        return (there or found)[0]
    raise UsageError(
        "several documents of the file have that value"
        if there
        else "the file has several documents, and none has that value",
        "specify which: --key [1]/… for the first",
    )


def _find_line(kind: SopsFormat, text: str, path: KeyPath) -> Found:
    if path.document:
        raise UsageError("a file of that format is one document", "omit the [N]")
    place: Place = (0, path.names)
    try:
        found = [leaf for leaf in leaves_in(kind, text) if leaf.place == place]
    except SecretFileError:
        return Found(place, At.UNKNOWN)
    if len(found) > 1:
        return Found(place, At.UNKNOWN)
    return Found(place, At.VALUE, found[0].value) if found else Found(place, At.NEW)


def _find_leaf(kind: SopsFormat, text: str, path: KeyPath) -> Found:
    """Return what is at a path of a file that only ruamel.yaml can parse."""
    unknown = Found((path.document or 0, path.names), At.UNKNOWN)
    try:
        every = leaves_in(kind, text)
    except SecretFileError:
        return unknown
    found = [
        leaf
        for leaf in every
        if tuple(map(str, leaf.place[1])) == path.names
        and path.document in (None, leaf.place[0])
    ]
    one = found[0] if len(found) == 1 else None
    return Found(one.place, At.VALUE, one.value) if one else unknown


def leaves_in(kind: SopsFormat, text: str) -> list[Leaf]:
    """Return the leaves of a text.

    Raises:
        SecretFileError: it cannot be parsed with certainty.
    """
    return list(leaves(kind, text.encode("utf-8", "surrogateescape")))


def _walked(root: Node, document: int, path: KeyPath) -> Found:
    """Return what is at a path of one document."""
    node, steps = root, list[str | int]()
    for name in path.names:
        step: str | int = name
        if isinstance(node.value, list) and NUMBER.fullmatch(name):
            step = int(name)
        below = child_of(node, step)
        steps.append(step)
        if below is None:
            steps += path.names[len(steps) :]
            # to a mapping, to null or an empty list, or by an index to any list
            addable = isinstance(node.value, dict) or node.value in (None, [])
            addable = addable or (isinstance(node.value, list) and step is not name)
            return Found((document, tuple(steps)), At.NEW if addable else At.BELOW)
        node = below
    place = (document, tuple(steps))
    if isinstance(node.value, dict | list):
        return Found(place, At.BRANCH if node.value else At.VALUE)
    return Found(place, At.VALUE, node.value)


def child_of(node: Node, step: str | int) -> Node | None:
    """Return the child of a node at a key or an index, None if there is none."""
    if isinstance(node.value, dict) and isinstance(step, str):
        return node.value.get(step)
    if isinstance(node.value, list) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    return None
