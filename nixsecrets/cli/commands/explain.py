"""`nixsecrets explain`: explain a finding and its remedy."""

import click

from nixsecrets.cli import ui
from nixsecrets.errors import UsageError, quoted
from nixsecrets.findings.catalogue import CATALOGUE, Code, explain


@click.command("explain")
@click.argument("code", metavar="CODE", required=False)
def command(code: str | None) -> None:
    """Explain a finding: meaning, severity and remedy.

    Without CODE, lists all findings.

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
