"""The rules of the new map as values: one for each old rule, then simplified.

A simplification is kept only if the proof of equal access still holds.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nixsecrets.adopt import patterns
from nixsecrets.adopt.naming import Owner
from nixsecrets.adopt.oldrules import Access, AgeEntry, Old, SopsRule
from nixsecrets.adopt.proof import Prover
from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Host, RecipientMap, Rule, User
from nixsecrets.map.resolve import Policy
from nixsecrets.untrusted import regex

Tree = Mapping[str, Backend | None]
"""The backend of each file of the repository, None for one that is not encrypted."""

_Alike = tuple[str, frozenset[str], tuple[object, ...]]

_FEWEST_FOR_A_FOLDER = 3


@dataclass(frozen=True, slots=True)
class Planned:
    """A rule of the new map.

    - `access`: the names of its readers; `host` adds `{host}` to them.
    - `glob`: a glob that covers the same paths if the rule is a `path_regex`.
    - `indices`: the creation rules that it replaces.
    """

    path: str | None
    path_regex: str | None
    access: frozenset[str]
    glob: str | None = None
    host: bool = False
    backend: Backend | None = None
    armor: bool = False
    plaintext: bool = False
    options: tuple[tuple[str, str | bool], ...] = ()
    comments: tuple[str, ...] = ()
    indices: frozenset[int] = frozenset()

    @property
    def sameness(self) -> tuple[object, ...]:
        """What two rules must have in common, besides readers, to be merged."""
        sops = bool(self.indices)
        return sops, self.backend, self.armor, self.plaintext, self.options

    def rule(self, index: int, readers: Iterable[str]) -> Rule:
        """Return the rule as a value of the map's model."""
        return Rule(
            index, self.path, self.path_regex,
            (*readers, *(["{host}"] if self.host else [])),
            plaintext_allowed=self.plaintext, backend=self.backend, armor=self.armor,
            sops=self.options,
        )  # fmt: skip


class Planner:
    """Turns old rules into rules of the new map, for given owners."""

    def __init__(
        self, old: Old, owners: Sequence[Owner], tree: Tree, prover: Prover
    ) -> None:
        self.old = old
        self.owners = owners
        self.tree = tree
        self.prover = prover
        self.hosts = [one.name for one in owners if one.kind == "host"]

    def planned(self) -> list[Planned]:
        """Return the rules, simplified as far as access stays equal."""
        sops = [one for rule in self.old.sops for one in self.from_sops(rule)]
        age = [self.from_age(entry) for entry in self.old.age]
        taken = any(self.old.sops_rule(entry.path) for entry in self.old.age)
        rules = [*age, *sops] if taken else [*sops, *age]
        rules = self.with_plaintext(rules)
        for simpler in (self.by_host, self.by_folder):
            for candidate in simpler(rules):
                merged = _merged(rules, candidate)
                if self.holds(merged):
                    rules = merged
        return rules

    def policy(self, rules: Sequence[Planned]) -> Policy:
        """Return the policy of these rules, whose readers are named one by one."""
        users = tuple(
            User(one.name, one.keys, sops_form="ssh" if one.ssh_in_sops else "age")
            for one in self.owners
            if one.kind == "user"
        )
        hosts = tuple(Host(o.name, o.keys) for o in self.owners if o.kind == "host")
        made = (one.rule(at, sorted(one.access)) for at, one in enumerate(rules))
        return Policy(
            RecipientMap(
                (),
                users,
                hosts,
                (),
                tuple(made),
                sops_config=self.old.config,
                agenix_rules=self.old.rules,
            )
        )

    def holds(self, rules: Sequence[Planned]) -> bool:
        """Return whether the rules grant exactly the access of the old ones.

        The rules file for agenix must also name the same files.
        """
        policy = self.policy(rules)
        if self.prover.prove(policy).differences:
            return False
        return age_names(policy, self.tree) == age_names(
            self.policy(rules_as_they_are(self)), self.tree
        )

    def names(self, access: Access) -> frozenset[str]:
        return frozenset(o.name for o in self.owners if o.key_ids <= access)

    def from_sops(self, rule: SopsRule) -> Iterator[Planned]:
        """Yield the rule for a creation rule, preceded by rules for hidden files."""
        if rule.foreign is not None:
            return
        access, options = self.names(rule.access), rule.rule.options
        source = rule.rule.path_regex
        glob = patterns.glob_of(source)
        text = None if glob is None else self.old.below + glob.text
        named = glob is not None and not glob.open
        yield from (
            Planned(patterns.glob_text(path), None, access, options=options)
            for path in self.hidden(rule)
        )
        yield Planned(
            text if named else None,
            None if named else restated(source, self.old.below),
            access,
            glob=text,
            options=options,
            comments=rule.comments,
            indices=frozenset([rule.rule.number]),
        )

    def hidden(self, rule: SopsRule) -> list[str]:
        """Return the sops files of a creation rule that wildcards never cover."""
        empty = self.policy([])
        return [
            path
            for path, backend in self.tree.items()
            if backend is Backend.SOPS
            and empty.never_secret(path)
            and path not in (self.old.config, self.old.rules)
            and self.old.sops_rule(path) is rule
        ]

    def from_age(self, entry: AgeEntry) -> Planned:
        glob = patterns.glob_text(entry.path)
        if glob != entry.path and entry.path not in self.tree:
            raise NixsecretsError(
                f"{quoted(entry.name)}: has no file, and its name looks like a pattern",
                f"take it out of {self.old.rules}, or create the file with agenix",
            )
        return Planned(
            glob,
            None,
            self.names(entry.access),
            glob=glob,
            backend=None if entry.path.endswith(".age") else Backend.AGE,
            armor=entry.armor,
            comments=entry.comments,
        )

    def with_plaintext(self, rules: Sequence[Planned]) -> list[Planned]:
        """Return the rules; sops rules that match plaintext files allow plaintext."""
        policy = self.policy(rules)
        plain = [path for path, backend in self.tree.items() if backend is None]
        hit = {
            found[0].index
            for path in plain
            if not policy.never_secret(path)
            and (found := policy.winning(path)) is not None
        }
        return [
            replace(one, plaintext=True) if at in hit and one.indices else one
            for at, one in enumerate(rules)
        ]

    def by_host(
        self, rules: Sequence[Planned]
    ) -> Iterator[tuple[list[Planned], Planned]]:
        """Yield rules that differ only in a host's name, and the rule to merge them."""
        alike: dict[_Alike, list[tuple[str, Planned]]] = {}
        for one in rules:
            for name in self.hosts:
                template = _template(one, name)
                if template is not None and name in one.access:
                    key = template, one.access - {name}, one.sameness
                    alike.setdefault(key, []).append((name, one))
        for (template, access, _), found in alike.items():
            if len({name for name, _ in found}) > 1:
                members = [one for _, one in found]
                yield (
                    members,
                    replace(
                        members[0],
                        path=template if members[0].glob else None,
                        path_regex=None if members[0].glob else template,
                        glob=template if members[0].glob else None,
                        access=access,
                        host=True,
                        comments=_joined(members),
                        indices=frozenset().union(*(one.indices for one in members)),
                    ),
                )

    def by_folder(
        self, rules: Sequence[Planned]
    ) -> Iterator[tuple[list[Planned], Planned]]:
        """Yield the rules for the age files of a folder, and the rule to merge them.

        Only if all files have the same readers.
        """
        folders: dict[str, list[Planned]] = {}
        for one in rules:
            path = one.path or ""
            if not one.indices and not one.host and path.endswith(".age"):
                folders.setdefault(posixpath.dirname(path), []).append(one)
        for folder, members in folders.items():
            kinds = {(one.access, one.sameness) for one in members}
            if len(kinds) == 1 and len(members) >= _FEWEST_FOR_A_FOLDER:
                glob = f"{folder}/*.age" if folder else "*.age"
                whole = replace(
                    members[0], path=glob, glob=glob, comments=_joined(members)
                )
                yield members, whole


