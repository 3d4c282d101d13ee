"""Types shared by the parsers of sops metadata: nodes with spans, metadata blocks.

A `Block` is the metadata of one document, parsed by `yaml`, `json` or `flat`.  It has
the spans of its age entries, and computes edits of them; `metadata` interprets the
fields.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import ARMOR_BEGIN, ARMOR_END
from nixsecrets.frozen import NamedTuple, field, frozen
from nixsecrets.keys.recipients import Recipient, recipient_of
from nixsecrets.keys.sopsoptions import SELECTION

# The fields of age entries and values.  All others are entries of other kinds, whose
# names sops reads in any case (getsops/sops:stores/metadata.go with mapstructure;
# before 3.13 encoding/json), or unknown to sops.
OURS = frozenset(
    ("age", "mac", "lastmodified", "version", "mac_only_encrypted", *SELECTION)
)
_THRESHOLD = "shamir_threshold"  # has no meaning with one key group

BEGIN, END = (f"{line.decode()}\n" for line in (ARMOR_BEGIN, ARMOR_END))

Edit = tuple[int, int, str]
"""A span `[start, end)` of the text, in characters, and what replaces it."""


class Node(NamedTuple):
    """A value and its span in the text."""

    value: "Value"
    start: int
    end: int


class Members(dict[str, Node]):
    """The members of a JSON object; `again` has those with a repeated key."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.again: list[tuple[str, Node]] = []

    def in_order(self) -> list[tuple[str, Node]]:
        """Return all members in the order of the text."""
        return sorted([*self.items(), *self.again], key=lambda pair: pair[1].start)


class Entry(NamedTuple):
    """One age entry of a sops file.

    `label` is the text of its `recipient` field, `enc` the armored age file with the
    data key, with one line feed at its end.
    """

    label: str
    enc: str

    @property
    def recipient(self) -> Recipient | None:
        """The key in the label, None if it is not a valid key."""
        return recipient_of(self.label)

    def __repr__(self) -> str:
        """Show only the label."""
        return f"Entry({self.label!r})"


