"""What a person must agree to before a plan is applied, and what stops it.

`questions` returns everything to ask, each with the option that agrees in advance;
`cli/consent.py` asks.  An `Obstacle` is a set of files that a plan should change and
cannot: it stops the command, or is skipped with --keep-going.
"""

from collections.abc import Collection, Iterator, Sequence

from nixsecrets.errors import (
    DeclinedError,
    SecretFileError,
    argument,
    counted,
    path_text,
    printable,
)
from nixsecrets.files.state import Damaged
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.recipients import KeyId
from nixsecrets.plan import approvals, disclosure
from nixsecrets.plan.approvals import Standing
from nixsecrets.plan.diff import absent_losses, hidden_losses
from nixsecrets.plan.model import LINES, Action, Plan
from nixsecrets.plan.problems import winner_changes
from nixsecrets.plan.removals import Removal, describe
from nixsecrets.world.world import World

YES = "--yes"
ALLOW_REVOKE = "--allow-revoke"
ALLOW_LOCKOUT = "--allow-lockout"
ALLOW_RETIRED = "--allow-retired"


class Alarm(str):
    """A line that is shown as a warning."""

    __slots__ = ()


class Question(NamedTuple):
    """A yes/no question with the lines to show before it.

    `flag` is the option that agrees in advance, empty if there is none; `always` shows
    the lines even if that option is given.
    """

    text: str
    flag: str
    hint: str
    lines: Sequence[str] = ()
    always: bool = False


class Change(NamedTuple):
    """A plan, and what its command line asks for.

    - `before`: the world before a change of the map, None if the map stays.
    - `operator`: the keys that the person can open files with.
    - `named`: the keys that lose access because the arguments ask for it.
    - `agreed`: the command line names the files of the plan, so it needs no yes.
    - `returning`: (new owner, removal) of removed keys that would be used again.
    - `unapproved`: the question about keys that this clone has not approved, if any.
    """

    plan: Plan
    world: World
    before: World | None = None
    operator: Collection[KeyId] = ()
    named: Collection[KeyId] = ()
    agreed: bool = False
    returning: Sequence[tuple[str, Removal]] = ()
    unapproved: Sequence[Question] = ()


def questions(change: Change, given: Collection[str]) -> list[Question]:
    """Return what a person must agree to; `given` are the options of the command line.

    Raises:
        DeclinedError: a file would be left without any reader.
    """
    return [
        *return_question(change.returning),
        *_empty_always(change),
        *change.unapproved,
        *_lockout(change, given),
        *_revocations(change, given),
        *_plaintext(change),
        *_foreign_files(change),
        *_foreign_rules(change),
        *_plan_itself(change),
    ]


def return_question(found: Sequence[tuple[str, Removal]]) -> Iterator[Question]:
    """Yield the question whether to use removed keys again; none without such keys."""
    if found:
        lines = [Alarm(describe(name, removal)) for name, removal in found]
        hint = f"agree with {ALLOW_RETIRED}"
        yield Question("use it again?", ALLOW_RETIRED, hint, lines, always=True)


def approval_question(
    standing: Sequence[Standing],
    origins: Sequence[str],
    given: Collection[str],
    hint: str,
) -> Iterator[Question]:
    """Yield the question about keys that this clone has not approved; none without.

    `origins` say where each key comes from; they are empty if no key was ever approved
    here.  A key that differs from one approved for its name is an alarm.
    """
    if not standing:
        return
    if YES in given:
        lines = ["approved in this clone by --yes:"]
    elif not origins:
        lines = ["no key is approved in this clone yet:"]
    else:
        lines = ["not approved in this clone:"]
    for number, line in enumerate(approvals.table(standing)):
        lines.append(f"  {line}")
        lines += [f"    {origin}" for origin in origins[number : number + 1]]
        lines += map(Alarm, approvals.alarms(standing[number]))
    keys = "this key" if len(standing) == 1 else f"these {len(standing)} keys"
    yield Question(f"approve {keys} in this clone?", YES, hint, lines, always=True)


def _empty_always(change: Change) -> Iterator[Question]:
    """Yield the question if a change of the map removes the last reader of `always`."""
    had = change.before is not None and change.before.policy.always_readers
    if had and not change.world.policy.always_readers:
        yield Question(
            "leave it empty?",
            ALLOW_LOCKOUT,
            f"agree with {ALLOW_LOCKOUT}",
            ["nobody is left in `always`: no key will open every secret"],
        )


def _lockout(change: Change, given: Collection[str]) -> Iterator[Question]:
    """Yield the question if the operator would lose access to files.

    Raises:
        DeclinedError: a file would be left without any reader.
    """
    readerless = any(
        not step.target and step.action is not Action.DELETE
        for step in change.plan.secret_steps
    )
    if readerless and ALLOW_LOCKOUT not in given:
        raise DeclinedError(
            "nothing was changed: a file would be left without any reader",
            "name someone in `always` first",
        )
    paths = [step.path for step in change.plan.lockouts(change.operator)]
    if paths:
        count = counted(len(paths), "file")
        yield Question(
            "lock yourself out?",
            ALLOW_LOCKOUT,
            f"agree with {ALLOW_LOCKOUT}",
            [f"you will no longer be able to open {count}:", *_listed(paths)],
        )


