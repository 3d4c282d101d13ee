"""Chooses `always`, the groups, and the names of each rule's readers."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nixsecrets.adopt.hints import NamedSet, safe_name
from nixsecrets.adopt.naming import Owner
from nixsecrets.adopt.planned import Planned


@dataclass(frozen=True, slots=True)
class Naming:
    """The names in the new map.

    `readers` has the names of each rule's readers, `origins` where the name of each
    group comes from.
    """

    always: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    readers: tuple[tuple[str, ...], ...]
    origins: Mapping[str, str]


def naming(
    owners: Sequence[Owner], rules: Sequence[Planned], sets: Iterable[NamedSet]
) -> Naming:
    """Return groups and readers; a set of owners that recurs becomes a group.

    `sets` are sets of keys that the old configurations name.
    """
    return _Grouper(owners, rules, sets).naming()


class _Grouper:
    def __init__(
        self,
        owners: Sequence[Owner],
        rules: Sequence[Planned],
        sets: Iterable[NamedSet],
    ) -> None:
        self.rules = rules
        self.order = {owner.name: at for at, owner in enumerate(owners)}
        self.hosts = frozenset(o.name for o in owners if o.kind == "host")
        self.users = frozenset(o.name for o in owners if o.kind == "user")
        named = list(sets)
        self.candidates = dict(self.named(owners, named))
        self.parts = {safe_name(one.name): one.parts for one in named}
        self.origins: dict[str, str] = {}
        self.groups: dict[str, frozenset[str]] = {}

    def naming(self) -> Naming:
        everywhere = self.everywhere()
        always = self.always(everywhere)
        self.propose(everywhere)
        readers = tuple(
            self.expressed(rule.access - everywhere, rule.access | everywhere)
            for rule in self.rules
        )
        used = {name for names in readers for name in names} | set(always)
        groups: dict[str, tuple[str, ...]] = {}
        for name in [*self.groups]:
            if name in used and name not in groups:
                self.keep(name, groups)
        return Naming(always, groups, readers, self.origins)

    def keep(self, name: str, groups: dict[str, tuple[str, ...]]) -> None:
        """Add a group to `groups`, made of the groups that its source makes it of."""
        members = self.groups[name]
        inner = dict.fromkeys(filter(None, map(safe_name, self.parts.get(name, ()))))
        parts = [one for one in inner if self.within(one, members)]
        left = members.difference(*(self.candidates[one][0] for one in parts))
        groups[name] = (*parts, *self.sorted(left))
        for one in parts:
            if one not in groups:
                self.define(one, *self.candidates[one])
                self.keep(one, groups)

    def within(self, name: str, members: frozenset[str]) -> bool:
        """Return whether a named set is a part, and not all, of some members."""
        return name in self.candidates and self.candidates[name][0] < members

    def named(
        self, owners: Sequence[Owner], sets: Iterable[NamedSet]
    ) -> Iterable[tuple[str, tuple[frozenset[str], str]]]:
        """Yield the named sets of keys as name -> (owners, origin of the name)."""
        taken = set(self.order)
        for one in sets:
            members = frozenset(o.name for o in owners if o.key_ids <= one.keys)
            keys = frozenset(k for o in owners if o.name in members for k in o.key_ids)
            name = safe_name(one.name)
            if name and name not in taken and len(members) > 1 and keys == one.keys:
                taken.add(name)
                yield name, (members, one.origin)

    def everywhere(self) -> frozenset[str]:
        """Return the users who read the files of every rule."""
        if not self.rules:
            return frozenset()
        return self.users.intersection(*(rule.access for rule in self.rules))

    def always(self, everywhere: frozenset[str]) -> tuple[str, ...]:
        """Return who reads everything: as the set that the source names, else each.

        No name is invented: six servers that read everything are no admins.
        """
        for name, (members, origin) in self.candidates.items():
            if members == everywhere:
                return (self.define(name, members, origin),)
        return self.sorted(everywhere)

    def propose(self, everywhere: frozenset[str]) -> None:
        """Define groups: named sets that rules use, then other sets that recur."""
        rests = [rule.access - everywhere for rule in self.rules]
        fullest = sorted(self.candidates.items(), key=lambda item: -len(item[1][0]))
        for name, (members, origin) in fullest:
            wanted = members - everywhere
            if len(wanted) > 1 and any(wanted <= rest for rest in rests):
                self.define(name, members, origin)
        left = Counter(
            frozenset(self.singles(rest, rest | everywhere)) for rest in rests
        )
        for members, times in left.items():
            if (len(members) > 2 and times > 1) or (len(members) == 2 and times > 2):
                name = self.proposed(members, everywhere)
                self.define(name, members, "proposed: they recur together")

    def define(self, name: str, members: frozenset[str], origin: str) -> str:
        self.groups[name] = members
        self.origins[name] = origin
        return name

    def free(self, name: str) -> bool:
        return name not in self.order and name not in self.groups

    def proposed(self, members: frozenset[str], everywhere: frozenset[str]) -> str:
        """Return a name for a set without one: after its kind or what it reads."""
        wishes = ["hosts", "all-hosts"] if members == self.hosts else []
        for rule in self.rules:
            if members <= rule.access - everywhere:
                text = rule.path or rule.path_regex or ""
                words = re.findall(r"[A-Za-z][A-Za-z0-9_-]*", text)
                generic = {"secrets", "yaml", "json", "age", "env", "ini", "yml", "s"}
                wishes += [f"{w}-readers" for w in reversed(words) if w not in generic]
                break
        for wish in (*wishes, *(f"group-{n}" for n in range(1, 1000))):
            if self.free(wish) and safe_name(wish) == wish:
                return wish
        raise AssertionError("a thousand groups")

    def expressed(
        self, rest: frozenset[str], allowed: frozenset[str]
    ) -> tuple[str, ...]:
        """Return groups and single names that together stand for exactly `rest`.

        Groups may include members of `allowed`, who read the rule's files anyway.
        """
        groups, left = self.covered(rest, allowed)
        return (*groups, *self.sorted(left))

    def singles(self, rest: frozenset[str], allowed: frozenset[str]) -> frozenset[str]:
        return self.covered(rest, allowed)[1]

    def covered(
        self, rest: frozenset[str], allowed: frozenset[str]
    ) -> tuple[list[str], frozenset[str]]:
        chosen: list[str] = []
        left = rest
        while True:
            gains = [
                (len(members & left), -len(members), name)
                for name, members in self.groups.items()
                if members <= allowed and len(members & left) > 1
            ]
            if not gains:
                return chosen, left
            name = max(gains)[2]
            chosen.append(name)
            left -= self.groups[name]

    def sorted(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(names, key=lambda name: self.order[name]))
