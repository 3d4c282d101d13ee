"""Secrets of the map that no command can change: hidden by another map, or absent."""

import contextlib
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from nixsecrets.errors import ProgramError
from nixsecrets.files.age.header import LARGE
from nixsecrets.files.kind import looks_secret
from nixsecrets.frozen import NamedTuple
from nixsecrets.map.names import LOCK_NAME
from nixsecrets.map.resolve import Policy
from nixsecrets.repo import deleted
from nixsecrets.repo.worktree import MAP_NAME, Listing, Repo


class Reach(NamedTuple):
    """Secrets of a map that no step can change.

    `hidden` maps the path of another map to the files below its folder.  `absent` files
    are tracked by git but not on the disk: a sparse checkout, or removed by hand.
    """

    hidden: Mapping[str, Sequence[str]] = MappingProxyType({})
    absent: tuple[str, ...] = ()

    @property
    def missed(self) -> frozenset[str]:
        """All unreachable files; their entries in secrets.nix and the lock are kept."""
        return frozenset(chain(self.absent, *self.hidden.values()))


def unreached(repo: Repo, policy: Policy, listing: Listing) -> Reach:
    """Return the secrets of the map that are not among `listing.paths`."""
    found = {
        inner: [path for path in names if _hidden_secret(repo, policy, path)]
        for inner, names in listing.hidden.items()
    }
    hidden = {inner: paths for inner, paths in found.items() if paths}
    return Reach(hidden, _absent(repo, policy, listing.absent))


def _absent(repo: Repo, policy: Policy, names: Sequence[str]) -> tuple[str, ...]:
    """Return which of the `names` git tracks as secrets of the map.

    Where the rule allows plaintext, git's version of the file decides.
    """
    named = [path for path in names if _named(policy, path)]
    tracked = deleted.tracked(repo, named)
    undecided = [one for one in tracked if not policy.requires_encryption(one.path)]
    plaintext: set[str] = set()
    if undecided and repo.git is not None:
        with repo.git.reader(limit=LARGE) as read:
            for path, _, oid in undecided:
                with contextlib.suppress(ProgramError):  # not in a partial clone
                    if not looks_secret(path, read(oid)):
                        plaintext.add(path)
    return tuple(sorted({one.path for one in tracked} - plaintext))


def _named(policy: Policy, path: str) -> bool:
    """Return whether a rule claims `path` as a secret."""
    # also the map and the lock in the folder of another map
    ordinary = path.rpartition("/")[2] in {"", MAP_NAME, LOCK_NAME}
    return not (ordinary or policy.never_secret(path) or policy.winning(path) is None)


def _hidden_secret(repo: Repo, policy: Policy, path: str) -> bool:
    """Return whether a file below another map would be a secret of this one.

    Where the rule allows plaintext, the content of the file decides.
    """
    if not _named(policy, path):
        return False
    if policy.requires_encryption(path):
        return True
    data = repo.read_quickly(path, LARGE)
    return data is None or looks_secret(path, data)
