"""What an age plugin (a hardware key) may ask of the person at the terminal.

Stateless, so that worker processes can have it; answers nothing without a terminal.
"""

from nixsecrets.cli import ui


class TerminalTalk:
    """Shows a plugin's messages and asks its questions (`keys.plugins.PluginTalk`)."""

    def display_message(self, message: str) -> None:
        """Show `message`, such as "touch your token"."""
        ui.say(f"nixsecrets: {message}")

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        """Ask for a decision; None where nobody can answer."""
        if not ui.has_terminal():
            return None
        choices = yes if no is None else f"{yes}/{no}"
        answer = self._line(f"{message} [{choices}] ").lower()
        return answer in {yes.lower(), "y", "yes"}

    def request_public_string(self, description: str) -> str | None:
        """Ask for a text that may be seen; None where nobody can answer."""
        return self._line(f"{description}: ") if ui.has_terminal() else None

    def request_passphrase(self, description: str) -> str | None:
        """Ask for a PIN or a passphrase; None where nobody can answer."""
        return ui.ask_passphrase(description)

    def _line(self, question: str) -> str:
        return ui.ask_line(question).strip()
