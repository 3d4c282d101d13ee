"""The one road of every command that changes access: load, diff, show, apply."""

import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from nixsecrets.cli import (
    approval,
    otherdrift,
    recall,
    show,
    ui,
    unencrypted,
    unreached,
)
from nixsecrets.cli.dryrun import show_dry
from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.errors import (
    DeclinedError,
    NixsecretsError,
    SecretFileError,
    printable,
    shell_word,
)
from nixsecrets.files.state import Damaged
from nixsecrets.findings.catalogue import Finding, argument
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.edit import retire
from nixsecrets.map.model import Reader, Retired
from nixsecrets.plan import approvals
from nixsecrets.plan.diff import change_plan, content_step, context, damaged
from nixsecrets.plan.model import Action, Plan, Step
from nixsecrets.plan.problems import problems, problems_after, winner_changes
from nixsecrets.plan.removals import Removal, Removals, describe
from nixsecrets.plan.steps import Context
from nixsecrets.repo import deleted
from nixsecrets.world.survey import Survey
from nixsecrets.world.world import World, with_files

if TYPE_CHECKING:  # what writes is loaded where there is something to write
    from nixsecrets.apply.apply import Failure, Outcome
    from nixsecrets.apply.carry_out import Content
    from nixsecrets.keys.identities import Keyring

PARTIAL = 1


def change(
    session: Session,
    begun: Survey,
    options: RoadOptions,
    edit: Callable[[World], str],
    *,
    named: Callable[[World], Collection[KeyId]] = lambda _: (),
    instead: Callable[[World, World, Context], Collection[Step]] = lambda *_: (),
    contents: "Mapping[str, Content] | None" = None,
) -> int:
    """Edit the map and walk the road; arguments and result are `change_map`'s."""
    read = session.mapped(begun)
    ring = keyring(options.identity)
    before = with_files(read, begun)
    after = before.with_map(edit(before))
    removals = recall.recall(before)
    returning = removals.returning(before.map, after.map)
    after = _with_entries(after, removals, returning)
    gone = named(before)
    ctx = context(
        after,
        native=native_keys(ring),
        keep_data_key=options.keep_data_key,
        gone=gone,
    )
    steps = [*instead(before, after, ctx)]
    steps += [
        content_step(after, path, after.secrets.get(path)) for path in contents or ()
    ]
    plan = change_plan(before, after, ctx, instead=steps)
    if options.no_rekey:
        plan = without_secrets(plan)
    _ask_returning(returning, options)
    carried = otherdrift.say_carried(before, plan)
    for name in sorted(after.policy.always_readers - before.policy.always_readers):
        ui.say(f"{name} joins `always`: the readers of every secret")
    unreached.warn(after)
    left = [] if options.dry_run else problems_after(after, plan)
    if not options.dry_run:
        _warn_of_new(before, left)
        if not options.allow_lockout:
            _ask_last_reader(before, after)
    known = approvals.pairs(approval.memory(session.repo).read())
    introduced = approvals.introduced(before.map, after.map, known)
    code = walk(
        session,
        after,
        plan,
        ring,
        options,
        named=gone,
        contents=contents,
        broken=() if options.no_rekey else damaged(after, before),
        missed=() if options.no_rekey else unreached.losses(before, after),
        removals=removals,
        returning=returning,
        introduced=introduced,
    )
    if not options.dry_run:
        recall.remember_removed(after, recall.left(before, after))
        approval.follow(before, after, introduced)
        otherdrift.say_left(after, plan, carried)
        tell_problems(left)
    return code


def without_secrets(plan: Plan) -> Plan:
    """Return the plan with only its generated files."""
    steps = tuple(s for s in plan.steps if not s.touches_secret())
    return Plan(steps, plan.problems)


def native_keys(ring: "Keyring") -> frozenset[KeyId]:
    """Return the operator's keys whose stanzas we unwrap ourselves."""
    owners = [r for i in ring.identities for r in i.recipients]
    owners += [r for locked in ring.locked for r in locked.recipients]
    return frozenset(r.key_id for r in owners if r.ours)


