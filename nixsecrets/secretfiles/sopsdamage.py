"""What sops would do to a text, and where it cannot read one: said before it happens.

Judgement on plaintext, without sops: the refusals that need its answer are in
`sopscontent`.  What sops changes is listed by format; see `docs/editing.md`.
"""

import json
import re
from collections.abc import Iterator

from nixsecrets.errors import SecretFileError
from nixsecrets.secretfiles.sopsmeta import SopsFormat

_ANCHOR = re.compile(rb"(?:^|[\s\[{,])[&*][A-Za-z0-9_][\w.-]*\s*(?:$|[\s,\]}])", re.M)
_QUOTED = re.compile(rb"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\n]|'')*'")
_COMMENT = re.compile(rb"(?:^|(?<=\s))#[^\n]*")
_BLOCK = re.compile(
    rb"(?m)^([ ]*)[^#\n]*[:-] +[|>][+-]?[0-9]?[ \t]*\n(?:\1[ ]+[^\n]*\n?|[ ]*\n)*"
)
_ODD_ENV = re.compile(r"(?:^|/)\.env\.[^/]+$|\.env\.[^/.]+$")
_EXPORT = re.compile(rb"^export ", re.M)


def name_warning(path: str) -> str | None:
    """Say where sops takes a new file's name for another format than it looks like."""
    if _ODD_ENV.search(path):
        return "sops takes it for binary, not for dotenv: that name has to end in .env"
    return None


def warnings(kind: SopsFormat, plaintext: bytes) -> Iterator[str]:
    """Yield what sops would change of a text that it accepts."""
    if kind is SopsFormat.YAML:
        bare = _COMMENT.sub(b"", _QUOTED.sub(b"''", _BLOCK.sub(b"", plaintext)))
        if _ANCHOR.search(bare):
            yield "sops writes YAML anchors out: every alias becomes a copy"
    if kind is SopsFormat.DOTENV and _EXPORT.search(plaintext):
        yield 'in dotenv files sops takes "export " for a part of the name'


def require_values(kind: SopsFormat, plaintext: bytes) -> None:
    """Refuse an empty text where sops has no empty file, and would blame the syntax.

    Raises:
        SecretFileError: it is one.
    """
    if kind in {SopsFormat.YAML, SopsFormat.JSON} and not plaintext.strip():
        raise SecretFileError(
            f"the text is empty, and sops can hold no empty {kind.value} file",
            "nixsecrets rm FILE removes the secret; {} is one without values",
        )


def broken_line(kind: SopsFormat, plaintext: bytes) -> int:
    """Return the line at which a text stops being of its format, 0 if not known."""
    match kind:
        case SopsFormat.JSON:
            try:
                json.loads(plaintext)
            except json.JSONDecodeError as error:
                return error.lineno
            except (ValueError, RecursionError):
                return 0
        case SopsFormat.DOTENV:
            for number, line in enumerate(plaintext.split(b"\n"), 1):
                if line.strip() and not line.startswith(b"#") and b"=" not in line:
                    return number
        case _:
            pass
    return 0
