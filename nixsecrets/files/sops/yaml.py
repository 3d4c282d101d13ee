"""sops metadata in YAML, in the layout that sops writes.

A few regular expressions match every byte of the block, fast enough for `check` over
ten thousand files.  Other layouts (comments, other quotes, several documents) are
parsed by `tree`.  `Layout` formats entries.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property

from nixsecrets.files.sops.spans import (
    BEGIN,
    END,
    OURS,
    Block,
    Edit,
    Entries,
    Node,
    Slot,
    Value,
    entries_of,
    foreign_of,
    values_of,
)
from nixsecrets.frozen import NamedTuple, frozen
from nixsecrets.splice import after_line, line_start

INDENT = re.compile(r" *")
_FIRST = r"(?:[^\s\-?:,\[\]{}#&*!|>'\"%@`]|[-?:](?=[^\s,\[\]{}]))"
PLAIN = rf"{_FIRST}[^\s:]*+(?:(?::(?![ \t\r\n]|\Z)|[ \t]++(?![#\r\n]|\Z))[^\s:]*+)*+"
NULLS = ("null", "~", "Null", "NULL")
# the fields above the age entries, and the start of the first entry with its layout
_START = re.compile(
    r"(?P<above>(?:(?! *+age:\n).++\n)*+)(?P<in> ++)age:\n"
    r"(?P<lead> *+)- (?:recipient: .++\n *+enc|(?P<enc_first>enc)): \|\n(?P<pad> ++)"
)


class Layout(NamedTuple):
    """The layout of age entries in a text.

    `lead` is the text before a dash, `gap` that between it and the first field, `pad`
    that before each line of an `enc`.  Without a `pad`, an `enc` is a quoted scalar.
    """

    lead: str
    gap: str
    pad: str
    newline: str
    enc_first: bool = False

    def entry(self, label: str, enc: str) -> str:
        """Return the lines of an entry; `label` is already a YAML scalar."""
        fields = [f"recipient: {label}", f"enc: {self.scalar(enc)}"]
        if self.enc_first:
            fields.reverse()
        below = self.newline + self.lead + " " * len(f"-{self.gap}")
        return f"{self.lead}-{self.gap}{below.join(fields)}{self.newline}"

    def scalar(self, enc: str) -> str:
        """Return an `enc` as a literal block, or quoted, without a final line end."""
        if not self.pad:
            import json  # 2 ms; sops never quotes it

            return json.dumps(enc)
        lines = enc.removesuffix("\n").split("\n")
        return (self.newline + self.pad).join(["|", *lines])


class Standard(NamedTuple):
    """The content of a block in the layout that sops writes.

    `above` is the text before the block.  `fields` are all fields except `age`, whose
    `entries` are at `span` of the text, in lines of 64 letters after the layout's
    `pad`.
    """

    above: str
    fields: dict[str, Value]
    entries: Entries
    span: tuple[int, int]
    layout: Layout


class _Later(Mapping[str, Node]):
    """The fields of a block in `standard` layout as nodes, parsed at the first access.

    A field on one line is found without parsing the rest: a new MAC replaces two of
    them, and parsing all entries would make re-keying a file with fifty recipients a
    tenth slower.
    """

    def __init__(self, text: str, standard: Standard) -> None:
        self._text, self._standard = text, standard

    @cached_property
    def _fields(self) -> Mapping[str, Node]:
        return _trees(self._text)[0]

    def __getitem__(self, name: str) -> Node:
        value, (start, end) = self._standard.fields.get(name), self._standard.span
        line = re.compile(rf"^ +{name}: (.+)$", re.MULTILINE)
        above, below = (len(self._standard.above), start), (end, len(self._text))
        if isinstance(value, str):
            for region in above, below:
                if found := line.search(self._text, *region):
                    return Node(value, *found.span(1))
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@frozen
class YamlBlock(Block):
    """A `sops:` block of a YAML document.

    Added entries have the same indentation, order and line ends as the others.
    `standard` is set for a block at the end of the text in the layout that sops writes.
    """

    standard: Standard | None = None

    @property
    def entries(self) -> Entries:
        """The age entries in the order of the file; SecretFileError if incomplete."""
        return self.standard.entries if self.standard else entries_of(self.slots)

    @property
    def values(self) -> Mapping[str, Value]:
        """The values of the fields; `age` may not be among them."""
        return self.standard.fields if self.standard else values_of(self.fields)

    @property
    def foreign(self) -> Mapping[str, object]:
        """The entries of other kinds as plain values (see `Block.foreign`)."""
        return {} if self.standard else foreign_of(self.fields)

    @property
    def _layout(self) -> Layout:
        """The layout of the last age entry."""
        if self.standard:
            return self.standard.layout
        last, slot = self._age()[-1], self.slot(-1)
        gap = INDENT.match(self.text, last.start + 1)
        return self._layout_of(slot)._replace(
            lead=self.text[line_start(self.text, last.start) : last.start],
            gap=(gap and gap[0]) or " ",
            enc_first=slot.enc.start < slot.label.start,
        )

    def _layout_of(self, slot: Slot) -> Layout:
        """Return the layout of the `enc` of an entry."""
        literal = self.text.startswith("|", slot.enc.start)
        end = self.text.find("\n", slot.enc.start)
        pad = INDENT.match(self.text, end + 1)
        newline = "\r\n" if end > 0 and self.text[end - 1] == "\r" else "\n"
        return Layout("", " ", pad[0] if pad and literal else "", newline)

    @property
    def _span(self) -> tuple[int, int]:
        """The span of the lines of all age entries."""
        if self.standard:
            return self.standard.span
        age = self._age()
        return line_start(self.text, age[0].start), age[-1].end

    def append(self, entries: Sequence[tuple[str, str]]) -> list[Edit]:
        """Add entries with the layout of the last one."""
        _, end = self._span
        layout = self._layout
        text = "".join(layout.entry(self._label(a), b) for a, b in entries)
        if self.text[end - 1] != "\n":
            text = layout.newline + text.removesuffix(layout.newline)
        return [(end, end, text)]

    def grown(self, edits: Sequence[Edit]) -> Entries | None:
        """Return all entries after edits that append entries to a `standard` block.

        None for other blocks and other edits.
        """
        if not self.standard:
            return None
        _, end = self.standard.span
        lead, _, pad, _, enc_first = self.standard.layout
        entry, layout = _entry(lead, pad, enc_first)
        added, below = _entries("".join(text for _, _, text in edits), entry, layout)
        if below or any(end != start or end != stop for start, stop, _ in edits):
            return None
        return self.standard.entries.changed((), added)

    def only(self, label: str, enc: str) -> list[Edit]:
        """Replace all entries by one."""
        return [(*self._span, self._layout.entry(self._label(label), enc))]

    def _dropped(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """Return the spans of the lines of some fields."""
        return [(self._key(name), self._after(name)) for name in names]

    def _adopted(self, other: "YamlBlock", names: Sequence[str]) -> list[Edit]:
        """Copy the lines of some fields to above the age entries."""
        at = self._key("age")
        text = "".join(other.text[start:end] for start, end in other._dropped(names))
        text = text.replace("\r\n", "\n")
        return [(at, at, text if text.endswith("\n") else f"{text}\n")]

    def _key(self, name: str) -> int:
        """Return the start of the line of a field's key, the last before its value."""
        value = self.fields[name].start
        word = re.escape(name)
        spelled = rf"^ *(?:{word}|\"{word}\"|'{word}')[ \t]*:"
        keys = re.finditer(spelled, self.text[:value], re.MULTILINE)
        return max(key.start() for key in keys)

    def _after(self, name: str) -> int:
        """Return the start of the line after a field."""
        return after_line(self.text, self.fields[name].end - 1)

    @property
    def indent(self) -> int:
        """The indentation of the fields of the block, in blanks."""
        starts = [n.start for n in self.fields.values() if isinstance(n.value, str)]
        leads = (INDENT.match(self.text, line_start(self.text, at)) for at in starts)
        return min(len(lead[0]) for lead in leads if lead)

    def _label(self, label: str) -> str:
        if re.fullmatch(PLAIN, label) and label not in NULLS:
            return label
        import json  # 2 ms, for a label that is no key

        return json.dumps(label, ensure_ascii=False)

    def _enc(self, slot: Slot, enc: str) -> str:
        layout = self._layout_of(slot)
        return layout.scalar(enc) + (layout.newline if layout.pad else "")