def rules_as_they_are(planner: Planner) -> list[Planned]:
    """Return a rule for each agenix entry, none of them merged."""
    return [planner.from_age(entry) for entry in planner.old.age]


def age_names(policy: Policy, tree: Tree) -> set[str]:
    """Return the age files that the generated rules file will name."""
    present = {
        path
        for path, backend in tree.items()
        if backend is Backend.AGE and policy.desired(path, Backend.AGE) is not None
    }
    return present | set(policy.named_paths(Backend.AGE))


def settled(old: Old, files: Collection[str]) -> Old:
    """Return `old` with every rule marked foreign that would claim foreign files.

    A rule of the map cannot exclude paths, so a rule that also covers paths of a
    foreign rule above it must stay foreign too.
    """
    while True:
        policy_free = Policy(RecipientMap((), (), (), (), ()))
        prover = Prover(old, files)
        guilty: dict[int, int] = {}
        for path in (*files, *prover.samples):
            if old.decision(path) != "foreign":
                continue
            if path not in files and policy_free.never_secret(path):
                continue
            claiming = old.first_adopted(path)
            decided = old.sops_rule(path)
            if claiming is not None and decided is not None:
                guilty[claiming.rule.number] = decided.rule.line
        if not guilty:
            return old
        why = "it also covers files of the foreign rule at line {}"
        old = Old(
            tuple(
                replace(one, foreign=why.format(guilty[one.rule.number]))
                if one.rule.number in guilty
                else one
                for one in old.sops
            ),
            old.age,
            old.config,
            old.rules,
        )


def restated(source: str, below: str) -> str:
    """Return an expression for paths relative to `below` as one for the map's folder.

    Raises:
        NixsecretsError: it has an anchor that is not at its start.
    """
    if not below:
        return source
    pieces = regex.parse(source).pieces
    if pieces and source.startswith("^"):
        return f"^{regex.quote(below)}{source[1:]}"
    if "^" in re.sub(r"\[\^|\\.", "", source) or r"\A" in source:
        raise NixsecretsError(
            f"a path_regex cannot be restated for the folder above {below}",
            f"run nixsecrets init in {below} instead",
        )
    inner = source if pieces else f"(?:{source})"
    return f"^{regex.quote(below)}(?s:.*){inner}"


def _merged(
    rules: Sequence[Planned], candidate: tuple[list[Planned], Planned]
) -> list[Planned]:
    """Return the rules with a candidate's rules replaced by its merged rule."""
    members, whole = candidate
    if not all(member in rules for member in members):
        return list(rules)
    first = rules.index(members[0])
    kept = [whole if at == first else one for at, one in enumerate(rules)]
    return [one for one in kept if one not in members[1:] and one != members[0]]


def _template(one: Planned, name: str) -> str | None:
    """Return a rule's pattern with `{host}` for a name, None unless it is there once.

    An expression may have the name without the escapes that it needs.
    """
    text = one.glob or one.path_regex or ""
    if "{host}" in text:
        return None
    spelled = {name} if one.glob else {name, regex.quote(name)}
    names = "|".join(map(re.escape, spelled))
    parts = re.split(rf"(?<![A-Za-z0-9])(?:{names})(?![A-Za-z0-9])", text)
    return "{host}".join(parts) if len(parts) == 2 else None


def _joined(members: Iterable[Planned]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for one in members for line in one.comments))
