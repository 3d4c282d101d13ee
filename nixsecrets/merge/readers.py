"""Who reads a file after a merge: what either side added, without whom one removed.

A side changes the readers of a file in two ways: in the file, and in the map.  Both
count, so that what one side changed reaches a file that only the other has.  Pure.
"""

from collections.abc import Collection, Iterable, Mapping

from nixsecrets.files.state import Actual
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.model import Desired, Reader
from nixsecrets.map.resolve import Policy


class Side(NamedTuple):
    """One version of a file, None where there is none, and of the map (None: none)."""

    file: Actual | None
    policy: Policy | None

    def wants(self, path: str, backend: Backend) -> dict[KeyId, Reader]:
        """Return who shall read a path by this side's map."""
        want = self.policy.desired(path, backend) if self.policy else None
        return _by_key(want.readers) if want is not None else {}


class Settled(NamedTuple):
    """The readers of a merged file, in the order in which they are written.

    `gone` are the keys that a side took from it, `gone_names` the names; `again` are
    the readers whom the map would give back.
    """

    target: tuple[Reader, ...]
    gone: frozenset[KeyId]
    gone_names: frozenset[str] = frozenset()
    again: tuple[Reader, ...] = ()

    def back(self, readers: Iterable[Reader]) -> tuple[Reader, ...]:
        """Return those of `readers` whom a side removed, by their key or name."""
        kept = {reader.recipient.key_id for reader in self.target}
        return tuple(
            one
            for one in readers
            if one.recipient.key_id not in kept
            and (one.recipient.key_id in self.gone or one.name in self.gone_names)
        )


def settled(
    path: str,
    backend: Backend,
    base: Side,
    sides: tuple[Side, Side],
    want: Desired | None,
    names: Mapping[KeyId, str],
    dropped: Collection[KeyId] = (),
    more_bases: Collection[Side] = (),
) -> Settled:
    """Return who reads a file after a merge.

    `want` is what the merged map wants for it, `names` whose each key is, `dropped` the
    keys of either side's map that the merged one does not have.  `more_bases` are the
    further merge bases.
    """
    removed = set(dropped)
    removed_names: set[str] = set()
    readers: dict[KeyId, Reader] = {}
    added: dict[KeyId, Reader] = {}
    gained_names: set[str] = set()
    for side in sides:
        has, wants = _stated(side.file, names), side.wants(path, backend)
        readers |= has
        if base.policy is not None and side.policy is not None:
            wanted = base.wants(path, backend)
            added |= {key: wants[key] for key in wants.keys() - wanted.keys()}
        for one in (base, *more_bases):
            had, wanted = _stated(one.file, names), one.wants(path, backend)
            if one.file is not None and side.file is not None:
                removed |= had.keys() - has.keys()
                removed_names |= _names(had) - _names(has)
            if one.policy is not None and side.policy is not None:
                removed |= wanted.keys() - wants.keys()
                removed_names |= _names(wanted) - _names(wants)
    wish = _by_key(want.readers) if want is not None else {}
    if want is not None:  # a reader of a side's map whom the merged one leaves out
        for side in sides:
            removed |= side.wants(path, backend).keys() - wish.keys()
    # one side granted a name whose key the other replaced
    added |= {key: one for key, one in wish.items() if one.name in gained_names}
    if not readers:  # both versions' are unknown: the map says
        readers = dict(wish)
    kept = {
        key: reader
        for key, reader in {**readers, **added}.items()
        if key not in removed and reader.name not in removed_names
    }
    removed |= {
        key
        for key, reader in {**readers, **added, **wish}.items()
        if reader.name in removed_names
    } - kept.keys()
    ordered = [wish[key] for key in wish if key in kept]
    ordered += [reader for key, reader in kept.items() if key not in wish]
    found = Settled(tuple(ordered), frozenset(removed), frozenset(removed_names))
    return found._replace(again=found.back(wish.values()))


def _stated(file: Actual | None, names: Mapping[KeyId, str]) -> dict[KeyId, Reader]:
    found = file.recipients if file is not None else ()
    return {r.key_id: Reader(names.get(r.key_id, r.text), r) for r in found}


def _by_key(readers: Iterable[Reader]) -> dict[KeyId, Reader]:
    return {reader.recipient.key_id: reader for reader in readers}


def _names(readers: Mapping[KeyId, Reader]) -> set[str]:
    return {reader.name for reader in readers.values()}
