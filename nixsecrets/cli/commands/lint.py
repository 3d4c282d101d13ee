"""`nixsecrets lint`: find likely mistakes in the map and generated files."""

import json
import posixpath
from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.options import format_option
from nixsecrets.cli.report import FINDINGS, as_report
from nixsecrets.cli.session import Session
from nixsecrets.errors import MapError
from nixsecrets.findings.catalogue import Code, Finding, failing
from nixsecrets.findings.lint.agenixrules import agenix_findings
from nixsecrets.findings.lint.drift import content
from nixsecrets.findings.lint.maprules import map_findings
from nixsecrets.findings.lint.sopsfiles import (
    config_findings,
    names_findings,
    unreadable,
)
from nixsecrets.world.world import World, text_if_there

_OF_OPTIONS = (Code.WEAK_OPTIONS, Code.DEFAULT_SUFFIX)


@click.command("lint")
@click.option("--strict", is_flag=True, help="Also fail on warnings and notes.")
@format_option
@click.pass_obj
def command(start: Path, *, strict: bool, form: str) -> int:
    """Find likely mistakes in the map, .sops.yaml and secrets.nix.

    Reports rules that never apply, unused names, expressions that match more than
    intended, fields that sops ignores, and options that leave secrets in plaintext.
    Exits with 1 on errors.

    \b
    Examples:
      nixsecrets lint
      nixsecrets lint --strict --format sarif > lint.sarif
    """
    session = Session.open(start)
    found = sorted(set(lint(session.world())))
    if form == "json":
        problems = [
            {"path": f.path, "code": f.code.value, "message": f.message, "line": f.line}
            for f in found
        ]
        ui.answer_text(json.dumps({"version": 1, "problems": problems}, indent=2))
    elif form == "text":
        for line in show.problem_lines(found):
            ui.answer(line.strip())
    else:
        ui.answer_text(as_report(form, session.repo, found))
    bad = failing(found, strict=strict)
    if bad:
        ui.say(f"{show.counted(len(bad), 'finding')}; nixsecrets explain CODE")
    return FINDINGS if bad else 0


def lint(world: World) -> list[Finding]:
    """Return the findings on likely mistakes in map and configurations."""
    names = world.repo.list_files()
    found = [*map_findings(world), *agenix_findings(world)]
    found += (one for one in content(world) if one.code in _OF_OPTIONS)
    found += names_findings(world.map.sops_config, names)
    for name in names:
        if posixpath.basename(name) == ".sops.yaml" or name == world.map.sops_config:
            try:
                text = text_if_there(world.repo, name) or ""
            except MapError as error:
                found.append(unreadable(name, error))
            else:
                found += config_findings(name, text)
    return found
