"""The age entries of a sops file: label and `enc`, as values.

In files that are spelled exactly as sops does they stay as they stand there, and one is
spelled out when it is asked for: of fifty readers, a grant looks at one.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, overload

from nixsecrets.keys.recipients import Recipient, recipient_of

PAD = b"\n" + b" " * 12
BEGIN, END = (f"-----{word} AGE ENCRYPTED FILE-----" for word in ("BEGIN", "END"))
# An entry as sops spells it: a label and five or six lines of base64, in the order of
# sops since 3.13 (True), and in that of before.  Lengths are checked here, letters by
# decoding or by `in_base64`.
_LABEL = rb"recipient: ((?:age1|ssh-ed25519 )[A-Za-z0-9+/=]++)\n"
_ENC = (
    rb"enc: \|%(pad)b-----BEGIN AGE ENCRYPTED FILE-----%(pad)b"
    rb"(.{64}%(pad)b.{64}%(pad)b.{64}%(pad)b.{64}%(pad)b"
    rb"(?:.{53}|.{64}%(pad)b.{5})[AQgw]==)"  # whose last letter has no bits to spare
    rb"%(pad)b-----END AGE ENCRYPTED FILE-----\n" % {b"pad": PAD}
)
ENTRY = {
    True: re.compile(rb"        - %b          %b" % (_ENC, _LABEL), re.DOTALL),
    False: re.compile(rb"        - %b          %b" % (_LABEL, _ENC), re.DOTALL),
}
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

_FIRST, _LAST = (
    b"enc: |%b%b%b" % (PAD, BEGIN.encode(), PAD),
    b"%b%b" % (PAD[1:], END.encode()),
)

Pair = tuple[str, str]
"""A label and an `enc`."""


class Entry(NamedTuple):
    """One age recipient of a sops file, as the file has it.

    `label` is the text of its `recipient` field, `enc` the armored age file that holds
    the data key.
    """

    label: str
    enc: str

    @property
    def recipient(self) -> Recipient | None:
        """The key that the label spells, None where it spells none."""
        return recipient_of(self.label)

    def __repr__(self) -> str:
        """Show the label alone."""
        return f"Entry({self.label!r})"


class UsualEntries(Sequence[Entry]):
    """Entries as they stand in YAML that sops wrote: equal to a tuple of `Entry`.

    Each `enc` is its lines of base64 alone, still indented.  Where `in_base64` holds,
    the text that `spelled` returns has no other reading.
    """

    __slots__ = ("_encs", "_labels")

    def __init__(self, labels: Sequence[bytes], encs: Sequence[bytes]) -> None:
        """Take labels and lines, as many of both."""
        self._labels = tuple(labels)
        self._encs = tuple(encs)

    @property
    def in_base64(self) -> bool:
        """Whether there are only letters of base64 between the lines' ends."""
        rest = b"".join(self._encs).translate(None, _LETTERS)
        return not rest.replace(PAD, b"")

    def spelled(self, *, enc_first: bool) -> bytes:
        """Return the text that sops writes for them, in one order or the other."""
        if enc_first:
            middle, end = b"\n%b\n          recipient: " % _LAST, b"\n"
            start = b"        - %b" % _FIRST
            pairs = zip(self._encs, self._labels, strict=True)
        else:
            middle, end = b"\n          %b" % _FIRST, b"\n%b\n" % _LAST
            start = b"        - recipient: "
            pairs = zip(self._labels, self._encs, strict=True)
        return start + (end + start).join([a + middle + b for a, b in pairs]) + end

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._labels)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> "UsualEntries": ...
    def __getitem__(self, place: int | slice) -> "Entry | UsualEntries":
        """Spell an entry out."""
        if isinstance(place, slice):
            return UsualEntries(self._labels[place], self._encs[place])
        enc = self._encs[place].replace(PAD, b"\n").decode()
        return Entry(self._labels[place].decode(), f"{BEGIN}\n{enc}\n{END}\n")

    def __contains__(self, entry: object) -> bool:
        """Tell whether there is this label with this `enc`."""
        if not isinstance(entry, tuple) or len(entry) != len(Entry._fields):
            return False
        label = str(entry[0]).encode()
        places = (place for place, one in enumerate(self._labels) if one == label)
        return any(self[place] == entry for place in places)

    def __eq__(self, other: object) -> bool:
        """Compare with other entries, however they are kept."""
        if isinstance(other, UsualEntries):
            return self._labels == other._labels and self._encs == other._encs
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        """Return the hash of the tuple that it is equal to."""
        return hash(tuple(self))

    def __repr__(self) -> str:
        """Show the labels alone."""
        return repr(tuple(self))

    def changed(
        self, replaced: Iterable[tuple[int, Pair]], added: Iterable[Pair]
    ) -> "UsualEntries | None":
        """Return these entries after some changes, None where one is unusual."""
        places, pairs = [place for place, _ in replaced], [pair for _, pair in replaced]
        pairs += added
        if not pairs:
            return self
        new = UsualEntries(
            [a.encode("utf-8", "surrogateescape") for a, _ in pairs],
            [_lines(b) for _, b in pairs],
        )
        if not new._usual or list(new) != pairs:
            return None
        labels, encs = list(self._labels), list(self._encs)
        for n, place in enumerate(places):
            labels[place], encs[place] = new._labels[n], new._encs[n]
        more = slice(len(places), None)
        return UsualEntries([*labels, *new._labels[more]], [*encs, *new._encs[more]])

    @property
    def _usual(self) -> bool:
        between = ENTRY[False].split(self.spelled(enc_first=False))[::3]
        return self.in_base64 and len(between) == len(self) + 1 and not any(between)


def changed(
    entries: Sequence[Pair],
    replaced: Sequence[tuple[int, Pair]],
    added: Sequence[Pair],
) -> Sequence[Pair]:
    """Return entries with some put in the place of others, and some at the end."""
    if isinstance(entries, UsualEntries):
        kept = entries.changed(replaced, added)
        if kept is not None:
            return kept
    found: list[Pair] = list(entries)
    for place, pair in replaced:
        found[place] = pair
    return (*found, *added)


def _lines(enc: str) -> bytes:
    lines = enc.removeprefix(f"{BEGIN}\n").removesuffix(f"\n{END}\n")
    return lines.encode().replace(b"\n", PAD)
