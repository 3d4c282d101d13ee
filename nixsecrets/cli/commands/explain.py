"""`nixsecrets explain`: what a finding means and what to do about it."""

import click

from nixsecrets.cli import ui
from nixsecrets.errors import UsageError, quoted
from nixsecrets.findings.catalogue import CATALOGUE, Code, explain


@click.command("explain")
@click.argument("code", metavar="CODE", required=False)
def command(code: str | None) -> None:
    """Say what a finding means, how bad it is, and what to do about it.

    Without CODE: the table of all.

    \b
    Examples:
      nixsecrets explain NS010
      nixsecrets explain stale-recipients
    """
    if code is None:
        for known, kind in CATALOGUE.items():
            ui.answer(f"{known.value}  {kind.severity:<8}{kind.slug}: {kind.title}")
    else:
        ui.answer_text(explain(_named(code)))


def _named(text: str) -> Code:
    """Return the code that is called `text`, by number or name.

    Raises:
        UsageError: there is none.
    """
    for code, kind in CATALOGUE.items():
        if text.lower() in (code.value.lower(), kind.slug):
            return code
    raise UsageError(
        f"no finding is called {quoted(text)}", "nixsecrets explain lists them"
    )
