"""`nixsecrets check`: exit 1 on any drift, without any private key."""

from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.options import json_option
from nixsecrets.cli.session import Session
from nixsecrets.diff import converge_plan
from nixsecrets.plan import stale_problems

FINDINGS = 1


@click.command("check")
@json_option
@click.pass_obj
def command(start: Path, *, as_json: bool) -> int:
    """Exit 1 if anything differs from the map; for CI and for hooks.

    Needs git and nothing else: no private key, no sops, no nix, no network.

    \b
    Examples:
      nixsecrets check
      nixsecrets check --json | jq .problems
    """
    plan = converge_plan(Session.open(start).world())
    findings = [*stale_problems(plan.steps), *plan.problems]
    if as_json:
        ui.answer(plan.to_json())
    else:
        for line in show.problem_lines(sorted(findings)):
            ui.answer(line.strip())
    failing = [finding for finding in findings if finding.code.fails_check]
    if failing:
        ui.say(f"{show.counted(len(failing), 'finding')}; nixsecrets status tells more")
    return FINDINGS if failing else 0
