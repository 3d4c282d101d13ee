"""Approved keys: which keys of the map the operator of this clone has agreed to.

An approval is a pair of name and key in the records of the clone.  A plan needs
approvals for the keys that it encrypts to or writes into configurations.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from nixsecrets.errors import counted, printable
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.recipients import KeyId, Kind, Recipient, recipient_of
from nixsecrets.map.model import Reader, RecipientMap
from nixsecrets.plan.model import Pair, Plan, pair_of
from nixsecrets.plan.outputs import keys_written
from nixsecrets.repo.remembered import Approved, Edit, Remembered
from nixsecrets.world.world import MAP_NAME, World

if TYPE_CHECKING:  # `status` asks nobody where a key comes from
    from nixsecrets.repo.blame import Origin


class Standing(NamedTuple):
    """A key in use, and whether this clone has approved it.

    `kind` is `user`, `host`, or `file` for a key that only secret files name.  `was`
    are fingerprints approved for the name that the map no longer gives it; `known_as`
    are the other names under which this key was approved.
    """

    name: str
    kind: str
    key: Recipient
    approved: bool
    was: tuple[str, ...] = ()
    known_as: tuple[str, ...] = ()

    @property
    def reader(self) -> Reader:
        """The name and its key."""
        return Reader(self.name, self.key)

    def as_json(self) -> dict[str, object]:
        """Return the key and its approval as `--json` shows them."""
        return {
            "name": self.name,
            "kind": self.kind,
            "type": self.key.kind.value,
            "fingerprint": fingerprint(self.key),
            "key": self.key.text,
            "approved": self.approved,
            "was": list(self.was),
            "known_as": list(self.known_as),
        }


def fingerprint(key: Recipient) -> str:
    """Return the text that a person compares: `SHA256:…` for ssh keys, else the key."""
    is_ssh = key.kind in (Kind.SSH_ED25519, Kind.SSH_RSA)
    return key.fingerprint if is_ssh else key.shown


def pairs(found: Remembered) -> frozenset[Pair]:
    """Return the approved pairs of name and key."""
    return frozenset(pair for one in found.approved if (pair := _pair(one)) is not None)


def _pair(one: Approved) -> Pair | None:
    """Return the pair, None for a kind of key that only a newer nixsecrets knows."""
    key = recipient_of(one.key)
    return None if key is None else (one.name, key.key_id)


def readers_of(recipient_map: RecipientMap) -> tuple[Reader, ...]:
    """Return every key in use with its owner's name."""
    return tuple(
        Reader(owner.name, key) for owner in recipient_map.owners for key in owner.keys
    )


def map_standings(recipient_map: RecipientMap, found: Remembered) -> list[Standing]:
    """Return the standing of every key in use in a map, in the map's order."""
    return standings(readers_of(recipient_map), recipient_map, found)


def unapproved_keys(
    plan: Plan, world: World, found: Remembered, introduced: Iterable[Reader] = ()
) -> list[Standing]:
    """Return the keys that a plan needs and that this clone has not approved.

    `introduced` are keys that the command line itself approves.  In a clone without
    any approval these are all keys of the map, so that the operator is asked once.
    """
    brought = {pair_of(reader) for reader in introduced}
    agreed = pairs(found) | brought
    needed = plan.unapproved(agreed, keys_written(world, plan.steps))
    if (needed or brought) and not found.approved:
        every = (*readers_of(world.map), *needed)
        needed = tuple(reader for reader in every if pair_of(reader) not in agreed)
    return standings(needed, world.map, found)


def line_on_others(recipient_map: RecipientMap, found: Remembered) -> str | None:
    """Return a line on how many keys of the map are not approved, None if all are."""
    agreed = pairs(found)
    count = sum(pair_of(reader) not in agreed for reader in readers_of(recipient_map))
    if not count:
        return None
    verb = "is" if count == 1 else "are"
    keys = counted(count, "key")
    return f"{keys} of the map {verb} not approved in this clone: nixsecrets approve"


def standings(
    readers: Iterable[Reader], recipient_map: RecipientMap, found: Remembered
) -> list[Standing]:
    """Return the standing of the keys of `readers`, in the order of the map."""
    users = {user.name for user in recipient_map.users}
    spelled = {pair_of(r): r.recipient for r in readers_of(recipient_map)}
    wanted = {pair_of(reader): reader.recipient for reader in readers}
    agreed = pairs(found)
    was: dict[str, list[str]] = {}
    known_as: dict[KeyId, list[str]] = {}
    for one in found.approved:
        pair = _pair(one)
        if pair not in spelled:
            was.setdefault(one.name, []).append(one.fingerprint)
        if pair is not None:
            known_as.setdefault(pair[1], []).append(one.name)
    in_map = [pair for pair in spelled if pair in wanted]
    others = [pair for pair in wanted if pair not in spelled]
    return [
        Standing(
            name=name,
            kind=_kind(name, users) if (name, key_id) in spelled else "file",
            key=spelled.get((name, key_id), wanted[name, key_id]),
            approved=(name, key_id) in agreed,
            was=tuple(was.get(name, ())),
            known_as=tuple(n for n in known_as.get(key_id, ()) if n != name),
        )
        for name, key_id in (*in_map, *others)
    ]


