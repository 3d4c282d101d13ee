"""`nixsecrets git-setup`: show changes inside secrets in git."""

import shlex
import shutil
import sys
from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.road import walk
from nixsecrets.cli.session import Session
from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.identities import Keyring
from nixsecrets.plan.model import Plan
from nixsecrets.plan.outputs import diff_attributes, with_texts
from nixsecrets.world.world import ATTRIBUTES, text_if_there

DRIVER = "nixsecrets"


@click.command("git-setup")
@click.option("--undo", is_flag=True, help="Remove the settings from this clone.")
@road_options(Reach.GENERATED)
@click.pass_obj
def command(start: Path, options: RoadOptions, *, undo: bool) -> int:
    """Show secrets decrypted in `git diff`, `git log -p` and `git show`.

    Lines in .gitattributes, shared with everyone, mark the secrets; a setting in this
    clone only decrypts them for display.  git caches nothing.

    \b
    Examples:
      nixsecrets git-setup
      git diff; git log -p secrets/wifi.age
      git diff --no-textconv          # the encrypted files
    """
    session = Session.open(start)
    git = session.repo.git
    if git is None:
        raise NixsecretsError("this folder is not a git repository", "git init")
    if undo:
        git.unset_section(f"diff.{DRIVER}")
        ui.say("git shows secrets encrypted again; .gitattributes is unchanged")
        return 0
    with session.writing(dry_run=options.dry_run):
        world = session.world()
        present = text_if_there(session.repo, ATTRIBUTES)
        text = diff_attributes(world, present or "", DRIVER)
        plan = with_texts(Plan(), {ATTRIBUTES: (present, text)})
        plan = Plan(tuple(s for s in plan.steps if s.text != present))
        code = walk(session, world, plan, Keyring(), options)
    if not options.dry_run:
        git.configure(f"diff.{DRIVER}.textconv", f"{_program()} textconv")
        git.configure(f"diff.{DRIVER}.cachetextconv", "false")
        ui.say(
            "git diff, git log -p and git show print secrets decrypted in this clone"
        )
    return code


def _program() -> str:
    """Return how git starts us: by name where that works, it outlives an upgrade."""
    if shutil.which("nixsecrets"):
        return "nixsecrets"
    return f"{shlex.quote(sys.executable)} -m nixsecrets"
