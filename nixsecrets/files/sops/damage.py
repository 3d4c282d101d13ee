"""What sops would do to a text, and where it cannot read one: said before it happens.

Judgement on plaintext, without sops; what needs its answer is in `roundtrip`.
"""

import json
import re
from typing import assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops.metadata import SopsFormat

_ODD_ENV = re.compile(r"(?:^|/)\.env\.[^/]+$|\.env\.[^/.]+$")


def name_warning(path: str) -> str | None:
    """Say where sops takes a new file's name for another format than it looks like."""
    if _ODD_ENV.search(path):
        return "sops takes it for binary, not for dotenv: that name has to end in .env"
    return None


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
        case SopsFormat.YAML | SopsFormat.INI | SopsFormat.BINARY:
            pass
        case _ as never:
            assert_never(never)
    return 0
