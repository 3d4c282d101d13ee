"""Locating the mistake in a text that sops refuses, with a hint how to correct it.

sops only reports that it failed, sometimes with a line.  Messages have lines and key
paths, which sops does not encrypt, never values.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, assert_never

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import BOM, INI_SECTION, YAML_KEY, SopsFormat
from nixsecrets.files.sops import plaintexts, tree
from nixsecrets.files.sops.flat import Kind, Line, dotenv_lines, ini_lines
from nixsecrets.files.sops.plaintexts import bare_is_text
from nixsecrets.files.sops.values import Composed, DeepError, nodes
from nixsecrets.frozen import NamedTuple

_RESERVED = {
    SopsFormat.YAML: YAML_KEY,
    SopsFormat.DOTENV: rb"(?m)^sops_",
    SopsFormat.INI: INI_SECTION,
}
_MOST = 512 * 1024  # characters; longer YAML is not parsed, which takes seconds
_BIGGEST, _BEYOND = 2**63, 2**64  # sops refuses integers from the one up to the other


class Fault(NamedTuple):
    """The first mistake in a text: its line (0 if unknown), a message and a hint."""

    line: int
    what: str = ""
    hint: str = ""


def require_sound(kind: SopsFormat, plaintext: bytes) -> None:
    """Check for mistakes that sops accepts, or reports as something else.

    These are a byte order mark, which sops makes a part of the first key; a key with a
    name that sops uses for its metadata (before 3.12, `sops edit` wrote a file that it
    could not read any more); and a duplicate JSON key, which sops stores twice.

    Raises:
        SecretFileError: the text has one; `line` has the place, if known.
    """
    if kind is not SopsFormat.BINARY and plaintext.startswith(BOM):
        raise SecretFileError(
            "the text begins with a byte order mark",
            "save it as UTF-8 without a byte order mark (BOM)",
            line=1,
        )
    reserved = _RESERVED.get(kind)
    if (kind is SopsFormat.JSON and _has_member_sops(plaintext)) or (
        reserved is not None and re.search(reserved, plaintext)
    ):
        raise SecretFileError(
            "the content has a key whose name sops reserves",
            'rename the keys or sections that start with "sops"',
        )
    if kind is SopsFormat.JSON:
        try:
            plaintexts.read(kind, plaintext)
        except plaintexts.RepeatedError:
            raise
        except SecretFileError:  # sops reports what is wrong with it
            return


def _has_member_sops(plaintext: bytes) -> bool:
    try:
        value = json.loads(plaintext)
    except (ValueError, RecursionError):
        return False  # sops reports what is wrong with it
    return isinstance(value, dict) and "sops" in value


def require_values(kind: SopsFormat, plaintext: bytes) -> None:
    """Check that a text is not empty, if the format cannot be.

    Raises:
        SecretFileError: it is empty; sops would report a syntax error.
    """
    if kind in {SopsFormat.YAML, SopsFormat.JSON} and not plaintext.strip():
        raise SecretFileError(
            f"the text is empty, and sops cannot store an empty {kind.value} file",
            "nixsecrets rm FILE removes the secret; {} is one without values",
        )


def line_of_fault(kind: SopsFormat, plaintext: bytes) -> int:
    """Return the line of the first mistake that sops refuses, 0 if none is found."""
    fault = _fault(kind, plaintext)
    return fault.line if fault else 0


def explained(
    kind: SopsFormat, plaintext: bytes, refused: SecretFileError
) -> SecretFileError:
    """Return the error for a text that sops refused, with the place of the mistake.

    Returns `refused` if the place is not found, or sops already reported it.
    """
    fault = _fault(kind, plaintext)
    if fault is None or (refused.line and not fault.what):
        return refused
    where = f" (line {fault.line})" if fault.line else ""
    what = f": {fault.what}" if fault.what else ""
    return SecretFileError(
        f"sops cannot store the content as {kind}{where}{what}",
        fault.hint or refused.hint,
        line=fault.line,
    )


def _fault(kind: SopsFormat, plaintext: bytes) -> Fault | None:
    try:
        text = plaintext.decode("utf-8")
    except UnicodeDecodeError as error:
        line = plaintext.count(b"\n", 0, error.start) + 1
        return Fault(line, "it is not UTF-8", "save it as UTF-8")
    match kind:
        case SopsFormat.YAML:
            return _yaml(text)
        case SopsFormat.JSON:
            return _json(text)
        case SopsFormat.DOTENV:
            return _dotenv(text)
        case SopsFormat.INI:
            return _ini(text)
        case SopsFormat.BINARY:
            return None
        case _ as never:
            assert_never(never)


def _json(text: str) -> Fault | None:
    try:
        root = json.loads(text)
    except json.JSONDecodeError as error:
        return Fault(error.lineno)
    except (ValueError, RecursionError):
        return None
    if isinstance(root, dict):
        return None
    what = "its top level is not an object"
    return Fault(1, what, 'put it below a key: {"key": …}')


def _dotenv(text: str) -> Fault | None:
    what = "it is not NAME=value"
    hint = "a comment has its # in the first column; a line feed within a value"
    return _broken(dotenv_lines(text), what, f"{hint} is written \\n")


def _ini(text: str) -> Fault | None:
    what = "it is not name = value"
    hint = "a comment begins with ;, a value of several lines needs"
    return _broken(ini_lines(text), what, f'{hint} """…"""')


def _broken(lines: Iterable[Line], what: str, hint: str) -> Fault | None:
    for line in lines:
        if line.kind is Kind.BROKEN:
            return Fault(line.number, what, hint)
    return None


# --- YAML -----------------------------------------------------------------------------


def _yaml(text: str) -> Fault | None:
    if len(text) > _MOST:
        return None
    try:
        roots = tree.composed(text)
    except SecretFileError as error:
        mark = getattr(error.__cause__, "problem_mark", None)
        return None if mark is None else Fault(mark.line + 1)
    if not roots:
        return Fault(0, "it has no key")
    with contextlib.suppress(DeepError):
        return next(_mistakes(nodes(text, roots)), None)
    return None


def _mistakes(found: Iterable[Composed]) -> Iterator[Fault]:
    """Yield the mistakes in composed YAML that sops refuses, in order."""
    for place, node, _ in found:
        line, steps = node.start_mark.line + 1, [str(step) for step in place[1]]
        if node.id == "mapping":
            yield from _keys(node)
        elif not steps:
            what = "its top level has no keys"
            yield Fault(line, what, "put it below a key: key: …")
        elif node.id == "scalar" and node.style is None and _too_big(str(node.value)):
            what = "is a number with more digits than sops keeps"
            hint = f'write it in double quotes: {_shown(steps[-1])}: "…"'
            yield Fault(line, f"{_shown('/'.join(steps))} {what}", hint)


def _keys(node: Any) -> Iterator[Fault]:
    seen: set[str] = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.id != "scalar":
            yield Fault(line, "a key is a list or a mapping", "write it as text")
            continue
        name = str(key.value)
        if key.style is None and not bare_is_text(name):
            what = f"the key {_shown(name)} is not text"
            yield Fault(line, what, f'write it in double quotes: "{_shown(name)}": …')
        elif name in seen and name != "<<":
            what = f"the key {_shown(name)} is duplicated"
            yield Fault(line, what, "keep the intended one")
        seen.add(name)


def _too_big(word: str) -> bool:
    digits = word.lstrip("+")
    return digits.isdecimal() and len(digits) < 21 and _BIGGEST <= int(digits) < _BEYOND


def _shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= 80 else "…"
