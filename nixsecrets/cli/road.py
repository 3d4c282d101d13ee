"""The one road of every command that changes access: load, diff, show, apply.

`change_map` and `rekey` make a plan and walk the road with it; commands that plan a
step themselves (`edit`, `mv`, `rm`) call `walk`.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.cli import arguments, consent, outcome, show, ui
from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.findings.catalogue import Finding
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.edit import retire
from nixsecrets.map.model import Reader, Retired
from nixsecrets.plan import approvals, disclosure, removals, safety
from nixsecrets.plan.approvals import Standing
from nixsecrets.plan.diff import (
    change_plan,
    content_step,
    converge_plan,
    damaged,
    files_of,
    may_read,
    only,
)
from nixsecrets.plan.model import Plan
from nixsecrets.plan.outputs import drifted
from nixsecrets.plan.problems import problems, problems_after, unreached_problems
from nixsecrets.plan.recall import recall
from nixsecrets.plan.removals import Removals
from nixsecrets.plan.safety import Change, Obstacle
from nixsecrets.plan.steps import context_of
from nixsecrets.world.survey import Survey
from nixsecrets.world.world import World

if TYPE_CHECKING:  # `apply` is loaded only if there is something to write
    from nixsecrets.apply.apply import Outcome
    from nixsecrets.apply.carry_out import Content
    from nixsecrets.cli.mapchange import MapChange
    from nixsecrets.keys.identities import Keyring


def change_map(
    session: Session, begun: Survey, options: RoadOptions, change: "MapChange"
) -> int:
    """Edit the map, and plan and apply what the change asks for and nothing else.

    Returns the exit code.
    """
    read = session.mapped(begun)
    ring = keyring(options.identity)  # before `with_files` waits for the survey
    before = session.with_files(read, begun)
    text = change.edit(before)
    with ui.waiting("reading the secrets"):
        after = before.with_map(text)
    with ui.waiting("searching the git history"):
        known = recall(before)
    after = _with_entries(before, after, known)
    revoked = change.revoked(before)
    ctx = context_of(
        after,
        native=native_keys(ring),
        keep_data_key=options.keep_data_key,
        gone=revoked,
    )
    steps = [*change.instead(before, after, ctx)]
    steps += [
        content_step(after, path, after.secrets.get(path)) for path in change.contents
    ]
    plan = change_plan(before, after, ctx, instead=steps)
    obstacles = [
        *safety.damage(damaged(after, before), after),
        *safety.unreached(before, after),
    ]
    if options.no_rekey:
        plan, obstacles = without_secrets(plan), []
    carried = _say_carried(before, plan)
    for name in sorted(after.policy.always_readers - before.policy.always_readers):
        ui.say(f"{name} joins `always`: the readers of every secret")
    warn_of_unreached(after)
    left = [] if options.dry_run else problems_after(after, plan)
    _warn_of_new(before, left)
    code = walk(
        session,
        after,
        plan,
        ring,
        options,
        before=before,
        named=revoked,
        contents=change.contents,
        obstacles=obstacles,
        known=known,
    )
    if not options.dry_run:
        outcome.report_remaining(after, plan, carried)
        outcome.report_problems(left)
    return code


def without_secrets(plan: Plan) -> Plan:
    """Return the plan with only its generated files."""
    steps = tuple(s for s in plan.steps if not s.touches_secret())
    return Plan(steps, plan.problems)


def native_keys(ring: "Keyring") -> frozenset[KeyId]:
    """Return the operator's keys whose stanzas nixsecrets unwraps itself."""
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
    before: World | None = None,
    named: Collection[KeyId] = (),
    contents: "Mapping[str, Content] | None" = None,
    agreed: bool = False,
    obstacles: Sequence[Obstacle] = (),
    known: Removals | None = None,
    unstaged: Collection[str] = (),
) -> int:
    """Show the plan, ask what must be agreed to, apply it, and report the outcome.

    - `before`: the world before the command changed the map, None if it did not.
    - `named`: the keys whose loss of access the arguments ask for.
    - `contents`: the plaintexts to write, by path.
    - `agreed`: skip "go on?", because the command line names the files (`edit FILE`);
      revoked access and unapproved keys are asked about nevertheless.
    - `obstacles`: files that the plan should change and cannot.
    - `known`: the removed keys, if the caller has recalled them already.
    - `unstaged`: paths that `--git-add` leaves as they are in the index.

    Returns the exit code.
    """
    plan = disclosure.with_opened(plan, world, contents or {})
    if known is None:
        with ui.waiting("searching the git history"):
            known = recall(world)
    for finding in known.findings(world, leaving=removals.revoked_keys(plan)):
        ui.warn(finding.message)
    memory = consent.memory(session.repo).read()
    returning = known.granted_by(plan)
    introduced: Sequence[Reader] = ()  # the keys that the command adds to the map
    if before is not None:
        returning = known.reused(before.map, world.map, returning)
        approved = approvals.pairs(memory)
        introduced = approvals.introduced_keys(before.map, world.map, approved)
    unseen = approvals.unapproved_keys(plan, world, memory, introduced)
    if options.dry_run:
        dry = frozenset({*options.given, safety.ALLOW_RETIRED})
        consent.ask(safety.return_question(returning), dry)
        consent.warn_of_damage(session.repo, memory)
        _show_dry(plan, unseen, as_json=options.as_json)
        return 0
    if not plan.steps and not obstacles:
        ui.say("nothing to do")
        return 0
    _show(plan, world)
    if obstacles and not options.keep_going:
        raise obstacles[0].refusal
    consent.warn_of_damage(session.repo, memory)
    first = not memory.approved
    asked = Change(
        plan,
        world,
        before,
        operator=ring.key_ids | ring.locked_key_ids,
        named=named,
        agreed=agreed,
        returning=returning,
        unapproved=consent.about_keys(world, unseen, options.given, first=first),
    )
    consent.ask(safety.questions(asked, options.given), options.given)
    edits = consent.approval(unseen, world.map)
    if returning:
        edits.append(removals.return_edit((o for _, o in returning), consent.today()))
    consent.remember(session.repo, *edits)
    # 30 ms, which a dry run and an empty plan save
    from nixsecrets.apply.apply import Tools, apply

    with ui.progress("writing", len(plan.secret_steps)) as tick:
        tools = Tools(ring, unlock, tick, options.keep_going)
        done = apply(plan, world, tools, contents)
    _remember_done(before, world, done, introduced)
    code = outcome.report(session, world, done, options, unstaged)
    for obstacle in obstacles:
        for error in obstacle.skipped:
            ui.report_error(error)
    return outcome.PARTIAL if obstacles else code


