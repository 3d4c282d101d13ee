"""Which secrets of the map no command reaches, though they are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nixsecrets.policy.names import LOCK_NAME
from nixsecrets.policy.resolve import Policy
from nixsecrets.repo.tree import MAP_NAME, Listing, Repo
from nixsecrets.secretfiles.sniff import looks_secret
from nixsecrets.secretfiles.stream import LARGE


@dataclass(frozen=True)
class Reach:
    """Secrets of a map that no step can change, though nothing is wrong with them.

    `hidden` lie below a folder with a map of its own, by the path of that map.
    """

    hidden: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def missed(self) -> frozenset[str]:
        """All of them: what secrets.nix and the lock say of these stays."""
        return frozenset(path for paths in self.hidden.values() for path in paths)


def unreached(repo: Repo, policy: Policy, listing: Listing) -> Reach:
    """Return the secrets that are not among the paths of a listing."""
    found = {
        inner: [path for path in names if _hidden_secret(repo, policy, path)]
        for inner, names in listing.hidden.items()
    }
    return Reach({inner: paths for inner, paths in found.items() if paths})


def _hidden_secret(repo: Repo, policy: Policy, path: str) -> bool:
    """Tell whether a file that another map hides would be a secret of this one.

    Where plaintext is allowed, the file itself says so.
    """
    won = policy.winning(path)
    ordinary = path.rpartition("/")[2] in {"", MAP_NAME, LOCK_NAME}
    if won is None or ordinary or policy.never_secret(path):
        return False
    if not won[0].plaintext_allowed:
        return True
    data = repo.read_quickly(path, LARGE)
    return data is None or looks_secret(path, data)