def _listed(paths: Sequence[str]) -> Iterator[str]:
    yield from (f"  {path_text(path)}" for path in paths[:LINES])
    if len(paths) > LINES:
        yield f"  and {len(paths) - LINES} more"


def _revocations(change: Change, given: Collection[str]) -> Iterator[Question]:
    losses = change.plan.revocations(change.named)
    if losses:
        both = "" if change.agreed or YES in given else f" {YES}"
        yield Question(
            "revoke this access?",
            ALLOW_REVOKE,
            f"agree with {ALLOW_REVOKE}{both}",
            [
                f"{name} will lose {counted(len({s.path for s in steps}), 'file')}"
                for name, steps in losses.items()
            ],
        )


def _plaintext(change: Change) -> Iterator[Question]:
    """Yield the questions about encrypted values that will be in plaintext.

    If a rule selects the values to encrypt, --yes agrees.  If only sops' default does,
    no option agrees: the operator has to answer, or write the option into the rule.
    """
    opening = [step for step in change.plan.steps if step.opens]
    silent = [s for s in opening if not disclosure.is_selected(change.world, s.path)]
    for steps, flag in ((silent, ""), ([s for s in opening if s not in silent], YES)):
        if steps:
            names = (
                f"  {path_text(step.path)}: {', '.join(map(path_text, step.opens))}"
                for step in steps[:LINES]
            )
            hint = f"agree in advance with {YES}"
            if not flag:
                hint = disclosure.ways_out(change.world, steps[0])
            first = "these values are encrypted and will be in plaintext:"
            yield Question("store them in plaintext?", flag, hint, [first, *names])


def _foreign_files(change: Change) -> Iterator[Question]:
    """Yield a question for each file to overwrite that nixsecrets did not write."""
    repo = change.world.repo
    for step in change.plan.steps:
        if step.foreign:
            name = path_text(step.path)
            real = repo.shown(repo.relative_to_top(repo.locate(step.path)))
            link = "" if real == step.path else f" (a link to {path_text(real)})"
            yield Question(
                f"overwrite {name}?",
                f"--overwrite {step.path}",
                f"agree with: nixsecrets sync --overwrite {argument(step.path)}\n"
                "or let the map name another file",
                [f"{name}{link} was not written by nixsecrets"],
            )


def _foreign_rules(change: Change) -> Iterator[Question]:
    moved = winner_changes(change.world, change.plan)
    if moved:
        first = "the new configuration takes over files from foreign rules:"
        lines = [first, *(f"  {line}" for line in moved)]
        yield Question("write it?", YES, f"agree in advance with {YES}", lines)


def _plan_itself(change: Change) -> Iterator[Question]:
    if change.plan.secret_steps and not change.agreed:
        yield Question("go on?", YES, f"agree in advance with {YES}")


class Obstacle(NamedTuple):
    """Files that a plan should change and cannot.

    `refusal` stops the command before anything is written; with --keep-going, `skipped`
    are reported after the other files are written.
    """

    refusal: SecretFileError
    skipped: Sequence[SecretFileError]


def damage(files: Collection[Damaged], world: World) -> Iterator[Obstacle]:
    """Yield the obstacle of corrupt files; none without such files."""
    if files:
        lines = [f"  {path_text(file.path)}: {file.reason}" for file in files]
        unmerged = any(file.path in world.conflicts for file in files)
        repair = "nixsecrets check says how to restore each"
        if unmerged:
            repair = "merge them first: nixsecrets resolve"
        first = f"nothing was changed: {counted(len(lines), 'file')} cannot be read"
        yield Obstacle(
            SecretFileError(
                "\n".join([first, *lines]),
                f"{repair}; --keep-going processes the others",
            ),
            [
                SecretFileError(f"skipped {printable(f.path)}: {f.reason}")
                for f in files
            ],
        )


def unreached(before: World, after: World) -> Iterator[Obstacle]:
    """Yield the files that a change of the map revokes but no step can re-encrypt."""
    for inner, paths in hidden_losses(before, after).items():
        yield _obstacle(
            f"{path_text(inner)} hides {counted(len(paths), 'file')} to re-encrypt",
            paths,
            f"remove that map (git rm {argument(inner)}), or narrow the rule of this"
            " one to what lies outside of its folder",
        )
    yield from absent(absent_losses(before, after))


def absent(paths: Sequence[str]) -> Iterator[Obstacle]:
    """Yield the obstacle of files that git tracks and that are not on the disk."""
    if paths:
        several = f"{len(paths)} secrets that git tracks are"
        what = "a secret that git tracks is" if len(paths) == 1 else several
        hint = "git checkout -- FILE, git sparse-checkout disable, or git rm FILE"
        yield _obstacle(f"{what} missing from the disk", paths, hint)


def _obstacle(what: str, paths: Sequence[str], hint: str) -> Obstacle:
    message = "\n".join([f"nothing was changed: {what}:", *_listed(paths)])
    return Obstacle(
        SecretFileError(message, f"{hint}; --keep-going processes the others"),
        [SecretFileError(f"skipped: {what}", hint)],
    )
