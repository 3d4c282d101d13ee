"""The map's rules as creation rules of sops, and their YAML.

`sopsyaml` decides where in a `.sops.yaml` they go.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal

from nixsecrets.errors import MapError, NixsecretsError
from nixsecrets.frozen import NamedTuple
from nixsecrets.generated import blocks
from nixsecrets.keys.forms import Backend, usable
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.match import literal_suffix
from nixsecrets.map.model import Reader, Rule
from nixsecrets.map.names import MAP_NAME
from nixsecrets.map.resolve import Policy

# Text that YAML reads as the same string without quotes: no space, no double quote, no
# colon at the end, and a path or regex character, so it is no number, null or boolean.
_PLAIN = re.compile(r"(?=.*[\\^/$(])[\\^/(._A-Za-z0-9](?:[!#-9;-~]|:(?!\Z))*")
ANCHOR_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")  # go-yaml allows less than YAML 1.2
KEYS, RULES, INDENT = "keys:", "creation_rules:", "  "
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Creation(NamedTuple):
    """One creation rule; `rule` is the index of the map's rule behind it."""

    rule: int
    regex: str
    readers: tuple[Reader, ...]
    options: tuple[tuple[str, str | bool], ...]

    @property
    def meaning(self) -> tuple[object, ...]:
        """What sops must read from it: expression, age recipients, options."""
        age = tuple(reader.recipient.text for reader in self.readers)
        return self.regex, age, frozenset(self.options)

    @property
    def first_line(self) -> str:
        """The line that identifies this rule in a block."""
        return f"- path_regex: {_scalar(self.regex)}"

    def lines(self, anchors: Mapping[Recipient, str]) -> list[str]:
        """Return the rule as a list item; recipients in `anchors` are aliases."""
        age = [f"        - {_age_item(reader, anchors)}" for reader in self.readers]
        return [
            self.first_line,
            "  key_groups:",
            *(["    - age:", *age] if age else ["    - age: []"]),
            *(
                f"  {name}: {'true' if value is True else _scalar(str(value))}"
                for name, value in self.options
            ),
        ]


def creations(policy: Policy, folder: str) -> Iterator[Creation]:
    """Yield the creation rules for a configuration in `folder` ("": the map's folder).

    Raises:
        MapError: a `path_regex` cannot be restated for that folder.
    """
    hosts = {host.name for host in policy.map.hosts}
    for rule in _rules_for_sops(policy.map.rules):
        try:
            expansions = policy.expansions(rule, below=folder)
        except ValueError as error:
            raise MapError(
                MAP_NAME,
                rule.line,
                str(error),
                "use path instead, or keep the sops configuration beside the map",
            ) from error
        for one in expansions:
            readers = policy.readers(rule, one.match, Backend.SOPS)
            served = tuple(one for one in readers if _served(one, hosts))
            options = tuple(option for option in rule.sops if option[1])
            yield Creation(rule.index, one.regex, served, options)


def named_keys(
    policy: Policy, rules: Iterable[Creation]
) -> Iterator[tuple[str, Recipient]]:
    """Yield (preferred anchor, recipient) for each key in use, in the map's order."""
    used = {reader for one in rules for reader in one.readers}
    ids = (
        (owner.name, key.key_id) for owner in policy.map.owners for key in owner.keys
    )
    order = {one: at for at, one in enumerate(ids)}
    counts: dict[str, int] = {}
    for reader in sorted(used, key=lambda one: order[one.name, one.recipient.key_id]):
        count = counts[reader.name] = counts.get(reader.name, 0) + 1
        name = ANCHOR_UNSAFE.sub("_", reader.name)
        yield (name if count == 1 else f"{name}-{count}"), reader.recipient


def anchors_for(
    preferred: Iterable[tuple[str, Recipient]], taken: Collection[str] = ()
) -> dict[Recipient, str]:
    """Return a unique anchor for each key: the preferred one, with `_` if taken."""
    anchors: dict[Recipient, str] = {}
    used = set(taken)
    for name, recipient in preferred:
        while name in used:
            name += "_"
        used.add(name)
        anchors[recipient] = name
    return anchors


def with_note(lines: Iterable[str]) -> list[str]:
    """Return the lines of a block, preceded by a comment on where they come from."""
    return [f"# written from {MAP_NAME}; edits in here are lost", *lines]


def whole_file(policy: Policy) -> str:
    """Return the text of a new configuration with nothing but our blocks.

    Raises:
        MapError: a `path_regex` cannot be restated for the configuration's folder.
    """
    folder = posixpath.dirname(policy.map.sops_config or "")
    rules = tuple(creations(policy, folder))
    anchors = anchors_for(named_keys(policy, rules))
    sections = (KEYS, key_lines(anchors)), (RULES, rule_lines(rules, anchors))
    found: list[str] = []
    for name, lines in sections:
        block = blocks.written(with_note(lines), INDENT, "\n")
        found += [name, block] if lines else [name]
    return "\n".join([*found, ""])


def only_ours(text: str) -> bool:
    """Return whether a configuration has our blocks and nothing else."""
    try:
        return blocks.take_out(text, "")[0] == f"{KEYS}\n{RULES}\n"
    except NixsecretsError:  # reading the rules raises it, with the file name
        return False


def key_lines(anchors: Mapping[Recipient, str]) -> list[str]:
    """Return the items of `keys` that define anchors."""
    return [f"- &{name} {recipient.text}" for recipient, name in anchors.items()]


def rule_lines(
    rules: Iterable[Creation], anchors: Mapping[Recipient, str]
) -> list[str]:
    """Return the items of `creation_rules`."""
    return [line for one in rules for line in one.lines(anchors)]


def _served(reader: Reader, hosts: set[str]) -> bool:
    owner: Literal["host", "user"] = "host" if reader.name in hosts else "user"
    return usable(reader.recipient, Backend.SOPS, owner) is None


def _rules_for_sops(rules: tuple[Rule, ...]) -> Iterator[Rule]:
    """Yield the rules that `.sops.yaml` needs.

    A rule for age files only (it covers nothing but `*.age`, or sets that backend) is
    skipped, unless a later rule would then match its files.
    """
    suffixes = [literal_suffix(rule) for rule in rules]
    for_age = [
        rule.backend is Backend.AGE or suffix.endswith(".age")
        for rule, suffix in zip(rules, suffixes, strict=True)
    ]
    rest = list(zip(suffixes, for_age, strict=True))
    for at, rule in enumerate(rules):
        only = suffixes[at].endswith(".age")
        others = [s for s, age in rest[at + 1 :] if not age]
        if not for_age[at] or any(not only or ".age".endswith(s) for s in others):
            yield rule


def _age_item(reader: Reader, anchors: Mapping[Recipient, str]) -> str:
    if reader.recipient in anchors:
        return f"*{anchors[reader.recipient]}"
    return f"{reader.recipient.text} # {reader.name}"


def _scalar(text: str) -> str:
    """Return `text` as a YAML scalar on one line: plain or double-quoted.

    Double quotes: YAML 1.2.2 section 7.3.1, escapes section 5.7.
    """
    if _PLAIN.fullmatch(text):
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return char if char.isprintable() and char.isascii() else f"\\U{ord(char):08x}"
