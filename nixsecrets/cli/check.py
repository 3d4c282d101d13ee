"""`nixsecrets check`: exit 1 on any drift, without any private key."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.declared import Source, declared_options, report
from nixsecrets.cli.options import json_option
from nixsecrets.cli.session import Session
from nixsecrets.diff import converge_plan
from nixsecrets.findings import failing
from nixsecrets.flake.verdict import Report
from nixsecrets.plan import Plan, stale_problems

FINDINGS = 1


@click.command("check")
@declared_options
@click.option("--strict", is_flag=True, help="Fail on warnings and notes, too.")
@json_option
@click.pass_obj
def command(start: Path, *, source: Source, strict: bool, as_json: bool) -> int:
    """Exit 1 if anything differs from the map; for CI and for hooks.

    Needs git and nothing else: no private key, no sops, no nix, no network.  With
    --flake, nix evaluates what each configuration declares, and whether it could
    decrypt that is told before anybody deploys.

    \b
    Examples:
      nixsecrets check
      nixsecrets check --flake                      # every host of the flake here
      nixsecrets check --flake --host brunnen
      nixsecrets check --flake . --save declared.json
      nixsecrets check --declared declared.json     # elsewhere, without nix
      nixsecrets check --json | jq .problems
    """
    world = Session.open(start).world()
    plan = converge_plan(world)
    declared = report(world, source, start) if source.asked else Report((), ())
    findings = [*stale_problems(plan.steps), *plan.problems, *declared.findings]
    if as_json:
        ui.answer(_json(plan, declared, asked=source.asked))
    else:
        for line in show.verdict_lines(declared.rows):
            ui.answer(line)
        for line in show.problem_lines(sorted(findings)):
            ui.answer(line.strip())
    bad = failing(findings, strict=strict)
    if bad:
        ui.say(f"{show.counted(len(bad), 'finding')}; nixsecrets status tells more")
    return FINDINGS if bad else 0


def _json(plan: Plan, declared: Report, *, asked: bool) -> str:
    """Return the JSON of `status`; with declarations, their verdicts in it."""
    if not asked:
        return plan.to_json()
    value = Plan(plan.steps, (*plan.problems, *declared.findings)).as_json()
    value["declared"] = [asdict(row) for row in declared.rows]
    return json.dumps(value, indent=2)
