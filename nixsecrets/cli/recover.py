"""`nixsecrets recover`: finish or discard a run that was cut short."""

from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.session import Session
from nixsecrets.errors import UsageError
from nixsecrets.repo import locking, staging


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
            lines = staging.finish(session.repo)
        elif discard:
            lines = staging.discard(session.repo)
        else:
            lines = staging.recover(session.repo)
    for line in lines or ["nothing to recover"]:
        ui.say(line)
