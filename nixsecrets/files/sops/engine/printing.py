"""A YAML file as sops prints it when it decrypts, without running sops.

Only the plainest files: mappings as sops writes them, without comments, with every
value encrypted: numbers, booleans and lines of text that YAML needs no quotes for.
sops prints such a file as it is, with the values in place of their tokens and without
the metadata.  Everything else is declined, and the caller runs sops.
"""

import re

from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops.engine import contents
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.yaml import YamlBlock
from nixsecrets.splice import apply_edits

# A name without quotes, alone for a mapping below it, else with the token of a value.
_LINE = re.compile(
    r"(?P<indent> *)(?P<name>[A-Za-z_][\w-]*):(?P<value> ENC\[\S*\])?", re.A
)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9+/=_.-]*(?: [A-Za-z0-9+/=_.-]+)*", re.A)
_INT = re.compile(r"0|-?[1-9]\d{0,17}", re.A)
_BOOLS = {"True": "true", "False": "false"}
# What YAML 1.1 or 1.2 reads as a boolean or null, so that sops writes it in quotes.
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


def printed(file: SopsFile, key: bytes) -> bytes | None:
    """Return the plaintext as sops prints it, after its MAC was verified.

    `key` is the data key.  None where the file is not plain enough, or its MAC is not
    that of its values.
    """
    body = _body(file)
    values = contents.opened(file, key) if body is not None else None
    if body is None or values is None:
        return None
    edits = []
    for value in values:
        text = _spelled(value) if value.sealed else None
        if text is None:
            return None
        edits.append((*value.leaf.span, text))
    if any(not 0 <= start < end <= len(body) for start, end, _ in edits):
        return None
    return apply_edits(body, edits).encode()


def _body(file: SopsFile) -> str | None:
    """Return the text before the metadata if sops wrote it so, else None."""
    if file.format is not SopsFormat.YAML or len(file.blocks) != 1:
        return None
    block = file.blocks[0]
    body, mark, metadata = file.text.partition("\nsops:\n")
    if (
        not mark
        or not isinstance(block, YamlBlock)
        or re.search(r"^\S", metadata, re.M)
    ):
        return None
    depth, deeper = 0, False
    for line in body.split("\n"):
        found = _LINE.fullmatch(line)
        level, odd = divmod(len(found["indent"]), block.indent) if found else (0, 1)
        if found is None or odd or not _needs_no_quotes(found["name"]):
            return None
        if level != depth + 1 if deeper else level > depth:
            return None
        depth, deeper = level, found["value"] is None
    return None if deeper else body + "\n"


def _needs_no_quotes(text: str) -> bool:
    return bool(_PLAIN.fullmatch(text)) and text.lower() not in _WORDS


def _spelled(value: contents.Value) -> str | None:
    """Return how sops writes a value, None where that is not certain."""
    text = value.plaintext.decode("ascii", "replace")
    if value.type == "bool":
        return _BOOLS.get(text)
    fits = _INT.fullmatch(text) if value.type == "int" else _needs_no_quotes(text)
    return text if fits and value.type in ("int", "str") else None
