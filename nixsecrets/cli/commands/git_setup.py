"""`nixsecrets git-setup`: show changes inside secrets in git, and merge them."""

import os
import shlex
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.road import walk
from nixsecrets.cli.session import Session
from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.identities import Keyring
from nixsecrets.plan import mergesetup
from nixsecrets.plan.model import Plan
from nixsecrets.plan.outputs import diff_attributes, with_texts
from nixsecrets.repo import files
from nixsecrets.repo.git import Git
from nixsecrets.untrusted import inputs
from nixsecrets.world.world import ATTRIBUTES, World, text_if_there

_DIFF = "diff.nixsecrets"
_TEXTCONV = f"{_DIFF}.textconv"
_DRIVER = f"{mergesetup.SECTION}.driver"
_NAME = "values and readers of both sides, by nixsecrets"
_PROGRAM = "nixsecrets-merge-driver"
_ARGUMENTS = "-- %O %A %B %P"


@click.command("git-setup")
@click.option("--undo", is_flag=True, help="Remove the settings from this clone.")
@road_options(Reach.GENERATED)
@click.pass_obj
def command(start: Path, options: RoadOptions, *, undo: bool) -> int:
    """Let git show secrets decrypted and merge them, in this clone.

    `git diff`, `git log -p` and `git show` print secrets decrypted.  Lines in
    .gitattributes, shared with everyone, mark the secrets; a setting in this clone only
    decrypts them for display.  git caches nothing.

    `git merge`, `rebase` and the like merge values and readers of secrets, the map, the
    generated files and the lock; `nixsecrets resolve` finishes what needs a person.
    The merge driver is named in this clone only: without it, git leaves a secret that
    both sides changed as it is in ours.

    \b
    Examples:
      nixsecrets git-setup
      git diff; git log -p secrets/wifi.age
      git diff --no-textconv          # the encrypted files
      nixsecrets git-setup --undo
    """
    session = Session.open(start)
    git = session.repo.git
    if git is None:
        raise NixsecretsError("this folder is not a git repository", "git init")
    if undo:
        return _undo(git)
    with session.writing(dry_run=options.dry_run):
        world = session.world()
        present = text_if_there(session.repo, ATTRIBUTES)
        text = diff_attributes(world, present or "")
        plan = with_texts(Plan(), {ATTRIBUTES: (present, text)})
        plan = Plan(tuple(s for s in plan.steps if s.text != present))
        code = walk(session, world, plan, Keyring(), options)
        if not options.dry_run:
            _write_attributes(git, lambda t: _with_lines(t, world))
    settings = {
        _TEXTCONV: _command("nixsecrets-textconv", "textconv"),
        f"{_DIFF}.cachetextconv": "false",
        _DRIVER: f"{_command(_PROGRAM, 'merge-driver')} {_ARGUMENTS}",
        f"{mergesetup.SECTION}.name": _NAME,
        # what both sides of a virtual merge base changed stays as it was before
        f"{mergesetup.SECTION}.recursive": "binary",
    }
    would = "git would run" if options.dry_run else "git now runs"
    for name in (_TEXTCONV, _DRIVER):
        before, now = git.option(name), settings[name]
        if before not in (None, now):
            ui.say(f"{would} `{now}` instead of `{before}`")
    if options.dry_run:
        return code
    for name, value in settings.items():
        git.configure(name, value)
    ui.say("git diff, git log -p and git show print secrets decrypted in this clone")
    ui.say("git merges secrets, map and generated files in this clone")
    ui.say("nixsecrets git-setup --undo removes these settings")
    return code


def _undo(git: Git) -> int:
    git.unset_section(_DIFF)
    git.unset_section(mergesetup.SECTION)
    _write_attributes(git, mergesetup.without)
    ui.say("git shows secrets encrypted again; .gitattributes is unchanged")
    ui.say("git leaves a secret that both sides changed as it is in ours")
    return 0


def _with_lines(text: str, world: World) -> str:
    return mergesetup.with_lines(text, world, mergesetup.lines(world))


def _write_attributes(git: Git, edit: Callable[[str], str]) -> None:
    """Edit the clone's own attributes, which all its work trees share."""
    place = git.common / "info" / "attributes"
    try:
        data = inputs.read(place) if os.path.lexists(place) else b""
        text = data.decode(errors="surrogateescape")
        after = edit(text)
        if after == text:
            return
        place.parent.mkdir(exist_ok=True)
        mode = stat.S_IMODE(place.stat().st_mode) if data else 0o644
        files.write_durably(str(place), after.encode(errors="surrogateescape"))
        place.chmod(mode)
    except OSError as error:
        raise files.explained(error, "write", str(place)) from error


def _command(program: str, subcommand: str) -> str:
    """Return what git starts: by name where that works, since it outlives an upgrade.

    Else the script where this program was installed; where there is none, the module.
    """
    if shutil.which(program):
        return program
    for started in (sys.argv[0], sys.executable):
        script = Path(started).absolute().with_name(program)
        if os.access(script, os.X_OK):
            return shlex.quote(str(script))
    return f"{shlex.quote(sys.executable)} -m nixsecrets {subcommand}"
