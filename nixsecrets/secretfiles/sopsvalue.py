"""One value inside of a sops file: its path as sops writes it, and a first text.

A path is typed as sops-nix takes it, `powerdns/api-key`: a name for each level, or a
number for a place in a list.  Reading and setting are the work of the real sops.
"""

import json
import re
from collections.abc import Iterator, Sequence

from nixsecrets.errors import SecretFileError, UsageError
from nixsecrets.secretfiles.sopsmeta import SopsFormat

_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_INI_QUOTED = re.compile(r"[#;=\s\"'`\\]")


def levels(kind: SopsFormat, key: str) -> tuple[str, ...]:
    """Return the names of a typed path.

    Raises:
        UsageError: it is no path, or none that a file of this format can have.
    """
    parts = tuple(key.split("/"))
    if not all(parts) or any(set(part) & set('[]"') for part in parts):
        raise UsageError(
            "that is no path to a value",
            "name each level, for example powerdns/api-key",
        )
    if kind is SopsFormat.BINARY:
        raise UsageError("a binary file is one value as a whole", "leave --key out")
    if kind is SopsFormat.DOTENV and len(parts) != 1:
        raise UsageError("a dotenv file has no levels", "--key NAME")
    if kind is SopsFormat.INI and len(parts) != 2:
        raise UsageError("an ini file has two levels", "--key SECTION/NAME")
    return parts


def expressions(parts: Sequence[str]) -> Iterator[str]:
    """Yield how sops may write the path: numbers as names first, then as places."""
    yield "".join(f'["{part}"]' for part in parts)
    if any(_NUMBER.fullmatch(part) for part in parts):
        yield "".join(
            f"[{part}]" if _NUMBER.fullmatch(part) else f'["{part}"]' for part in parts
        )


def require_text(value: bytes) -> str:
    """Return a value as the text that a sops file can hold.

    Raises:
        SecretFileError: it is not UTF-8, or holds a NUL.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SecretFileError(
            "the value is not text, and a sops value has to be",
            "encode it (base64), or keep it in an age file of its own",
        )
    return text


def first_text(kind: SopsFormat, parts: Sequence[str], value: str) -> bytes:
    """Return the plaintext of a new file with one value.

    Raises:
        SecretFileError: the format cannot hold the value as it is.
    """
    match kind:
        case SopsFormat.DOTENV:
            if "\\n" in value:
                raise SecretFileError(
                    "a dotenv file cannot tell a backslash and an n from a line feed",
                    "keep the value in a yaml file",
                )
            escaped = value.replace("\n", "\\n")
            return f"{parts[0]}={escaped}\n".encode()
        case SopsFormat.INI:
            if _INI_QUOTED.search(value):
                raise SecretFileError(
                    "an ini file cannot hold the value exactly as it is",
                    "keep the value in a yaml file",
                )
            return f"[{parts[0]}]\n{parts[1]} = {value}\n".encode()
        case _:
            nested: object = value
            for part in reversed(parts):
                nested = {part: nested}
            return json.dumps(nested, ensure_ascii=False).encode() + b"\n"
