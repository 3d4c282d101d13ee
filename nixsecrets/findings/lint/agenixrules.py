"""Findings on `secrets.nix`: entries without a file, and files without an entry.

Reads the names as text.  A file that computes names is skipped: only Nix could
evaluate them.
"""

import posixpath
import re
from collections.abc import Iterator

from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.keys.forms import Backend
from nixsecrets.splice import line_at
from nixsecrets.world.world import World

_NAME = re.compile(r'"((?:[^"\\$]|\\.)+)"\s*(?:\.\s*[A-Za-z]+\s*)?=')
_COMPUTED = re.compile(
    r"\b(?:import|map|mapAttrs|listToAttrs|readDir|genAttrs|foldl'?|concatMap)\b|\$\{|//"
)


def agenix_findings(world: World) -> Iterator[Finding]:
    """Yield age files without an entry, and entries without a file."""
    rules = world.map.agenix_rules
    text = world.texts.get(rules) if rules is not None else None
    if rules is None or text is None:
        return
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    if _COMPUTED.search(re.sub(r'"(?:[^"\\]|\\.)*"', "", code)):
        return
    folder = posixpath.dirname(rules)
    named = {
        posixpath.normpath(posixpath.join(folder, match[1])): match.start()
        for match in _NAME.finditer(code)
    }
    there = {p for p, a in world.secrets.items() if a.backend is Backend.AGE}
    for path in sorted(there - set(named)):
        message = f"is not in {rules}: stock agenix cannot edit or rekey it"
        yield Finding(path, Code.MISSING_ENTRY, message)
    for path in sorted(set(named) - there):
        name = posixpath.relpath(path, folder or ".")
        line = line_at(text, max(text.find(f'"{name}"'), 0))
        message = f"{path} does not exist, or is not an age file"
        yield Finding(rules, Code.ENTRY_WITHOUT_FILE, message, line)
