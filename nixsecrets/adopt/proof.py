"""The proof: whoever read a path by the old configurations reads it by the new map.

Compared as key bytes, for every file, for each path that an old rule names, and for
paths drawn from each old expression and close to it.  Where the old configurations let
nobody encrypt a path, a `{host}` rule may claim it; nothing else may.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from nixsecrets.adopt.oldrules import Old
from nixsecrets.generated.sopsyaml import Winners
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Rule
from nixsecrets.map.resolve import Policy

STRANGER = "nobody-of-this-map"


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that is read by others than before."""

    path: str
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class Proof:
    """How many paths were compared, and what differs."""

    files: int
    samples: int
    differences: tuple[Difference, ...] = ()


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
            *self._differences(policy, self.files, exist=True),
            *self._differences(policy, samples, exist=False),
        ]
        return Proof(len(self.files), len(set(samples)), tuple(found))

    def _differences(
        self, policy: Policy, paths: Iterable[str], *, exist: bool
    ) -> Iterator[Difference]:
        for path in paths:
            difference = self._difference(policy, path, exist=exist)
            if difference is not None:
                yield difference

    def _difference(
        self, policy: Policy, path: str, *, exist: bool
    ) -> Difference | None:
        was = self.old.decision(path)
        if not exist and policy.never_secret(path):
            return None  # such a path is no secret unless a file shows it is
        backend = Backend.AGE if path in self.old.entries else Backend.SOPS
        want = policy.desired(path, backend)
        if was is None or was == "foreign":
            claimed = want is not None and (exist or not for_hosts(want.rule))
            return (
                Difference(path, 1, 0)
                if want is not None and (claimed or was == "foreign")
                else None
            )
        now = frozenset(
            reader.recipient.key_id for reader in (want.readers if want else ())
        )
        if now == was:
            return None
        return Difference(path, len(now - was), len(was - now))

    def prove_config(self, config: str) -> tuple[Difference, ...]:
        """Compare what stock sops reads in the written configuration with before."""
        winners = Winners(config, self.old.config or ".sops.yaml")
        found = (
            self._config_difference(winners, path)
            for path in (*self.files, *self.samples)
            if path not in self.old.entries
        )
        return tuple(one for one in found if one is not None)

    def _config_difference(self, winners: Winners, path: str) -> Difference | None:
        if not path.startswith(self.old.below):
            return None
        was = self.old.sops_rule(path)
        now = winners.winner(path[len(self.old.below) :])
        if was is None:
            return Difference(path, 1, 0) if now is not None and not now.ours else None
        if now is None:
            return Difference(path, 0, len(was.readers))
        if was.foreign is not None:
            same = now == was.rule
        else:
            from nixsecrets.adopt.hints import keys_in

            keys = {key.key_id for text in now.age for key in keys_in(text)}
            same = now.ours and keys == was.access
        return None if same else Difference(path, 1, 1)


def for_hosts(rule: Rule) -> bool:
    """Tell whether a rule of an adopted map stands for one rule for each host."""
    return "{host}" in rule.readers


def strangers(policy: Policy) -> Iterator[str]:
    """Yield, for each `{host}` rule, a path of every host and of nobody in the map."""
    names = [host.name for host in policy.map.hosts]
    for rule in policy.map.rules:
        if for_hosts(rule):
            for name in (*names, STRANGER):
                path = str(rule.path).replace("{host}", name)
                yield path.replace("**", "x").replace("*", "x").replace("?", "x")
