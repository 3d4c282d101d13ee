"""Approved keys: which keys of the map the operator of this clone has agreed to.

Pure.  The pairs of name and key come from what the clone remembers; a plan says which
of its readers are none of them (`Plan.unapproved`), and here is what to tell of those.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from nixsecrets.errors import KeyFormatError
from nixsecrets.keys.recipients import KeyId, Kind, Recipient, parse_recipient
from nixsecrets.map.model import Reader, RecipientMap
from nixsecrets.plan.model import Pair, pair_of
from nixsecrets.repo.remembered import Approved, Remembered

Edit = Callable[[Remembered], Remembered]


@dataclass(frozen=True, slots=True)
class Standing:
    """A key in use, and what this clone approved of it.

    `kind` is `user`, `host`, or `file` for one that only files name.  `was` are the
    fingerprints that were approved for the name and that it has no more; `known_as` are
    the other names under which this very key was approved.
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
        """Return it as `--json` shows it."""
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
    """Return what a person compares: `SHA256:…` of an ssh key, else the key itself."""
    is_ssh = key.kind in (Kind.SSH_ED25519, Kind.SSH_RSA)
    return key.fingerprint if is_ssh else key.shown


def pairs(found: Remembered) -> frozenset[Pair]:
    """Return the approved pairs of name and key."""
    return frozenset(pair for one in found.approved if (pair := _pair(one)) is not None)


def _pair(one: Approved) -> Pair | None:
    """Return the pair, None for a key of a kind that only a newer version knows."""
    try:
        return one.name, parse_recipient(one.key).key_id
    except KeyFormatError:
        return None


def readers_of(recipient_map: RecipientMap) -> tuple[Reader, ...]:
    """Return every key in use with its owner's name."""
    return tuple(
        Reader(owner.name, key) for owner in recipient_map.owners for key in owner.keys
    )


def standings(
    readers: Iterable[Reader], recipient_map: RecipientMap, found: Remembered
) -> list[Standing]:
    """Return what there is to tell of some keys, in the order of the map."""
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


def introduced(
    before: RecipientMap, after: RecipientMap, approved: Collection[Pair]
) -> tuple[Reader, ...]:
    """Return the keys that a command's own change of the map brings in.

    A key that only gets another name was agreed to if it was under the old one.
    """
    had = readers_of(before)
    old = {pair_of(reader) for reader in had}
    unseen = {r.recipient.key_id for r in had if pair_of(r) not in approved}
    return tuple(
        reader
        for reader in readers_of(after)
        if pair_of(reader) not in old and reader.recipient.key_id not in unseen
    )


def with_approved(
    found: Remembered,
    readers: Iterable[Reader],
    recipient_map: RecipientMap,
    date: str,
) -> Remembered:
    """Return the memory after a person agreed to `readers`.

    Of their names it forgets the keys that the map no longer gives them: one of those
    that comes back is asked about again.
    """
    known = pairs(found)
    fresh = [reader for reader in readers if pair_of(reader) not in known]
    names = {reader.name for reader in readers}
    kept = _kept(found, names, {pair_of(r) for r in readers_of(recipient_map)})
    added = (
        Approved(r.name, r.recipient.text, fingerprint(r.recipient), date)
        for r in fresh
    )
    return replace(found, approved=(*kept, *added))


def forgetting(
    found: Remembered, names: Collection[str], recipient_map: RecipientMap | None = None
) -> Remembered:
    """Return the memory without the keys of `names` (that a given map has no more)."""
    use = readers_of(recipient_map) if recipient_map is not None else ()
    kept = _kept(found, names, {pair_of(reader) for reader in use})
    return replace(found, approved=tuple(kept))


def _kept(
    found: Remembered, names: Collection[str], in_use: Collection[Pair]
) -> Iterator[Approved]:
    for one in found.approved:
        if one.name not in names or _pair(one) in in_use:
            yield one
