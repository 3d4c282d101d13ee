"""A YAML document as a tree of nodes with their spans in the text.

It is built from ruamel.yaml's events, because ruamel's own trees lose the position of
an alias.  It has what reading and splicing a `.sops.yaml` needs: no tags, no types,
and only the first document.  `files.sops.tree` cannot do it, since it refuses the
anchors, aliases and flow collections that people write there.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from nixsecrets.errors import PlaceError
from nixsecrets.frozen import NamedTuple
from nixsecrets.untrusted import limits

_NULLS = ("", "~", "null", "Null", "NULL")


class Scalar(NamedTuple):
    """A scalar; `plain` if it is written without quotes and not as a block.

    For every node, `start` and `end` are offsets in characters, `line` counts from 1.
    """

    start: int
    end: int
    line: int
    text: str
    plain: bool

    @property
    def null(self) -> bool:
        """Whether the scalar means null."""
        return self.plain and self.text in _NULLS


class Sequence(NamedTuple):
    """A list; `flow` if it is written in brackets."""

    start: int
    end: int
    line: int
    items: tuple["Node", ...]
    flow: bool


class Mapping(NamedTuple):
    """Pairs of nodes in their order; `flow` if it is written in braces."""

    start: int
    end: int
    line: int
    pairs: tuple[tuple["Node", "Node"], ...]
    flow: bool


class Alias(NamedTuple):
    """A reference to an anchored node; cycles cannot occur."""

    start: int
    end: int
    line: int
    target: "Scalar | Sequence | Mapping"


Node = Scalar | Sequence | Mapping | Alias


class Anchor(NamedTuple):
    """An anchor: its name and its node."""

    name: str
    node: Scalar | Sequence | Mapping


class Document(NamedTuple):
    """The first document of a text, None if there is none; its anchors in order."""

    root: Node | None
    anchors: tuple[Anchor, ...]


@lru_cache(maxsize=4)  # the texts before and after a change are parsed several times
def parse(text: str, filename: str, *, lenient: bool = False) -> Document:
    """Parse the first document of `text`.

    The end of a block collection is that of its last node.  `lenient` reads an alias
    without an anchor as null.

    Raises:
        PlaceError: it is not YAML or too large; the message has the line, not its
            text.
    """
    limits.check(filename, len(text), limits.YAML, "characters")
    limits.check_depth(filename, text)
    # 10 ms; a configuration that has only our blocks is never parsed
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        events = YAML(typ="safe", pure=True).parse(text)
        return _Builder(events, filename, lenient=lenient).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _broken(filename, mark.line + 1 if mark else 0) from error
    except (YAMLError, RecursionError) as error:
        raise _broken(filename, 0) from error


def load_library() -> None:
    """Import what `parse` needs (10 ms), while this process has nothing to do."""
    from ruamel.yaml import YAML

    del YAML


def _broken(filename: str, line: int) -> PlaceError:
    return PlaceError(filename, line, "not valid YAML", "correct the file by hand")


class _Builder:
    """Builds one tree from parse events."""

    def __init__(self, events: Iterator[Any], filename: str, *, lenient: bool) -> None:
        self.events = events
        self.lenient = lenient
        self.filename = filename
        self.named: dict[str, Scalar | Sequence | Mapping] = {}
        self.anchors: list[Anchor] = []
        self.seen = 0, 1  # end of the last text read, and its line

    def document(self) -> Document:
        next(self.events)  # the start of the stream
        if self.kind(next(self.events)) == "StreamEnd":
            return Document(None, ())
        root = self.node(next(self.events))
        return Document(root, tuple(self.anchors))

    def kind(self, event: Any) -> str:
        return type(event).__name__.removesuffix("Event")

    def node(self, event: Any) -> Node:
        start, line = event.start_mark.index, event.start_mark.line + 1
        if start == event.end_mark.index and self.kind(event) == "Scalar":
            start, line = self.seen  # an empty scalar has the mark of what follows it
        else:
            self.seen = event.end_mark.index, event.end_mark.line + 1
        if self.kind(event) == "Alias":
            end = event.end_mark.index
            target = self.named.get(event.anchor)
            if target is None and not self.lenient:
                raise _broken(self.filename, line)
            nothing = Scalar(start, end, line, "", plain=True)
            return Alias(start, end, line, target or nothing)
        node = self.content(event, start, line)
        if event.anchor is not None:  # after its content: nothing can contain itself
            self.named[event.anchor] = node
            self.anchors.append(Anchor(event.anchor, node))
        return node

    def content(self, event: Any, start: int, line: int) -> Scalar | Sequence | Mapping:
        if self.kind(event) == "Scalar":
            plain = event.style is None
            return Scalar(start, self.seen[0], line, event.value, plain)
        items, closing = self.children(self.kind(event).removesuffix("Start") + "End")
        flow = bool(event.flow_style)
        if flow:
            self.seen = closing.end_mark.index, closing.end_mark.line + 1
        end = self.seen[0] if flow or not items else items[-1].end
        if self.kind(event) == "SequenceStart":
            return Sequence(start, end, line, tuple(items), flow)
        pairs = zip(items[::2], items[1::2], strict=True)
        return Mapping(start, end, line, tuple(pairs), flow)

    def children(self, closing: str) -> tuple[list[Node], Any]:
        items: list[Node] = []
        while self.kind(event := next(self.events)) != closing:
            items.append(self.node(event))
        return items, event


def resolved(node: Node) -> Scalar | Sequence | Mapping:
    """Return the node that an alias refers to, any other node itself."""
    return node.target if isinstance(node, Alias) else node
