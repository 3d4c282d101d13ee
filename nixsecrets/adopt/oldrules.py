"""The old configurations, rule by rule: who may read which path.

A rule that nixsecrets does not manage (PGP, KMS, Vault, key groups) is `foreign`: it
stays where it is.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from nixsecrets.adopt import patterns
from nixsecrets.adopt.evaluate import Evaluated, outside
from nixsecrets.errors import KeyFormatError, NixsecretsError, quoted
from nixsecrets.generated.rules import ConfigRule, read_rules
from nixsecrets.keys.recipients import KeyId, Recipient, parse_recipient
from nixsecrets.keys.sopsoptions import SELECTION
from nixsecrets.untrusted import regex

Access = frozenset[KeyId]
Decision = Access | Literal["foreign"] | None
"""Who reads a path: a set of keys; "foreign": a foreign rule decides; None: no rule."""

# Configuration that is commented out.
_ASIDE = re.compile(
    r"- |[*&]|(?:\w+_(?:regex|suffix|encrypted|threshold)|age|pgp|key_groups|keys):"
)
_SERVICES = {
    "pgp": "PGP",
    "kms": "AWS KMS",
    "gcp_kms": "GCP KMS",
    "azure_kv": "Azure Key Vault",
    "hc_vault": "Vault",
    "hckms": "Huawei KMS",
}


@dataclass(frozen=True, slots=True)
class SopsRule:
    """A creation rule, its keys parsed; `foreign` says why it is not adopted."""

    rule: ConfigRule
    readers: tuple[Recipient, ...]
    foreign: str | None = None
    comments: tuple[str, ...] = ()

    @property
    def access(self) -> Access:
        """The ids of the keys that the rule grants access to."""
        return frozenset(key.key_id for key in self.readers)


@dataclass(frozen=True, slots=True)
class AgeEntry:
    """An entry of agenix rules; `path` is relative to the map's folder.

    `listed` are its keys as they stand there: age makes a stanza for each, so a key
    that is listed twice has two.
    """

    name: str
    path: str
    listed: tuple[Recipient, ...]
    armor: bool = False
    comments: tuple[str, ...] = ()

    @property
    def readers(self) -> tuple[Recipient, ...]:
        """Its keys, each once."""
        return tuple(dict.fromkeys(self.listed))

    @property
    def access(self) -> Access:
        """The ids of the keys that the entry grants access to."""
        return frozenset(key.key_id for key in self.readers)


@dataclass(frozen=True)
class Old:
    """The old configurations of one map's folder.

    `config` and `rules` are their paths relative to it, None if there is none.
    """

    sops: tuple[SopsRule, ...] = ()
    age: tuple[AgeEntry, ...] = ()
    config: str | None = None
    rules: str | None = None
    _memo: dict[str, Decision] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def entries(self) -> Mapping[str, AgeEntry]:
        """The agenix entries by path."""
        return {entry.path: entry for entry in self.age}

    @cached_property
    def below(self) -> str:
        """The folder of the sops configuration: "", or with a `/` at its end."""
        folder = posixpath.dirname(self.config or "")
        return folder + "/" if folder else ""

    @cached_property
    def _searches(self) -> list[tuple[Callable[[str], bool], SopsRule]]:
        return [(_search(one.rule), one) for one in self.sops]

    def sops_rule(self, path: str) -> SopsRule | None:
        """Return the creation rule that sops uses for a path, None without one."""
        if not path.startswith(self.below):
            return None
        subject = path[len(self.below) :]
        return next((rule for found, rule in self._searches if found(subject)), None)

    def first_adopted(self, path: str) -> SopsRule | None:
        """Return the first rule that is not foreign and matches a path, else None."""
        if not path.startswith(self.below):
            return None
        subject = path[len(self.below) :]
        mine = ((f, rule) for f, rule in self._searches if rule.foreign is None)
        return next((rule for found, rule in mine if found(subject)), None)

    def decision(self, path: str) -> Decision:
        """Return who reads a path: by its agenix entry, else by its creation rule."""
        if path not in self._memo:
            self._memo[path] = self._decide(path)
        return self._memo[path]

    def _decide(self, path: str) -> Decision:
        if path in self.entries:
            return self.entries[path].access
        rule = self.sops_rule(path)
        if rule is None:
            return None
        return rule.access if rule.foreign is None else "foreign"

    def samples(self, rule: SopsRule) -> tuple[str, ...]:
        """Return sample paths that a rule matches, and similar paths."""
        if rule.rule.fault:
            return ()
        near = patterns.nearby(patterns.samples(rule.rule.path_regex))
        return tuple(self.below + path for path in near)

    def dead(self) -> list[tuple[SopsRule, SopsRule]]:
        """Return the rules that never apply, each with the one that applies instead.

        Determined by sample paths for each expression.
        """
        found: list[tuple[SopsRule, SopsRule]] = []
        for rule in self.sops:
            if rule.rule.fault:
                continue
            drawn = patterns.samples(rule.rule.path_regex)
            winners = [self.sops_rule(self.below + path) for path in drawn]
            above = next((one for one in winners if one is not rule), None)
            if above is not None and all(one is not rule for one in winners):
                found.append((rule, above))
        return found


def read_sops(text: str, filename: str) -> tuple[SopsRule, ...]:
    """Return the creation rules of a `.sops.yaml`.

    Raises:
        NixsecretsError: sops cannot read it, or it has blocks of ours.
    """
    rules = read_rules(text, filename)
    if any(rule.ours for rule in rules):
        raise NixsecretsError(
            f"{filename} holds rules that nixsecrets wrote, but their map is gone",
            "restore nixsecrets.toml from git, or remove the marked blocks",
        )
    return tuple(_sops_rule(rule, text) for rule in rules)


def _search(rule: ConfigRule) -> Callable[[str], bool]:
    """Return whether sops looks no further for a path: the rule matches, or it fails.

    The empty expression matches everything.
    """
    if rule.fault:
        return lambda _: True
    return regex.parse(rule.path_regex).found_in


def _sops_rule(rule: ConfigRule, text: str) -> SopsRule:
    readers: dict[Recipient, None] = {}
    why = _foreign(rule)
    for one in rule.age:
        try:
            readers[parse_recipient(one)] = None
        except KeyFormatError as error:
            why = why or f"one of its keys is invalid: {error.message}"
    if not readers and why is None:
        why = "it names no key"
    comments = tuple(_comments(text, rule.span))
    return SopsRule(rule, tuple(readers), why, comments)


def _foreign(rule: ConfigRule) -> str | None:
    """Return what of a rule nixsecrets does not manage, None if it manages all."""
    if rule.fault:
        return f"sops cannot compile its path_regex: {rule.fault}"
    if rule.groups > 1:
        return (
            f"it splits its data key over {rule.groups} key groups (Shamir);"
            " each dash below key_groups begins one"
        )
    if rule.others:
        kinds = dict.fromkeys(one.partition(":")[0] for one in rule.others)
        return "it names " + ", ".join(_SERVICES.get(kind, kind) for kind in kinds)
    if sum(name in SELECTION for name, _ in rule.options) > 1:
        return "it has two selection options, which sops rejects"
    return None


def _comments(text: str, span: tuple[int, int]) -> Iterator[str]:
    """Yield the comments of a rule: those directly above it, and inside it."""
    lines = text[: span[0]].split("\n")[:-1]
    above: list[str] = []
    while lines and lines[-1].lstrip().startswith("#"):
        above.append(lines.pop())
    inside = text[slice(*span)].split("\n")
    for line in [*reversed(above), *inside]:
        stripped = line.strip()
        if stripped.startswith("#") and prose(stripped):
            yield stripped.lstrip("#").strip()


def prose(comment: str) -> bool:
    """Return whether a comment line is prose, not commented-out configuration."""
    words = comment.lstrip("#").strip()
    return bool(words) and not _ASIDE.match(words)


def read_age(
    found: Sequence[Evaluated],
    rules: str,
    comments: Mapping[str, tuple[str, ...]],
    *,
    impure: bool = False,
) -> tuple[AgeEntry, ...]:
    """Return the entries of the agenix rules in the file `rules`.

    `comments` are those of entries, by the entry's name; `impure`: they were evaluated
    as agenix does it.

    Raises:
        NixsecretsError: some entries cannot be expressed in a map; it names all.
    """
    folder = posixpath.dirname(rules)
    entries: dict[str, AgeEntry] = {}
    faults: list[str] = []
    for one in found:
        try:
            entry = _age_entry(one, folder, comments.get(one.name, ()))
        except ValueError as error:
            faults.append(f"  {quoted(one.name)}: {error}")
            continue
        twin = entries.setdefault(entry.path, entry)
        if twin.access != entry.access:
            faults.append(f"  {quoted(one.name)}: {quoted(twin.name)} is the same file")
    if faults:
        count = "1 entry" if len(faults) == 1 else f"{len(faults)} entries"
        raise NixsecretsError(
            "\n".join([f"{rules}: {count} cannot be adopted", *faults]),
            f"{outside(impure=impure)}correct {rules}, or adopt with --sops-only",
        )
    return tuple(entries.values())


def _age_entry(one: Evaluated, folder: str, comments: tuple[str, ...]) -> AgeEntry:
    if one.problem is not None:
        raise ValueError(one.problem)
    path = posixpath.normpath(posixpath.join(folder, one.name))
    if path.startswith(("../", "/")) or path in (".", ".."):
        raise ValueError("it is outside the map's folder")
    if not patterns.possible(path):
        raise ValueError("its name cannot be that of a file in a map")
    listed = tuple(key for text in one.public_keys for key in _keys(text))
    if not listed:
        raise ValueError("it has no key")
    return AgeEntry(one.name, path, listed, one.armor, comments)


def _keys(text: object) -> Iterator[Recipient]:
    """Yield the keys of one list element, which agenix passes to age line by line."""
    if not isinstance(text, str):
        raise ValueError("an element of its publicKeys is not a string")
    for line in text.splitlines():
        if line.strip():
            try:
                yield parse_recipient(line)
            except KeyFormatError as error:
                raise ValueError(
                    f"one of its keys is invalid: {error.message}"
                ) from None
