"""Who may read what: the map as a function from paths to readers."""

from collections.abc import Iterable, Iterator

from nixsecrets.keys.forms import Backend, form_for
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.match import (
    Expansion,
    Match,
    compile_rule,
    literal_path,
    reads_one_way,
    rendered_regexes,
)
from nixsecrets.map.model import Desired, Host, Reader, RecipientMap, Rule, User
from nixsecrets.map.names import LOCK_NAME, MAP_NAME, no_secret


class Policy:
    """A recipient map, compiled to answer questions about many paths."""

    def __init__(self, recipient_map: RecipientMap) -> None:
        """Compile the rules of a map that `map.load` has accepted."""
        self.map = recipient_map
        self._groups = dict(recipient_map.groups)
        self._owners: dict[str, User | Host] = {
            **{user.name: user for user in recipient_map.users},
            **{host.name: host for host in recipient_map.hosts},
        }
        self._hosts, self._users = _known_names(recipient_map)
        self.matchers = [
            compile_rule(rule, hosts=self._hosts, users=self._users)
            for rule in recipient_map.rules
        ]
        self._literals = {
            path: rule for rule in recipient_map.rules if (path := literal_path(rule))
        }
        self._generated = {
            MAP_NAME,
            LOCK_NAME,
            recipient_map.sops_config,
            recipient_map.agenix_rules,
        }
        self._readers: dict[tuple[int, Match | None, Backend], tuple[Reader, ...]] = {}
        # Answers by path: a command asks several times for each of thousands of paths.
        self._won: dict[str, tuple[Rule, Match] | None] = {}
        self._desired: dict[str, Desired] = {}
        self._wanted: dict[tuple[int, Match, bool], Desired] = {}

    def winning(self, path: str) -> tuple[Rule, Match] | None:
        """Return the first rule that covers `path`, and what its placeholders took."""
        if path not in self._won:
            self._won[path] = self._first_match(path)
        return self._won[path]

    def _first_match(self, path: str) -> tuple[Rule, Match] | None:
        for matcher in self.matchers:
            match = matcher.match(path)
            if match is not None:
                return matcher.rule, match
        return None

    @property
    def always_readers(self) -> frozenset[str]:
        """The hosts and users who read every secret, groups resolved."""
        return frozenset(self.members(self.map.always))

    def never_secret(self, path: str) -> bool:
        """Return whether `path` cannot be a secret, whatever wildcards cover it.

        True for the map and what is generated from it; also for `.git*`, Nix code,
        public keys, documentation and any `.sops.yaml`, unless a rule names the file
        without wildcards.
        """
        if path in self._generated:
            return True
        if path in self._literals:
            return False
        return no_secret(path)

    def requires_encryption(self, path: str) -> bool:
        """Return whether a rule covers `path` and does not allow plaintext."""
        found = self.winning(path)
        return found is not None and not found[0].plaintext_allowed

    def folder_of_secrets(self, folder: str) -> bool:
        """Return whether rules put secrets, and nothing else, directly into `folder`.

        Only rules that spell out the folder count: `**/x.yaml` and `{host}/x.age` do
        not say what else may be there.  The map's own folder is never one.
        """
        naming = [
            rule
            for rule in self.map.rules
            if folder and rule.path and rule.path.rpartition("/")[0] == folder
        ]
        return bool(naming) and not any(rule.plaintext_allowed for rule in naming)

    def generated(self, path: str) -> bool:
        """Return whether `path` is the map, the lock or a generated configuration."""
        return path in self._generated

    def desired(self, path: str, backend: Backend) -> Desired | None:
        """Return what the map specifies for `path`, None if it is not a secret of ours.

        All paths with the same answer get the same object.
        """
        known = self._desired.get(path)
        if known is not None and known.backend is backend:
            return known
        if self.never_secret(path):
            return None
        found = self.winning(path)
        if found is None:
            return None
        rule, match = found
        key = rule.index, match, backend is Backend.AGE  # an enum's hash takes long
        wanted = self._wanted.get(key)
        if wanted is None:
            wanted = self._wanted[key] = self._wants(rule, match, backend)
        self._desired[path] = wanted
        return wanted

    def _wants(self, rule: Rule, match: Match, backend: Backend) -> Desired:
        unclaimed = self._unclaimed(match)
        readers = self.readers(rule, None if unclaimed else match, backend)
        return Desired(backend, rule, readers, unclaimed)

    def readers(
        self, rule: Rule, match: Match | None, backend: Backend
    ) -> tuple[Reader, ...]:
        """Return the readers of a rule's files, in set order, each key once.

        Set order: the keys of `always`, then the others; within each, users, then
        hosts, in the order of the map.  It does not depend on how a rule names its
        readers.  `match` holds the names in the rule's placeholders; None stands for
        the catch-all, whose only readers are those of `always`.
        """
        key = rule.index, match, backend
        if key not in self._readers:
            always = self.members(self.map.always)
            others: set[str] = set()
            if match is not None and not self._unclaimed(match):
                others = self.members(_filled(rule.readers, match))
                others -= self.members(_filled(rule.except_, match))
            readers: dict[Recipient, Reader] = {}
            for names in (always, others - always):
                for reader in self._keys(names, backend):
                    readers.setdefault(reader.recipient, reader)
            self._readers[key] = tuple(readers.values())
        return self._readers[key]

    def expansions(self, rule: Rule, *, below: str = "") -> tuple[Expansion, ...]:
        """Return the rule as expressions for sops, in the order in which they decide.

        They match paths relative to the folder `below`, seen from the map's folder.

        Raises:
            ValueError: a `path_regex` cannot be restated for that folder.
        """
        hosts, users = self._hosts, self._users
        if reads_one_way(rule):  # then the catch-all claims the retired names
            hosts = [name for name in hosts if name in self._owners]
            users = [name for name in users if name in self._owners]
        return rendered_regexes(rule, hosts, users, below=below)

    def backend_for_new(self, path: str) -> Backend:
        """Return the backend of a new file at `path`: its rule's, else by extension."""
        found = self.winning(path)
        if found is not None and found[0].backend is not None:
            return found[0].backend
        return Backend.AGE if path.endswith(".age") else Backend.SOPS

    def named_paths(self, backend: Backend) -> list[str]:
        """Return the paths of `backend` that rules name without wildcards, sorted."""
        return sorted(
            path
            for path in self._literals
            if path not in self._generated and self.backend_for_new(path) is backend
        )

    def _unclaimed(self, match: Match) -> str | None:
        """Return the text of a placeholder that is not a host or user, else None."""
        for text, kind in ((match.host, Host), (match.user, User)):
            if text is not None and not isinstance(self._owners.get(text), kind):
                return text
        return None

    def members(self, names: Iterable[str]) -> set[str]:
        """Return the names of the hosts and users behind `names`, groups resolved."""
        return set(self._resolved(names, set()))

    def _resolved(self, names: Iterable[str], seen: set[str]) -> Iterator[str]:
        for name in names:
            if name in self._owners:
                yield name
            elif name not in seen:
                seen.add(name)
                yield from self._resolved(self._groups.get(name, ()), seen)

    def _keys(self, names: set[str], backend: Backend) -> Iterator[Reader]:
        for owner in self._owners.values():
            if owner.name not in names:
                continue
            for key in owner.keys:
                yield Reader(owner.name, _in_form(key, owner, backend))


def _in_form(key: Recipient, owner: Host | User, backend: Backend) -> Recipient:
    match owner:
        case Host():
            return form_for(key, backend, owner="host")
        case User():
            return form_for(key, backend, owner="user", sops_form=owner.sops_form)


def _filled(names: Iterable[str], match: Match) -> Iterator[str]:
    """Yield `names` with the matched names in place of `{host}` and `{user}`."""
    stand_in = {"{host}": match.host, "{user}": match.user}
    for name in names:
        filled = stand_in.get(name, name)
        if filled is not None:
            yield filled


def _known_names(recipient_map: RecipientMap) -> tuple[list[str], list[str]]:
    """Return the names that `{host}` and `{user}` may stand for, in the map's order.

    Retired names that nobody has today are among them: if a path has several readings,
    the files of a removed host must not become another host's.
    """
    hosts = [host.name for host in recipient_map.hosts]
    users = [user.name for user in recipient_map.users]
    borne = {*hosts, *users, *dict(recipient_map.groups)}
    gone = {one.name: None for one in recipient_map.retired if one.name not in borne}
    return [*hosts, *gone], [*users, *gone]
