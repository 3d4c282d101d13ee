"""Everything that differs from the map: the plan, and what no plan repairs.

The content of a secret is looked at closely only where the quick look at all files did
not find it whole.
"""

from collections.abc import Iterable, Iterator, Mapping

from nixsecrets.findings.catalogue import Code, Finding, told_better
from nixsecrets.plan.diff import converge_plan
from nixsecrets.plan.model import Plan, Reason
from nixsecrets.plan.removals import Removals
from nixsecrets.world.world import World


def drift(
    world: World,
    removals: Removals,
    others: Iterable[Finding],
    types: Mapping[Finding, Finding],
) -> Plan:
    """Return the plan of `rekey` with every finding about the repository.

    `others` are findings of earlier versions and of MACs; `types` what these say more
    exactly than a look at the file alone.
    """
    plan = with_content(converge_plan(world), world)
    found = told_better(plan.problems, types)
    return Plan.of(plan.steps, (*found, *removals.findings(world), *others))


def with_content(plan: Plan, world: World) -> Plan:
    """Return the plan with what a close look at suspicious secrets finds.

    That options differ which the plan changes anyway is not reported twice.
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
    """Yield what is wrong with the content of the secrets, as far as it shows."""
    suspects = [p for p, actual in world.secrets.items() if not actual.plainly_whole]
    if not suspects:
        return
    from nixsecrets.files.faults import faults  # 14 ms, for nearly no repository

    for path in suspects:
        won = world.policy.winning(path)
        wanted = won[0].sops if won else None
        yield from faults(path, world.repo.read(path), wanted=wanted)
