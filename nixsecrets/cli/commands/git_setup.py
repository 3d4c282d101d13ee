"""`nixsecrets git-setup`: show changes inside secrets in git."""

import os
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
_TEXTCONV = f"diff.{DRIVER}.textconv"
_PROGRAM = "nixsecrets-textconv"


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
    before, now = git.option(_TEXTCONV), _command()
    if options.dry_run:
        if before not in (None, now):
            ui.say(f"git would run `{now}` instead of `{before}`")
        return code
    git.configure(_TEXTCONV, now)
    git.configure(f"diff.{DRIVER}.cachetextconv", "false")
    if before not in (None, now):
        ui.say(f"git now runs `{now}` instead of `{before}`")
    ui.say("git diff, git log -p and git show print secrets decrypted in this clone")
    return code


def _command() -> str:
    """Return what git starts: by name where that works, since it outlives an upgrade.

    Else the script where this program was installed; where there is none, the module.
    """
    if shutil.which(_PROGRAM):
        return _PROGRAM
    for started in (sys.argv[0], sys.executable):
        script = Path(started).absolute().with_name(_PROGRAM)
        if os.access(script, os.X_OK):
            return shlex.quote(str(script))
    return f"{shlex.quote(sys.executable)} -m nixsecrets textconv"
