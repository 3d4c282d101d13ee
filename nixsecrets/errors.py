"""The errors a user can cause, each with what to do next.

Everything that is raised on purpose is a `NixsecretsError`; only `cli` turns one
into text and an exit code.  Anything else that escapes is a bug (exit 3).
What a caller has to know is a class or a field; the text, `message`, is only shown.
It is lower case, has no full stop and never holds file content.
"""

import re


class NixsecretsError(Exception):
    """An expected failure: one line of text, at most a few of hint (exit 1)."""

    exit_code = 1

    def __init__(self, reason: str, hint: str | None = None) -> None:
        """Keep `reason` and `hint`; neither may hold file content."""
        super().__init__(reason)
        self.reason = reason
        self.hint = hint

    @property
    def message(self) -> str:
        """The text a person reads."""
        return self.reason

    def __str__(self) -> str:
        """Return the text a person reads."""
        return self.message


class UsageError(NixsecretsError):
    """The command line cannot be processed as written (exit 2)."""

    exit_code = 2


class KeyFormatError(NixsecretsError):
    """A text is not the key it should be; the message never quotes the text."""


class IdentityError(NixsecretsError):
    """No identity is there, fits, or can be unlocked."""


class PlaceError(NixsecretsError):
    """A text file of the repository is wrong, at a line (0: as a whole)."""

    def __init__(
        self, file: str, line: int, reason: str, hint: str | None = None
    ) -> None:
        """Keep where the mistake is and what is wrong there."""
        super().__init__(reason, hint)
        self.args = (file, line, reason)
        self.file = file
        self.line = line

    @property
    def message(self) -> str:
        """The text, which begins with the place."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.reason}"


class MapError(PlaceError):
    """The recipient map, or its edit, is wrong."""


class SecretFileError(NixsecretsError):
    """A secret file is damaged, or of a shape that we refuse to touch.

    Where there is a `subject` ("the age file"), `reason` says what that has or is.
    The hint calls the file FILE where the raiser does not know its path.
    `line` is where in a text to be encrypted it is wrong, 0 where that is not known.
    """

    def __init__(
        self, reason: str, hint: str | None = None, *, subject: str = "", line: int = 0
    ) -> None:
        """Keep what is wrong, of what, and in which line."""
        super().__init__(reason, hint)
        self.subject = subject
        self.line = line

    @property
    def message(self) -> str:
        """The text, which begins with the subject."""
        return f"{self.subject} {self.reason}".lstrip()

    def hint_about(self, path: str) -> str | None:
        """Return the hint with the path of the file in place of FILE."""

        return self.hint and re.sub(r"\bFILE\b", lambda _: shell_word(path), self.hint)


class TooLargeError(MapError, SecretFileError):
    """A file of a repository is larger than `limits` allow, whatever it is."""

    def __init__(self, file: str, reason: str, hint: str | None = None) -> None:
        """Keep what is too large ("the file" where the caller knows which)."""
        NixsecretsError.__init__(self, reason, hint)
        self.args = (file, reason)
        self.file = self.subject = file
        self.line = 0

    @property
    def message(self) -> str:
        """The text, which begins with the file."""
        return f"{self.file} {self.reason}"


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


def counted(number: int, noun: str, several: str = "") -> str:
    """Return `1 file`, `2 files`; `several` is an irregular plural."""
    return f"{number} {noun if number == 1 else several or noun + 's'}"


def path_text(path: str) -> str:
    """Return a path for output, quoted if it has spaces, quotes or controls."""
    plain = path.isprintable() and not set(path) & set(" \"'\\")
    return path if plain else quoted(path)


def argument(path: str) -> str:
    """Return a path quoted as a shell argument."""
    return shell_word(f"./{path}" if path.startswith("-") else path)


def shell_word(text: str) -> str:
    """Return `text` as one word of a shell, safe to print on one line of a terminal.

    What is not printable is written as `$'…'`, which bash, zsh and ksh read back.
    """
    if text.isprintable():
        import shlex  # hints that name a file are rare

        return shlex.quote(text)
    return "$'" + "".join(map(_in_shell, text)) + "'"


def _in_shell(char: str) -> str:
    if char in "\\'":
        return "\\" + char
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
