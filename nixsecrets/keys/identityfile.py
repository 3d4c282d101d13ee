"""The text of identity files: its items, its armor, and the text of a new one.

Takes files apart and puts them together; what the items mean is `identities`' affair.
"""

import base64
from collections.abc import Iterator
from datetime import datetime

_MAGIC = b"age-encryption.org/v1\n"
_ARMOR_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
_ARMOR_END = b"-----END AGE ENCRYPTED FILE-----"
# A scrypt stanza is alone in its header (C2SP age.md, "scrypt recipient stanza"), which
# then ends within so many bytes.  pyrage judges the grammar; it never sees a longer
# header, for which its parser takes quadratic time.
_PASSPHRASE = _MAGIC + b"-> scrypt "
_LONGEST_HEADER = 160


def is_encrypted(data: bytes) -> bool:
    """Tell whether `data` is an age file, binary or armored, and no plain identity."""
    return data.startswith(_MAGIC) or data.lstrip().startswith(_ARMOR_BEGIN)


def dearmored(data: bytes) -> bytes:
    """Return the binary form of an age file; raises `ValueError` for damaged armor."""
    if data.startswith(_MAGIC):
        return data
    lines = [line.strip() for line in data.strip().splitlines()]
    if lines[-1] != _ARMOR_END:
        raise ValueError("the armor has no end")
    return base64.b64decode(b"".join(lines[1:-1]), validate=True)


def wants_passphrase(binary: bytes) -> bool:
    """Tell whether the binary age file is encrypted with a passphrase."""
    end = binary.find(b"\n--- ", 0, _LONGEST_HEADER)
    return binary.startswith(_PASSPHRASE) and end > 0


def items(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, item): a PEM block, an age identity, or some other line.

    Several age identities may share a line: sops takes them apart at blanks since
    3.13.  A block without an end is yielded as far as it goes.
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


def identity_file_text(secret_text: str, public_text: str, created: datetime) -> str:
    """Return the text of a new identity file, as `age-keygen` writes it."""
    stamp = created.astimezone().isoformat(timespec="seconds")
    return f"# created: {stamp}\n# public key: {public_text}\n{secret_text}\n"
