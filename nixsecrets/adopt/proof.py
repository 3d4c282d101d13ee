"""The proof that every path has the same readers in old configurations and new map.

Compares key ids, for every file, for each path that an old rule names, and for sample
paths that match each old expression or are similar.  If no old rule matches a path, a
`{host}` rule may claim it, but no other rule.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from nixsecrets.adopt import patterns
from nixsecrets.adopt.hints import keys_in
from nixsecrets.adopt.oldrules import Old
from nixsecrets.generated.rules import Winners
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Rule
from nixsecrets.map.resolve import Policy
from nixsecrets.untrusted import regex

STRANGER = "nobody-of-this-map"


@dataclass(frozen=True, slots=True)
class Proof:
    """The number of compared files and sample paths, and the paths that differ."""

    files: int
    samples: int
    differences: tuple[str, ...] = ()


class Prover:
    """The old configurations and the paths to compare, for any number of maps."""

    def __init__(self, old: Old, files: Collection[str]) -> None:
        """Draw the sample paths; `files` are the encrypted files."""
        self.old = old
        self.files = tuple(files)
        drawn = (path for rule in old.sops for path in old.samples(rule))
        named = (entry.path for entry in old.age)
        self.samples = tuple(
            path for path in dict.fromkeys((*named, *drawn)) if path not in files
        )

    def prove(self, policy: Policy, more: Iterable[str] = ()) -> Proof:
        """Compare a map with the old configurations; `more` are additional samples."""
        samples = (*self.samples, *strangers(policy), *more)
        found = [
            *(p for p in self.files if self._differs(policy, p, exist=True)),
            *(p for p in samples if self._differs(policy, p, exist=False)),
        ]
        return Proof(len(self.files), len(set(samples)), tuple(found))

    def _differs(self, policy: Policy, path: str, *, exist: bool) -> bool:
        was = self.old.decision(path)
        if not exist and policy.never_secret(path):
            return False  # the name rules it out, unless such a file exists
        backend = Backend.AGE if path in self.old.entries else Backend.SOPS
        want = policy.desired(path, backend)
        if was is None or was == "foreign":
            claimed = was == "foreign" or exist
            return want is not None and (claimed or not for_hosts(want.rule))
        now = frozenset(
            reader.recipient.key_id for reader in (want.readers if want else ())
        )
        return now != was

    def prove_config(self, config: str) -> tuple[str, ...]:
        """Return the paths for which a new configuration makes sops act differently."""
        winners = Winners(config, self.old.config or ".sops.yaml")
        return tuple(
            path
            for path in (*self.files, *self.samples)
            if path not in self.old.entries and self._config_differs(winners, path)
        )

    def _config_differs(self, winners: Winners, path: str) -> bool:
        if not path.startswith(self.old.below):
            return False
        was = self.old.sops_rule(path)
        now = winners.winner(path[len(self.old.below) :])
        if was is None:
            return now is not None and not now.ours
        if now is None:
            return True
        if was.foreign is not None:
            return now != was.rule
        keys = {key.key_id for text in now.age for key in keys_in(text)}
        return not now.ours or keys != was.access


def for_hosts(rule: Rule) -> bool:
    """Return whether a rule of the new map stands for one old rule per host."""
    return "{host}" in rule.readers


def strangers(policy: Policy) -> Iterator[str]:
    """Yield, for each `{host}` rule, a path with each host and with an unknown name."""
    names = [host.name for host in policy.map.hosts]
    for rule in policy.map.rules:
        if for_hosts(rule):
            for name in (*names, STRANGER):
                if rule.path is None:
                    pattern = rule.pattern.replace("{host}", regex.quote(name))
                    yield from patterns.samples(pattern)
                else:
                    path = rule.path.replace("{host}", name)
                    yield path.replace("**", "x").replace("*", "x").replace("?", "x")
