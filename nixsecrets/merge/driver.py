"""What a merge driver answers: the bytes of one path, or why git has to stop there.

git starts its driver for one path after the other and says nothing of the others.
Where it names the other side, `of_merge` decides every path at once, as `resolve` does;
elsewhere `of_file` decides what the three versions of one file say by themselves.
Nobody is asked: what would need a question is declined, and ours stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nixsecrets.apply.apply import job_of, records
from nixsecrets.apply.carry_out import (
    Job,
    Unread,
    carry_out,
    verify,
    verify_values,
)
from nixsecrets.apply.carry_out import Version as Start
from nixsecrets.errors import (
    DeclinedError,
    IdentityError,
    NixsecretsError,
    counted,
    path_text,
    printable,
)
from nixsecrets.files.age.operations import Streamed
from nixsecrets.files.decrypt import Bench
from nixsecrets.frozen import NamedTuple, field, frozen
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.find import quiet_identities
from nixsecrets.keys.identities import Identity, Keyring, Locked
from nixsecrets.map.load import decode, load
from nixsecrets.map.names import LOCK_NAME, MAP_NAME
from nixsecrets.map.resolve import Policy
from nixsecrets.merge import decide, mapmerge, readers
from nixsecrets.merge.readers import Side
from nixsecrets.merge.secrets import Clash, Open
from nixsecrets.merge.trees import Given, Three
from nixsecrets.plan import approvals, disclosure, safety
from nixsecrets.plan.model import Action, Plan, Step
from nixsecrets.plan.outputs import lock_text, rendered
from nixsecrets.plan.recall import recall
from nixsecrets.plan.removals import Removals
from nixsecrets.repo import pool
from nixsecrets.repo.changes import Entry
from nixsecrets.repo.clone import Clone
from nixsecrets.repo.files import sha256
from nixsecrets.repo.parted import Commits, Tree
from nixsecrets.repo.remembered import Remembered
from nixsecrets.repo.unmerged import Sides
from nixsecrets.world.world import Found, World, examine, known_keys, named_keys

_WORTH_A_PROCESS = 24  # files to seal; a fork costs as much as a few
_REGULAR = "100644"


class Answer(NamedTuple):
    """What a path becomes, None if ours stays; and `why` git has to stop there."""

    data: bytes | None = None
    why: str = ""

    def __repr__(self) -> str:
        """Show why, no content."""
        return f"Answer({self.why!r})"


_UNCLEAR = Answer(why="no version of it can be read as a secret")


@frozen
class Means:
    """What a driver works with: keys that need no question, and what this clone agreed.

    `folder` is a private folder in memory.
    """

    ring: Keyring = field(repr=False)
    memory: Remembered
    folder: Path

    @classmethod
    def at_hand(cls, clone: Clone, env: Mapping[str, str], folder: Path) -> "Means":
        """Return them; no command is run for a key."""
        ring = Keyring(quiet_identities(env, Path.home()))
        return cls(ring, clone.read(), folder)

    @property
    def bench(self) -> Bench:
        """The keys and the folder, to open and seal files."""
        return Bench(self.ring.identities, self.folder)

    def opener(self) -> Open:
        """Return the function that decrypts a version of a file."""
        return decide.opener(self.ring, _no_question, self.folder)


def _no_question(locked: Locked) -> tuple[Identity, ...]:
    raise IdentityError(f"{locked.source} needs a passphrase")


# --- a whole merge ------------------------------------------------------------------


def contested(sides: Three, path: str) -> bool:
    """Return whether git runs the driver for a path: both sides changed it."""
    base, ours, theirs = (tree.oid(path) for tree in sides.trees)
    both = ours is not None and theirs is not None
    return both and len({base, ours, theirs}) == len(sides.trees)


def declined(sides: Three, why: str) -> dict[str, Answer]:
    """Return the answers of a merge that needs a person as a whole."""
    driven = (path for path in sides.changed() if contested(sides, path))
    return {path: Answer(why=why) for path in driven}


def of_merge(sides: Three, world: World, means: Means) -> dict[str, Answer]:
    """Return the answer for each path that both sides changed.

    `world` is the repository under the merged map.

    Raises:
        NixsecretsError: the merged map would give readers back whom a side removed.
    """
    changed = sides.changed()
    driven = [path for path in changed if contested(sides, path)]
    merge = decide.Decider(sides, world, means.opener(), changed).decided()
    found = {path: Answer(why=_about(one)) for path, one in merge.clashes.items()}
    found |= {path: Answer(why=one.message) for path, one in merge.closed.items()}
    consent = _Consent(merge, means, recall(merge.world))
    jobs: list[Job] = []
    left: list[str] = []
    for step in merge.plan.secret_steps:
        if step.path not in driven:
            left += [step.path] if _left_by_git(step, sides, merge) else []
        elif why := consent.missing([step]):
            found[step.path] = Answer(why=why)
        else:
            jobs.append(job_of(step, merge.world, merge.contents))
    made = _made(jobs, means.bench)
    found |= {p: _answer(one) for p, one in made.items()}
    for path in driven:
        if path not in found and path in merge.settled:
            # the Decider plans no step where the disk has what it comes to
            found[path] = Answer(world.repo.read(path))
    found |= _public(sides, merge, consent, _hashes(made))
    unclear = {p: _UNCLEAR for p in driven if sides.given(p).is_secret}
    found = {path: one for path, one in (unclear | found).items() if path in driven}
    if left:
        _stop(found, merge.world, left)
    return found


def _about(clash: Clash) -> str:
    keys = ", ".join(printable(key) for key in clash.keys if key)
    return f"{keys}: {clash.reason}" if keys else clash.reason


class _Consent(NamedTuple):
    """Whether the steps of a merge need anything that only a person can say."""

    merge: decide.Merge
    means: Means
    removals: Removals

    def missing(self, steps: Sequence[Step]) -> str:
        """Return what a person would have to agree to, "" for nothing.

        A configuration has only keys that both sides have committed.
        """
        world = self.merge.world
        plan = disclosure.with_opened(Plan.of(steps), world, self.merge.contents)
        unseen = approvals.unapproved_keys(plan, world, self.means.memory)
        if unseen and plan.secret_steps:
            if any(one.kind == "file" for one in unseen):
                return f"it has a reader whom {MAP_NAME} of this side does not name"
            names = dict.fromkeys(one.name for one in unseen)
            return f"not approved in this clone: the key of {', '.join(names)}"
        change = safety.Change(
            plan,
            world,
            operator=self.means.ring.key_ids,
            named=self.merge.gone,
            agreed=True,
            returning=self.removals.granted_by(plan),
        )
        try:
            asked = safety.questions(change, ())
        except DeclinedError as error:
            return error.message
        return f"it needs an answer: {asked[0].text}" if asked else ""


def _left_by_git(step: Step, sides: Three, merge: decide.Merge) -> bool:
    """Return whether git, which merges a path by itself, makes something else of it."""
    if step.action is Action.DELETE:
        return False
    start = merge.contents.get(step.path)
    if step.action is not Action.TAKE or not isinstance(start, Start):
        return True
    base, ours, theirs = (tree.oid(step.path) for tree in sides.trees)
    takes = theirs if ours == base else ours
    return takes is not None and sides.read(takes) != start.data


def _made(
    jobs: Sequence[Job], bench: Bench
) -> dict[str, tuple[Step, bytes | NixsecretsError]]:
    """Return the new bytes of each file, verified, or why there are none."""
    by_path = {job.step.path: job for job in jobs}

    def work(paths: Sequence[str]) -> list[bytes | NixsecretsError]:
        return _share([by_path[path] for path in paths], bench)

    done = pool.spread(work, list(by_path), each=_WORTH_A_PROCESS)
    pairs = zip(by_path, done, strict=True)
    return {path: (by_path[path].step, one) for path, one in pairs}


def _share(jobs: Sequence[Job], bench: Bench) -> list[bytes | NixsecretsError]:
    found: list[bytes | NixsecretsError] = []
    unread: dict[int, Unread] = {}
    for number, job in enumerate(jobs):
        try:
            sealed = carry_out(job, bench)
            if isinstance(sealed, Streamed):
                raise RuntimeError("what is merged is in memory")
            found.append(sealed.data)
            rest = verify(job, sealed, sealed.data, bench)
        except NixsecretsError as error:
            found[number:] = [error]
        else:
            unread |= {number: rest} if rest is not None else {}
    numbers = list(unread)
    for place, wrong in verify_values(list(unread.values()), bench).items():
        found[numbers[place]] = wrong
    return found


def _answer(made: tuple[Step, bytes | NixsecretsError]) -> Answer:
    _, data = made
    return Answer(data) if isinstance(data, bytes) else Answer(why=data.message)


def _hashes(
    made: Mapping[str, tuple[Step, bytes | NixsecretsError]],
) -> list[tuple[Step, str]]:
    return [
        (step, sha256(data)) for step, data in made.values() if isinstance(data, bytes)
    ]


def _public(
    sides: Three,
    merge: decide.Merge,
    consent: _Consent,
    hashes: Sequence[tuple[Step, str]],
) -> dict[str, Answer]:
    """Return the answers for map, configurations and lock."""
    done = {step.path for step, _ in hashes}
    steps = merge.plan.secret_steps
    ours = {
        step.path: file
        for step in steps
        if step.path not in done and contested(sides, step.path)
        for file in [_ours(sides, merge.world, step.path)]
    }
    world = merge.world._replace(files={**merge.world.files, **ours})
    texts = {MAP_NAME: world.map_text, **rendered(world, steps)}
    changes = records([s for s, _ in hashes], {s.path: h for s, h in hashes}, world)
    texts[LOCK_NAME] = lock_text(world, changes)
    written = {s.path: s for s in merge.plan.steps if s.action is Action.WRITE}
    found: dict[str, Answer] = {}
    for path, text in texts.items():
        step = written.get(path)
        checked = [step] if step is not None and step.text is not None else []
        why = consent.missing(checked)
        data = text.encode(errors="surrogateescape")
        found[path] = Answer(why=why) if why else Answer(data)
    return found


def _ours(sides: Three, world: World, path: str) -> Found:
    data = sides.read(sides.ours.oid(path) or "")
    return examine(path, data, world.book, world.lock)


def _stop(found: dict[str, Answer], world: World, left: Sequence[str]) -> None:
    """Make git stop, because it takes files as they are that need other readers."""
    public = (LOCK_NAME, world.map.agenix_rules, world.map.sops_config, MAP_NAME)
    place = next((one for one in (*public, *found) if one in found), None)
    if place is not None:
        one = found.get(place, Answer())
        more = f" and {counted(len(left) - 1, 'other file')}" if len(left) > 1 else ""
        why = f"git takes {path_text(left[0])}{more} with the readers of one side"
        found[place] = Answer(one.data, one.why or why)


# --- one file -----------------------------------------------------------------------


def of_file(given: Given, world: World, means: Means) -> Answer:
    """Return the answer for one file, by its versions alone.

    `world` is the repository as it is on the disk, which has our side's map.
    """
    path = given.path
    if path == MAP_NAME:
        return _map_alone(given, world)
    if path == LOCK_NAME:
        return _lock_alone(given, world)
    if path in (world.map.sops_config, world.map.agenix_rules):
        return Answer(why="it is written from the merged map")
    sides = _alone(given)
    for data in filter(None, given.versions):
        file = examine(path, data, world.book, world.lock)
        if not getattr(file, "recipients", ()):
            return Answer(why="its versions alone do not say who reads them")
    decider = decide.Decider(sides, world, means.opener(), [path], allow_again=True)
    merge = decider.decided()
    if path in merge.clashes:
        return Answer(why=_about(merge.clashes[path]))
    if path in merge.closed:
        return Answer(why=merge.closed[path].message)
    if path not in merge.settled:
        return Answer(why="it is no secret of this map")
    steps = [step for step in merge.plan.secret_steps if step.path == path]
    consent = _Consent(merge, means, recall(merge.world))
    if why := consent.missing(steps):
        return Answer(why=why)
    jobs = [job_of(step, merge.world, merge.contents) for step in steps]
    made = _made(jobs, means.bench)
    return _answer(made[path]) if made else Answer(world.repo.read(path))


def _alone(given: Given) -> Three:
    """Return the versions of a file as three trees that have nothing else."""
    blobs = {"base": given.base, "ours": given.ours, "theirs": given.theirs}
    base, ours, theirs = (
        Tree({given.path: Entry(given.path, _REGULAR, name)} if data else {})
        for name, data in blobs.items()
    )
    nobody = Commits(None, "ours", "theirs", Sides("ours", "theirs"))
    return Three(nobody, base, ours, theirs, blobs.__getitem__)


def _map_alone(given: Given, world: World) -> Answer:
    base_text, our_text, their_text = (decode(d, MAP_NAME) for d in given.versions)
    merged = mapmerge.merged(base_text, our_text, their_text)
    if merged.clashes:
        return Answer(why=f"both sides changed {_entities(merged.clashes)}")
    after = Policy(load(merged.text))
    base, ours, theirs = (
        Policy(load(text)) if text else None
        for text in (base_text, our_text, their_text)
    )
    names = {key.key_id: name for name, key in named_keys(after.map)}
    for path, file in world.secrets.items():
        sides = Side(file, ours), Side(file, theirs)
        want = after.desired(path, file.backend)
        who = readers.settled(path, file.backend, Side(file, base), sides, want, names)
        if who.again:
            name = who.again[0].name
            return Answer(why=f"it would give {name} back whom one side removed")
    return Answer(merged.text.encode())


def _entities(clashes: Iterable[mapmerge.Clash]) -> str:
    return ", ".join(one.name for one in clashes)


def _lock_alone(given: Given, world: World) -> Answer:
    """Return the records of both sides; what is superseded goes at the next write."""
    both = (given.ours + b"\n" + given.theirs).decode(errors="surrogateescape")
    lock = Lock.parse(both, LOCK_NAME, lambda: known_keys(world.map))
    return Answer(lock.render().encode(errors="surrogateescape"))
