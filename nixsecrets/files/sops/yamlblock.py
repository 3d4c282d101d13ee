"""A `sops:` block of a YAML document, and the edits that change its entries.

They look like what stands there: same indentation, order and line ends.
"""

import json
import re
from collections.abc import Sequence

from nixsecrets.files.sops.spans import Block, Edit, Slot
from nixsecrets.splice import after_line, line_start

INDENT = re.compile(r" *")
PLAIN = re.compile(
    r"(?:[^\s\-?:,\[\]{}#&*!|>'\"%@`]|[-?:](?=[^\s,\[\]{}]))"
    r"(?:[^\s:]++|:(?![ \t\r\n]|\Z)|[ \t]++(?![#\r\n]|\Z))*+"
)
NULLS = ("null", "~", "Null", "NULL")


class YamlBlock(Block):
    """A `sops:` block of a YAML document."""

    __slots__ = ()

    def append(self, entries: Sequence[tuple[str, str]]) -> list[Edit]:
        """Add entries that look like the last one."""
        last = self._age()[-1]
        newline = self._newline()
        text = "".join(self._entry(label, enc) for label, enc in entries)
        if self.text[last.end - 1] != "\n":
            text = newline + text.removesuffix(newline)
        return [(last.end, last.end, text)]

    def only(self, label: str, enc: str) -> list[Edit]:
        """Put one entry in the place of the first to the last."""
        sequence = self._age()
        start = line_start(self.text, sequence[0].start)
        return [(start, sequence[-1].end, self._entry(label, enc))]

    def _dropped(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """Return the lines of fields."""
        return [(self._key(name), self._after(name)) for name in names]

    def _adopted(self, other: "YamlBlock", names: Sequence[str]) -> list[Edit]:
        """Copy lines to above the age entries."""
        at = self._key("age")
        text = "".join(other.text[start:end] for start, end in other._dropped(names))
        text = text.replace("\r\n", "\n")
        return [(at, at, text if text.endswith("\n") else f"{text}\n")]

    def _key(self, name: str) -> int:
        """Return the start of the line of a field's key: the last such one above it."""
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
        """How many blanks the fields of the block are indented by."""
        starts = [n.start for n in self.fields.values() if isinstance(n.value, str)]
        leads = (INDENT.match(self.text, line_start(self.text, at)) for at in starts)
        return min(len(lead[0]) for lead in leads if lead)

    def _newline(self) -> str:
        end = self.text.find("\n", self._age()[-1].start)
        return "\r\n" if end > 0 and self.text[end - 1] == "\r" else "\n"

    def _entry(self, label: str, enc: str) -> str:
        """Return the lines of an entry with the last one's indentation and order."""
        last, slot = self._age()[-1], self.slot(-1)
        newline = self._newline()
        lead = self.text[line_start(self.text, last.start) : last.start]
        gap = INDENT.match(self.text, last.start + 1)
        dash = "-" + ((gap and gap[0]) or " ")
        spelled = {
            "recipient": self._label(label),
            "enc": self._enc(slot, enc).removesuffix(newline),
        }
        order = ["recipient", "enc"]
        if slot.enc.start < slot.label.start:
            order.reverse()
        lines = [f"{key}: {spelled[key]}{newline}" for key in order]
        return lead + dash + (lead + " " * len(dash)).join(lines)

    def _label(self, label: str) -> str:
        plain = PLAIN.fullmatch(label) and label not in NULLS
        return label if plain else json.dumps(label, ensure_ascii=False)

    def _enc(self, slot: Slot, enc: str) -> str:
        """Return a literal block, or a quoted scalar where one stands there."""
        if not self.text.startswith("|", slot.enc.start):
            return json.dumps(enc)
        newline = self._newline()
        pad = INDENT.match(self.text, self.text.find("\n", slot.enc.start) + 1)
        indent = pad[0] if pad else ""
        lines = enc.removesuffix("\n").split("\n")
        return "|" + newline + "".join(f"{indent}{line}{newline}" for line in lines)
