"""Findings on `.sops.yaml` files: rules that sops reads otherwise than intended.

After getsops/sops:config/config.go: unknown fields are ignored, a rule without
path_regex matches everything, expressions are searched unanchored, key_groups hide the
keys next to them, several groups split the data key.
"""

import difflib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from nixsecrets.errors import KeyFormatError, PlaceError, TooLargeError
from nixsecrets.files.sops.selectors import unusable as unusable_options
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.generated import yamltree
from nixsecrets.generated.rules import (
    GROUP_FIELDS,
    RULE_FIELDS,
    ConfigRule,
    rules_of,
)
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.keys.sopsoptions import SELECTION
from nixsecrets.plan.problems import unusable

_KEYS = ("age", *RULE_FIELDS, "aws_profile")
_KNOWN = frozenset(
    (
        *("path_regex", "key_groups", "shamir_threshold", "mac_only_encrypted"),
        *SELECTION,
        *_KEYS,
    )
)
_GROUP_KNOWN = frozenset(("age", *GROUP_FIELDS, "merge"))
_BARE_DOT = re.compile(r"(?<!\\)\.(?![*+?{])")
_GLOB = re.compile(r"(?<![\])}.\\])/\*|^\*")
_CONFIG = ".sops.yaml"

Fields = Mapping[str, yamltree.Node]


def names_findings(config: str | None, names: Iterable[str]) -> Iterator[Finding]:
    """Yield configurations that sops ignores, or uses instead of `config`."""
    for name in names:
        base = posixpath.basename(name)
        if base == ".sops.yml":
            yield Finding(name, Code.WRONG_NAME, "sops does not read this file")
        elif base == _CONFIG and name != (config or _CONFIG):
            message = f"sops uses it instead of {config or _CONFIG} when started there"
            yield Finding(name, Code.SEVERAL_CONFIGS, message)


def config_findings(path: str, text: str) -> Iterator[Finding]:
    """Yield findings on one configuration; our own blocks have none."""
    try:
        document = yamltree.parse(text, path)
        rules = rules_of(document, text, path)
    except PlaceError as error:
        yield unreadable(path, error)
        return
    nodes = _rule_nodes(document)
    catch_all: ConfigRule | None = None
    for rule, node in zip(rules, nodes, strict=True):
        if catch_all is not None:
            message = f"the rule at line {catch_all.line} matches every file before it"
            yield Finding(path, Code.RULE_SHADOWED, message, rule.line)
        if not rule.path_regex:
            catch_all = catch_all or rule
        if not rule.ours:
            yield from _rule_findings(path, rule, _fields(node))
    yield from _anchors(path, document)


def unreadable(path: str, error: PlaceError) -> Finding:
    """Return the finding for a configuration that cannot be read."""
    large = isinstance(error, TooLargeError)
    code = Code.TOO_LARGE if large else Code.CONFIG_UNREADABLE
    return Finding(path, code, error.reason, error.line)


def _rule_nodes(document: yamltree.Document) -> list[yamltree.Node]:
    root = _fields(document.root) if document.root is not None else {}
    section = root.get("creation_rules")
    found = yamltree.resolved(section) if section is not None else None
    return list(found.items) if isinstance(found, yamltree.Sequence) else []


def _fields(node: yamltree.Node) -> Fields:
    """Return the fields of a mapping itself, without those merged by `<<`."""
    found = yamltree.resolved(node)
    if not isinstance(found, yamltree.Mapping):
        return {}
    keys = ((yamltree.resolved(key), value) for key, value in found.pairs)
    return {k.text: value for k, value in keys if isinstance(k, yamltree.Scalar)}


def _rule_findings(path: str, rule: ConfigRule, fields: Fields) -> Iterator[Finding]:
    yield from _unknown_fields(path, rule, fields)
    if rule.fault:
        yield Finding(path, Code.REGEX_UNUSABLE, unusable(rule), rule.line)
    if why := unusable_options(rule.options):
        message = f"sops would ignore its {why}"
        yield Finding(path, Code.REGEX_UNUSABLE, message, rule.line)
    if reasons := list(_regex_reasons(rule.path_regex)):
        message = f"path_regex {rule.path_regex}: " + "; ".join(reasons)
        yield Finding(path, Code.REGEX_UNANCHORED, message, rule.line)
    if rule.groups > 1 and "shamir_threshold" not in fields:
        message = f"{rule.groups} key groups: a reader needs a key of each of them"
        yield Finding(path, Code.SPLIT_KEY_GROUPS, message, rule.line)
    hidden = [name for name in _KEYS if name in fields]
    if "key_groups" in fields and hidden and _has_groups(fields["key_groups"]):
        message = f"{', '.join(hidden)} next to key_groups has no effect"
        yield Finding(path, Code.KEYS_HIDDEN, message, rule.line)
    yield from _keys(path, rule)


def _has_groups(node: yamltree.Node) -> bool:
    found = yamltree.resolved(node)
    return isinstance(found, yamltree.Sequence) and bool(found.items)


def _unknown_fields(path: str, rule: ConfigRule, fields: Fields) -> Iterator[Finding]:
    groups = yamltree.resolved(fields["key_groups"]) if "key_groups" in fields else None
    inner = groups.items if isinstance(groups, yamltree.Sequence) else ()
    places = [(fields, _KNOWN), *((_fields(one), _GROUP_KNOWN) for one in inner)]
    for found, known in places:
        for name, node in found.items():
            if name in known or name == "<<":
                continue
            near = difflib.get_close_matches(name, known, 1, 0.7)
            message = f"sops does not know the field {name[:40]!r}"
            if near == ["path_regex"] and not rule.path_regex:
                message += ": without path_regex the rule matches every file"
            elif near:
                message += f"; did you mean {near[0]}?"
            yield Finding(path, Code.FIELD_UNKNOWN, message, node.line)


def _regex_reasons(regex: str) -> Iterator[str]:
    if not regex or regex in {".*", "^.*$", ".*$", "^.*"}:
        return
    if not regex.startswith(("^", "(^", "(?:^", ".*")) or not regex.endswith(
        ("$", "$)", ".*")
    ):
        yield "it is searched anywhere in the path"
    if _BARE_DOT.search(regex.replace("[^.]", "")):
        yield "a dot matches any character"
    if _GLOB.search(regex):
        yield "/* means any number of slashes"
    if "\\\\" in regex:
        yield "a path has no backslash"


def _keys(path: str, rule: ConfigRule) -> Iterator[Finding]:
    for text, times in Counter((*rule.age, *rule.others)).items():
        if times > 1:
            message = f"the rule has a key {times} times"
            yield Finding(path, Code.KEY_TWICE, message, rule.line)
        if text in rule.age:
            try:
                parse_recipient(text)
            except KeyFormatError as error:
                message = f"a recipient of the rule: {error.message}"
                yield Finding(path, Code.KEY_UNUSABLE, message, rule.line)


def _anchors(path: str, document: yamltree.Document) -> Iterator[Finding]:
    names: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    for anchor in document.anchors:
        node = anchor.node
        if isinstance(node, yamltree.Scalar) and len(node.text) > 30:
            names.setdefault(node.text, []).append(anchor.name)
            lines[node.text] = node.line
    for text, found in names.items():
        if len(set(found)) > 1:
            message = f"one key under the names {', '.join(found)}"
            yield Finding(path, Code.KEY_TWO_NAMES, message, lines[text])
