"""Removals: the keys that were removed from the map, and what they can still read.

Three sources are combined, because any single one can be reverted: the map's own
`[[retired]]` entries, the maps of earlier commits, and the records of this clone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from nixsecrets.errors import counted, quoted
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.recipients import KeyId, Recipient, recipient_of
from nixsecrets.map.model import RecipientMap
from nixsecrets.plan.model import Plan
from nixsecrets.repo.remembered import Edit, Remembered, Removed, Returned
from nixsecrets.world.world import MAP_NAME, World

if TYPE_CHECKING:  # for the maps of earlier commits
    from nixsecrets.map.pastkeys import PastMap


class Removal(NamedTuple):
    """A key that was removed from the map: owner, key, date (YYYY-MM-DD), commit.

    `commit` is empty if only this clone or a `[[retired]]` entry records the removal.
    `entries` counts the `[[retired]]` entries of the key in the map after it.
    """

    name: str
    key: Recipient
    date: str = ""
    commit: str = ""
    reason: str = ""
    entries: int = 0


def removals_between(
    old: "PastMap", new: "PastMap", commit: str, date: str
) -> Iterator[Removal]:
    """Yield the keys that a commit removed from the map."""
    for key_id, (name, key) in old.keys.items():
        if key_id not in new.keys:
            yield Removal(name, key, date, commit, entries=new.retired.get(key_id, 0))


class Removals(NamedTuple):
    """Every removed key that is known, by key id.

    `returned` are the keys whose return the operator of this clone agreed to; `looked`
    is a line for the user on what part of the history was searched.
    """

    by_key: Mapping[KeyId, Removal] = MappingProxyType({})
    returned: Collection[KeyId] = ()
    looked: str = ""

    def granted_by(self, plan: Plan) -> list[tuple[str, Removal]]:
        """Return (new owner, removal) of each removed key that `plan` encrypts to.

        Keys whose return was agreed to in this clone are not among them.
        """
        readers = (r for step in plan.steps for r in step.encrypted_to)
        names = {reader.recipient.key_id: reader.name for reader in readers}
        return [
            (name, self.by_key[key_id])
            for key_id, name in names.items()
            if key_id in self.by_key and key_id not in self.returned
        ]

    def in_use(self, recipient_map: RecipientMap) -> list[tuple[str, Removal]]:
        """Return (owner, removal) of each removed key that the map uses.

        Keys whose return was agreed to in this clone are not among them.
        """
        return [
            (name, self.by_key[key_id])
            for key_id, name in recipient_map.keys_in_use.items()
            if key_id in self.by_key and key_id not in self.returned
        ]

    def reused(
        self,
        before: RecipientMap,
        after: RecipientMap,
        others: Iterable[tuple[str, Removal]] = (),
    ) -> list[tuple[str, Removal]]:
        """Return (owner, removal) of each removed key that a change of the map reuses.

        Keys are compared independent of their form.  `others`, pairs of the same kind,
        follow unless their key is already among them.
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
        """Return the findings on removed keys that can read files, except `leaving`."""
        if not self.by_key:
            return []
        use = world.map.keys_in_use
        paths = _readable(world, self.by_key)
        found = []
        for key_id, removal in self.by_key.items():
            if key_id in leaving:
                continue
            if key_id in use and not self.return_recorded(world.map, key_id):
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

    def return_recorded(self, recipient_map: RecipientMap, key_id: KeyId) -> bool:
        """Return whether the return of a key in use is recorded as intended.

        The record is in this clone, or for everybody in the map: all `[[retired]]`
        entries of the key, which a restored old map does not have.
        """
        missing = self.missing_entries(recipient_map, key_id)
        return key_id in self.returned or not missing

    def missing_entries(self, recipient_map: RecipientMap, key_id: KeyId) -> int:
        """Return how many `[[retired]]` entries the map lacks to record a return."""
        entries = sum(one.key.key_id == key_id for one in recipient_map.retired)
        return max(0, max(1, self.by_key[key_id].entries) - entries)


def _readable(world: World, keys: Collection[KeyId]) -> dict[KeyId, list[str]]:
    """Return the sorted paths of the files that each of `keys` can read."""
    found: dict[KeyId, list[str]] = {}
    for _, files in world.file_groups:
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
    """Return the warning shown before `name` gets a removed key."""
    key = f"{removal.key.kind} {removal.key.fingerprint}"
    reason = f" ({removal.reason})" if removal.reason else ""
    since = f" since {removal.date}" if removal.date else ""
    where = f", removed in {removal.commit[:10]}" if removal.commit else ""
    whose = f"{name} would get a key of {removal.name} that is retired{since}{reason}"
    line = f"{whose}: {key}{where}"
    return line if line.isprintable() else quoted(line)


def one_per_key(found: Iterable[Removal]) -> dict[KeyId, Removal]:
    """Return one removal for each key: the first, completed from the others.

    Empty fields are filled from later removals of the key; `entries` is the maximum.
    """
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


def revoked_keys(plan: Plan) -> set[KeyId]:
    """Return the keys that lose access to a file by the plan."""
    return {r.recipient.key_id for step in plan.steps for r in step.remove}


def removed_keys(
    before: RecipientMap, after: RecipientMap
) -> list[tuple[str, Recipient]]:
    """Return (owner, key) of each key that `before` uses and `after` does not."""
    use = after.keys_in_use
    return [
        (owner.name, key)
        for owner in before.owners
        for key in owner.keys
        if key.key_id not in use
    ]


def return_edit(found: Iterable[Removal], date: str) -> Edit:
    """Return the edit of the clone's records after a person agreed to reuse keys."""
    back = one_per_key(found).values()
    return _in_place(
        returned=[Returned(one.name, one.key.text, date, one.commit) for one in back]
    )


def removal_edit(keys: Iterable[tuple[str, Recipient]], date: str) -> Edit:
    """Return the edit of the clone's records after keys were removed on `date`.

    It also revokes an earlier agreement to reuse one of them.
    """
    return _in_place(removed=[Removed(name, key.text, date) for name, key in keys])


def _in_place(
    *, removed: Sequence[Removed] = (), returned: Sequence[Returned] = ()
) -> Edit:
    """Return the edit that replaces all records about the keys of these facts."""
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
