"""What an age plugin may ask of a person while it works.

The conversation itself is `cli`'s; this only says what it has to be able to do.
"""

from typing import Protocol


class PluginTalk(Protocol):
    """Somebody who answers a plugin; pyrage calls these methods by name.

    An implementation goes along to worker processes, so it has to be picklable.
    """

    def display_message(self, message: str) -> None:
        """Show `message`, such as "touch your token"."""

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        """Ask for a decision; None where nobody can answer."""

    def request_public_string(self, description: str) -> str | None:
        """Ask for a text that may be seen; None where nobody can answer."""

    def request_passphrase(self, description: str) -> str | None:
        """Ask for a PIN or a passphrase; None where nobody can answer."""


class Silence:
    """Nobody is there: shows nothing, answers nothing, so that plugins fail early."""

    def display_message(self, _message: str) -> None:
        """Drop the message."""

    def confirm(self, _message: str, _yes: str, _no: str | None) -> bool | None:
        """Decide nothing."""
        return None

    def request_public_string(self, _description: str) -> str | None:
        """Answer nothing."""
        return None

    def request_passphrase(self, _description: str) -> str | None:
        """Answer nothing."""
        return None
