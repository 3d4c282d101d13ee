"""The creation rules of a `.sops.yaml`, read as sops reads them, and which one wins.

After getsops/sops:config/config.go (3.11 to 3.13): the first rule wins whose path_regex
is found in the path, relative to the configuration's folder; a rule without path_regex
matches every path; key_groups, if present, hide the keys next to them; unknown fields
are ignored.
"""

import posixpath
import re
from collections.abc import Iterator

from nixsecrets.errors import PlaceError
from nixsecrets.frozen import NamedTuple
from nixsecrets.generated import blocks
from nixsecrets.generated.yamltree import (
    Document,
    Mapping,
    Node,
    Scalar,
    Sequence,
    parse,
    resolved,
)
from nixsecrets.keys.sopsoptions import SELECTION
from nixsecrets.untrusted import regex

_HAS_RULES = r"""^\ufeff?["']?creation_rules["']?[ \t]*:"""
# The fields with keys that are not age, and the kind in `ConfigRule.others`: those of a
# rule itself, and those of a key group, which calls Vault otherwise.
RULE_FIELDS = {
    "pgp": "pgp",
    "kms": "kms",
    "gcp_kms": "gcp_kms",
    "azure_keyvault": "azure_kv",
    "hc_vault_transit_uri": "hc_vault",
    "hckms": "hckms",
}
GROUP_FIELDS = {
    name.removesuffix("_transit_uri"): kind for name, kind in RULE_FIELDS.items()
}

_MEANING = 6  # fields that decide what sops does; the others say where the rule is


class ConfigRule(NamedTuple):
    """A creation rule as sops understands it; equal if it means the same.

    - `age`: the texts of its age recipients, in order, from all key groups.
    - `others`: every other key (`pgp:85D7…`), likewise.
    - `groups`: the number of key groups; 1 for keys outside of key_groups.
    - `options`: its selection options.
    - `ours`: it is in a block of ours.
    - `number`: its place among the rules, from 0; `line`: from 1.
    - `span`: start and end of its text, without the dash.
    """

    path_regex: str
    age: tuple[str, ...]
    others: tuple[str, ...]
    groups: int
    options: tuple[tuple[str, str | bool], ...]
    ours: bool
    number: int
    line: int
    span: tuple[int, int]

    def __eq__(self, other: object) -> bool:
        """Return whether another rule means the same, wherever it is."""
        return isinstance(other, ConfigRule) and self[:_MEANING] == other[:_MEANING]

    def __ne__(self, other: object) -> bool:
        """Return whether another rule means something else."""
        return not self == other

    def __hash__(self) -> int:
        """Return the hash of the rule's meaning."""
        return hash(self[:_MEANING])

    @property
    def fault(self) -> str | None:
        """Why sops cannot compile its path_regex, None if it can."""
        found = _compiled(self.path_regex) if self.path_regex else ""
        return found if isinstance(found, str) and found else None


class Winners:
    """The creation rules of one configuration, to look up the winner of many paths."""

    def __init__(self, text: str, filename: str = ".sops.yaml") -> None:
        """Read the creation rules of `text`.

        Raises:
            PlaceError: the file is not valid; sops cannot read it either.
        """
        self.filename = filename
        self.rules = read_rules(text, filename)
        self._compiled: dict[str, regex.Regex | str] = {}

    def winner(self, path: str) -> ConfigRule | None:
        """Return the rule that decides how `path` is encrypted, None if none does.

        `path` is relative to the configuration's folder.  For a path outside of it sops
        uses the absolute path, which is not known here: None.  A rule with a `fault`
        wins if no earlier rule matches: sops fails there.
        """
        if path.startswith(("../", "/")):
            return None
        return next((rule for rule in self.rules if self._tried(rule, path)), None)

    def _tried(self, rule: ConfigRule, path: str) -> bool:
        if not rule.path_regex:
            return True
        if rule.path_regex not in self._compiled:
            self._compiled[rule.path_regex] = _compiled(rule.path_regex)
        found = self._compiled[rule.path_regex]
        return isinstance(found, str) or found.found_in(path)


def _compiled(source: str) -> regex.Regex | str:
    """Return a compiled expression, or why sops cannot compile it."""
    try:
        return regex.parse(source)
    except ValueError as error:
        return str(error)


def for_sops(filename: str, text: str) -> bool:
    """Return whether a file is a sops configuration, to which blocks may be added.

    It is, if it is called `.sops.yaml`, has creation rules, or is empty.
    """
    named = posixpath.basename(filename) == ".sops.yaml"
    return (
        named
        or not text.strip()
        or re.search(_HAS_RULES, text, re.MULTILINE) is not None
    )


def read_rules(text: str, filename: str) -> tuple[ConfigRule, ...]:
    """Return the creation rules in order.

    Raises:
        PlaceError: the file is not valid; sops cannot read it either.
    """
    document = parse(text, filename)
    return rules_of(document, text, filename)


def rules_of(document: Document, text: str, filename: str) -> tuple[ConfigRule, ...]:
    """Return the creation rules of a parsed document in order.

    Raises:
        PlaceError: a field has the wrong type; sops cannot read the file either.
    """
    reader = _Reader(filename)
    root = reader.fields(document.root) if document.root is not None else {}
    section = root.get("creation_rules")
    if section is None:
        return ()
    ours = blocks.find(text, filename)
    return tuple(
        reader.rule(index, item, ours=any(one.holds(item.start) for one in ours))
        for index, item in enumerate(reader.items(section))
    )


