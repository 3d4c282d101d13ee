"""What differs from the map besides what a command was asked for."""

from collections.abc import Collection

from nixsecrets.cli import approval, show, ui
from nixsecrets.plan.diff import differing
from nixsecrets.plan.files import drifted
from nixsecrets.plan.model import Plan, Step
from nixsecrets.world.world import World


def say_carried(before: World, plan: Plan) -> list[str]:
    """Say which configurations a change brings in line with the map as a whole.

    Returns those that differed from the map before it.
    """
    carried = drifted(before, plan)
    if carried:
        names = ", ".join(show.path_text(path) for path in carried)
        ui.say(f"also written, as it differs from the map already: {names}")
    return carried


def say_left(world: World, plan: Plan, carried: Collection[str]) -> None:
    """Count all that differs besides, in planned files too; configurations written."""
    planned = {s.path for s in plan.steps} | {s.origin for s in plan.steps}
    count = len(differing(world, besides=planned)) + sum(
        _differs_all_the_same(world, step) for step in plan.steps
    )
    if count or carried:
        files = show.counted(count + len(carried), "file")
        written = f", {len(carried)} of them written with this" if carried else ""
        then = "; nixsecrets rekey" if count else ""
        ui.say(f"also differs from the map: {files}{written}{then}")
    unapproved = approval.line_on_others(world, approval.memory(world.repo).read())
    if unapproved is not None:
        ui.say(unapproved)


def _differs_all_the_same(world: World, step: Step) -> bool:
    """Tell whether a file has, after its step, other readers than the map gives it."""
    if step.backend is None or not step.target:
        return False
    want = world.policy.desired(step.path, step.backend)
    return want is not None and {r.recipient for r in step.target} != {
        r.recipient for r in want.readers
    }
