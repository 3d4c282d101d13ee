"""What `rekey` does once the repository is read: make it equal to the map."""

from collections.abc import Sequence
from pathlib import Path

from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.paths import chosen
from nixsecrets.cli.road import native_keys, tell_problems, walk, warn_of_unreached
from nixsecrets.cli.session import Session, keyring
from nixsecrets.errors import UsageError
from nixsecrets.plan import safety
from nixsecrets.plan.diff import context, converge_plan, damaged, desired_for_path
from nixsecrets.plan.model import Plan
from nixsecrets.plan.problems import problems_after
from nixsecrets.world.survey import Survey
from nixsecrets.world.world import LOCK_NAME, World, with_files


def rekey(
    session: Session,
    begun: Survey,
    options: RoadOptions,
    *,
    paths: Sequence[Path],
    host: str | None,
    start: Path,
) -> int:
    """Carry out what differs from the map, of `paths` or of `host` if they are given.

    Returns the exit code.
    """
    world = session.mapped(begun)
    ring = keyring(options.identity)  # which takes a while, too
    world = with_files(world, begun)
    ctx = context(
        world,
        native=native_keys(ring),
        keep_data_key=options.keep_data_key,
        separate=True,
    )
    plan = converge_plan(world, ctx)
    broken = damaged(world) if host is None else []
    absent = [path for path in world.reach.absent if _is_for(host, world, path)]
    if paths:
        there = world.files.keys() | set(absent)
        picked = chosen(session.repo, start, paths, there)
        plan = _only(plan, picked)
        broken = [file for file in broken if file.path in picked]
        absent = [path for path in absent if path in picked]
    if host is not None:
        plan = _only(plan, _files_of(host, world, plan))
    warn_of_unreached(world)
    obstacles = [*safety.damage(broken, world), *safety.absent(absent)]
    code = walk(session, world, plan, ring, options, obstacles=obstacles)
    if not options.dry_run:
        tell_problems(problems_after(world, plan))
    return code


def _is_for(name: str | None, world: World, path: str) -> bool:
    """Tell whether the map lets `name` read a path; None is anybody."""
    want = desired_for_path(world, path)
    readers = want.readers if want else ()
    return name is None or any(reader.name == name for reader in readers)


def _only(plan: Plan, paths: set[str]) -> Plan:
    """Keep the steps on `paths`, and the lock where an age file is among them."""
    kept = plan.restricted(paths)
    return plan.restricted(paths | {LOCK_NAME}) if kept.steps else kept


def _files_of(name: str, world: World, plan: Plan) -> set[str]:
    """Return the planned files that `name` reads, or would no longer read."""
    known = {h.name for h in world.map.hosts} | world.users
    lost = {name for step in plan.steps for name in step.losers}
    if name not in known | lost:
        raise UsageError(f"the map has no host or user {name!r}", "nixsecrets status")
    return {
        step.path
        for step in plan.secret_steps
        if any(reader.name == name for reader in (*step.target, *step.remove))
    }
