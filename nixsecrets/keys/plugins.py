"""The interface through which an age plugin prompts the user; `cli` implements it."""

from typing import Protocol


class PluginTalk(Protocol):
    """Answers the requests of a plugin; pyrage calls these methods by name.

    Implementations are sent to worker processes, so they must be picklable.
    """

    def display_message(self, message: str) -> None:
        """Show `message`, such as "touch your token"."""

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        """Ask for a decision; None if there is no terminal."""

    def request_public_string(self, description: str) -> str | None:
        """Ask for a text, echoed; None if there is no terminal."""

    def request_passphrase(self, description: str) -> str | None:
        """Ask for a PIN or a passphrase, not echoed; None if there is no terminal."""


class Silence:
    """Shows nothing and answers nothing, so that a plugin that prompts fails early."""

    def display_message(self, _message: str) -> None:
        """Drop the message."""

    def confirm(self, _message: str, _yes: str, _no: str | None) -> bool | None:
        """Return None: no answer."""
        return None

    def request_public_string(self, _description: str) -> str | None:
        """Return None: no answer."""
        return None

    def request_passphrase(self, _description: str) -> str | None:
        """Return None: no answer."""
        return None
