"""The errors a user can cause, each with what to do next.

Everything that is raised on purpose is a `NixsecretsError`; only `cli` turns one
into text and an exit code.  Anything else that escapes is a bug (exit 3).
Messages are lower case, have no full stop and never hold file content.
"""


class NixsecretsError(Exception):
    """An expected failure: one line of message, at most a few of hint (exit 1)."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Keep `message` and `hint`; neither may hold file content."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(NixsecretsError):
    """The command line cannot be carried out as written (exit 2)."""

    exit_code = 2


class KeyFormatError(NixsecretsError):
    """A text is not the key it should be; the message never quotes the text."""


class IdentityError(NixsecretsError):
    """No identity is there, fits, or can be unlocked."""


class MapError(NixsecretsError):
    """The recipient map (or its edit) is wrong; the message starts with file:line."""


class SecretFileError(NixsecretsError):
    """A secret file is damaged, or of a shape that we refuse to touch."""


class ConflictError(NixsecretsError):
    """The repository changed under us, or another run is at work."""


class ProgramError(NixsecretsError):
    """A program we need is missing or failed."""


class DeclinedError(NixsecretsError):
    """A person said no, or nobody was there to say yes."""


def printable(name: str) -> str:
    """Return `name` on one line of a terminal, escaped only where it is not plain."""
    return name if name.isprintable() else quoted(name)[1:-1]


def quoted(name: str) -> str:
    """Return `name` in double quotes, safe to print on one line of a terminal."""
    return '"' + name.encode("unicode_escape").decode().replace('"', '\\"') + '"'