class _Reader:
    """Reads nodes as sops unmarshals them (go-yaml v3); errors name the line.

    Each node is read once, however many aliases refer to it: nested aliases can expand
    to exponentially many nodes.
    """

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.known_fields: dict[int, dict[str, Node]] = {}
        self.known_groups: dict[int, tuple[list[str], list[str]]] = {}

    def fail(self, node: Node, problem: str) -> PlaceError:
        hint = "sops cannot read it either"
        return PlaceError(self.filename, node.line, problem, hint)

    def fields(self, node: Node) -> dict[str, Node]:
        """Return the fields of a mapping, including those merged by `<<`."""
        found = resolved(node)
        if id(found) not in self.known_fields:
            self.known_fields[id(found)] = self.fields_of(node, found)
        return self.known_fields[id(found)]

    def fields_of(
        self, node: Node, found: Scalar | Sequence | Mapping
    ) -> dict[str, Node]:
        if isinstance(found, Scalar) and found.null:
            return {}
        if not isinstance(found, Mapping):
            raise self.fail(node, "expected a mapping")
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in found.pairs:
            name = resolved(key)
            if not isinstance(name, Scalar):
                continue
            if name.text == "<<" and name.plain:
                for source in self.merge_sources(value):
                    merged = {**self.fields(source), **merged}
            elif name.text in own:
                raise self.fail(key, "duplicate field")
            else:
                own[name.text] = value
        return {**merged, **own}

    def merge_sources(self, node: Node) -> tuple[Node, ...]:
        found = resolved(node)
        return found.items if isinstance(found, Sequence) else (node,)

    def items(self, node: Node | None) -> tuple[Node, ...]:
        if node is None:
            return ()
        found = resolved(node)
        if isinstance(found, Scalar) and found.null:
            return ()
        if not isinstance(found, Sequence):
            raise self.fail(node, "expected a list")
        return found.items

    def text(self, node: Node | None) -> str:
        if node is None:
            return ""
        found = resolved(node)
        if not isinstance(found, Scalar):
            raise self.fail(node, "expected a string")
        return "" if found.null else found.text

    def texts(self, node: Node | None) -> Iterator[str]:
        """Yield the texts of a list or of one string, split at commas."""
        if node is None:
            return
        lone = isinstance(resolved(node), Scalar)
        for item in (node,) if lone else self.items(node):
            for part in self.text(item).split(","):
                if part.strip():
                    yield part.strip()

    def rule(self, index: int, node: Node, *, ours: bool) -> ConfigRule:
        fields = self.fields(node)
        groups = self.items(fields.get("key_groups"))
        if groups:
            age, others = self.grouped(groups)
        else:
            age = list(self.texts(fields.get("age")))
            others = self.others(fields, RULE_FIELDS)
        return ConfigRule(
            self.text(fields.get("path_regex")),
            tuple(age),
            tuple(others),
            max(len(groups), 1),
            tuple(self.options(fields)),
            ours,
            index,
            node.line,
            (node.start, node.end),
        )

    def grouped(self, groups: tuple[Node, ...]) -> tuple[list[str], list[str]]:
        """Return the age keys and the other keys of key groups, merged ones first."""
        age: list[str] = []
        others: list[str] = []
        for group in groups:
            known = id(resolved(group))
            if known not in self.known_groups:
                self.known_groups[known] = self.group(group)
            more_age, more_others = self.known_groups[known]
            age += more_age
            others += more_others
        return age, others

    def group(self, node: Node) -> tuple[list[str], list[str]]:
        fields = self.fields(node)
        own = fields.get("age")
        if own is not None:
            self.items(own)  # raises: in a group sops takes a list, not a string
        age, others = self.grouped(self.items(fields.get("merge")))
        own_others = self.others(fields, GROUP_FIELDS)
        return (
            list(dict.fromkeys((*age, *self.texts(own)))),
            list(dict.fromkeys((*others, *own_others))),
        )

    def others(self, fields: dict[str, Node], known: dict[str, str]) -> list[str]:
        found: list[str] = []
        for name, kind in known.items():
            node = fields.get(name)
            if node is None:
                continue
            for item in self.listed(node):
                found += [f"{kind}:{text}" for text in self.described(item)]
        return found

    def listed(self, node: Node) -> tuple[Node, ...]:
        return (node,) if isinstance(resolved(node), Scalar) else self.items(node)

    def described(self, item: Node) -> Iterator[str]:
        """Yield a key's texts; those of a mapping are its sorted values, joined."""
        if isinstance(resolved(item), Mapping):
            fields = self.fields(item)
            texts = (resolved(node) for _, node in sorted(fields.items()))
            yield " ".join(one.text for one in texts if isinstance(one, Scalar))
        else:
            yield from self.texts(item)

    def options(self, fields: dict[str, Node]) -> Iterator[tuple[str, str | bool]]:
        for name in SELECTION:
            if text := self.text(fields.get(name)):
                yield name, text
        if self.text(fields.get("mac_only_encrypted")).lower() == "true":
            yield "mac_only_encrypted", True
