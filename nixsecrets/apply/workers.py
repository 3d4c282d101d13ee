"""Runs and verifies jobs in worker processes.

pyrage holds the interpreter's lock, so threads would not help.  The processes are
forked when all keys are unlocked, so that no key goes through a pipe or a command line.
A worker verifies what it made; the ephemeral secrets stay with it.  It writes nothing
into the tree: its bytes go back to the process that holds the repository's lock.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from nixsecrets.frozen import field, frozen, replace
from nixsecrets.repo import files, pool
from nixsecrets.repo.files import sha256
from nixsecrets.repo.pool import Worker
from nixsecrets.repo.staging import open_back, read_back
from nixsecrets.repo.worktree import Repo

Made = bytes | Streamed | NixsecretsError
"""A file's new bytes (a large one's in pieces), or why there are none."""
Refused = dict[int, NixsecretsError]
"""Numbers of jobs whose staged file failed verification, and why."""

# A wave of jobs waits in memory for its verification: files for each process, bytes.
_WAVE_FILES = 128
_WAVE_BYTES = 32 << 20
_CHUNK = 4  # jobs in a task
_CHUNKS = 2  # tasks that a worker has: the one it works on, and the next
_WORTH_FORKING = 48  # jobs that only wrap a key; a fork costs as much as about ten
_SOPS_WEIGHT = 24  # one job that runs sops, in the same unit


@frozen
class Maker:
    """Makes jobs by number, and keeps what their verification needs until then.

    `notes` say where a file spells new content differently than it was given.
    """

    repo: Repo
    jobs: Sequence[Job] = field(repr=False)
    bench: Bench
    notes: list[str] = field(default_factory=list)
    _unverified: dict[int, tuple[Job, Sealed]] = field(default_factory=dict, repr=False)

    def make(self, number: int) -> bytes | Streamed:
        """Return the new bytes of a job's file.

        Raises:
            IdentityError: no identity opens the file.
            SecretFileError: the file is corrupt, or cannot be changed.
            ProgramError: sops is missing or failed.
            NixsecretsError: the file changed since the plan was made.
        """
        job = self._loaded(self.jobs[number])
        sealed = carry_out(job, self.bench)
        if job.content is not None and isinstance(sealed, SopsSealed):
            self.notes.extend(f"{job.step.path}: {note}" for note in sealed.notes)
        self._unverified[number] = job, sealed
        return sealed if isinstance(sealed, Streamed) else sealed.data

    def verify(self, places: Mapping[int, str]) -> Refused:
        """Verify staged files: job number -> path, from which each is read back.

        Returns the errors by job number; such a file must not be replaced.
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
        # sops decrypts all of them in few runs
        refused = verify_values(list(unread.values()), self.bench)
        return wrong | {numbers[place]: error for place, error in refused.items()}

    def _checked(self, number: int, place: str) -> Unread | None:
        job, sealed = self._unverified.pop(number)
        if isinstance(sealed, Streamed):
            with open_back(place, job.step.path) as file:
                verify_large(job, sealed, file, self.bench)
            return None
        new = read_back(place, sealed.data, job.step.path)
        return verify(job, sealed, new, self.bench)

    def _loaded(self, job: Job) -> Job:
        if job.step.before is None:
            return job
        if job.large:  # the new file does not depend on the old one
            old, now = None, files.hash_file(self.repo.locate(job.source))
        else:
            old = self.repo.read(job.source)
            now = sha256(old)
        if now != job.step.before:
            raise NixsecretsError(
                f"{job.source}: changed on the disk since the plan was made",
                "nothing was changed; run the command again",
            )
        return job if job.old is not None else replace(job, old=old)


class Crew(ABC):
    """Makes and verifies jobs, a wave of them at a time."""

    @abstractmethod
    def make(self, queue: deque[int]) -> Iterator[tuple[int, Made]]:
        """Take jobs from the queue until a wave is full; yield the result of each.

        A wave is limited in files and bytes, because all of it stays in memory until it
        is verified.
        """

    @abstractmethod
    def verify(self, places: Mapping[int, str], flush: Callable[[], None]) -> Refused:
        """Make the staged files durable with `flush`, and verify them.

        `places` maps job numbers to the paths of staged files.  Returns the errors by
        job number; such a file must not be replaced.
        """


