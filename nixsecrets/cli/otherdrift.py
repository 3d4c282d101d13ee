"""What differs from the map besides what a command was asked for."""

from collections.abc import Collection

from nixsecrets.cli import approval, show, ui
from nixsecrets.diff import differing
from nixsecrets.generated import drifted
from nixsecrets.plan import Plan
from nixsecrets.world import World


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
    """Count all that differed besides: secrets left alone, configurations written."""
    planned = {s.path for s in plan.steps} | {s.origin for s in plan.steps}
    others = differing(world, besides=planned)
    if others or carried:
        files = show.counted(len(others) + len(carried), "file")
        written = f", {len(carried)} of them written with this" if carried else ""
        then = "; nixsecrets rekey" if others else ""
        ui.say(f"also differs from the map: {files}{written}{then}")
    unapproved = approval.line_on_others(world, approval.memory(world.repo).read())
    if unapproved is not None:
        ui.say(unapproved)
