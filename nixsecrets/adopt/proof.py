"""The proof: whoever read a path by the old configurations reads it by the new map.

Compared as key bytes, for every file, for each path that an old rule names, and for
paths drawn from each old expression and close to it.  Where the old configurations let
nobody encrypt a path, a `{host}` rule may claim it; nothing else may.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from nixsecrets.adopt.hints import keys_in
from nixsecrets.adopt.oldrules import Old
from nixsecrets.generated.rules import Winners
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Rule
from nixsecrets.map.resolve import Policy

STRANGER = "nobody-of-this-map"


@dataclass(frozen=True, slots=True)
class Proof:
    """How many paths were compared, and which others read than before."""

    files: int
    samples: int
    differences: tuple[str, ...] = ()


class Prover:
    """The old side, with the paths to compare; asked about any number of maps."""

    def __init__(self, old: Old, files: Collection[str]) -> None:
        """Draw the sample paths; `files` are the encrypted ones."""
        self.old = old
        self.files = tuple(files)
        drawn = (path for rule in old.sops for path in old.samples(rule))
        named = (entry.path for entry in old.age)
        self.samples = tuple(
            path for path in dict.fromkeys((*named, *drawn)) if path not in files
        )

    def prove(self, policy: Policy, more: Iterable[str] = ()) -> Proof:
        """Compare the map with the old side; `more` are paths besides the samples."""
        samples = (*self.samples, *strangers(policy), *more)
        found = [
            *(p for p in self.files if self._differs(policy, p, exist=True)),
            *(p for p in samples if self._differs(policy, p, exist=False)),
        ]
        return Proof(len(self.files), len(set(samples)), tuple(found))

    def _differs(self, policy: Policy, path: str, *, exist: bool) -> bool:
        was = self.old.decision(path)
        if not exist and policy.never_secret(path):
            return False  # such a path is no secret unless a file shows it is
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
        """Return the paths that stock sops reads otherwise in a new configuration."""
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
    """Return whether a rule of an adopted map stands for one rule for each host."""
    return "{host}" in rule.readers


def strangers(policy: Policy) -> Iterator[str]:
    """Yield, for each `{host}` rule, a path of every host and of nobody in the map."""
    names = [host.name for host in policy.map.hosts]
    for rule in policy.map.rules:
        if for_hosts(rule):
            for name in (*names, STRANGER):
                path = str(rule.path).replace("{host}", name)
                yield path.replace("**", "x").replace("*", "x").replace("?", "x")
