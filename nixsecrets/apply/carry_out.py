"""One step's new bytes, and the verification of what was staged.

Chooses the operation of `files` for each step.  Everything goes in and out as plain
values, so that worker processes can run it.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import BinaryIO, assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.age import operations as age_operations
from nixsecrets.files.age import verify as age_verify
from nixsecrets.files.age.payload import Spooled
from nixsecrets.files.decrypt import Bench
from nixsecrets.files.sops import assign, grant
from nixsecrets.files.sops import verify as sops_verify
from nixsecrets.files.sops.keypath import NewValues
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.frozen import field, frozen
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient
from nixsecrets.plan.model import Action, Step


@frozen
class Moved:
    """The bytes of a file that only moves."""

    data: bytes = field(repr=False)


@frozen
class Version:
    """Another version of a file than the one on the disk, to start from.

    `content` is what the file is to hold, None for what it holds.
    """

    data: bytes = field(repr=False)
    content: bytes | None = field(default=None, repr=False)


Content = bytes | Spooled | NewValues | Version
"""A plaintext in memory, or spooled to disk if it is too large (age files only); or new
values of a sops file, whose other values stay; or another version of the file."""
Sealed = Moved | age_operations.Sealed | age_operations.Streamed | grant.SopsSealed
Entries = tuple[tuple[Recipient, ...], tuple[tuple[int, Recipient], ...]]
KEEPS_KEY = (Action.GRANT, Action.FORM_CHANGE)


@frozen
class Job:
    """A step, its new content if any, and the present file (`old`) once it is read.

    `have` are the file's recipients according to the plan, empty if unknown; `noisy`
    are the indices of those whose entries have noise (`Actual.noisy`).  `old` is given
    from the start for another version than the one on the disk.
    """

    step: Step
    have: tuple[Recipient, ...] = ()
    noisy: tuple[int, ...] = ()
    content: Content | None = field(default=None, repr=False)
    old: bytes | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """The path of the file that the new one is made from."""
        return self.step.origin or self.step.path

    @property
    def must_open(self) -> bool:
        """Whether an identity is needed; not for new content of an age file."""
        given = self.content is not None and self.step.backend is Backend.AGE
        closed = self.keeps_bytes or self.step.action in (Action.CREATE, Action.DELETE)
        there = self.step.before is not None or self.old is not None
        return there and not given and not closed

    @property
    def large(self) -> bool:
        """Whether the new content is too large for memory."""
        return isinstance(self.content, Spooled)

    @property
    def keeps_bytes(self) -> bool:
        """Whether the file only moves."""
        return self.step.keeps_bytes

    @property
    def runs_sops(self) -> bool:
        """Whether the sops program is needed, and a private folder for it."""
        kept = self.keeps_bytes or self.step.action in (*KEEPS_KEY, Action.DELETE)
        return self.step.backend is Backend.SOPS and not kept

    @property
    def recipients(self) -> list[Recipient]:
        """The readers to write, in order."""
        return [reader.recipient for reader in self.step.target]

    @cached_property
    def entries(self) -> Entries:
        """The recipients that a grant appends, and (index, recipient) to replace.

        An entry is replaced if its form changes or if it has noise.  Entries that only
        pyrage writes (post-quantum keys) keep their noise.
        """
        have = self.have
        places = {recipient.key_id: place for place, recipient in enumerate(have)}
        add = tuple(r for r in self.recipients if r.key_id not in places)
        replace = {
            place: have[place] for place in self.noisy if not have[place].post_quantum
        }
        for reader in self.recipients:
            place = places.get(reader.key_id)
            if place is not None and have[place].kind is not reader.kind:
                replace[place] = reader
        return add, tuple(replace.items())


def carry_out(job: Job, bench: Bench) -> Sealed:
    """Return the new bytes of the step's file.

    Raises:
        IdentityError: no identity opens the file.
        SecretFileError: the file is damaged, or cannot be changed.
        ProgramError: sops is missing or failed.
    """
    if job.keeps_bytes:
        return Moved(_old(job))
    match job.step.backend:
        case Backend.AGE:
            return _age(job, bench)
        case Backend.SOPS:
            return _sops(job, bench)
        case None:
            raise RuntimeError("a generated file is not carried out")
        case _ as never:
            assert_never(never)


def _age(job: Job, bench: Bench) -> age_operations.Sealed | age_operations.Streamed:
    step = job.step
    content = job.content
    if isinstance(content, Version):
        raise RuntimeError("a version is taken apart before")
    if isinstance(content, Spooled):
        if not step.armored:
            return age_operations.seal_large(content, job.recipients)
        content = b"".join(content.blocks())
    if isinstance(content, NewValues):
        raise RuntimeError("an age file is a single value")
    if content is not None:
        return age_operations.seal(content, job.recipients, armored=step.armored)
    old = _old(job)
    first = _own_place(job, bench)
    if step.action in KEEPS_KEY:
        add, replace = job.entries
        return age_operations.grant(
            old, bench.identities, add=add, replace=replace, first=first
        )
    return age_operations.reencrypt(old, bench.identities, job.recipients, first=first)


def _own_place(job: Job, bench: Bench) -> int | None:
    """Return the index of the stanza that one of our identities opens, if known.

    Trying that one first saves a key exchange for each other stanza.
    """
    places = (n for n, reader in enumerate(job.have) if reader.key_id in bench.key_ids)
    return next(places, None)


def _sops(job: Job, bench: Bench) -> grant.SopsSealed:
    step, path, content = job.step, job.step.path, job.content
    if isinstance(content, Spooled | Version):
        raise RuntimeError("sops takes a content as a whole")
    if step.action in KEEPS_KEY:
        add, replace = job.entries
        return grant.grant(path, _old(job), bench.identities, add=add, replace=replace)
    if content is None:
        from nixsecrets.files.sops import operations as sops_operations  # see `assign`

        return sops_operations.reencrypt(
            path,
            _old(job),
            bench.identities,
            job.recipients,
            options=step.options,
            **bench.run,
        )
    new = job.old is None or step.action is Action.CREATE  # over a plaintext file
    if isinstance(content, NewValues):
        if new:
            return assign.create_with_value(
                path, content, job.recipients, options=step.options, **bench.run
            )
        return assign.replace_values(
            path,
            _old(job),
            bench.identities,
            content,
            recipients=job.recipients,
            options=step.options,
            rotate=bool(step.dropped),
            **bench.run,
        )
    from nixsecrets.files.sops import operations as sops_operations  # as above

    if new:
        return sops_operations.create(
            path, content, job.recipients, options=step.options, **bench.run
        )
    return sops_operations.replace_content(
        path,
        _old(job),
        bench.identities,
        content,
        recipients=job.recipients,
        options=step.options,
        rotate=bool(step.dropped),
        **bench.run,
    )


def _old(job: Job) -> bytes:
    if job.old is None:
        raise SecretFileError(f"{job.step.path}: no such file")
    return job.old


Unread = tuple[SopsFile, grant.SopsSealed]
"""A re-encrypted sops file that the sops program must still decrypt as verification."""


def verify(job: Job, sealed: Sealed, new: bytes, bench: Bench) -> Unread | None:
    """Verify the staged bytes `new`, read back from the disk.

    Checks that the recipients are the plan's, that an identity of the operator opens
    the file, and that each stanza we wrote holds the key.  What needs a run of sops is
    returned, for `verify_values`.

    Raises:
        SecretFileError: verification failed; the file must not be replaced.
    """
    _require_planned(job, sealed)
    match sealed:
        case Moved():
            if new != _old(job):
                raise SecretFileError(f"{job.step.path}: was not moved as it was")
        case age_operations.Streamed():
            raise RuntimeError("a large file is verified piece by piece")
        case age_operations.Sealed():
            _verify_age(job, sealed, new, bench)
        case grant.SopsSealed():
            return _verify_sops(job, sealed, new, bench)
        case _ as never:
            assert_never(never)
    return None


def verify_values(unread: Sequence[Unread], bench: Bench) -> dict[int, SecretFileError]:
    """Decrypt with sops what `verify` returned, as many files at once as possible.

    Returns the errors by index in `unread`; such a file must not be replaced.

    Raises:
        ProgramError: sops does not run.
    """
    if not unread:
        return {}
    return sops_verify.verify_values(unread, **bench.run)


def verify_large(
    job: Job, sealed: age_operations.Streamed, new: BinaryIO, bench: Bench
) -> None:
    """Verify a large staged age file, read back piece by piece.

    Raises:
        SecretFileError: verification failed; the file must not be replaced.
    """
    _require_planned(job, sealed)
    age_verify.verify_large(new, sealed, bench.identities)


def _require_planned(job: Job, sealed: Sealed) -> None:
    """Raise SecretFileError unless the recipients written are those of the plan."""
    if isinstance(sealed, Moved):
        return
    if job.step.action in KEEPS_KEY:
        add, replace = job.entries
        planned = [*(recipient for _, recipient in replace), *add]
    else:
        planned = job.recipients
    unchanged = isinstance(sealed, grant.SopsSealed) and job.content is not None
    if isinstance(sealed, age_operations.Streamed):
        sealed = sealed.sealed
    if list(sealed.recipients) == planned or (unchanged and not sealed.recipients):
        return
    raise SecretFileError(
        "it was written for other readers than planned",
        "nothing was replaced; please report it",
    )


def _verify_age(
    job: Job, sealed: age_operations.Sealed, new: bytes, bench: Bench
) -> None:
    if job.step.action in KEEPS_KEY:
        age_verify.verify_grant(_old(job), new, sealed)
    else:
        age_verify.verify_reencrypted(new, sealed, bench.identities)


def _verify_sops(
    job: Job, sealed: grant.SopsSealed, new: bytes, bench: Bench
) -> Unread | None:
    path = job.step.path
    if job.step.action in KEEPS_KEY:
        sops_verify.verify_grant(path, _old(job), new, sealed)
        return None
    return sops_verify.verify_reencrypted(path, new, sealed, bench.identities), sealed