def read(text: str) -> tuple[YamlBlock, ...]:
    """Parse the metadata of every document that is not empty.

    Raises:
        SecretFileError: there is none, a document lacks it, or it cannot be parsed.
    """
    standard = _standard(text)
    if standard:
        return (standard,)
    return tuple(YamlBlock(text, fields) for fields in _trees(text))


def _trees(text: str) -> list[dict[str, Node]]:
    """Return the fields of each document in any layout; raises `SecretFileError`."""
    from nixsecrets.files.sops import tree  # compiles a dozen patterns; rarely needed

    return tree.metadata(text)


def _standard(text: str) -> YamlBlock | None:
    """Parse the only block of a text, if it has the layout that sops writes.

    Any indentation and order of fields is accepted, as formatters change the former and
    sops the latter.  None for any other layout, even a comment in it.
    """
    key = text.find("\nsops:\n") + 1
    start = _START.match(text, key + len("sops:\n")) if key else None
    if not start or "\r" in text or _structured(text[:key]):
        return None
    first_fields, indent, lead, first, pad = start.groups()
    entry, layout = _entry(lead, pad, first is not None)
    at = start.start("lead")
    entries, below = _entries(text[at:], entry, layout)
    fields = _fields(indent, first_fields + below) if entries else None
    if fields is None:
        return None
    span = at, len(text) - len(below)
    standard = Standard(text[:key], fields, entries, span, layout)
    return YamlBlock(text, _Later(text, standard), standard)


