"""sops metadata in dotenv and INI files: one line per leaf, paths as flat names.

`age__list_0__map_enc` is the `enc` of the first age entry; dotenv names start with
`sops_`, INI names stand in the section `[sops]`.  Line breaks inside values are spelled
backslash-n.  Lines of the file that are not metadata are never looked at.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nixsecrets.files.sops.spans import Block, Edit, Node, Slot, Value, refuse

_DOTENV_LINE = re.compile(r"^(sops_([^=\n]*))=([^\n]*)(?:\n|\Z)", re.MULTILINE)
_SECTION = re.compile(r"^[ \t]*\[[ \t]*([^\]\n]*?)[ \t]*\]", re.MULTILINE)
_INI_LINE = re.compile(
    r"^[ \t]*(([A-Za-z_][\w.-]*))[ \t]*[=:][ \t]*"
    # 3.13.0 and 3.13.1 quoted three times and broke lines instead of spelling \n
    r"(\"\"\"(?:(?!\"\"\").)*\"\"\"|`[^`\n]*`|\"[^\"\n]*\"|'[^'\n]*'|[^\r\n#;]*+)"
    r"[ \t]*(?:[#;][^\n]*+)?\r?(?:\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
_SEPARATOR = re.compile(r"__(map|list)_")
_QUOTES = ('"""', "`", '"', "'")

_Tree = dict[str | int, "Node | _Tree"]


class _Line(NamedTuple):
    """One metadata line and where it stands; `prefix` is its name as spelled."""

    name: str
    value: Node
    start: int
    end: int
    name_end: int


