"""Everything that differs from the map: the plan, and the findings it does not resolve.

The content of a secret is examined only if the quick survey of all files could not
establish that it is intact.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from nixsecrets.findings.catalogue import Code, Finding, fix_for, refined
from nixsecrets.plan.diff import converge_plan
from nixsecrets.plan.model import Plan, Reason
from nixsecrets.plan.removals import Removals
from nixsecrets.world.world import World


class Merge(Protocol):
    """What a merge gave back: findings, the files they concern, and the remedy."""

    @property
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def paths(self) -> frozenset[str]: ...
    @property
    def command(self) -> str: ...


def drift(
    world: World,
    removals: Removals,
    others: Iterable[Finding],
    types: Mapping[Finding, Finding],
    merge: Merge | None = None,
) -> Plan:
    """Return the plan of `rekey` with every finding about the repository.

    `others` are findings from earlier versions and MACs; each finding in `types`
    replaces the less specific one that is its key.  `merge` is what a merge gave back.
    """
    plan = with_content(converge_plan(world), world)
    found = (*refined(plan.problems, types), *removals.findings(world), *others)
    if merge is None or not merge.findings:
        return Plan.of(plan.steps, found)
    steps = (step for step in plan.steps if step.path not in merge.paths)
    merged = (_by_merge(one, merge) for one in found)
    return Plan.of(steps, (*merged, *merge.findings))


def _by_merge(found: Finding, merge: Merge) -> Finding:
    """Return a finding whose remedy is no `rekey` to whom the merge gave a file."""
    fix = found.fix or fix_for(found.code, found.path)
    if found.path not in merge.paths or " rekey" not in fix:
        return found
    return found._replace(fix=merge.command)


def with_content(plan: Plan, world: World) -> Plan:
    """Return the plan with the findings on the content of secrets.

    Weak options that the plan changes anyway are not reported twice.
    """
    handled = {s.path for s in plan.steps if s.reason is Reason.OPTIONS_CHANGED}
    found = [
        fault
        for fault in content(world)
        if fault.code is not Code.WEAK_OPTIONS
        or fault.line
        or fault.path not in handled
    ]
    return Plan.of(plan.steps, (*plan.problems, *found)) if found else plan


def content(world: World) -> Iterator[Finding]:
    """Yield findings on the content of secrets that can be made without a key."""
    suspects = [p for p, actual in world.secrets.items() if not actual.surely_complete]
    if not suspects:
        return
    from nixsecrets.files.faults import faults  # 14 ms, for nearly no repository

    for path in suspects:
        won = world.policy.winning(path)
        wanted = won[0].sops if won else None
        yield from faults(path, world.repo.read(path), wanted=wanted)
