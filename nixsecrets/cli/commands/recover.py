"""`nixsecrets recover`: complete or discard an interrupted run."""

from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.session import Session
from nixsecrets.errors import UsageError
from nixsecrets.repo import locking, recovery
from nixsecrets.repo.worktree import Repo


@click.command("recover")
@click.option("--finish", is_flag=True, help="Put the staged files in place.")
@click.option(
    "--discard",
    is_flag=True,
    help="Discard the staged files that are not in place yet.",
)
@click.pass_obj
def command(start: Path, *, finish: bool, discard: bool) -> None:
    """Complete or discard a run that was interrupted while replacing files.

    Without an option, completes the run if every file has its old or its new content.
    If a file has neither, choose: --finish overwrites it, --discard leaves every file
    unchanged.

    A run that you did not start yourself on this machine may have come with the
    repository: its files are listed, and nothing is replaced before you agree (without
    a terminal, with --finish).

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
            done = (
                recovery.finish(session.repo)
                if finish
                else recovery.recover(session.repo, agreed=True)
            )
    ui.say("nothing to recover" if done is None else done.message)
    ui.say_lines(done.lines if done else ())
    for path, kept in done.kept if done else ():
        ui.say(f"the content of {show.path_text(path)} was kept in {kept}")


def _agree(repo: Repo, *, finish: bool) -> None:
    """List the files of a run that this operator did not start, and ask.

    Raises:
        DeclinedError: the answer was no, or there is no terminal.
    """
    lines = recovery.foreign(repo)
    if not lines:
        return
    ui.warn("you did not start this run on this machine; it would")
    ui.say_lines(lines)
    if ui.has_terminal() or not finish:
        ui.confirm("let it?", hint="nixsecrets recover --finish, or --discard")