def _entries(
    text: str, entry: "re.Pattern[str]", layout: Layout
) -> tuple[Entries, str]:
    """Return the entries at the start of a text, and the rest of the text."""
    # `split` gives three items for each entry: the text before it (which must be empty)
    # and its two fields; the last item is the rest
    *parts, below = entry.split(text)
    if any(parts[::3]):
        return Entries((), ()), text
    labels, armors = parts[1::3], parts[2::3]
    if layout.enc_first:
        labels, armors = armors, labels
    return Entries(labels, armors, layout.pad), below


def _structured(above: str) -> bool:
    """Return whether the text may have a document marker or another `sops` key."""
    marked = above.startswith(("---", "...")) or "\n---" in above or "\n..." in above
    return marked or "sops" in above


def _fields(indent: str, lines: str) -> dict[str, Value] | None:
    """Return the fields in some lines.

    None if there is anything else, a duplicate field, or an entry of another kind.
    """
    # `split` gives four items for each field: the text before it (which must be empty),
    # its name, and a quoted or a plain value (one of them is None)
    *parts, rest = _field(indent).split(lines)
    if rest or any(parts[::4]):
        return None
    names = parts[1::4]
    found: dict[str, Value] = {}
    for name, quoted, plain in zip(names, parts[2::4], parts[3::4], strict=True):
        if plain == "[]":
            found[name] = []
        elif name in OURS:
            found[name] = None if plain in NULLS else plain or quoted
        else:
            return None
    return None if "age" in found or len(found) != len(names) else found


@cache
def _entry(
    lead: str,
    pad: str,
    enc_first: bool,  # noqa: FBT001
) -> "tuple[re.Pattern[str], Layout]":
    """Return a pattern for an age entry (groups: label and `enc`), and its layout.

    The label is a plain scalar, the `enc` a literal block.
    """
    label = r"recipient: (age1[0-9a-z]++|ssh-[a-z0-9]++(?: [\w.@+/=-]++)++)\n"
    # An age file has at least four full lines.  `.` also matches a line feed, to be
    # fast; a line feed among the 64 letters makes `header.read_encs` decline, as the
    # armor then has fewer bytes than its length requires.
    full = rf"{pad}(?s:.{{64}})\n"
    enc = (
        rf"enc: \|\n{pad}{re.escape(BEGIN)}"
        rf"({full * 4}(?:{full})*?{pad}.++)\n{pad}{re.escape(END)}"
    )
    first, second = (enc, label) if enc_first else (label, enc)
    layout = Layout(lead, " ", pad, "\n", enc_first)
    return re.compile(rf"{lead}- {first}{lead}  {second}"), layout


@cache
def _field(indent: str) -> "re.Pattern[str]":
    """Return a pattern for a field; groups: its name, a quoted or a plain scalar."""
    # the first alternative is for a single word, the usual case, in half the time
    plain = rf"{_FIRST}\S*+(?<!:)(?=\n)|{PLAIN}|\[\]"
    return re.compile(rf"{indent}([a-z]\w*): (?:\"([^\"\\\n]*+)\"|({plain}))\n")
