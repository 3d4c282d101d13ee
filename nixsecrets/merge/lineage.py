"""What each path was on the sides of a merge, and who shall read it afterwards.

Needs no private key: `resolve` decides by it what it does, `check` what git did wrong.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from nixsecrets.errors import path_text
from nixsecrets.files.kind import backend_of
from nixsecrets.files.state import Actual, Damaged
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId, Recipient
from nixsecrets.map.model import Reader
from nixsecrets.map.names import LOCK_NAME, MAP_NAME
from nixsecrets.map.resolve import Policy
from nixsecrets.merge import readers
from nixsecrets.merge.readers import Settled, Side
from nixsecrets.merge.secrets import Found, Plaintext, Version
from nixsecrets.merge.trees import Three, policies, policies_of
from nixsecrets.repo.parted import Tree
from nixsecrets.world.world import World, examine, named_keys

_NAMED = 3  # how many files a message names


class Lineage:
    """The versions of each path, and its readers, under the map of the merge."""

    def __init__(
        self,
        sides: Three,
        policy: Policy | None,
        lock_text: str | None,
        *,
        now: Policy | None = None,
    ) -> None:
        """Take the sides, and the map and the lock that they come to.

        `now` is the map that there is, if that is another one: then `policy` may be
        None, and a side's map that cannot be read counts as none.

        Raises:
            MapError: the map of a side cannot be read.
        """
        self.sides, self.policy = sides, policy
        self.maps = policies(sides, readable=now is not None)
        older = policies_of(sides, sides.more_bases, readable=now is not None)
        self.older = list(zip(sides.more_bases, older, strict=True))
        self.now = now or policy
        every = (self.now, *self.maps[::-1], *older)
        maps = [one for one in every if one is not None]
        pairs = [pair for one in maps for pair in named_keys(one.map)]
        trees = (*sides.trees, *sides.more_bases)
        texts = [lock_text, *(sides.text(tree, LOCK_NAME) for tree in trees)]

        def known() -> Iterator[Recipient]:
            return (form for _, key in pairs for form in (key, key.converted()))

        self.lock = Lock.parse("\n".join(filter(None, texts)), LOCK_NAME, known)
        self.book = KeyBook([*pairs, *self.lock.named_recipients()])
        names: dict[KeyId, str] = {}
        for name, recipient in pairs:
            names.setdefault(recipient.key_id, name)
        self.names = names
        self.dropped = _dropped(self.maps, policy)
        self.moved = (
            _moves(sides.base, sides.ours),
            _moves(sides.base, sides.theirs),
        )

    def paths(self) -> list[str]:
        """Return the paths that a side changed, by their names after the merge.

        Without those that nixsecrets generates.
        """
        generated = {MAP_NAME, LOCK_NAME, ".gitattributes"}
        old = {path for moves in self.moved for path in moves.values()}
        return [
            path
            for path in self.sides.changed()
            if path not in generated
            and not (self.now and self.now.never_secret(path))
            and not (path in old and self._taken_along(path))
        ]

    def left_behind(
        self, settled: Collection[str], unmerged: Collection[str]
    ) -> list[str]:
        """Return the old names of settled files that git left, unmerged."""
        old = {
            before
            for one in self.moved
            for now, before in one.items()
            if now in settled
        }
        return [path for path in sorted(old & {*unmerged}) if self._taken_along(path)]

    def _taken_along(self, path: str) -> bool:
        """Return whether what a path was is looked at under its new name."""
        return any(
            path in moves.values() and tree.oid(path) is None
            for moves, tree in zip(
                self.moved, (self.sides.ours, self.sides.theirs), strict=True
            )
        )

    def versions(self, path: str) -> tuple[Found, Found, Found]:
        """Return base, ours, theirs of a path; it may have another name there."""
        before = self.moved[0].get(path) or self.moved[1].get(path) or path
        base = self.version(self.sides.base, path, before)
        ours = self.version(self.sides.ours, path, before)
        theirs = self.version(self.sides.theirs, path, before)
        return base, ours, theirs

    def version(self, tree: Tree, path: str, before: str) -> Found:
        """Return the version of a path in a tree, where its name may be `before`."""
        oid = tree.oid(path) or (tree.oid(before) if before != path else None)
        if oid is None:
            return None
        data = self.sides.read(oid)
        if backend_of(path, data) is None:
            return Plaintext(data)
        found = examine(path, data, self.book, self.lock)
        if (
            tree.oid(path) is None
            and isinstance(found, Actual)
            and not found.recipients
        ):
            found = examine(before, data, self.book, self.lock)
        if isinstance(found, Actual):
            return Version(data, found)
        return found if isinstance(found, Damaged) else Plaintext(data)

    def settled(self, path: str, found: tuple[Found, Found, Found]) -> Settled:
        """Return who reads a path after the merge; one version is a secret."""
        actual = [one.found if isinstance(one, Version) else None for one in found]
        backend = next(one.backend for one in actual[::-1] if one is not None)
        base, ours, theirs = (
            Side(file, policy) for file, policy in zip(actual, self.maps, strict=True)
        )
        more = [
            Side(found.found if isinstance(found, Version) else None, policy)
            for tree, policy in self.older
            for found in [self.version(tree, path, path)]
        ]
        return self._settled(path, backend, base, (ours, theirs), more)

    def _settled(
        self,
        path: str,
        backend: Backend,
        base: Side,
        sides: tuple[Side, Side],
        more: Collection[Side],
    ) -> Settled:
        want = self.policy.desired(path, backend) if self.policy else None
        found = readers.settled(
            path, backend, base, sides, want, self.names, self.dropped, more
        )
        if self.now is None or self.now is self.policy:
            return found
        want = self.now.desired(path, backend)
        return found._replace(again=found.back(want.readers if want else ()))

    def given_back(
        self, secrets: Iterable[tuple[str, Backend]], besides: Collection[str] = ()
    ) -> Iterator[tuple[str, Reader]]:
        """Yield the readers whom the map gives back to files that no side changed.

        `secrets` are those after the merge; the paths in `besides` are left out.
        """
        if len({tree.oid(MAP_NAME) for tree in self.sides.trees}) == 1:
            return
        base, ours, theirs = (Side(None, policy) for policy in self.maps)
        known: dict[object, tuple[Reader, ...]] = {}
        for path, backend in secrets:
            if path in besides:
                continue
            every = [one for one in (self.policy, self.now, *self.maps) if one]
            # equal states are shared objects, so their ids are enough
            same = tuple(id(one.desired(path, backend)) for one in every)
            if same not in known:
                more = [Side(None, policy) for _, policy in self.older]
                settled = self._settled(path, backend, base, (ours, theirs), more)
                known[same] = settled.again
            yield from ((path, reader) for reader in known[same])


def _dropped(
    maps: tuple[Policy | None, Policy | None, Policy | None], merged: Policy | None
) -> frozenset[KeyId]:
    """Return the keys that a side took from the map; without a merged one, of base."""
    base, ours, theirs = (set(one.map.keys_in_use) if one else None for one in maps)
    if merged is not None:
        return frozenset((ours or set()) | (theirs or set())) - {
            *merged.map.keys_in_use
        }
    sides = (side for side in (ours, theirs) if side is not None)
    return frozenset(key for side in sides for key in (base or set()) - side)


def _moves(base: Tree, side: Tree) -> dict[str, str]:
    """Return the files that a side moved, the old path by the new one."""
    lost: dict[str, str] = {}
    for path in base.entries.keys() - side.entries.keys():
        oid = base.oid(path)
        if oid is not None:
            lost[oid] = path
    fresh = side.entries.keys() - base.entries.keys()
    return {
        path: lost[oid]
        for path in fresh
        if (oid := side.oid(path)) is not None and oid in lost
    }


def backends(world: World) -> Iterator[tuple[str, Backend]]:
    """Yield the secrets of a repository with their backends."""
    return ((path, file.backend) for path, file in world.secrets.items())


def listed(paths: Sequence[str]) -> str:
    """Return the first of some paths, and how many more there are, for a message."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(map(path_text, paths[:_NAMED])) + more
