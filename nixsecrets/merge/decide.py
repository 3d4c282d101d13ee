"""A merge as a plan: a step for each secret that differs from what both sides made.

Paths that either side changed count, not only those that git left unmerged: git
finishes by itself what nixsecrets has to look at.  The plan walks the ordinary road.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from nixsecrets.apply.carry_out import Content
from nixsecrets.apply.carry_out import Version as Start
from nixsecrets.errors import IdentityError, NixsecretsError, UsageError, path_text
from nixsecrets.files.decrypt import plaintext_of
from nixsecrets.files.kind import backend_of
from nixsecrets.files.state import Actual
from nixsecrets.frozen import field, frozen, replace
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring
from nixsecrets.keys.recipients import KeyId
from nixsecrets.keys.unlock import Unlock
from nixsecrets.map.model import Reader
from nixsecrets.map.names import LOCK_NAME, MAP_NAME
from nixsecrets.merge import secrets
from nixsecrets.merge.lineage import Lineage, backends, listed
from nixsecrets.merge.readers import Settled
from nixsecrets.merge.secrets import Clash, Found, Made, Open, Result, Version
from nixsecrets.merge.trees import Three
from nixsecrets.plan.model import Action, Plan, Reason, Step
from nixsecrets.plan.outputs import lock_text, lock_write, rendered, write_step
from nixsecrets.repo.files import sha256
from nixsecrets.repo.parted import Commits
from nixsecrets.world.world import World, examine

Choices = Mapping[str, Mapping[str, str]]
"""Which side counts, by path and key path ("ours", "theirs")."""
NO_CHOICES: Mapping[str, str] = {}


@frozen
class Merge:
    """A merge, decided: the plan, what its steps start from, and what is left open.

    `clashes` are the secrets that both sides changed, `closed` those that no identity
    at hand opens.  `gone` are the keys that a side took from any file.
    """

    plan: Plan
    contents: Mapping[str, Content] = field(repr=False)
    clashes: Mapping[str, Clash]
    closed: Mapping[str, IdentityError]
    gone: frozenset[KeyId]
    world: World
    settled: tuple[str, ...] = ()


def opener(ring: Keyring, ask: Unlock, folder: Path) -> Open:
    """Return a function that decrypts versions, each once; `ask` unlocks a key."""
    texts: dict[str, bytes] = {}

    def opened(version: Version) -> bytes:
        found = version.found
        if found.sha256 not in texts:
            texts[found.sha256] = plaintext_of(
                found.path, version.data, ring, ask, folder
            )
        return texts[found.sha256]

    return opened


class Decider:
    """Decides each path of a merge."""

    def __init__(
        self,
        sides: Three,
        world: World,
        opened: Callable[[Version], bytes],
        unmerged: Collection[str] = (),
        choices: Choices | None = None,
        *,
        allow_again: bool = False,
        edited: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Take the sides, and the repository under the merged map.

        `opened` decrypts a version of a file; `unmerged` are the paths that git could
        not merge; `allow_again`: the map says on purpose who reads again;
        `edited` are the texts that a person made of both versions.

        Raises:
            UsageError: a choice names a file that is no secret.
        """
        self.sides, self.world, self.opened = sides, world, opened
        self.unmerged, self.choices = unmerged, choices or {}
        self.allow_again, self.edited = allow_again, edited
        self.lineage = Lineage(sides, world.policy, world.texts.get(LOCK_NAME))

    def decided(self) -> Merge:
        """Return the merge as a plan.

        Raises:
            NixsecretsError: the merged map would give readers back whom a side removed.
        """
        steps: list[Step] = []
        contents: dict[str, Content] = {}
        clashes: dict[str, Clash] = {}
        closed: dict[str, IdentityError] = {}
        gone: set[KeyId] = set()
        again: dict[str, list[str]] = {}
        files = dict(self.world.files)
        settled_paths: list[str] = []
        paths = self.lineage.paths()
        chosen = {*self.choices, *self.edited} - {MAP_NAME}
        for path in paths:
            found = self.lineage.versions(path)
            if not any(isinstance(one, Version) for one in found):
                continue
            if self.world.policy.winning(path) is None:
                continue  # no rule says whose it is: git's, as any other file
            chosen -= {path}
            who = self.lineage.settled(path, found)
            gone |= who.gone
            for reader in who.again:
                again.setdefault(reader.name, []).append(path)
            result: Result
            try:
                result = self._result(path, found, who.target)
            except IdentityError as error:
                closed[path] = error
                result = _kept(found)
            if isinstance(result, Clash):
                clashes[path] = result
                result = _kept(found)
            if path in clashes or path in closed:
                # the readers of an age file may be unknown: those of the map then
                kept = self._as_ours(found)
                who = kept if kept.target else who
            else:
                settled_paths.append(path)
            step = self._step(path, result, who)
            if isinstance(result, Made):
                files[path] = result.start.found
            if step is None:
                continue
            steps.append(step)
            if isinstance(result, Made):
                contents[path] = Start(result.start.data, result.content)
        for path in sorted(chosen):
            ours = path in self.world.texts
            raise UsageError(
                f"{path_text(path)} is no secret",
                "nixsecrets writes it from the map" if ours else "merge it with git",
            )
        secrets = backends(self.world)
        for path, reader in self.lineage.given_back(secrets, paths):
            again.setdefault(reader.name, []).append(path)
        if again and not self.allow_again:
            raise NixsecretsError(*_about_again(again, self.sides.commits))
        for path in self.lineage.left_behind(settled_paths, self.unmerged):
            settled_paths.append(path)
            left = self._step(path, None, Settled((), frozenset()))
            steps += [left] if left is not None else []
        world = replace(self.world, files=files, conflicts={})
        plan = Plan.of([*steps, *self._written(world, steps)])
        return Merge(
            plan,
            contents,
            clashes,
            closed,
            frozenset(gone),
            world,
            tuple(settled_paths),
        )

    def _result(
        self, path: str, found: tuple[Found, Found, Found], target: tuple[Reader, ...]
    ) -> Result:
        own = self._by_a_person(path, found)
        if own is not None:
            base = found[0]
            return secrets.for_readers(
                own, base if isinstance(base, Version) else None, target
            )
        chosen = self.choices.get(path, NO_CHOICES)
        text = self.edited.get(path)
        return secrets.merged(path, found, target, self.opened, chosen, text)

    def _by_a_person(self, path: str, found: Sequence[Found]) -> Version | None:
        """Return the file on the disk where somebody has merged it already."""
        if path in self.unmerged or path in self.choices or path in self.edited:
            return None
        data = self.world.repo.read_if_there(path)
        sides = [one.data for one in found if isinstance(one, Version)]
        if data is None or data in sides or backend_of(path, data) is None:
            return None
        now = examine(path, data, self.lineage.book, self.lineage.lock)
        return Version(data, now) if isinstance(now, Actual) else None

    def _as_ours(self, found: tuple[Found, Found, Found]) -> Settled:
        """Return the readers of ours, which a file keeps while it is not merged."""
        ours, label = found[1], self.lineage.book.label
        readers = ours.found.recipients if isinstance(ours, Version) else ()
        return Settled(tuple(Reader(label(r), r) for r in readers), frozenset())

    def _step(self, path: str, result: Result, who: Settled) -> Step | None:
        data = self.world.repo.read_if_there(path)
        replaced = None if data is None else sha256(data)
        if result is None:
            backend = backend_of(path, data) if data is not None else None
            if data is None:
                return None
            gone = Reason.MERGED
            return Step(
                path, backend or Backend.SOPS, Action.DELETE, gone, before=replaced
            )
        if isinstance(result, Clash):
            return None
        start = result.start
        if result.action is Action.TAKE and data == start.data:
            return None
        before = self.lineage.moved[0].get(path) or path
        ours = self.lineage.version(self.sides.ours, path, before)
        have = set(ours.keys) if isinstance(ours, Version) else set()
        label = self.lineage.book.label
        return Step(
            path,
            start.found.backend,
            result.action,
            Reason.MERGED,
            add=tuple(r for r in who.target if r.recipient.key_id not in have),
            remove=tuple(
                Reader(label(r), r)
                for r in (ours.found.recipients if isinstance(ours, Version) else ())
                if r.key_id not in {w.recipient.key_id for w in who.target}
            ),
            target=_in_place(result, who.target),
            before=replaced,
            options=result.options,
            armored=start.found.armored,
            dropped=start.found.others if result.action is Action.REENCRYPT else (),
        )

    def _written(self, world: World, steps: Sequence[Step]) -> Iterator[Step]:
        """Yield the steps that write map, configurations and lock."""
        repo = self.world.repo
        present = repo.read_if_there(MAP_NAME)
        text = None if present is None else present.decode(errors="surrogateescape")
        if text != world.map_text:
            yield write_step(MAP_NAME, text, world.map_text)
        for path, wanted in rendered(world, steps).items():
            found = repo.read_if_there(path)
            now = None if found is None else found.decode(errors="surrogateescape")
            if now != wanted:
                yield write_step(path, now, wanted)
        if any(s.backend is Backend.AGE for s in steps) or _conflicted(world):
            yield lock_write(world, None)


