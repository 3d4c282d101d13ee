"""Apply a plan: stage everything, flush, verify, journal, replace all at once.

The plan is the one that was shown.  Before the journal is durable, nothing in the tree
has changed; after that, the next command completes an interrupted run.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from nixsecrets.apply.carry_out import Content, Job, Version
from nixsecrets.apply.workers import Maker, hired
from nixsecrets.errors import (
    IdentityError,
    KeyFormatError,
    NixsecretsError,
    ProgramError,
    SecretFileError,
    printable,
)
from nixsecrets.files.age.operations import Streamed
from nixsecrets.files.decrypt import Bench
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.state import Actual, Record
from nixsecrets.frozen import field, frozen
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import (
    Keyring,
    PluginIdentity,
)
from nixsecrets.keys.unlock import Unlock, unlocked
from nixsecrets.plan.model import Action, Plan, Step
from nixsecrets.plan.outputs import lock_text
from nixsecrets.repo import private
from nixsecrets.repo.staging import Batch
from nixsecrets.world.world import World

_OF_ONE_FILE = IdentityError | SecretFileError | KeyFormatError | ProgramError


@frozen
class Failure:
    """A step that failed, and why."""

    step: Step
    error: NixsecretsError

    @property
    def hint(self) -> str | None:
        """The error's hint, with the step's path in place of FILE."""
        if isinstance(self.error, SecretFileError):
            return self.error.hint_about(self.step.path)
        return self.error.hint


@frozen
class Outcome:
    """The steps that were done, and those that failed (with `keep_going` only).

    `hard_links` are the paths of written files whose other names keep the old content;
    `notes` say where a file spells new content differently than it was given.
    """

    done: tuple[Step, ...]
    failed: tuple[Failure, ...] = ()
    hard_links: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class Tools:
    """What a run needs besides the plan.

    `unlock` asks for the passphrase of one identity; `tick` is called for each file;
    with `keep_going`, files that fail are skipped.
    """

    keyring: Keyring = field(repr=False)
    unlock: Unlock
    tick: Callable[[], None] = lambda: None
    keep_going: bool = False


class ApplyError(NixsecretsError):
    """Some files cannot be processed; nothing was changed."""

    def __init__(
        self, failed: Sequence[Failure], world: World, *, others: bool = False
    ) -> None:
        """List each failed step, and in the hint who can open its file.

        `others`: further steps would succeed with --keep-going.
        """
        self.failed = tuple(failed)
        what = "1 file" if len(failed) == 1 else f"{len(failed)} files"
        lines = [f"  {printable(f.step.path)}: {f.error.message}" for f in failed]
        message = f"nothing was changed: {what} cannot be processed"
        advice = _advice(failed, world, others=others)
        super().__init__("\n".join([message, *lines]), advice)


def _advice(failed: Sequence[Failure], world: World, *, others: bool) -> str:
    hints: dict[str, None] = {}
    for failure in failed:
        found = world.files.get(failure.step.path)
        if isinstance(failure.error, IdentityError) and isinstance(found, Actual):
            names = ", ".join(world.book.label(r) for r in found.recipients)
            who = names or "nobody known"
            hints[f"{printable(failure.step.path)} can be opened by {who}"] = None
        elif hint := failure.error.hint if len(failed) > 1 else failure.hint:
            hints[hint] = None
    if any(isinstance(failure.error, IdentityError) for failure in failed):
        hints["--identity FILE adds a key"] = None
    if others:
        hints["--keep-going processes the others"] = None
    return "\n".join(hints)


def apply(
    plan: Plan,
    world: World,
    tools: Tools,
    contents: Mapping[str, Content] | None = None,
) -> Outcome:
    """Apply `plan` to `world`; `contents` are the new plaintexts, by path.

    Raises:
        ApplyError: a step failed, and nothing was changed.
        NixsecretsError: a file changed since the plan was made; nothing was changed.
    """
    jobs = [job_of(step, world, contents or {}) for step in plan.secret_steps]
    with contextlib.ExitStack() as stack:
        bench = _bench(jobs, tools, stack)
        batch = stack.enter_context(Batch(world.repo))
        maker = Maker(world.repo, jobs, bench)
        hashes, failed = _stage_secrets(maker, tools, batch)
        if failed and not tools.keep_going:
            raise ApplyError(failed, world, others=len(jobs) > len(failed))
        lost = {failure.step.path for failure in failed}
        done = tuple(step for step in plan.steps if step.path not in lost)
        _stage_generated(done, world, hashes, batch)
        batch.commit()
        notes = tuple(maker.notes)
        return Outcome(done, tuple(failed), batch.hard_links, notes)


def job_of(step: Step, world: World, contents: Mapping[str, Content]) -> Job:
    """Return the job of a step; `contents` are the new plaintexts, by path."""
    found = world.files.get(step.origin or step.path)
    have = found.recipients if isinstance(found, Actual) else ()
    noisy = found.noisy if isinstance(found, Actual) else ()
    content = contents.get(step.path)
    if isinstance(content, Version):
        return Job(step, have, noisy, content.content, content.data)
    return Job(step, have, noisy, content)


def _bench(jobs: Iterable[Job], tools: Tools, stack: contextlib.ExitStack) -> Bench:
    """Return the identities that the jobs need, with sops and a private folder for it.

    Sops and the folder are left out if no job runs sops.
    """
    opened = [job.have for job in jobs if job.must_open]
    identities = unlocked(opened, tools.keyring, tools.unlock)
    if not any(job.runs_sops for job in jobs):
        return Bench(identities)
    sops = SopsProgram.find(os.environ)
    folder = stack.enter_context(private.private_folder(os.environ))
    return Bench(identities, folder, sops)


def load_libraries() -> None:
    """Import the cryptography that steps need, while this process has nothing to do."""
    from nixsecrets.files.age import wrap

    wrap.load_libraries()


def _stage_secrets(
    maker: Maker, tools: Tools, batch: Batch
) -> tuple[dict[str, str], list[Failure]]:
    """Make, stage, flush and verify every job, a wave of them at a time.

    Returns the SHA-256 of each new file by path, and the failures sorted by path.
    """
    hashes: dict[str, str] = {}
    failed: list[Failure] = []
    for numbers in _shares(maker):
        with hired(maker, numbers) as crew:
            queue = deque(numbers)
            while queue:
                places: dict[int, str] = {}
                for number, made in crew.make(queue):
                    step = maker.jobs[number].step
                    if isinstance(made, NixsecretsError):
                        failed.append(_failure(step, made))
                    else:
                        places[number], hashes[step.path] = _stage(step, made, batch)
                    tools.tick()
                if not failed or tools.keep_going:
                    wrong = crew.verify(places, batch.flush)
                    for number, error in wrong.items():
                        step = maker.jobs[number].step
                        failed.append(_failure(step, error))
                        _unstage(step, hashes, batch)
    for job in maker.jobs:
        if job.step.action is Action.DELETE:
            batch.delete(job.step.path, job.step.before or "")
    return hashes, sorted(failed, key=lambda failure: failure.step.path)


def _shares(maker: Maker) -> tuple[list[int], list[int]]:
    """Return the numbers of the jobs for this process, and of those for any.

    New content stays here, because it produces notes.  So does a file that an age
    plugin may have to open: the plugin prompts at this process' terminal.
    """
    without_plugin = {
        recipient.key_id
        for identity in maker.bench.identities
        if not isinstance(identity, PluginIdentity)
        for recipient in identity.recipients
    }
    personal: list[int] = []
    others: list[int] = []
    plugins = any(isinstance(i, PluginIdentity) for i in maker.bench.identities)
    for number, job in enumerate(maker.jobs):
        if job.step.action is Action.DELETE:
            continue
        silent = not plugins or any(r.key_id in without_plugin for r in job.have)
        here = job.content is not None or (job.must_open and not silent)
        (personal if here else others).append(number)
    return personal, others


def _stage(step: Step, made: bytes | Streamed, batch: Batch) -> tuple[str, str]:
    """Stage a step's new bytes; return the path of the staged file, and its SHA-256."""
    before = step.before if step.origin is None else None
    blocks = made.blocks() if isinstance(made, Streamed) else (made,)
    staged = batch.stage_blocks(step.path, blocks, before=before)
    if step.origin is not None:
        batch.delete(step.origin, step.before or "")
    return staged


