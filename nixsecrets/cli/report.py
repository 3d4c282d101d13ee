"""Prints findings: what `check` reports, as text, JSON or a report for CI."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets import __version__
from nixsecrets.cli import mergestate, show, ui
from nixsecrets.findings.catalogue import Finding, failing
from nixsecrets.findings.lint.drift import drift
from nixsecrets.findings.lint.remedies import from_top, with_fixes
from nixsecrets.findings.reports import gitlab, sarif
from nixsecrets.flake.declarations import Source
from nixsecrets.plan.model import Plan, stale_problems
from nixsecrets.plan.removals import Removals
from nixsecrets.repo.worktree import Repo
from nixsecrets.values.macs import Macs
from nixsecrets.world.world import World

if TYPE_CHECKING:
    from nixsecrets.flake.verdict import Report

FINDINGS = 1


def check(
    world: World,
    removals: Removals,
    others: Sequence[Finding],
    macs: Macs,
    source: Source,
    start: Path,
    *,
    form: str,
    strict: bool,
) -> int:
    """Print what differs from the map and from declarations; return the exit code.

    `removals`, `others` and `macs` are findings that were made while the files were
    read; `form` is text, json, sarif or gitlab; `strict` also fails on warnings.
    """
    with ui.waiting("comparing files and map"):
        plan = drift(world, removals, others, macs.types, mergestate.regained(world))
    declared = _declared(world, source, start) if source.asked else None
    findings = [*stale_problems(plan.steps), *plan.problems]
    findings = sorted([*findings, *(declared.findings if declared else ())])
    if form == "json":
        ui.answer_text(_json(plan, declared))
    elif form == "text":
        for line in show.verdict_lines(declared.rows if declared else ()):
            ui.answer(line)
        for line in with_fixes(findings, world, _folder(world.repo)):
            ui.answer(line)
    else:
        ui.answer_text(as_report(form, world.repo, findings))
    if form == "text":
        ui.say(removals.looked)
    if macs.looked:
        ui.say(macs.looked)
    bad = failing(findings, strict=strict)
    if bad:
        ui.say(f"{show.counted(len(bad), 'finding')}; for details: nixsecrets status")
    return FINDINGS if bad else 0


def _declared(world: World, source: Source, start: Path) -> "Report":
    from nixsecrets.flake import reading  # 20 ms, for --flake and --declared alone

    return reading.report(world, source, start, progress=ui.progress)


def _folder(repo: Repo) -> str:
    """Return the map's folder relative to the working directory, empty if equal."""
    here = Path.cwd()
    return "" if here == repo.root else os.path.relpath(repo.root, here)


def as_report(form: str, repo: Repo, findings: Iterable[Finding]) -> str:
    """Return findings as `sarif` or `gitlab`, with paths from the top of git."""
    found = from_top(repo, findings)
    return gitlab(found) if form == "gitlab" else sarif(found, __version__)


def _json(plan: Plan, declared: "Report | None") -> str:
    """Return the plan as JSON text, with the verdicts on declarations if there are."""
    if declared is None:
        return plan.to_json()
    value = Plan(plan.steps, (*plan.problems, *declared.findings)).as_json()
    from dataclasses import asdict  # for these rows alone

    value["declared"] = [asdict(row) for row in declared.rows]
    return json.dumps(value, indent=2)
