"""Workers: jobs made and proved on every core.

pyrage holds the interpreter's lock, so threads would not help: these are processes,
forked when everything is known, so that no key goes over a pipe or a command line.
What a worker made it also proves; the ephemeral secrets stay with it.  A worker writes
nothing into the tree: its bytes come back to the process that holds the lock.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from nixsecrets.apply.carry_out import (
    Job,
    Sealed,
    Unread,
    carry_out,
    verify,
    verify_large,
    verify_values,
)
from nixsecrets.errors import NixsecretsError, SecretFileError
from nixsecrets.files.age import wrap
from nixsecrets.files.age.operations import Streamed
from nixsecrets.files.decrypt import Bench
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.repo import files, pool
from nixsecrets.repo.files import sha256
from nixsecrets.repo.pool import Worker
from nixsecrets.repo.staging import open_back, read_back
from nixsecrets.repo.worktree import Repo

Made = bytes | Streamed | NixsecretsError
"""A file's new bytes (a large one's in pieces), or why there are none."""
Unproved = dict[int, NixsecretsError]
"""Jobs whose staged files are not what they must be, and why."""

_WAVE_FILES = 128  # for each process; in more, memory is asked for that was never used
_WAVE_BYTES = 32 << 20
_CHUNK = 4  # jobs in a task, of which a worker has one more than it works on
_CHUNKS = 2
_WORTH_FORKING = 48  # jobs that only wrap a key; a fork costs as much as about ten
_SOPS_WEIGHT = 24  # one job that runs sops, in the same unit


@dataclass
class Maker:
    """Makes jobs, by their number, and keeps of each what proves it until then.

    `notes` say what is spelled differently than it was given.
    """

    repo: Repo
    jobs: Sequence[Job] = field(repr=False)
    bench: Bench
    notes: list[str] = field(default_factory=list)
    _unproved: dict[int, tuple[Job, Sealed]] = field(default_factory=dict, repr=False)

    def make(self, number: int) -> bytes | Streamed:
        """Return the new bytes of a job's file.

        Raises:
            NixsecretsError: the file is not what it was when the plan was made, or as
                `carry_out`.
        """
        job = self._loaded(self.jobs[number])
        sealed = carry_out(job, self.bench)
        if job.content is not None and isinstance(sealed, SopsSealed):
            self.notes += (f"{job.step.path}: {note}" for note in sealed.notes)
        self._unproved[number] = job, sealed
        return sealed if isinstance(sealed, Streamed) else sealed.data

    def prove(self, places: Mapping[int, str]) -> Unproved:
        """Check what was staged, by job, read back from its place.

        Returns why a job's file is not what it must be: it may not be replaced.
        """
        wrong: dict[int, NixsecretsError] = {}
        unread: dict[int, Unread] = {}
        for number, place in places.items():
            try:
                one = self._checked(number, place)
            except SecretFileError as error:
                wrong[number] = error
            else:
                unread |= {number: one} if one is not None else {}
        numbers = list(unread)
        refused = verify_values(list(unread.values()), self.bench)
        return wrong | {numbers[place]: error for place, error in refused.items()}

    def _checked(self, number: int, place: str) -> Unread | None:
        job, sealed = self._unproved.pop(number)
        if isinstance(sealed, Streamed):  # every byte of it is authenticated
            with open_back(place, job.step.path) as file:
                verify_large(job, sealed, file, self.bench)
            return None
        new = read_back(place, sealed.data, job.step.path)
        return verify(job, sealed, new, self.bench)

    def _loaded(self, job: Job) -> Job:
        if job.step.before is None:
            return job
        if job.large:  # what is written does not depend on what was there
            old, now = None, files.hash_file(self.repo.locate(job.source))
        else:
            old = self.repo.read(job.source)
            now = sha256(old)
        if now != job.step.before:
            raise NixsecretsError(
                f"{job.source}: changed on the disk since the plan was made",
                "nothing was changed; run the command again",
            )
        return replace(job, old=old)


class Crew(ABC):
    """Whoever makes and proves jobs, a wave of them at a time."""

    @abstractmethod
    def make(self, queue: deque[int]) -> Iterator[tuple[int, Made]]:
        """Take jobs from the queue until a wave is full; yield what becomes of each.

        Bounded in number and bytes: all of a wave waits in memory for its proof.
        """

    @abstractmethod
    def prove(self, places: Mapping[int, str], flush: Callable[[], None]) -> Unproved:
        """Check the staged files of jobs that were made, as `Maker.prove` does.

        `flush` makes them durable; nobody waits for the disk who could be checking.
        """


@dataclass
class Alone(Crew):
    """This very process: for a few jobs, and for those that may talk to a person."""

    maker: Maker

    def make(self, queue: deque[int]) -> Iterator[tuple[int, Made]]:
        """Make them one after the other."""
        wave = _Wave()
        while queue and not wave.full:
            number = queue.popleft()
            made = _guarded(self.maker, number)
            wave.count(made)
            yield number, made

    def prove(self, places: Mapping[int, str], flush: Callable[[], None]) -> Unproved:
        """Check them, once they are on the disk."""
        flush()
        return self.maker.prove(places)


@dataclass
class _Wave:
    processes: int = 1
    files: int = 0
    size: int = 0

    @property
    def full(self) -> bool:
        most = _WAVE_FILES * self.processes
        return self.files >= most or self.size >= _WAVE_BYTES

    def count(self, made: Made) -> None:
        self.files += 1
        self.size += len(made) if isinstance(made, bytes) else 0


@dataclass
class Gang(Crew):
    """Several processes; each proves what it made.

    `makers` say who made what is not yet proved.
    """

    workers: Sequence[Worker]
    makers: dict[int, Worker] = field(default_factory=dict)

    def make(self, queue: deque[int]) -> Iterator[tuple[int, Made]]:
        """Hand out small chunks, so that a slow file keeps nobody else waiting."""
        wave = _Wave(len(self.workers))
        self._feed(queue)
        for worker, (number, made) in pool.answers(self.workers):
            wave.count(made)
            if isinstance(made, bytes):
                self.makers[number] = worker
            if not wave.full:
                self._feed(queue)
            yield number, made

    def prove(self, places: Mapping[int, str], flush: Callable[[], None]) -> Unproved:
        """Ask each for the proofs of what it made; flush while they are at it."""
        for worker in self.workers:
            made = [n for n in sorted(places) if self.makers[n] is worker]
            if made:
                worker.tell({number: places[number] for number in made})
        self.makers.clear()
        flush()
        wrong: Unproved = {}
        for _, answer in pool.answers(self.workers):
            if isinstance(answer, NixsecretsError):
                raise answer
            wrong |= answer
        return wrong

    def _feed(self, queue: deque[int]) -> None:
        for worker in self.workers:
            if queue and worker.waiting < _CHUNKS:
                worker.tell([queue.popleft() for _ in range(min(_CHUNK, len(queue)))])


@contextmanager
def hired(maker: Maker, numbers: Sequence[int]) -> Iterator[Crew]:
    """Give a crew that fits the jobs `numbers`; its processes end with the block."""
    load = sum(map(_weight, (maker.jobs[n] for n in numbers)))
    number = min(pool.cores(), len(numbers)) if load >= _WORTH_FORKING else 1
    large = any(maker.jobs[n].large for n in numbers)  # it goes through no pipe
    if number < 2 or large:
        yield Alone(maker)
        return
    wrap.load_libraries()
    with pool.started(partial(_work, maker), number) as workers:
        yield Gang(workers)


def _weight(job: Job) -> int:
    return _SOPS_WEIGHT if job.runs_sops else 1


def _work(maker: Maker, task: list[int] | dict[int, str]) -> Iterator[object]:
    """Make the jobs of these numbers, or check those that were staged, by place."""
    if isinstance(task, dict):
        yield _proved(maker, task)
    else:
        yield from ((number, _guarded(maker, number)) for number in task)


def _guarded(maker: Maker, number: int) -> Made:
    try:
        return maker.make(number)
    except NixsecretsError as error:
        return error


def _proved(maker: Maker, places: Mapping[int, str]) -> Unproved | NixsecretsError:
    try:
        return maker.prove(places)
    except NixsecretsError as error:
        return error