def _unstage(step: Step, hashes: dict[str, str], batch: Batch) -> None:
    """Drop what was staged for a step."""
    del hashes[step.path]
    batch.drop(step.path)
    if step.origin is not None:
        batch.drop(step.origin)


def _failure(step: Step, error: NixsecretsError) -> Failure:
    """Return the failure of one file; raise an error that concerns the whole run."""
    if isinstance(error, _OF_ONE_FILE):
        return Failure(step, error)
    raise error


def _stage_generated(
    done: Sequence[Step], world: World, hashes: Mapping[str, str], batch: Batch
) -> None:
    """Stage map, configurations and lock; the lock gets the new files' hashes."""
    for step in done:
        if step.action is not Action.WRITE:
            continue
        text = step.text
        if text is None:
            text = lock_text(world, records(done, hashes, world))
        batch.stage(step.path, text.encode(), before=step.before)
    batch.flush()
    for step in done:
        if step.action is Action.WRITE:
            batch.read_staged(step.path)


def records(
    done: Sequence[Step], hashes: Mapping[str, str], world: World
) -> dict[str, Record | None]:
    """Return the lock's new records of the staged files, None for files that go."""
    changes: dict[str, Record | None] = {}
    for step in done:
        if step.origin is not None:
            changes[step.origin] = None
        if step.action is Action.DELETE:
            changes[step.path] = None
        elif step.backend is Backend.AGE and step.path in hashes:
            changes[step.path] = _record(step, hashes[step.path], world)
    return changes


def _record(step: Step, digest: str, world: World) -> Record | None:
    """Return the lock's record of a new file; one that only moved keeps its record."""
    if step.keeps_bytes:
        return world.lock.record(step.origin or step.path, digest)
    recipients = tuple(reader.recipient for reader in step.target)
    return Record(recipients, digest, "written")
