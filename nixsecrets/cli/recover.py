"""`nixsecrets recover`: finish or discard a run that was cut short."""

from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.session import Session
from nixsecrets.errors import UsageError
from nixsecrets.repo import locking, recovery


@click.command("recover")
@click.option("--finish", is_flag=True, help="Put the staged files in place.")
@click.option("--discard", is_flag=True, help="Drop what is not in place yet.")
@click.pass_obj
def command(start: Path, *, finish: bool, discard: bool) -> None:
    """Finish or discard a run that was cut short while it replaced files.

    Without an option: finish it if every file is as it was before or after.  A file
    that is neither stops that; then choose: --finish overwrites it, --discard leaves
    every file as it is now.

    \b
    Examples:
      nixsecrets recover
      nixsecrets recover --discard
    """
    if finish and discard:
        raise UsageError("give one of --finish and --discard")
    session = Session.open(start)
    with locking.exclusive(session.repo, ui.say):
        if finish:
            done = recovery.finish(session.repo)
        elif discard:
            done = recovery.discard(session.repo)
        else:
            done = recovery.recover(session.repo)
    ui.say("nothing to recover" if done is None else done.message)
    for path, kept in done.kept if done else ():
        ui.say(f"the content of {show.path_text(path)} was kept in {kept}")