@dataclass(frozen=True, slots=True)
class FlatBlock(Block):
    """The metadata lines of a dotenv file, or of the `[sops]` section of an INI file.

    `prefix` stands before every name; `lines` are those of age entries, `others` the
    rest.
    """

    prefix: str
    lines: tuple[_Line, ...] = field(repr=False)
    others: tuple[_Line, ...] = field(repr=False)

    def _dropped(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """Return the lines whose names begin like this."""
        return [(line.start, line.end) for line in self._named(names)]

    def _adopted(self, other: "FlatBlock", names: Sequence[str]) -> list[Edit]:
        """Copy lines to above the age entries."""
        at = self.lines[0].start
        texts = [other.text[line.start : line.end] for line in other._named(names)]
        ended = [text if text.endswith("\n") else f"{text}\n" for text in texts]
        return [(at, at, "".join(ended).replace("\r\n", "\n"))]

    def _named(self, names: Sequence[str]) -> Iterator[_Line]:
        for line in self.others:
            if _SEPARATOR.split(line.name, maxsplit=1)[0] in names:
                yield line

    def append(self, entries: Sequence[tuple[str, str]]) -> list[Edit]:
        """Add the lines of more entries after the last line of an age entry."""
        end = max(line.end for line in self.lines)
        numbered = enumerate(entries, len(self.slots))
        text = "".join(self._entry(n, label, enc) for n, (label, enc) in numbered)
        if self.text[end - 1] != "\n":
            text = self._newline + text.removesuffix(self._newline)
        return [(end, end, text)]

    def only(self, label: str, enc: str) -> list[Edit]:
        """Put one entry in the place of the first line, drop the other lines."""
        first, *rest = self.lines
        kept = (first.start, first.end, self._entry(0, label, enc))
        return [kept, *((line.start, line.end, "") for line in rest)]

    @property
    def _newline(self) -> str:
        end = self.lines[-1].end
        return "\r\n" if self.text[end - 2 : end] == "\r\n" else "\n"

    def _entry(self, number: int, label: str, enc: str) -> str:
        """Return the two lines of an entry, aligned like the last one's."""
        leaves = {"enc": self._escaped(enc), "recipient": self._escaped(label)}
        return "".join(
            self._head(f"{self.prefix}age__list_{number}__map_{leaf}")
            + value
            + self._newline
            for leaf, value in leaves.items()
        )

    def _head(self, name: str) -> str:
        """Return the name with the blanks and `=` that the last line has after it."""
        like = self.lines[-1]
        between = self.text[like.name_end : like.value.start].rstrip("\"'`")
        separator = between.lstrip(" \t")
        lead = self.text[like.start : like.name_end - len(self.prefix + like.name)]
        if separator == between:
            return lead + name + separator
        width = len(self.prefix + like.name) + len(between) - len(separator)
        return lead + name.ljust(width) + separator

    def _label(self, label: str) -> str:
        return self._escaped(label)

    def _enc(self, slot: Slot, enc: str) -> str:
        del slot
        return self._escaped(enc)

    def _escaped(self, value: str) -> str:
        return value.replace("\n", "\\n")


def read_dotenv(text: str) -> tuple[FlatBlock, ...]:
    """Read the `sops_` lines of a dotenv file.

    Raises:
        SecretFileError: there are none, or they do not fit together.
    """
    found = _DOTENV_LINE.finditer(text) if "\r" in text else ()
    if "\r\nsops_" in text or any(line[3].endswith("\r") for line in found):
        refuse(
            "has CRLF line ends, which sops takes for part of the values",
            "convert it to LF line ends",
        )
    lines = list(_lines(_DOTENV_LINE, text, 0, len(text)))
    return (_block(text, "sops_", lines),)


def read_ini(text: str) -> tuple[FlatBlock, ...]:
    """Read the `[sops]` section of an INI file.

    Raises:
        SecretFileError: there is none or a second one, or its lines do not fit.

    """
    sections = list(_SECTION.finditer(text))
    ours = [n for n, section in enumerate(sections) if section[1] == "sops"]
    if len(ours) != 1:
        refuse(f"has {len(ours)} [sops] sections" if ours else "has no sops metadata")
    start = sections[ours[0]].end()
    end = sections[ours[0] + 1].start() if ours[0] + 1 < len(sections) else len(text)
    return (_block(text, "", list(_lines(_INI_LINE, text, start, end))),)


def _lines(
    pattern: "re.Pattern[str]", text: str, start: int, end: int
) -> Iterator[_Line]:
    read = start
    for found in pattern.finditer(text, start, end):
        if pattern is _INI_LINE:
            _require_nothing(text[read : found.start()])
            read = found.end()
        value, at = found[3].rstrip(), found.start(3)
        end = at + len(value)
        for quote in _QUOTES:
            if len(value) >= 2 * len(quote) and value.startswith(quote):
                value = value.removeprefix(quote).removesuffix(quote)
                break
        node = Node(value.replace("\\n", "\n"), at, end)
        yield _Line(found[2], node, found.start(), found.end(), found.end(1))
    if pattern is _INI_LINE:
        _require_nothing(text[read:end])


def _require_nothing(between: str) -> None:
    """Refuse a line of the `[sops]` section that sops may read and we do not."""
    for line in between.splitlines():
        if line.strip() and not line.lstrip().startswith(("#", ";")):
            refuse("has a line in its [sops] section that is not as sops writes it")


def _block(text: str, prefix: str, lines: Sequence[_Line]) -> FlatBlock:
    if not lines:
        refuse("has no sops metadata")
    age = tuple(line for line in lines if line.name.startswith("age__list_"))
    others = tuple(line for line in lines if not line.name.startswith("age__list_"))
    return FlatBlock(text, _unflatten(lines), prefix, age, others)


def _unflatten(lines: Iterable[_Line]) -> dict[str, Node]:
    """Build the tree that the names of the lines spell."""
    root: _Tree = {}
    for line in lines:
        first, *steps = _SEPARATOR.split(line.name)
        branch, key = root, first
        for kind, name in zip(steps[::2], steps[1::2], strict=True):
            below = branch.setdefault(key, {})
            if isinstance(below, Node):
                refuse("has sops metadata lines that contradict each other")
            branch, key = below, _index(name) if kind == "list" else name
        if key in branch:
            refuse("has the same sops metadata line twice")
        branch[key] = line.value
    return {str(key): _node(value) for key, value in root.items()}


def _index(name: str) -> int:
    if not name.isdecimal():
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
