"""Apply: stage everything, flush, verify, journal, replace all at once.

Takes the very plan that was shown.  Before the journal is durable nothing in the tree
has changed; after it, a run that is cut short is completed by the next command.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nixsecrets.carryout import Bench, Job, Moved, Sealed, carry_out, verify
from nixsecrets.diff import lock_text
from nixsecrets.errors import (
    ConflictError,
    IdentityError,
    NixsecretsError,
    SecretFileError,
)
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Identity, Keyring, Locked
from nixsecrets.keys.recipients import Recipient
from nixsecrets.plan import Action, Plan, Step
from nixsecrets.repo import private
from nixsecrets.repo.files import sha256
from nixsecrets.repo.staging import Batch
from nixsecrets.secretfiles.state import Actual, Record
from nixsecrets.world import World

Unlock = Callable[[Locked], tuple[Identity, ...]]


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that cannot be carried out, and why."""

    step: Step
    error: NixsecretsError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was written, and what was left out (`keep_going` only)."""

    done: tuple[Step, ...]
    failed: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Tools:
    """What a person or the machine lends to a run.

    `unlock` asks for the passphrase of one identity; `tick` is called for each file.
    """

    keyring: Keyring = field(repr=False)
    unlock: Unlock
    tick: Callable[[], None] = lambda: None
    keep_going: bool = False


class ApplyError(NixsecretsError):
    """Some files cannot be carried out; nothing was changed."""

    def __init__(self, failed: Sequence[Failure], world: World) -> None:
        """Name every file, why, and who can open it."""
        self.failed = tuple(failed)
        what = "1 file" if len(failed) == 1 else f"{len(failed)} files"
        lines = [f"  {f.step.path}: {f.error.message}" for f in failed]
        message = f"nothing was changed: {what} cannot be carried out"
        super().__init__("\n".join([message, *lines]), _advice(failed, world))


def _advice(failed: Iterable[Failure], world: World) -> str:
    hints: dict[str, None] = {}
    for failure in failed:
        found = world.files.get(failure.step.path)
        if isinstance(failure.error, IdentityError) and isinstance(found, Actual):
            names = ", ".join(world.book.label(r) for r in found.recipients)
            who = names or "nobody we can tell"
            hints[f"{failure.step.path} can be opened by {who}"] = None
        elif failure.error.hint:
            hints[failure.error.hint] = None
    hints["--identity FILE adds a key; --keep-going does the rest"] = None
    return "\n".join(hints)


def apply(
    plan: Plan,
    world: World,
    tools: Tools,
    contents: Mapping[str, bytes] | None = None,
) -> Outcome:
    """Carry out `plan` on `world`; `contents` are the plaintexts that were given.

    Raises:
        ApplyError: a file cannot be carried out, and nothing was changed.
        ConflictError: a file changed since the plan was made; nothing was changed.
    """
    with private.private_folder(os.environ) as workdir, Batch(world.repo) as batch:
        jobs = [_job(step, world, contents or {}) for step in plan.secret_steps]
        opened = [job.have for job in jobs if job.must_open]
        bench = Bench(unlocked(opened, tools.keyring, tools.unlock), workdir)
        sealed, failed = _stage_secrets(jobs, bench, tools, batch)
        if failed and not tools.keep_going:
            raise ApplyError(failed, world)
        lost = {failure.step.path for failure in failed}
        done = tuple(step for step in plan.steps if step.path not in lost)
        _stage_generated(done, world, sealed, batch)
        batch.flush()
        for job in jobs:
            if job.step.path in sealed:
                new = batch.read_staged(job.step.path)
                verify(job, sealed[job.step.path], new, bench)
        batch.commit()
    return Outcome(done, tuple(failed))


def _job(step: Step, world: World, contents: Mapping[str, bytes]) -> Job:
    """Return the step with the bytes that it was planned on.

    Raises:
        ConflictError: the file is not what it was when the plan was made.
    """
    source = step.origin or step.path
    old = None if step.before is None else world.repo.read(source)
    if old is not None and sha256(old) != step.before:
        raise ConflictError(
            f"{source}: changed on the disk since the plan was made",
            "nothing was changed; run the command again",
        )
    found = world.files.get(source)
    have = found.recipients if isinstance(found, Actual) else ()
    return Job(step, have, old, contents.get(step.path))


def unlocked(
    files: Iterable[Sequence[Recipient]], keyring: Keyring, unlock: Unlock
) -> tuple[Identity, ...]:
    """Return the identities for files with these readers (empty: not known).

    A passphrase is asked for only where no other identity fits a file.
    """
    wanted: dict[str, Locked] = {}
    for readers in files:
        ids = {recipient.key_id for recipient in readers}
        if ids & keyring.key_ids or (not ids and keyring.identities):
            continue
        for locked in keyring.locked:
            keys = {recipient.key_id for recipient in locked.recipients}
            if not ids or not keys or ids & keys:
                wanted[locked.source] = locked
    opened = [i for locked in wanted.values() for i in unlock(locked)]
    return (*keyring.identities, *opened)


def _stage_secrets(
    jobs: Sequence[Job], bench: Bench, tools: Tools, batch: Batch
) -> tuple[dict[str, Sealed], list[Failure]]:
    sealed: dict[str, Sealed] = {}
    failed: list[Failure] = []
    for job in jobs:
        step = job.step
        try:
            if step.action is Action.DELETE:
                batch.delete(step.path, step.before or "")
                continue
            sealed[step.path] = carry_out(job, bench)
            before = step.before if step.origin is None else None
            batch.stage(step.path, sealed[step.path].data, before=before)
            if step.origin is not None:
                batch.delete(step.origin, step.before or "")
        except (IdentityError, SecretFileError) as error:
            failed.append(Failure(step, error))
        tools.tick()
    return sealed, failed


def _stage_generated(
    done: Sequence[Step], world: World, sealed: Mapping[str, Sealed], batch: Batch
) -> None:
    """Stage map, configurations and lock; the lock gets the hashes just made."""
    for step in done:
        if step.action is not Action.WRITE:
            continue
        text = step.text
        if text is None:
            text = lock_text(world, _records(done, sealed, world))
        batch.stage(step.path, text.encode(), before=step.before)


def _records(
    done: Sequence[Step], sealed: Mapping[str, Sealed], world: World
) -> dict[str, Record | None]:
    """Return what the lock has to say of the files just staged."""
    changes: dict[str, Record | None] = {}
    for step in done:
        if step.origin is not None:
            changes[step.origin] = None
        if step.action is Action.DELETE:
            changes[step.path] = None
        elif step.backend is Backend.AGE and step.path in sealed:
            changes[step.path] = _record(step, sealed[step.path], world)
    return changes


def _record(step: Step, sealed: Sealed, world: World) -> Record | None:
    data = sealed.data
    if isinstance(sealed, Moved):
        return world.lock.record(step.origin or step.path, sha256(data))
    recipients = tuple(reader.recipient for reader in step.target)
    return Record(recipients, sha256(data), "written")
