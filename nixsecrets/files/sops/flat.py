r"""dotenv and INI files: their lines, and the sops metadata in them.

One parser of lines for each format, for values, comments and metadata.  A metadata line
has one leaf of the tree; its name is the flattened path: `age__list_0__map_enc` is the
`enc` of the first age entry (getsops/sops:stores/flatten.go).  In dotenv the names have
the prefix `sops_`, in INI they are in the section `[sops]`.  Line breaks inside values
are written as `\n`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum

from nixsecrets.files.sops.spans import Block, Edit, Node, Slot, Value, refuse
from nixsecrets.frozen import NamedTuple, field, frozen
from nixsecrets.splice import after_line

_PAIR = re.compile(r"([^=:]*+)[=:][ \t]*")
_MARK = re.compile(r"[#;]")
LONG_QUOTES = ('"""', "`")  # may enclose several lines
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_MOST_STEPS, _MOST_DIGITS = 32, 9  # limits for a name; sops needs a handful of both
_SEPARATOR = re.compile(r"__(map|list)_")

_Tree = dict[str | int, "Node | _Tree"]


class Kind(Enum):
    """The kind of a line; sops refuses a BROKEN one."""

    COMMENT = "comment"
    SECTION = "section"
    PAIR = "pair"
    BROKEN = "broken"


class Line(NamedTuple):
    """A line that is not blank; several lines if an INI value spans them.

    `text[start:end]` is the line with its line end.  `name` is the name of a pair,
    which ends at `name_end`, or of a section.  `span` is the value of a pair with its
    quotes, `value` its text without them.  `comment` is the span of a comment with its
    mark; it is empty (start equals end) if there is none.
    """

    kind: Kind
    number: int
    start: int
    end: int
    section: str = ""
    name: str = ""
    name_end: int = 0
    value: str = ""
    span: tuple[int, int] = (0, 0)
    comment: tuple[int, int] = (0, 0)


def dotenv_lines(text: str) -> Iterator[Line]:
    """Yield the lines of a dotenv file (getsops/sops:stores/dotenv/store.go)."""
    start = 0
    for number, line in enumerate(text.split("\n"), start=1):
        stop = start + len(line)
        end = min(stop + 1, len(text))
        name, equals, value = line.partition("=")
        if line.startswith("#"):
            yield Line(Kind.COMMENT, number, start, end, comment=(start, stop))
        elif equals:
            span = (stop - len(value), stop)
            name_end = start + len(name)
            yield Line(Kind.PAIR, number, start, end, "", name, name_end, value, span)
        elif line:
            yield Line(Kind.BROKEN, number, start, end)
        start = stop + 1


def ini_lines(text: str) -> Iterator[Line]:
    """Yield the lines of an INI file (go-ini/ini:parser.go, with sops' settings).

    Pairs above the first section are in a section called DEFAULT.
    """
    section, number, end = "DEFAULT", 1, 0
    while end < len(text):
        start, end = end, after_line(text, end)
        line = text[start:end].strip()
        if line:
            first = text.index(line, start, end)
            found = _ini_line(text, line, first, section)._replace(
                number=number, start=start
            )
            end = max(found.end, end)
            if found.kind is Kind.SECTION:
                section = found.name
            yield found._replace(end=end, section=section)
        number += text.count("\n", start, end)


