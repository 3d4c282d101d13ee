"""Names of keys in a `.sops.yaml`: anchors, comments next to and above, headings."""

import re
from collections.abc import Iterator

from nixsecrets.adopt.hints import (
    Hints,
    NamedSet,
    Sighting,
    keys_in,
    kind_of_words,
    safe_name,
    split_prefix,
)
from nixsecrets.adopt.oldrules import prose
from nixsecrets.generated.yamltree import (
    Alias,
    Document,
    Mapping,
    Node,
    Scalar,
    Sequence,
    parse,
    resolved,
)
from nixsecrets.keys.recipients import Recipient

_MOST_WORDS = 3  # of a comment that can be a name


def names_in(text: str, filename: str) -> Hints:
    """Return every key of the configuration with its names."""
    document = parse(text, filename)
    reader = _Reader(document, text, filename)
    found = tuple(reader.walk(document.root, ())) if document.root else ()
    return Hints(found, tuple(reader.sets()))


class _Reader:
    def __init__(self, document: Document, text: str, filename: str) -> None:
        self.document = document
        self.lines = text.split("\n")
        self.text = text
        self.filename = filename
        self.anchors = {
            one.node.start: one.name.rstrip(":") for one in document.anchors
        }

    def walk(self, node: Node, above: tuple[str, ...]) -> Iterator[Sighting]:
        """Yield the keys below a node; `above` are the headings above it."""
        anchor = self.anchors.get(node.start)
        match node:
            case Scalar():
                yield from self.scalar(node, anchor, above)
            case Sequence():
                heading = anchor
                for item in node.items:
                    said = self.heading(item)
                    heading = heading if "creation_rules" in above else said or heading
                    yield from self.walk(item, (*above, *filter(None, [heading])))
            case Mapping():
                for key, value in node.pairs:
                    yield from self.walk(value, self.under(key, anchor, above))
            case Alias():
                return

    def under(
        self, key: Node, anchor: str | None, above: tuple[str, ...]
    ) -> tuple[str, ...]:
        word = key.text if isinstance(key, Scalar) else ""
        own = self.anchors.get(key.start)  # `- &users:` is an anchored null key
        return (*above, *filter(None, [anchor, own, word]))

    def scalar(
        self, node: Scalar, anchor: str | None, above: tuple[str, ...]
    ) -> Iterator[Sighting]:
        keys = keys_in(node.text)
        where = f"{self.filename}:{node.line}"
        comment = self.comment_after(node)
        names = self.names_above(node, len(keys)) if len(keys) > 1 else []
        for at, key in enumerate(keys):
            name, full = None, None
            kind, origin = kind_of_words(above), where
            if anchor is not None and len(keys) == 1:
                role, plain = split_prefix(anchor)
                name, full = safe_name(plain), safe_name(anchor)
                first = re.split(r"[_-]", anchor)[0]
                role = role or kind_of_words([first])
                kind, origin = role or kind, f"anchor &{anchor}, {where}"
            elif names:
                name, origin = names[at], f"comment above {where}"
            elif comment and (called := _as_name(comment)):
                name, origin = called, f"comment next to {where}"
            yield Sighting(key, name, origin, kind, comment, full)

    def comment_after(self, node: Node) -> str:
        """Return the comment on the line where a node ends."""
        end = self.text.find("\n", node.end)
        rest = self.text[node.end : end if end >= 0 else None]
        found = re.match(r"[\s\"',\]]*\s#+\s*(.*\S)", rest)
        return found[1] if found else ""

    def comment_above(self, node: Node) -> str:
        """Return the comment line right above a node's line."""
        above = self.lines[node.line - 2].strip() if node.line > 1 else ""
        return above.lstrip("#").strip() if above.startswith("#") else ""

    def heading(self, node: Node) -> str | None:
        """Return the words above an item, if they say whose keys follow."""
        words = self.comment_above(node)
        return words if words and prose(words) and kind_of_words([words]) else None

    def names_above(self, node: Node, count: int) -> list[str]:
        """Return the names above a comma list of keys, if there is one for each."""
        names = [safe_name(one) for one in self.comment_above(node).split(",")]
        return (
            [one for one in names if one] if len(names) == count and all(names) else []
        )

    def sets(self) -> Iterator[NamedSet]:
        """Yield the lists that have an anchor or are below an anchored null key."""
        for one in self.document.anchors:
            if not isinstance(one.node, Scalar):
                yield self.named(one.name, one.node)
        for pairs in self.mappings(self.document.root):
            for key, value in pairs:
                if key.start in self.anchors and isinstance(key, Scalar) and key.null:
                    yield self.named(self.anchors[key.start], value)

    def mappings(self, node: Node | None) -> Iterator[tuple[tuple[Node, Node], ...]]:
        match node:
            case Mapping(pairs=pairs):
                yield pairs
                for _, value in pairs:
                    yield from self.mappings(value)
            case Sequence(items=items):
                for item in items:
                    yield from self.mappings(item)
            case _:
                return

    def named(self, name: str, node: Node) -> NamedSet:
        keys = frozenset(key.key_id for key in _all_keys(node, set()))
        return NamedSet(name.rstrip(":"), keys, f"anchor &{name} in {self.filename}")


def _all_keys(node: Node, seen: set[int]) -> Iterator[Recipient]:
    """Yield the keys below a node; each node once, however many aliases refer to it.

    Nested aliases can expand to exponentially many nodes.
    """
    target = resolved(node)
    if id(target) in seen:
        return
    seen.add(id(target))
    match target:
        case Scalar(text=text):
            yield from keys_in(text)
        case Sequence(items=items):
            for item in items:
                yield from _all_keys(item, seen)
        case Mapping(pairs=pairs):
            for _, value in pairs:
                yield from _all_keys(value, seen)


def _as_name(comment: str) -> str | None:
    """Return a short comment as a name."""
    words = comment.split()
    return safe_name("-".join(words)) if len(words) <= _MOST_WORDS else None