def _remember_done(
    before: World | None,
    world: World,
    done: "Outcome",
    introduced: Sequence[Reader],
) -> None:
    """Record in this clone which keys lost access and which the command added."""
    use = world.map.keys_in_use
    lost = (reader for step in done.done for reader in step.remove)
    gone = {r.recipient.key_id: r for r in lost if r.recipient.key_id not in use}
    keys = [(r.name, world.key_in_map(r.recipient)) for r in gone.values()]
    edits = []
    if before is not None:
        keys += removals.removed_keys(before.map, world.map)
        if names := approvals.names_with_lost_keys(before.map, world.map):
            edits.append(approvals.withdrawal_edit(names, world.map))
    if keys:
        edits.append(removals.removal_edit(keys, consent.today()))
    if introduced:
        edits.append(approvals.approval_edit(introduced, world.map, consent.today()))
    consent.remember(world.repo, *edits)


def _show(plan: Plan, world: World) -> None:
    for line in show.plan_lines(plan, limit=show.LINES):
        ui.say(line)
    for line in show.gain_lines(plan, world):
        ui.say(line)


def _show_dry(plan: Plan, unseen: Sequence[Standing], *, as_json: bool) -> None:
    """Print a plan, and the keys to approve before it is applied."""
    if as_json:
        ui.answer_text(plan.to_json(unapproved=[one.as_json() for one in unseen]))
        return
    for line in show.plan_lines(plan):
        ui.answer(line)
    if not plan.steps:
        ui.answer("nothing to do")
    if unseen:
        ui.answer("keys to approve in this clone first:")
    for line in approvals.table(unseen):
        ui.answer(f"  {line}")
    for one in unseen:
        for alarm in approvals.alarms(one):
            ui.warn(alarm)


