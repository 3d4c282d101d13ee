"""What `check` finds in a repository, and how it is told."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets import __version__
from nixsecrets.cli import declared as declarations
from nixsecrets.cli import show, ui
from nixsecrets.cli.closely import with_problems
from nixsecrets.cli.declared import Source
from nixsecrets.cli.macs import Macs
from nixsecrets.findings.catalogue import (
    RESTORED,
    Code,
    Finding,
    argument,
    failing,
    fix_for,
    told_better,
    unmerged_fix,
)
from nixsecrets.findings.reports import gitlab, sarif, text_line
from nixsecrets.plan.diff import converge_plan
from nixsecrets.plan.model import Plan, stale_problems
from nixsecrets.plan.removals import Removals
from nixsecrets.repo.tree import MAP_NAME, Repo
from nixsecrets.repo.unmerged import merging
from nixsecrets.world.world import World

if TYPE_CHECKING:
    from nixsecrets.flake.verdict import Report

FINDINGS = 1
_LARGEST = 64 << 20  # bytes of a file that are looked at
MANY = 3  # stale files, from which on a rekey of all of them is what is meant


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
    """Print what differs from the map, and what configurations declare; exit code."""
    plan = with_problems(converge_plan(world), world)
    more = (*removals.findings(world), *others)
    plan = Plan.of(plan.steps, (*told_better(plan.problems, macs.types), *more))
    declared = declarations.report(world, source, start) if source.asked else None
    findings = [*stale_problems(plan.steps), *plan.problems]
    findings = sorted([*findings, *(declared.findings if declared else ())])
    if form == "json":
        ui.answer_text(_json(plan, declared))
    elif form == "text":
        for line in show.verdict_lines(declared.rows if declared else ()):
            ui.answer(line)
        for line in with_fixes(findings, world):
            ui.answer(line)
    else:
        ui.answer_text(report(form, from_top(world.repo, findings)))
    if form == "text":
        ui.say(removals.looked)
    if macs.looked:
        ui.say(macs.looked)
    bad = failing(findings, strict=strict)
    if bad:
        ui.say(f"{show.counted(len(bad), 'finding')}; nixsecrets status tells more")
    return FINDINGS if bad else 0


def with_fixes(findings: Sequence[Finding], world: World) -> Iterator[str]:
    """Yield the findings as text, below each the one command that mends it.

    One that mends many is told without their names, and once for those in a row.
    """
    here, repo = Path.cwd(), world.repo
    folder = "" if here == repo.root else os.path.relpath(repo.root, here)
    broken = {one.path for one in findings if one.code in RESTORED}
    restorable = repo.git is None or not broken or not merging(repo.git)
    committed = _restorable(repo, sorted(broken)) if broken else {}
    stale = {Code.STALE, Code.UNKNOWN}
    many = sum(one.code in stale for one in findings) > MANY
    last = ""
    for one in findings:
        yield text_line(one)
        there = committed.get(one.path, False)
        fix = one.fix or _fix(world, one, folder, committed=there)
        if one.code in RESTORED and not restorable:
            fix = ""  # a version of git's would throw one side of the merge away
        if many and one.code in stale:
            fix = fix.removesuffix(f" {argument(one.path)}")
        if fix and fix != last:
            yield f"    {fix}"
        last = fix


def _fix(world: World, one: Finding, folder: str, *, committed: bool | None) -> str:
    """Return the command that mends a finding; of a conflict it depends on the file."""
    conflict = world.conflicts.get(one.path)
    if one.code is not Code.UNMERGED or conflict is None:
        fix = fix_for(one.code, one.path, folder, committed=committed)
        # what git is told to forget lies in the work tree as before
        return "" if " rm --cached " in fix else fix
    if one.path == world.map.sops_config and not world.config_readable:
        return ""
    if one.path in world.texts:
        return unmerged_fix(one.path, folder, generated=True)
    if one.path == MAP_NAME or (conflict.stages and not conflict.both):
        return ""
    return unmerged_fix(one.path, folder, added=not conflict.stages)


def _restorable(repo: Repo, paths: Sequence[str]) -> dict[str, bool | None]:
    """Tell of each path whether the last commit has a whole secret there.

    Without an entry it has nothing, None stands for what is broken, too.
    """
    if repo.git is None:
        return {}
    from nixsecrets.files.faults import restores

    below = repo.relative_to_top(f"{repo.root}/")
    entries = repo.git.head_entries([below + path for path in paths])
    with repo.git.reader(limit=_LARGEST) as read:
        found = [(one.path.removeprefix(below), read(one.oid)) for one in entries]
    return {path: restores(path, last) for path, last in found}


def from_top(repo: Repo, findings: Iterable[Finding]) -> list[Finding]:
    """Return findings whose paths are relative to the top of the work tree."""
    below = repo.relative_to_top(f"{repo.root}/")
    return [one._replace(path=below + one.path) for one in findings]


def report(form: str, findings: Iterable[Finding]) -> str:
    """Return findings as `sarif` or `gitlab`."""
    return gitlab(findings) if form == "gitlab" else sarif(findings, __version__)


def _json(plan: Plan, declared: "Report | None") -> str:
    """Return the JSON of `status`; with declarations, their verdicts in it."""
    if declared is None:
        return plan.to_json()
    value = Plan(plan.steps, (*plan.problems, *declared.findings)).as_json()
    value["declared"] = [asdict(row) for row in declared.rows]
    return json.dumps(value, indent=2)
