"""`nixsecrets status`: show the plan, and findings that no plan resolves."""

from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import json_option
from nixsecrets.cli.session import Session
from nixsecrets.errors import MapError


@click.command("status")
@json_option
@click.pass_obj
def command(start: Path, *, as_json: bool) -> None:
    """Show what differs from the map, and why.

    Needs no private key.  Always exits with 0 (`check` exits with 1 on drift).

    \b
    Examples:
      nixsecrets status
      nixsecrets status --json | jq .steps
    """
    session = Session.open(start)
    with session.surveying() as begun:
        from nixsecrets.cli import (  # during the survey, as all below
            consent,
            mergestate,
            show,
        )
        from nixsecrets.findings.lint.drift import drift
        from nixsecrets.plan import approvals, mergesetup
        from nixsecrets.plan.recall import comparing, recalling

        with recalling(session.repo) as recall, comparing(session.repo) as compare:
            git = session.repo.git
            try:
                world = session.world_of(begun)
            except MapError:
                state = mergestate.stopped(git, begun.unmerged)
                if state is not None and not as_json:
                    ui.answer(state.line)
                raise
            with ui.waiting("searching the git history"):
                removals, (older, types) = recall(world), compare(world)
    back = mergestate.regained(world)
    with ui.waiting("comparing files and map"):
        plan = drift(world, removals, older, types, back)
    waiting = [path for path, one in world.conflicts.items() if one.stages]
    gives_back = back is not None and bool(back.findings)
    state = mergestate.stopped(git, waiting, gives_back=gives_back)
    if as_json:
        standing = approvals.map_standings(world.map, consent.recalled(world.repo))
        unseen = [one.as_json() for one in standing if not one.approved]
        merge = None if state is None else state.as_json()
        ui.answer_text(plan.to_json(unapproved=unseen, merge=merge))
        return
    if state is not None:
        ui.answer(state.line)
    for line in show.drift_lines(plan):
        ui.answer(line)
    if plan.problems:
        ui.answer("problems:")
    for line in show.problem_lines(plan.problems):
        ui.answer(line)
    if state is not None:
        ui.say(f"run {state.command} to go on")
    elif back is not None and back.findings:
        ui.say(f"run {back.command} to resolve this")
    elif plan.secret_steps:
        ui.say("run nixsecrets rekey to resolve this")
    elif plan.steps:
        ui.say("run nixsecrets sync to write the generated files")
    elif not plan.problems:
        ui.answer("the repository matches the map")
    unapproved = approvals.line_on_others(world.map, consent.recalled(world.repo))
    if unapproved is not None:
        ui.answer(unapproved)
    setup = mergesetup.reminder(world)
    if setup is not None:
        ui.answer(setup)
