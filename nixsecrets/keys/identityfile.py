"""The syntax of identity files: entries, armor, and the text of a new file.

`identities` parses the entries.
"""

import binascii
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_MAGIC = b"age-encryption.org/v1\n"
_ARMOR_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
_ARMOR_END = b"-----END AGE ENCRYPTED FILE-----"
# A scrypt stanza is alone in its header (C2SP age.md, "scrypt recipient stanza"), so
# such a header is short.  pyrage checks the grammar; its parser takes quadratic time,
# so it never gets to see a longer header.
_PASSPHRASE = _MAGIC + b"-> scrypt "
_LONGEST_HEADER = 160


def is_encrypted(data: bytes) -> bool:
    """Return whether `data` starts like an age file, binary or armored."""
    return data.startswith(_MAGIC) or data.lstrip().startswith(_ARMOR_BEGIN)


def dearmored(data: bytes) -> bytes:
    """Return the binary form of an age file, armored or not.

    Raises:
        ValueError: the armor is corrupt.
    """
    if data.startswith(_MAGIC):
        return data
    lines = [line.strip() for line in data.strip().splitlines()]
    if lines[-1] != _ARMOR_END:
        raise ValueError("the armor has no end")
    return binascii.a2b_base64(b"".join(lines[1:-1]), strict_mode=True)


def wants_passphrase(binary: bytes) -> bool:
    """Return whether a binary age file is encrypted with a passphrase."""
    end = binary.find(b"\n--- ", 0, _LONGEST_HEADER)
    return binary.startswith(_PASSPHRASE) and end > 0


def items(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, entry): a PEM block, an age identity, or any other line.

    Lines count from 1.  sops 3.13 and later accept several age identities on a line,
    separated by blanks; so do we.  A PEM block without an end is yielded up to where
    the next block or the text ends.
    """
    block: list[str] = []
    start = 0
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if block and line.startswith("-----BEGIN "):
            yield start, "\n".join(block) + "\n"
            block = []
        if line.startswith("-----BEGIN "):
            start = number
        elif not block:
            yield from ((number, item) for item in _line_items(line))
            continue
        block.append(line)
        if line.startswith("-----END "):
            yield start, "\n".join(block) + "\n"
            block = []
    if block:
        yield start, "\n".join(block) + "\n"


def _line_items(line: str) -> list[str]:
    content = line.partition("#")[0].strip()
    if content.upper().startswith("AGE-"):
        return content.split()
    return [content] if content else []


def identity_file_text(secret_text: str, public_text: str, created: "datetime") -> str:
    """Return the text of a new identity file, as `age-keygen` writes it."""
    stamp = created.astimezone().isoformat(timespec="seconds")
    return f"# created: {stamp}\n# public key: {public_text}\n{secret_text}\n"