@frozen
class Alone(Crew):
    """Works in this process: for few jobs, and for those that may prompt."""

    maker: Maker

    def make(self, queue: deque[int]) -> Iterator[tuple[int, Made]]:
        """Make a wave of jobs one after the other."""
        wave = _Wave()
        while queue and not wave.full:
            number = queue.popleft()
            made = _guarded(self.maker, number)
            wave.count(made)
            yield number, made

    def verify(self, places: Mapping[int, str], flush: Callable[[], None]) -> Refused:
        """Verify the staged files once they are on the disk."""
        flush()
        return self.maker.verify(places)


class _Wave:
    def __init__(self, processes: int = 1) -> None:
        self.processes, self.files, self.size = processes, 0, 0

    @property
    def full(self) -> bool:
        most = _WAVE_FILES * self.processes
        return self.files >= most or self.size >= _WAVE_BYTES

    def count(self, made: Made) -> None:
        self.files += 1
        self.size += len(made) if isinstance(made, bytes) else 0


@frozen
class Gang(Crew):
    """Works in several processes; each verifies what it made.

    `makers` has the worker of each job that is not yet verified.
    """

    workers: Sequence[Worker]
    makers: dict[int, Worker] = field(default_factory=dict)

    def make(self, queue: deque[int]) -> Iterator[tuple[int, Made]]:
        """Make a wave of jobs, in small chunks: a slow file delays no other worker."""
        wave = _Wave(len(self.workers))
        self._feed(queue)
        for worker, (number, made) in pool.answers(self.workers):
            wave.count(made)
            if isinstance(made, bytes):
                self.makers[number] = worker
            if not wave.full:
                self._feed(queue)
            yield number, made

    def verify(self, places: Mapping[int, str], flush: Callable[[], None]) -> Refused:
        """Let each worker verify what it made; flush in the meantime."""
        for worker in self.workers:
            made = [n for n in sorted(places) if self.makers[n] is worker]
            if made:
                worker.assign({number: places[number] for number in made})
        self.makers.clear()
        flush()
        wrong: Refused = {}
        for _, answer in pool.answers(self.workers):
            if isinstance(answer, NixsecretsError):
                raise answer
            wrong |= answer
        return wrong

    def _feed(self, queue: deque[int]) -> None:
        for worker in self.workers:
            if queue and worker.waiting < _CHUNKS:
                worker.assign([queue.popleft() for _ in range(min(_CHUNK, len(queue)))])


@contextmanager
def hired(maker: Maker, numbers: Sequence[int]) -> Iterator[Crew]:
    """Yield a crew for the jobs `numbers`; its processes end with the block."""
    load = sum(map(_weight, (maker.jobs[n] for n in numbers)))
    number = min(pool.cores(), len(numbers)) if load >= _WORTH_FORKING else 1
    large = any(maker.jobs[n].large for n in numbers)  # too large for a pipe
    if number < 2 or large:
        yield Alone(maker)
        return
    wrap.load_libraries()
    with pool.started(partial(_work, maker), number) as workers:
        yield Gang(workers)


def _weight(job: Job) -> int:
    return _SOPS_WEIGHT if job.runs_sops else 1


def _work(maker: Maker, task: list[int] | dict[int, str]) -> Iterator[object]:
    """Answer a task: make jobs by number, or verify staged files by number and path."""
    if isinstance(task, dict):
        yield _verified(maker, task)
    else:
        yield from ((number, _guarded(maker, number)) for number in task)


def _guarded(maker: Maker, number: int) -> Made:
    try:
        return maker.make(number)
    except NixsecretsError as error:
        return error


def _verified(maker: Maker, places: Mapping[int, str]) -> Refused | NixsecretsError:
    try:
        return maker.verify(places)
    except NixsecretsError as error:
        return error