def _with_entries(before: World, after: World, known: Removals) -> World:
    """Return `after` with `[[retired]]` entries for the removed keys it reuses.

    The entries record that the return is intended; without them, every other clone
    would report the key as one that came back by accident.
    """
    missing = [
        Retired(one.name, one.key, one.date or None, one.reason or None)
        for _, one in known.reused(before.map, after.map)
        for _ in range(known.missing_entries(after.map, one.key.key_id))
    ]
    return after.with_map(retire(after.map_text, missing)) if missing else after


def warn_of_unreached(world: World) -> None:
    """Warn of inner maps and missing files that keep commands from a secret."""
    for finding in unreached_problems(world):
        ui.warn(f"{show.path_text(finding.path)}: {finding.message}")


def _say_carried(before: World, plan: Plan) -> list[str]:
    """Report the planned configurations that differed from the map before; return them.

    They are written as a whole, so the change also resolves their earlier drift.
    """
    carried = drifted(before, plan)
    if carried:
        names = ", ".join(show.path_text(path) for path in carried)
        ui.say(f"also written, because it already differed from the map: {names}")
    return carried


def rekey(
    session: Session,
    begun: Survey,
    options: RoadOptions,
    *,
    paths: Sequence[Path],
    host: str | None,
    start: Path,
) -> int:
    """Bring secrets and generated files in line with the map; return the exit code.

    `paths`, relative to `start`, restrict this to some files and folders, `host` to
    the files that a host or user reads or should no longer read.
    """
    world = session.mapped(begun)
    ring = keyring(options.identity)  # before `with_files` waits for the survey
    world = session.with_files(world, begun)
    ctx = context_of(
        world,
        native=native_keys(ring),
        keep_data_key=options.keep_data_key,
        separate=True,
    )
    plan = converge_plan(world, ctx)
    broken, absent = damaged(world), list(world.reach.absent)
    if paths:
        there = world.files.keys() | set(absent)
        picked = arguments.chosen(session.repo, start, paths, there)
        plan = only(plan, picked)
        broken = [file for file in broken if file.path in picked]
        absent = [path for path in absent if path in picked]
    if host is not None:
        plan = only(plan, files_of(host, world, plan))
        broken = []
        absent = [path for path in absent if may_read(host, world, path)]
    warn_of_unreached(world)
    obstacles = [*safety.damage(broken, world), *safety.absent(absent)]
    code = walk(session, world, plan, ring, options, obstacles=obstacles)
    if not options.dry_run:
        outcome.report_problems(problems_after(world, plan))
    return code


def _warn_of_new(before: World, left: Sequence[Finding]) -> None:
    """Warn of problems that the change itself would cause; `left` remain after it."""
    known = {(p.path, p.code, p.message) for p in problems(before)}
    for problem in left:
        fresh = (problem.path, problem.code, problem.message) not in known
        if fresh and problem.code.fails_check:
            ui.warn(f"{show.path_text(problem.path)}: {problem.message}")


def say_rule_left(world: World, path: str) -> None:
    """Report the rule and the public key that stay behind when `path` goes away."""
    winning = world.policy.winning(path)
    if winning is not None and winning[0].path == path:
        ui.say(f"the rule at line {winning[0].line} of the map names {path}, and stays")
    if world.repo.read_if_there(path + ".pub") is not None:
        ui.say(f"{show.path_text(path)}.pub stays where it is")