def _kind(name: str, users: Collection[str]) -> str:
    return "user" if name in users else "host"


def introduced_keys(
    before: RecipientMap, after: RecipientMap, approved: Collection[Pair]
) -> tuple[Reader, ...]:
    """Return the keys that a command's own change of the map adds.

    A key that merely moves to another name counts if it was approved under the old one.
    """
    had = readers_of(before)
    old = {pair_of(reader) for reader in had}
    unseen = {r.recipient.key_id for r in had if pair_of(r) not in approved}
    return tuple(
        reader
        for reader in readers_of(after)
        if pair_of(reader) not in old and reader.recipient.key_id not in unseen
    )


def approval_edit(
    readers: Collection[Reader], recipient_map: RecipientMap, date: str
) -> Edit:
    """Return the edit of the clone's records after a person approved `readers`.

    It also withdraws approvals of keys that the map no longer gives to these names: if
    such a key comes back, the operator is asked again.
    """

    def edit(now: Remembered) -> Remembered:
        known = pairs(now)
        fresh = [reader for reader in readers if pair_of(reader) not in known]
        names = {reader.name for reader in readers}
        kept = _kept(now, names, {pair_of(r) for r in readers_of(recipient_map)})
        added = (
            Approved(r.name, r.recipient.text, fingerprint(r.recipient), date)
            for r in fresh
        )
        return now._replace(approved=(*kept, *added))

    return edit


def names_with_lost_keys(before: RecipientMap, after: RecipientMap) -> set[str]:
    """Return the names that have lost a key between two maps."""
    use = {pair_of(reader) for reader in readers_of(after)}
    return {r.name for r in readers_of(before) if pair_of(r) not in use}


def withdrawal_edit(
    names: Collection[str], recipient_map: RecipientMap | None = None
) -> Edit:
    """Return the edit that withdraws the approvals of `names`.

    With a map, approvals of keys that the map still has stay.
    """
    use = readers_of(recipient_map) if recipient_map is not None else ()
    in_use = {pair_of(reader) for reader in use}
    return lambda now: now._replace(approved=tuple(_kept(now, names, in_use)))


def _kept(
    found: Remembered, names: Collection[str], in_use: Collection[Pair]
) -> Iterator[Approved]:
    for one in found.approved:
        if one.name not in names or _pair(one) in in_use:
            yield one


def table(standing: Sequence[Standing]) -> Iterator[str]:
    """Yield a line for each key: name, kind of its owner, kind and fingerprint."""
    cells = [
        (printable(one.name), one.kind, one.key.kind.value, fingerprint(one.key))
        for one in standing
    ]
    widths = [max((len(row[i]) for row in cells), default=0) for i in range(3)]
    for *row, last in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([*padded, last])


def alarms(one: Standing) -> Iterator[str]:
    """Yield how a key differs from what was approved before."""
    name, now = printable(one.name), fingerprint(one.key)
    if one.was:
        yield f"{name}: was {', '.join(map(printable, one.was))}, now {now}"
    if one.known_as:
        names = ", ".join(map(printable, one.known_as))
        yield f"{name}: {now} was approved as the key of {names}"


def origin_text(
    world: World, one: Standing, committed: "Sequence[tuple[str, Origin]]"
) -> str:
    """Return where a key comes from: its line in the map, and that line's commit.

    `committed` are the lines of the map in the last commit, each with its origin.
    """
    number = _line_of(world, one)
    if number is None:
        return "not in the map: files name it as a reader"
    place = f"{MAP_NAME}:{number}"
    if world.repo.git is None:
        return place
    found = [
        (abs(at - number), origin)
        for at, (line, origin) in enumerate(committed, start=1)
        if _holds(line, one)
    ]
    if not found:
        return f"{place}, in no commit yet"
    origin = min(found)[1]
    said = printable(f"{origin.author}, {origin.date}: {origin.subject}")
    return f"{place}, commit {origin.commit[:12]} ({said})"


def _line_of(world: World, one: Standing) -> int | None:
    """Return the line of the map with a key: the first below its owner's heading.

    None if the map has no such owner or key.
    """
    owner = next((o for o in world.map.owners if o.name == one.name), None)
    if owner is None:
        return None
    lines = enumerate(world.map_text.split("\n"), start=1)
    found = [number for number, line in lines if _holds(line, one)]
    return min(found, key=lambda number: (number < owner.line, number), default=None)


def _holds(line: str, one: Standing) -> bool:
    # an ssh key by its base64; age keys may be upper case in the map
    return one.key.text.split(" ")[-1].lower() in line.lower()