@frozen
class Entries:
    """The age entries of a text in order; each `enc` is assembled on access.

    Without a `pad`, `encs` are complete; otherwise they are the lines between the armor
    markers, each with `pad` before it.  A grant opens one entry of fifty and compares
    all of them: not assembling the others saves a sixth of its time.
    """

    labels: Sequence[str]
    encs: Sequence[str] = field(repr=False)
    pad: str = ""

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.labels)

    def __getitem__(self, at: int) -> Entry:
        """Return one entry."""
        enc = self.encs[at]
        if self.pad:
            enc = f"{BEGIN}{enc}\n{END}".replace(f"\n{self.pad}", "\n")
        return Entry(self.labels[at], enc)

    def __iter__(self) -> Iterator[Entry]:
        """Yield each entry."""
        return map(self.__getitem__, range(len(self)))

    def __contains__(self, entry: tuple[str, str]) -> bool:
        """Return whether an entry has this label and this `enc`."""
        places = (at for at, label in enumerate(self.labels) if label == entry[0])
        return any(self[at] == entry for at in places)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same entries, at any indentation."""
        if not isinstance(other, Entries):
            return NotImplemented
        if self.pad == other.pad:
            return self.labels == other.labels and self.encs == other.encs
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def changed(
        self,
        new: Iterable[tuple[int, tuple[str, str]]],
        added: Iterable[tuple[str, str]],
    ) -> "Entries":
        """Return a copy with the entries at some indexes replaced, and others added."""
        labels, encs = list(self.labels), list(self.encs)
        for at, (label, enc) in new:
            labels[at], encs[at] = label, self._padded(enc)
        for label, enc in added:
            labels.append(label)
            encs.append(self._padded(enc))
        return Entries(labels, encs, self.pad)

    def _padded(self, enc: str) -> str:
        """Return an `enc` in the form of `encs`."""
        if not self.pad:
            return enc
        lines = enc.removeprefix(BEGIN).removesuffix(f"\n{END}")
        return self.pad + lines.replace("\n", f"\n{self.pad}")


Value = str | bool | None | list[Node] | dict[str, Node]
"""The value of a node; numbers are kept as text."""


class Slot(NamedTuple):
    """One age entry of a block: its label (`recipient`) and its `enc`."""

    label: Node
    enc: Node


@frozen
class Block(ABC):
    """The sops metadata of one document, with the text of the file."""

    text: str = field(repr=False)
    fields: Mapping[str, Node] = field(repr=False)

    @property
    def entries(self) -> Entries:
        """The age entries in the order of the file; SecretFileError if incomplete."""
        return entries_of(self.slots)

    @property
    def values(self) -> "Mapping[str, Value]":
        """The values of the fields; `age` may not be among them."""
        return values_of(self.fields)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The age entries in the order of the file.

        Raises:
            SecretFileError: an entry lacks its label or its `enc`.

        """
        return tuple(slot_of(item) for item in items(self.fields, "age"))

    def slot(self, index: int) -> Slot:
        """Return one age entry; SecretFileError if it is incomplete."""
        return slot_of(items(self.fields, "age")[index])

    def replace(self, index: int, label: str, enc: str) -> list[Edit]:
        """Return the edits that replace the label and the `enc` of an entry."""
        slot = self.slot(index)
        return [
            (slot.label.start, slot.label.end, self._label(label)),
            (slot.enc.start, slot.enc.end, self._enc(slot, enc)),
        ]

    @property
    def foreign(self) -> Mapping[str, object]:
        """All fields but those of age entries and values, as plain values.

        These are entries of other kinds (PGP, KMS, Vault) and key groups; without empty
        lists, which old versions of sops write.
        """
        return foreign_of(self.fields)

    def bare(self, label: str, enc: str) -> list[Edit]:
        """Return the edits that replace all entries, of other kinds too, by this one.

        sops only gets such a file: it contacts every service in the metadata, with the
        data key.
        """
        dropped = self._dropped(tuple(self.foreign))
        return [*self.only(label, enc), *((start, end, "") for start, end in dropped)]

    def adopt(self, other: "Block") -> list[Edit]:
        """Return the edits that copy the foreign fields of `other` into this block.

        Raises:
            SecretFileError: the blocks are in different formats.
        """
        if not other.foreign:
            return []
        if type(self) is not type(other):
            refuse(
                "has entries that are not age, in a format that sops does not write",
                "drop them: nixsecrets rekey FILE",
            )
        return self._adopted(other, tuple(other.foreign))

    @abstractmethod
    def _dropped(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """Return the spans of some fields, not overlapping."""

    @abstractmethod
    def _adopted(self, other: Any, names: Sequence[str]) -> list[Edit]:
        """Return the edits that copy fields of a block of this class."""

    @abstractmethod
    def append(self, entries: Sequence[tuple[str, str]]) -> list[Edit]:
        """Return the edits that add (label, enc) entries after the last one.

        The block has at least one entry: the one that the data key was decrypted from.
        """

    @abstractmethod
    def only(self, label: str, enc: str) -> list[Edit]:
        """Return the edits that replace all age entries by this one."""

    def _age(self) -> list[Node]:
        """Return the nodes of the age entries; there is at least one."""
        value = self.fields["age"].value if "age" in self.fields else None
        if not isinstance(value, list) or not value:
            refuse("has sops metadata without an age entry")
        return value

    @abstractmethod
    def _label(self, label: str) -> str:
        """Return a label as a scalar of this format."""

    @abstractmethod
    def _enc(self, slot: Slot, enc: str) -> str:
        """Return an `enc` as a scalar of this format, to replace that of `slot`."""


def values_of(fields: Mapping[str, Node]) -> Mapping[str, Value]:
    """Return the values of fields by name, without spans."""
    return {name: node.value for name, node in fields.items()}


def entries_of(slots: Sequence[Slot]) -> Entries:
    """Return the entries of some slots, each `enc` with one line feed at its end."""
    encs = [str(slot.enc.value).strip() + "\n" for slot in slots]
    return Entries([str(slot.label.value) for slot in slots], encs)


def foreign_of(fields: Mapping[str, Node]) -> Mapping[str, object]:
    """Return the fields that `Block.foreign` has."""
    return {
        name: plain(node)
        for name, node in fields.items()
        if name not in OURS and name != _THRESHOLD and plain(node)
    }


def plain(node: Node) -> object:
    """Return a value without spans."""
    match node.value:
        case dict() as members:
            return {name: plain(inner) for name, inner in members.items()}
        case list() as inners:
            return [plain(inner) for inner in inners]
        case value:
            return value


def items(fields: Mapping[str, Node], name: str) -> list[Mapping[str, Node]]:
    """Return the mappings in the list `name`; empty if it is null or absent.

    Raises:
        SecretFileError: the field is not a list of mappings.
    """
    value = fields[name].value if name in fields else None
    if value is None or value == {}:
        return []
    if not isinstance(value, list):
        refuse(f"has sops metadata whose field {name} is not a list")
    found = [item.value for item in value]
    mappings = [item for item in found if isinstance(item, dict)]
    if len(mappings) != len(found):
        refuse(f"has sops metadata whose field {name} is not a list of mappings")
    return list(mappings)


def slot_of(item: Mapping[str, Node]) -> Slot:
    """Return the label and the `enc` of one age entry."""
    label, enc = item.get("recipient"), item.get("enc")
    if label is None or enc is None:
        refuse("has sops metadata with an incomplete age entry")
    if not isinstance(label.value, str) or not isinstance(enc.value, str):
        refuse("has sops metadata with an age entry that is not text")
    return Slot(label, enc)


def refuse(predicate: str, hint: str | None = None) -> NoReturn:
    """Raise the error for a file whose sops metadata cannot be used."""
    hint = hint or "restore it from git"
    raise SecretFileError(predicate, hint, subject="the file")
