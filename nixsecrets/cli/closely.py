"""The close look at secrets that a quick one did not find whole."""

from collections.abc import Iterator

from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.plan.model import Plan, Reason
from nixsecrets.world.world import World


def with_problems(plan: Plan, world: World) -> Plan:
    """Return the plan with what a close look at suspect secrets finds.

    That options differ which the plan changes anyway is not reported twice.
    """
    handled = {s.path for s in plan.steps if s.reason is Reason.OPTIONS_CHANGED}
    found = [
        fault
        for fault in close_look(world)
        if fault.code is not Code.WEAK_OPTIONS
        or fault.line
        or fault.path not in handled
    ]
    return Plan.of(plan.steps, (*plan.problems, *found)) if found else plan


def close_look(world: World) -> Iterator[Finding]:
    """Yield what is wrong with the content of the secrets, as far as it shows."""
    suspects = [p for p, actual in world.secrets.items() if not actual.plainly_whole]
    if not suspects:  # as nearly always: nothing of this is loaded then
        return
    from nixsecrets.files.faults import faults

    for path in suspects:
        won = world.policy.winning(path)
        wanted = won[0].sops if won else None
        yield from faults(path, world.repo.read(path), wanted=wanted)
