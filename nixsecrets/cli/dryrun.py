"""What `--dry-run` prints: the plan, and the keys to approve before it."""

from collections.abc import Iterable

from nixsecrets.cli import approval, show, ui
from nixsecrets.map.model import Reader
from nixsecrets.plan.model import Plan
from nixsecrets.world.world import World


def show_dry(
    plan: Plan, world: World, introduced: Iterable[Reader], *, as_json: bool
) -> None:
    """Print a plan; `introduced` are the keys that its command itself brings."""
    found = approval.recalled(world.repo)
    standing = approval.missing(plan, world, found, introduced)
    if as_json:
        ui.answer_text(plan.to_json(unapproved=[one.as_json() for one in standing]))
        return
    for line in show.plan_lines(plan):
        ui.answer(line)
    if not plan.steps:
        ui.answer("nothing to do")
    if standing:
        ui.answer("keys to approve in this clone first:")
    for line in approval.table(standing):
        ui.answer(f"  {line}")
    for one in standing:
        for alarm in approval.alarms(one):
            ui.warn(alarm)
