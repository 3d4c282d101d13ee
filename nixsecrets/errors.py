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
    """A secret file is damaged, or of a shape that we refuse to touch.

    `line` is where in a text to be encrypted it is wrong, 0 where that is not known.
    """

    def __init__(self, message: str, hint: str | None = None, *, line: int = 0) -> None:
        """Keep what is wrong, and the line of the text, if it is about one."""
        super().__init__(message, hint)
        self.line = line


class TooLargeError(MapError, SecretFileError):
    """A file of a repository is larger than `limits` allow, whatever it is."""


class ConflictError(NixsecretsError):
    """The repository changed under us, or another run is at work."""


class ProgramError(NixsecretsError):
    """A program we need is missing or failed."""


class DeclinedError(NixsecretsError):
    """A person said no, or nobody was there to say yes."""


def printable(text: str) -> str:
    """Return `text` on one line of a terminal: what is not printable is escaped.

    That is control characters, escape sequences, marks that change the direction of
    text, characters without width, line separators, and bytes that are no UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in text
    )


def quoted(name: str) -> str:
    """Return `name` in double quotes, safe to print on one line of a terminal."""
    return '"' + name.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def shell_word(text: str) -> str:
    """Return `text` as one word of a shell, safe to print on one line of a terminal.

    What is not printable is written as `$'…'`, which bash, zsh and ksh read back.
    """
    import shlex

    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_in_shell, text)) + "'"


def _in_shell(char: str) -> str:
    if char in "\\'":
        return "\\" + char
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
