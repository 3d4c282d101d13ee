"""Errors about a text that a person typed: whose fault, where, and whether to go on."""

from collections.abc import Sequence

from nixsecrets.cli import ui
from nixsecrets.errors import NixsecretsError, SecretFileError


def line_of(error: NixsecretsError) -> int:
    """Return the line of the text that an error names, 0 if it names none."""
    from nixsecrets.apply.apply import (
        ApplyError,
    )  # loaded by now

    errors = [f.error for f in error.failed] if isinstance(error, ApplyError) else []
    lines = [e.line for e in (error, *errors) if isinstance(e, SecretFileError)]
    return next((line for line in lines if line), 0)


def asked_after(error: NixsecretsError, question: str) -> bool:
    """Report an error and ask whether to continue; False without a terminal."""
    if not ui.has_terminal():
        return False
    ui.report_error(error)
    error.hint = None  # reported already, should the error end the command
    return ui.asked(question, default=True)


def about_content(error: NixsecretsError) -> bool:
    """Return whether an error is about the text, so that other text could be saved."""
    from nixsecrets.apply.apply import (
        ApplyError,
    )  # loaded by now

    if isinstance(error, ApplyError):
        errors: Sequence[NixsecretsError] = [f.error for f in error.failed]
        return all(isinstance(one, SecretFileError) for one in errors)
    return True