def _in_place(made: Made, target: tuple[Reader, ...]) -> tuple[Reader, ...]:
    """Return the readers in the order in which the file will have them.

    A file that is taken keeps its order; a grant appends.
    """
    if made.action not in (Action.TAKE, Action.GRANT):
        return target
    places = {r.key_id: n for n, r in enumerate(made.start.found.recipients)}
    last = len(places)
    return tuple(sorted(target, key=lambda r: places.get(r.recipient.key_id, last)))


def _conflicted(world: World) -> bool:
    """Return whether the lock on the disk is not that of both sides."""
    text = world.texts.get(LOCK_NAME)
    return text is not None and text != lock_text(world, {})


def _kept(found: tuple[Found, Found, Found]) -> Result:
    """Return ours as it is: what stays on the disk while a file is not merged."""
    ours = found[1]
    return (
        Made(Action.TAKE, ours, None, ours.found.options)
        if isinstance(ours, Version)
        else Clash(())
    )


def _about_again(again: Mapping[str, list[str]], commits: Commits) -> tuple[str, str]:
    what = "the merged map gives readers back whom one side removed:"
    lines = [f"  {name}: {listed(paths)}" for name, paths in sorted(again.items())]
    return "\n".join([what, *lines]), (
        f"write {MAP_NAME} as it shall be, then: {commits.command} --keep-map"
    )