def _ini_line(text: str, line: str, first: int, section: str) -> Line:
    """Parse the line at `first`; the caller sets its number, start and end."""
    stop = first + len(line)
    if line[0] in "#;":
        return Line(Kind.COMMENT, 0, 0, 0, comment=(first, stop))
    if line[0] == "[":
        close = first + line.rfind("]")
        if close < first:
            return Line(Kind.BROKEN, 0, 0, 0)
        name, comment = text[first + 1 : close].strip(), _comment(text, close, stop)
        return Line(Kind.SECTION, 0, 0, 0, name=name, comment=comment)
    pair = _PAIR.match(text, first, stop)
    if not pair:
        return Line(Kind.BROKEN, 0, 0, 0)
    at = pair.end()
    name = pair[1].rstrip(" \t")
    found = Line(Kind.PAIR, 0, 0, 0, section, name, first + len(name))
    for quote in LONG_QUOTES:
        inner = at + len(quote)
        # the closing quote: the last one on this line, else the next one below
        if text.startswith(quote, at, stop) and (
            (close := text.rfind(quote, inner, stop)) >= 0
            or (close := text.find(quote, stop)) >= 0
        ):
            end = after_line(text, close)
            close = text.rfind(quote, inner, end)  # the last one on its line
            after = close + len(quote)
            return found._replace(
                end=end,
                value=text[inner:close],
                span=(at, after),
                comment=_comment(text, after, after + len(text[after:end].rstrip())),
            )
    comment = _comment(text, at, stop)
    spelled = text[at : comment[0]].rstrip()
    return found._replace(
        value=_unquoted(spelled), span=(at, at + len(spelled)), comment=comment
    )


def _comment(text: str, start: int, stop: int) -> tuple[int, int]:
    """Return the span of the comment from the first mark to `stop`; may be empty."""
    mark = _MARK.search(text, start, stop)
    return (mark.start() if mark else stop, stop)


def _unquoted(value: str) -> str:
    for quote in "\"'":
        if len(value) > 1 and value.startswith(quote) and value.endswith(quote):
            return value[1:-1]
    return value


