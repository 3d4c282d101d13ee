"""`nixsecrets recover`: finish or discard a run that was cut short."""

from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.session import Session
from nixsecrets.errors import UsageError
from nixsecrets.repo import locking, recovery
from nixsecrets.repo.recovery import Recovered
from nixsecrets.repo.tree import Repo


@click.command("recover")
@click.option("--finish", is_flag=True, help="Put the staged files in place.")
@click.option("--discard", is_flag=True, help="Drop what is not in place yet.")
@click.pass_obj
def command(start: Path, *, finish: bool, discard: bool) -> None:
    """Finish or discard a run that was cut short while it replaced files.

    Without an option: finish it if every file is as it was before or after.  A file
    that is neither stops that; then choose: --finish overwrites it, --discard leaves
    every file as it is now.

    A run that you did not begin yourself on this machine may have come with the
    repository: its files are listed, and nothing is replaced before you agree (where
    there is no terminal, by --finish).

    \b
    Examples:
      nixsecrets recover
      nixsecrets recover --discard
    """
    if finish and discard:
        raise UsageError("give one of --finish and --discard")
    session = Session.open(start)
    with locking.exclusive(session.repo, ui.say):
        if discard:
            done = recovery.discard(session.repo)
        else:
            _agree(session.repo, finish=finish)
            finished = recovery.finish if finish else _recover
            done = finished(session.repo)
    ui.say("nothing to recover" if done is None else done.message)
    ui.say_lines(done.lines if done else ())
    for path, kept in done.kept if done else ():
        ui.say(f"the content of {show.path_text(path)} was kept in {kept}")


def _recover(repo: Repo) -> Recovered | None:
    return recovery.recover(repo, agreed=True)


def _agree(repo: Repo, *, finish: bool) -> None:
    """List the files of a run that this person did not begin, and ask.

    Raises:
        DeclinedError: nobody agreed.
    """
    lines = recovery.foreign(repo)
    if not lines:
        return
    ui.warn("you did not begin this run on this machine; it would")
    ui.say_lines(lines)
    if ui.has_terminal() or not finish:
        ui.confirm("let it?", hint="nixsecrets recover --finish, or --discard")
