"""Edits that write a value into the text of a sops file, in the style of the file.

A new value is added after its last sibling.  Every function declines (returns None)
when it is unsure, and the caller runs sops.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import assert_never

from nixsecrets.files.kind import INI_SECTION
from nixsecrets.files.sops.engine.place import child_of, leaves_in
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.spans import Edit, Node
from nixsecrets.files.sops.token import MARK
from nixsecrets.files.sops.values import Leaf, Place, names_of, roots
from nixsecrets.frozen import NamedTuple
from nixsecrets.splice import after_line, line_start

_YAML_NAME = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
_YAML_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
_INI_NAME = re.compile(r"[\w./@-]+(?: [\w./@-]+)*")
_INI_SAFE = re.compile(r"[\w./@+%:,-]+(?: [\w./@+%:,-]+)*")
# the line before a value: indentation, name, separator with the blanks around it
_INI_HEAD = re.compile(r"(?P<indent>[ \t]*)(?P<name>.*?)(?P<between>[ \t]*[=:][ \t]*)")
_INI_SOPS = re.compile(INI_SECTION.decode())
_DOTENV_NAME = re.compile(r"(?!sops_)[^=\s#][^=\n\r]*")
# the white space before the first key of an object, and the colon after that key
_JSON_GAP = re.compile(r",?(?P<lead>\s*)(?=\").*?(?P<colon>\s*:\s*)", re.DOTALL)
_DASHES = re.compile(r"(?:- +)*")


def respelled(text: str, leaf: Leaf, token: str) -> Edit:
    """Return the edit that replaces an encrypted value by another token."""
    start, end = leaf.span
    return start, end, text[start:end].replace(str(leaf.value), token)


def spelled(
    kind: SopsFormat, text: str, span: tuple[int, int], value: str
) -> Edit | None:
    """Return the edit that writes `value` into a span, None if unsure.

    The old value there is not encrypted; the new one may be a token.
    """
    start, end = span
    new = _spelling(kind, text, value)
    if new is None or text[start:end].startswith(("|", ">")):
        return None
    # an empty old value: keep blanks after the key or dash, and before a comment
    if start == end and start and text[start - 1] in ":-":
        new = " " + new
    if start == end and text[end : end + 1] == "#":
        new += " "
    return start, end, new


def _spelling(kind: SopsFormat, text: str, value: str) -> str | None:
    match kind:
        case SopsFormat.JSON | SopsFormat.BINARY:
            return json.dumps(value, ensure_ascii=False)
        case SopsFormat.YAML if text.lstrip().startswith("{"):
            return json.dumps(value, ensure_ascii=False)
        case SopsFormat.YAML:
            return value if _is_token(value) else in_double_quotes(value)
        case SopsFormat.DOTENV:
            odd = "\\n" in value or "\r" in value
            return None if odd else value.replace("\n", "\\n")
        case SopsFormat.INI:
            plain = not value or _is_token(value) or _INI_SAFE.fullmatch(value)
            return value if plain else None


def _is_token(value: str) -> bool:
    return value.startswith(MARK)


def in_double_quotes(value: str) -> str:
    """Return a text as a double-quoted YAML scalar on one line."""

    def shown(char: str) -> str:
        if char.isprintable():
            return char
        code = ord(char)
        return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"

    return "".join(map(shown, json.dumps(value, ensure_ascii=False)))


# --- a new value --------------------------------------------------------------------


class _Parent(NamedTuple):
    """The mapping `node` that gets a new value, in the document `root`.

    `names` are the keys from `node` down to the value; `siblings` are the values that
    `node` already has, without the metadata.
    """

    root: Node
    node: Node
    siblings: list[Node]
    names: list[str]


def insertion(kind: SopsFormat, text: str, place: Place, token: str) -> Edit | None:
    """Return the edit that adds a value (`token`, or "") at a place, None if unsure."""
    document, steps = place
    names = names_of(place)
    match kind:
        case SopsFormat.DOTENV:
            return _into_dotenv(text, names, token)
        case SopsFormat.INI:
            return _into_ini(text, names, token)
        case SopsFormat.BINARY:
            return None
        case SopsFormat.YAML | SopsFormat.JSON:
            pass
        case _ as never:
            assert_never(never)
    documents = roots(kind, text)
    if documents is None or document >= len(documents):
        return None
    parent = _parent_of(documents[document], steps)
    if parent is None:
        return None
    if text.startswith("{", parent.root.start):
        return _into_json(text, parent, token)
    return _into_yaml(text, parent, token)


def _parent_of(root: Node, steps: Sequence[str | int]) -> _Parent | None:
    """Return the deepest existing mapping above a place, None if it is empty.

    Also None if the place needs a new list item: that is left to sops.
    """
    node, at = root, 0
    while (below := child_of(node, steps[at])) is not None and at < len(steps) - 1:
        node, at = below, at + 1
    rest = [step for step in steps[at:] if isinstance(step, str)]
    if not (isinstance(node.value, dict) and node.value) or len(rest) < len(steps) - at:
        return None
    siblings = [n for k, n in node.value.items() if node is not root or k != "sops"]
    return _Parent(root, node, siblings, rest)


def _into_yaml(text: str, parent: _Parent, token: str) -> Edit:
    """Return the edit that adds a value, with the mappings above it, in block style."""
    last = parent.siblings[-1:]
    at = _line_end(text, last[0].end) if last else parent.root.start
    newline = "\r\n" if "\r\n" in text else "\n"
    column, unit = _column(text, parent.node), next(_units(text, parent.root), 4)
    lines = [
        " " * (column + depth * unit) + _yaml_key(name) + ":"
        for depth, name in enumerate(parent.names)
    ]
    added = newline.join(lines) + " " + (token or '""') + newline
    if at and text[at - 1] != "\n":
        added = newline + added.removesuffix(newline)
    return at, at, added


def _line_end(text: str, at: int) -> int:
    """Return the start of the line after a node that ends at `at`."""
    if at and text[at - 1] == "\n":
        return at
    return after_line(text, at)


def _column(text: str, node: Node) -> int:
    """Return the column of the keys of a mapping, which may follow dashes."""
    dashes = _DASHES.match(text, node.start)
    start = dashes.end() if dashes else node.start
    return start - line_start(text, start)


def _units(text: str, node: Node) -> Iterator[int]:
    """Yield the indentations of nested mappings relative to their parents."""
    if not isinstance(node.value, dict):
        return
    for below in node.value.values():
        if isinstance(below.value, dict) and below.value:
            yield _column(text, below) - _column(text, node)
            yield from _units(text, below)


def _yaml_key(name: str) -> str:
    plain = _YAML_NAME.fullmatch(name) and name.lower() not in _YAML_WORDS
    return name if plain else in_double_quotes(name)


def _into_json(text: str, parent: _Parent, token: str) -> Edit | None:
    """Return the edit that adds a value, with the objects above it, in like style."""
    root, node, siblings, names = parent
    gap = _JSON_GAP.match(text, node.start + 1)
    first_of_root = _JSON_GAP.match(text, root.start + 1)
    if gap is None or first_of_root is None:
        return None
    lead, colon = gap["lead"], gap["colon"]
    unit = first_of_root["lead"].rpartition("\n")[2]  # one level of indentation
    value = json.dumps(token)
    # from the inside out: wrap the value in an object for each further key
    for depth in range(len(names) - 1, 0, -1):
        inner, outer = "", ""
        if "\n" in lead:
            inner, outer = lead + unit * depth, lead + unit * (depth - 1)
        name = json.dumps(names[depth], ensure_ascii=False)
        value = f"{{{inner}{name}{colon}{value}{outer}}}"
    member = lead + json.dumps(names[0], ensure_ascii=False) + colon + value
    if siblings:
        return siblings[-1].end, siblings[-1].end, "," + member
    return node.start + 1, node.start + 1, member + ","


def _into_dotenv(text: str, names: tuple[str, ...], token: str) -> Edit | None:
    """Return the edit that adds a line after the last value."""
    if len(names) != 1 or not _DOTENV_NAME.fullmatch(names[0]):
        return None
    found = leaves_in(SopsFormat.DOTENV, text)
    at = _line_end(text, found[-1].span[1]) if found else 0
    lead = "\n" if at and text[at - 1] != "\n" else ""
    return at, at, f"{lead}{names[0]}={token}" + ("" if lead else "\n")


def _into_ini(text: str, names: tuple[str, ...], token: str) -> Edit | None:
    """Return the edit that adds a line to a section, or a section above `[sops]`."""
    if len(names) != 2 or not all(map(_INI_NAME.fullmatch, names)):
        return None
    section, name = names
    found = leaves_in(SopsFormat.INI, text)
    siblings = [leaf for leaf in found if leaf.path[0] == section]
    if any(leaf.span[0] < 0 for leaf in found):
        return None
    newline = "\r\n" if "\r\n" in text else "\n"
    if not siblings:
        sops = _INI_SOPS.search(text)
        headed = re.search(rf"(?m)^[ \t]*\[[ \t]*{re.escape(section)}[ \t]*\]", text)
        if sops is None or headed or section == "DEFAULT":
            return None
        lines = (f"[{section}]", f"{name} = {token}".rstrip(), "", "")
        return sops.start(), sops.start(), newline.join(lines)
    last = siblings[-1].span
    head = _INI_HEAD.fullmatch(text[line_start(text, last[0]) : last[0]])
    if head is None:
        return None
    between = head["between"]
    separator = between.lstrip(" \t")
    if separator != between:  # sops aligns the separators of a section
        width = len(head["name"]) + len(between) - len(separator)
        name = name.ljust(width) if len(name) < width else name + " "
    at = _line_end(text, last[1])
    added = head["indent"] + name + separator + token + newline
    if text[at - 1] != "\n":
        added = newline + added.removesuffix(newline)
    return at, at, added