@frozen
class FlatBlock(Block):
    """The metadata lines of a dotenv file, or of the `[sops]` section of an INI file.

    `prefix` is the prefix of every name; `lines` are those of age entries, `others` the
    rest.
    """

    prefix: str
    lines: tuple[Line, ...] = field(repr=False)
    others: tuple[Line, ...] = field(repr=False)

    def _dropped(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """Return the spans of the lines of some fields."""
        return [(line.start, line.end) for line in self._named(names)]

    def _adopted(self, other: "FlatBlock", names: Sequence[str]) -> list[Edit]:
        """Copy the lines of some fields to above the age entries."""
        at = self.lines[0].start
        texts = [other.text[line.start : line.end] for line in other._named(names)]
        ended = [text if text.endswith("\n") else f"{text}\n" for text in texts]
        return [(at, at, "".join(ended).replace("\r\n", "\n"))]

    def _named(self, names: Sequence[str]) -> Iterator[Line]:
        for line in self.others:
            name = line.name.removeprefix(self.prefix)
            if _SEPARATOR.split(name, maxsplit=1)[0] in names:
                yield line

    def append(self, entries: Sequence[tuple[str, str]]) -> list[Edit]:
        """Add entries after the last line of an age entry."""
        end = max(line.end for line in self.lines)
        numbered = enumerate(entries, len(self.slots))
        text = "".join(self._entry(n, label, enc) for n, (label, enc) in numbered)
        if self.text[end - 1] != "\n":
            text = self._newline + text.removesuffix(self._newline)
        return [(end, end, text)]

    def only(self, label: str, enc: str) -> list[Edit]:
        """Replace the first line by one entry, and drop the other lines."""
        first, *rest = self.lines
        kept = (first.start, first.end, self._entry(0, label, enc))
        return [kept, *((line.start, line.end, "") for line in rest)]

    @property
    def _newline(self) -> str:
        end = self.lines[-1].end
        return "\r\n" if self.text[end - 2 : end] == "\r\n" else "\n"

    def _entry(self, number: int, label: str, enc: str) -> str:
        """Return the two lines of an entry, aligned like the last entry."""
        leaves = {"enc": self._escaped(enc), "recipient": self._escaped(label)}
        return "".join(
            self._head(f"{self.prefix}age__list_{number}__map_{leaf}")
            + value
            + self._newline
            for leaf, value in leaves.items()
        )

    def _head(self, name: str) -> str:
        """Return a name with blanks and `=` as in the last line.

        If blanks precede the `=`, sops aligns the column, and so do we.
        """
        like = self.lines[-1]
        between = self.text[like.name_end : like.span[0]]
        separator = between.lstrip(" \t")
        lead = self.text[like.start : like.name_end - len(like.name)]
        if separator == between:
            return lead + name + separator
        width = len(like.name) + len(between) - len(separator)
        return lead + name.ljust(width) + separator

    def _label(self, label: str) -> str:
        return self._escaped(label)

    def _enc(self, slot: Slot, enc: str) -> str:
        del slot
        return self._escaped(enc)

    def _escaped(self, value: str) -> str:
        return value.replace("\n", "\\n")


def read_dotenv(text: str) -> tuple[FlatBlock, ...]:
    """Parse the metadata of a dotenv file.

    Raises:
        SecretFileError: there is none, or its lines are inconsistent.
    """
    pairs = [line for line in dotenv_lines(text) if line.name.startswith("sops_")]
    if "\r\nsops_" in text or any(line.value.endswith("\r") for line in pairs):
        refuse(
            "has CRLF line ends, which sops treats as part of the values",
            "convert it to LF line ends",
        )
    return (_block(text, "sops_", pairs),)


def read_ini(text: str) -> tuple[FlatBlock, ...]:
    """Parse the metadata of an INI file.

    Raises:
        SecretFileError: there is not exactly one `[sops]` section, or its lines are
            inconsistent.
    """
    ours = [line for line in ini_lines(text) if line.section == "sops"]
    sections = sum(line.kind is Kind.SECTION for line in ours)
    if sections != 1:
        refuse(f"has {sections} [sops] sections" if ours else "has no sops metadata")
    pairs = [line for line in ours if line.kind is Kind.PAIR]
    if any(line.kind is Kind.BROKEN for line in ours) or not all(
        _NAME.fullmatch(line.name) for line in pairs
    ):
        refuse("has a line in its [sops] section that is not as sops writes it")
    return (_block(text, "", pairs),)


def _block(text: str, prefix: str, lines: Sequence[Line]) -> FlatBlock:
    if not lines:
        refuse("has no sops metadata")
    first = f"{prefix}age__list_"
    age = tuple(line for line in lines if line.name.startswith(first))
    others = tuple(line for line in lines if not line.name.startswith(first))
    return FlatBlock(text, _unflatten(prefix, lines), prefix, age, others)


def _unflatten(prefix: str, lines: Iterable[Line]) -> dict[str, Node]:
    """Return the tree of fields that the flattened names of the lines describe."""
    root: _Tree = {}
    for line in lines:
        # `a__list_0__map_b` splits into `a`, `list`, `0`, `map`, `b`
        first, *steps = _SEPARATOR.split(line.name.removeprefix(prefix))
        if len(steps) > _MOST_STEPS:
            refuse("has sops metadata that is nested deeper than sops writes it")
        branch, key = root, first
        for kind, name in zip(steps[::2], steps[1::2], strict=True):
            below = branch.setdefault(key, {})
            if isinstance(below, Node):
                refuse("has sops metadata lines that contradict each other")
            branch, key = below, _index(name) if kind == "list" else name
        if key in branch:
            refuse("has the same sops metadata line twice")
        # sops 3.13.0 and 3.13.1 write real line breaks, inside triple quotes
        value = line.value.rstrip().replace("\\n", "\n")
        branch[key] = Node(value, *line.span)
    return {str(key): _node(value) for key, value in root.items()}


def _index(name: str) -> int:
    if not name.isdecimal() or len(name) > _MOST_DIGITS:
        refuse("has sops metadata lines whose list number is not a number")
    return int(name)


def _node(tree: "Node | _Tree") -> Node:
    if isinstance(tree, Node):
        return tree
    value: Value
    if all(isinstance(key, int) for key in tree):
        if set(tree) != set(range(len(tree))):
            refuse("has sops metadata with a gap in a list")
        value = [_node(tree[number]) for number in range(len(tree))]
    else:
        value = {str(key): _node(below) for key, below in tree.items()}
    return Node(value, 0, 0)
