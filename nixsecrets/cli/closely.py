"""The close look at secrets that a quick one did not find whole."""

from nixsecrets.findings import Code, Finding
from nixsecrets.plan import Plan, Reason
from nixsecrets.world import World


def with_problems(plan: Plan, world: World) -> Plan:
    """Return the plan with what a close look at suspect secrets finds.

    A file whose options the plan changes anyway is not told twice.
    """
    suspects = [p for p, actual in world.secrets.items() if not actual.plainly_whole]
    if not suspects:  # as nearly always: nothing of this is loaded then
        return plan
    from nixsecrets.secretfiles.whole import faults

    handled = {s.path for s in plan.steps if s.reason is Reason.OPTIONS_CHANGED}
    found: list[Finding] = []
    for path in suspects:
        won = world.policy.winning(path)
        wanted = won[0].sops if won else ()
        data = world.repo.read(path)
        for fault in faults(path, data, wanted=wanted):
            if fault.code is not Code.WEAK_OPTIONS or path not in handled:
                found.append(fault)
    return Plan.of(plan.steps, (*plan.problems, *found))
