"""Removals: the keys that were taken out of use, and what they can read all the same.

Pure.  Three memories are put together: the map's own `[[retired]]` entries, the maps of
earlier commits, and what this clone remembers.  One alone can be reverted.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nixsecrets.errors import quoted
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.findings.reports import counted
from nixsecrets.keys.recipients import KeyId, Recipient, recipient_of
from nixsecrets.map.model import RecipientMap
from nixsecrets.map.pastkeys import PastMap
from nixsecrets.plan.model import Plan
from nixsecrets.repo.remembered import Edit, Remembered, Removed, Returned
from nixsecrets.world.world import MAP_NAME, World


class Removal(NamedTuple):
    """A key that left the map: whose, when (YYYY-MM-DD), and by which commit.

    Without a commit only this clone, or a `[[retired]]` entry, knows of it.  `entries`
    are the `[[retired]]` entries that the map had of it afterwards.
    """

    name: str
    key: Recipient
    date: str = ""
    commit: str = ""
    reason: str = ""
    entries: int = 0


def removals_between(
    old: PastMap, new: PastMap, commit: str, date: str
) -> Iterator[Removal]:
    """Yield the keys that a commit took out of the map."""
    for key_id, (name, key) in old.keys.items():
        if key_id not in new.keys:
            yield Removal(name, key, date, commit, entries=new.retired.get(key_id, 0))


@dataclass(frozen=True, slots=True)
class Removals:
    """What is known of removed keys.

    `returned` are those whose return the operator of this clone agreed to; `looked`
    says in a line where was looked, and where not.
    """

    by_key: Mapping[KeyId, Removal] = field(default_factory=dict, repr=False)
    returned: Collection[KeyId] = ()
    looked: str = ""

    def asked(self, plan: Plan) -> list[tuple[str, Removal]]:
        """Return who would get a removed key encrypted to, without a consent."""
        readers = (r for step in plan.steps for r in step.encrypted_to)
        names = {reader.recipient.key_id: reader.name for reader in readers}
        return [
            (name, self.by_key[key_id])
            for key_id, name in names.items()
            if key_id in self.by_key and key_id not in self.returned
        ]

    def in_use(self, recipient_map: RecipientMap) -> list[tuple[str, Removal]]:
        """Return who uses a removed key, without a consent in this clone."""
        return [
            (name, self.by_key[key_id])
            for key_id, name in recipient_map.keys_in_use.items()
            if key_id in self.by_key and key_id not in self.returned
        ]

    def returning(
        self,
        before: RecipientMap,
        after: RecipientMap,
        others: Iterable[tuple[str, Removal]] = (),
    ) -> list[tuple[str, Removal]]:
        """Return who is to use, in the map `after`, a removed key; it was not before.

        In whatever form.  Behind them come the `others` whose key is none of these.
        """
        found = {
            key_id: (name, self.by_key[key_id])
            for key_id, name in after.keys_in_use.items()
            if key_id in self.by_key and key_id not in before.keys_in_use
        }
        return [*found.values(), *(o for o in others if o[1].key.key_id not in found)]

    def findings(
        self, world: World, *, leaving: Collection[KeyId] = ()
    ) -> list[Finding]:
        """Return the removed keys that can read files, but for those just `leaving`."""
        if not self.by_key:
            return []
        use = world.map.keys_in_use
        paths = _readable(world, self.by_key)
        found = []
        for key_id, removal in self.by_key.items():
            if key_id in leaving:
                continue
            if key_id in use and not self.agreed(world.map, key_id):
                number = counted(len(paths.get(key_id, ())), "file")
                message = f"{_removed(removal)} and can read {number} again"
                found.append(
                    Finding(MAP_NAME, Code.REMOVED_READS, message, _line(world, key_id))
                )
            elif key_id not in use and (there := paths.get(key_id)):
                number = counted(len(there), "file")
                message = f"{_removed(removal)} and can read {number}"
                rest = f": this and {len(there) - 1} more" if len(there) > 1 else ""
                found.append(Finding(there[0], Code.REMOVED_READS, message + rest))
        return found

    def agreed(self, recipient_map: RecipientMap, key_id: KeyId) -> bool:
        """Tell whether the return of a key that is in use is written down.

        In this clone, or for everybody: by the `[[retired]]` entries of the key, all
        of them, which a map that was put back does not have.
        """
        missing = self.missing_entries(recipient_map, key_id)
        return key_id in self.returned or not missing

    def missing_entries(self, recipient_map: RecipientMap, key_id: KeyId) -> int:
        """Return how many `[[retired]]` entries a map lacks that tells of a return."""
        entries = sum(one.key.key_id == key_id for one in recipient_map.retired)
        return max(0, max(1, self.by_key[key_id].entries) - entries)


def _readable(world: World, keys: Collection[KeyId]) -> dict[KeyId, list[str]]:
    found: dict[KeyId, list[str]] = {}
    for _, files in world.alike:
        for key_id in {r.key_id for r in files[0].recipients}.intersection(keys):
            found.setdefault(key_id, []).extend(file.path for file in files)
    return {key_id: sorted(paths) for key_id, paths in found.items()}


def _line(world: World, key_id: KeyId) -> int:
    name = world.map.keys_in_use[key_id]
    return next(owner.line for owner in world.map.owners if owner.name == name)


def _removed(removal: Removal) -> str:
    """Return `brunnen was removed on 2026-11-30 in 1a2b3c4d5e`."""
    when = f" on {removal.date}" if removal.date else ""
    where = f" in {removal.commit[:10]}" if removal.commit else ""
    return f"{removal.name} was removed{when}{where}"


def describe(name: str, removal: Removal) -> str:
    """Return the line that is shown before a removed key is used again."""
    key = f"{removal.key.kind} {removal.key.fingerprint}"
    reason = f" ({removal.reason})" if removal.reason else ""
    since = f" since {removal.date}" if removal.date else ""
    where = f", removed in {removal.commit[:10]}" if removal.commit else ""
    whose = f"{name} would get a key of {removal.name} that is retired{since}{reason}"
    line = f"{whose}: {key}{where}"
    return line if line.isprintable() else quoted(line)


def newest(found: Iterable[Removal]) -> dict[KeyId, Removal]:
    """Return the first removal of each key, with the reason and entries of any."""
    by_key: dict[KeyId, Removal] = {}
    for one in found:
        key_id = one.key.key_id
        first = by_key.setdefault(key_id, one)
        by_key[key_id] = first._replace(
            date=first.date or one.date,
            commit=first.commit or one.commit,
            reason=first.reason or one.reason,
            entries=max(first.entries, one.entries),
        )
    return by_key


def taken_out(plan: Plan) -> set[KeyId]:
    """Return the keys that a plan takes out of files."""
    return {r.recipient.key_id for step in plan.steps for r in step.remove}


def left(before: RecipientMap, after: RecipientMap) -> list[tuple[str, Recipient]]:
    """Return the keys that are in use in one map and not in another."""
    use = after.keys_in_use
    return [
        (owner.name, key)
        for owner in before.owners
        for key in owner.keys
        if key.key_id not in use
    ]


def agreeing(found: Iterable[Removal], date: str) -> Edit:
    """Return the change of the memory after a person agreed to use removed keys."""
    back = newest(found).values()
    return _in_place(
        returned=[Returned(one.name, one.key.text, date, one.commit) for one in back]
    )


def removing(keys: Iterable[tuple[str, Recipient]], date: str) -> Edit:
    """Return the change after keys were taken out of use; what was agreed to ends."""
    return _in_place(removed=[Removed(name, key.text, date) for name, key in keys])


def _in_place(
    *, removed: Sequence[Removed] = (), returned: Sequence[Returned] = ()
) -> Edit:
    """Return the change that puts facts in place of all others about their keys."""
    facts: tuple[Removed | Returned, ...] = (*removed, *returned)
    ids = {_id(one.key) for one in facts}

    def edit(now: Remembered) -> Remembered:
        gone = (one for one in now.removed if _id(one.key) not in ids)
        back = (one for one in now.returned if _id(one.key) not in ids)
        return now._replace(removed=(*gone, *removed), returned=(*back, *returned))

    return edit


def _id(text: str) -> KeyId | None:
    key = recipient_of(text)  # None: of a kind that only a newer version knows
    return None if key is None else key.key_id
