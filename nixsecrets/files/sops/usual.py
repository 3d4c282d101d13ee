"""A sops block that the quick look took in: entries are added without reading it.

Whatever else is asked of it, `sopsyaml` reads the text then.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nixsecrets.files.sops.spans import Edit, Node
from nixsecrets.files.sops.yaml import YamlBlock, read


class Later(Mapping[str, Node]):
    """The fields of the only block of a text, which are read when one is asked for."""

    def __init__(self, text: str) -> None:
        """Read nothing yet."""
        self._text = text

    @cached_property
    def _fields(self) -> Mapping[str, Node]:
        return read(self._text)[0].fields

    def __getitem__(self, name: str) -> Node:
        """Return a field."""
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the fields."""
        return iter(self._fields)

    def __len__(self) -> int:
        """Count the fields."""
        return len(self._fields)


@dataclass(frozen=True, slots=True)
class UsualBlock(YamlBlock):
    """A block spelled exactly as sops does: an entry is added without reading it.

    Its entries end at `end`; `enc_first` is their order since sops 3.13.
    """

    end: int
    enc_first: bool

    @property
    def foreign(self) -> Mapping[str, object]:
        """Nothing: the quick look declines a file that has any."""
        return {}

    def append(self, entries: Sequence[tuple[str, str]]) -> list[Edit]:
        """Add entries as sops spells them."""
        text = "".join(self._spelled(label, enc) for label, enc in entries)
        return [(self.end, self.end, text)]

    def _spelled(self, label: str, enc: str) -> str:
        lines = enc.removesuffix("\n").replace("\n", "\n            ")
        first = f"recipient: {self._label(label)}\n"
        second = f"enc: |\n            {lines}\n"
        if self.enc_first:
            first, second = second, first
        return f"        - {first}          {second}"