def walk(
    session: Session,
    world: World,
    plan: Plan,
    ring: "Keyring",
    options: RoadOptions,
    *,
    named: Collection[KeyId] = (),
    contents: "Mapping[str, Content] | None" = None,
    agreed: bool = False,
    broken: Collection[Damaged] = (),
    missed: Collection[unreached.Unreached] = (),
    removals: Removals | None = None,
    returning: Sequence[tuple[str, Removal]] = (),
    introduced: Collection[Reader] = (),
) -> int:
    """Show the plan, have it confirmed, apply it, tell what was done.

    `broken` are secrets that the command would change if they were whole, `missed`
    those that it would if it reached them.  `agreed` leaves out the question for what
    the command line itself asked for (a secret that was just edited); taking access is
    asked about all the same, and so are keys that this clone has not approved, but for
    those that the command `introduced`.
    """
    plan = unencrypted.with_opened(plan, world, contents)
    removals = recall.recall(world) if removals is None else removals
    agreed_to = {removal.key.key_id for _, removal in returning}
    asked = [one for one in removals.asked(plan) if one[1].key.key_id not in agreed_to]
    leaving = {r.recipient.key_id for step in plan.steps for r in step.remove}
    for finding in removals.findings(world, leaving=leaving):
        ui.warn(finding.message)
    if options.dry_run:
        _ask_returning(asked, options)
        show_dry(plan, world, introduced, as_json=options.as_json)
        return 0
    if not plan.steps and not broken and not missed:
        ui.say("nothing to do")
        return 0
    _show(plan, world)
    if broken and not options.keep_going:
        raise _damage(world, broken)
    unreached.refuse(() if options.keep_going else missed)
    _ask_returning(asked, options)
    approval.agreed_keys(plan, world, introduced, yes=options.yes)
    agree(plan, world, ring, options, named=named, agreed=agreed)
    recall.consent(world, [removal for _, removal in (*asked, *returning)])
    from nixsecrets.apply.apply import Tools, apply

    with ui.progress("writing", len(plan.secret_steps)) as tick:
        tools = Tools(ring, unlock, tick, options.keep_going)
        outcome = apply(plan, world, tools, contents)
    _remember_removed(world, outcome)
    code = finish(session, world, outcome, options)
    for file in broken:
        ui.report_error(
            SecretFileError(f"left out {printable(file.path)}: {file.reason}")
        )
    unreached.report(missed)
    return PARTIAL if broken or missed else code


def _remember_removed(world: World, outcome: "Outcome") -> None:
    """Remember whose key was taken out of files and is not in the map any more."""
    use = world.map.keys_in_use
    lost = (reader for step in outcome.done for reader in step.remove)
    gone = {r.recipient.key_id: r for r in lost if r.recipient.key_id not in use}
    keys = [(r.name, world.key_in_map(r.recipient)) for r in gone.values()]
    recall.remember_removed(world, keys)


def _damage(world: World, broken: Collection[Damaged]) -> SecretFileError:
    lines = [f"  {show.path_text(file.path)}: {file.reason}" for file in broken]
    what = show.counted(len(lines), "file")
    return SecretFileError(
        "\n".join([f"nothing was changed: {what} cannot be read", *lines]),
        "merge each first (nixsecrets edit FILE); --keep-going does the rest"
        if any(file.path in world.conflicts for file in broken)
        else "nixsecrets check says how to restore each; --keep-going does the rest",
    )


def _show(plan: Plan, world: World) -> None:
    for line in show.plan_lines(plan, limit=show.LINES):
        ui.say(line)
    for line in show.gain_lines(plan, world):
        ui.say(line)


def agree(
    plan: Plan,
    world: World,
    ring: "Keyring",
    options: RoadOptions,
    *,
    named: Collection[KeyId],
    agreed: bool,
) -> None:
    """Have everything confirmed that gives or takes access.

    Raises:
        DeclinedError: a person said no, or nobody is there and no flag says yes.
    """
    operator = operator_keys(ring)
    locked_out = plan.lockouts(operator)
    if (locked_out or _no_reader_left(plan)) and not options.allow_lockout:
        _ask_lockout(plan, [step.path for step in locked_out])
    losses = plan.revocations(named)
    if losses and not options.allow_revoke:
        for line in show.loss_lines(losses):
            ui.say(line)
        both = "" if agreed or options.yes else " --yes"
        ui.confirm("take this access away?", hint=f"agree with --allow-revoke{both}")
    unencrypted.agree(plan, world, options)
    _ask_foreign_files(plan, world, options)
    foreign = winner_changes(world, plan)
    if foreign and not options.yes:
        ui.say("the new configuration decides otherwise for files of foreign rules:")
        for line in foreign:
            ui.say(f"  {line}")
        ui.confirm("write it?", hint="agree beforehand with --yes")
    if plan.secret_steps and not agreed and not options.yes:
        ui.confirm("go on?", hint="agree beforehand with --yes")


def _ask_foreign_files(plan: Plan, world: World, options: RoadOptions) -> None:
    """Ask, by name, about each file that nixsecrets did not write."""
    agreed = {posixpath.normpath(path) for path in options.overwrite}
    for step in plan.steps:
        if not step.foreign or step.path in agreed:
            continue
        repo, name = world.repo, show.path_text(step.path)
        real = repo.shown(repo.relative_to_top(repo.locate(step.path)))
        link = "" if real == step.path else f" (a link to {show.path_text(real)})"
        ui.say(f"{name}{link} is none that nixsecrets wrote")
        ui.confirm(
            f"write over {name}?",
            hint=f"agree with: nixsecrets sync --overwrite {argument(step.path)}\n"
            "or let the map name another file",
        )


def operator_keys(ring: "Keyring") -> frozenset[KeyId]:
    """Return every key this person can open files with."""
    return ring.key_ids | ring.locked_key_ids


def _no_reader_left(plan: Plan) -> bool:
    return any(
        not step.target and step.action is not Action.DELETE
        for step in plan.secret_steps
    )


def _ask_last_reader(before: World, after: World) -> None:
    """Ask where the change takes the last reader of `always`."""
    if before.policy.always_readers and not after.policy.always_readers:
        ui.say("nobody is left in `always`: no key will open every secret")
        ui.confirm("leave it empty?", hint="agree with --allow-lockout")


def _with_entries(
    after: World, removals: Removals, returning: Sequence[tuple[str, Removal]]
) -> World:
    """Return the world whose map says that removed keys are used again on purpose.

    By the `[[retired]]` entries of such a key: those that the map does not have are
    added, or every other clone would take it for one that came back by accident.
    """
    missing = [
        Retired(one.name, one.key, one.date or None, one.reason or None)
        for _, one in returning
        for _ in range(removals.missing_entries(after.map, one.key.key_id))
    ]
    return after.with_map(retire(after.map_text, missing)) if missing else after


def _ask_returning(found: Sequence[tuple[str, Removal]], options: RoadOptions) -> None:
    """Ask where a key would be used, or encrypted to, that was removed once."""
    for name, removal in found:
        ui.warn(describe(name, removal))
    if found and not (options.dry_run or options.allow_retired):
        ui.confirm("use it again?", hint="agree with --allow-retired")


def _ask_lockout(plan: Plan, paths: list[str]) -> None:
    if _no_reader_left(plan):
        raise DeclinedError(
            "nothing was changed: a file would be left without any reader",
            "name somebody in `always` first",
        )
    ui.say(f"you yourself will no longer open {show.counted(len(paths), 'file')}:")
    for path in paths[: show.LINES]:
        ui.say(f"  {show.path_text(path)}")
    ui.confirm("lock yourself out?", hint="agree with --allow-lockout")


def finish(
    session: Session, world: World, outcome: "Outcome", options: RoadOptions
) -> int:
    """Tell what was done, what is exposed, and what to add to git."""
    from nixsecrets.cli import checklist

    exposed = checklist.items(session.repo, outcome.done)
    if options.as_json:
        ui.answer_text(checklist.to_json(exposed))
    elif exposed:
        ui.say("these values are still known to whoever lost access; change them:")
        for line in checklist.lines(exposed):
            ui.say(line)
        ui.say(checklist.last_line(world, outcome.done))
    for note in outcome.notes:
        ui.warn(note)
    for path in outcome.hard_links:
        ui.warn(
            f"{show.path_text(path)} had other names (hard links),"
            " which keep the old content"
        )
    git_add(session, outcome.done, stage=options.git_add)
    for failure in outcome.failed:
        _left_out(failure)
    return PARTIAL if outcome.failed else 0


def _left_out(failure: "Failure") -> None:
    error = failure.error
    path = show.path_text(failure.step.path)
    ui.report_error(NixsecretsError(f"left out {path}: {error.message}", error.hint))


def git_add(
    session: Session, steps: Collection[Step], *, stage: bool, below: str = ""
) -> None:
    """Stage the written files, or print the line that stages those git would leave out.

    Flakes do not see files that git does not track; a change of a tracked file they do.
    `below` is the map's folder as seen from where the person is.
    """
    git = session.repo.git
    if git is None:
        return
    written = [s.path for s in steps if s.action is not Action.DELETE]
    gone = {s.origin or s.path for s in steps} - set(written)
    if stage:
        known = gone & git.tracked(session.repo.root) if gone else set()
        git.add(session.repo.root, [*written, *sorted(known)])
        return
    deleted.note(session.repo, gone)
    # of a merge that git waits for, the lock goes with the file: it records its readers
    merged = any(s.action is Action.CREATE and s.before is not None for s in steps)
    fresh = [s for s in steps if merged or s.before is None or s.origin is not None]
    new = [s.path for s in fresh if s.path in written]
    if new:
        paths = (posixpath.join(below, path) for path in new)
        ui.say("git add -- " + " ".join(map(shell_word, paths)))


def _warn_of_new(before: World, left: Sequence[Finding]) -> None:
    """Say, before anything is agreed to, what the change itself would spoil."""
    known = {(p.path, p.code, p.message) for p in problems(before)}
    for problem in left:
        fresh = (problem.path, problem.code, problem.message) not in known
        if fresh and problem.code.fails_check:
            ui.warn(f"{show.path_text(problem.path)}: {problem.message}")


def tell_problems(left: Sequence[Finding]) -> None:
    """Say what `check` will still fail on: the plan did not repair it."""
    failing = [p for p in left if p.code.fails_check]
    if failing:
        paths = list(dict.fromkeys(show.path_text(p.path) for p in failing))
        rest = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        what = ", ".join(paths[:3]) + rest
        ui.say(f"also needs a look: {what}; nixsecrets status")
