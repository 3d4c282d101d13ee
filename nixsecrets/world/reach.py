"""Which secrets of the map no command reaches, though they are there."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from nixsecrets.errors import ProgramError
from nixsecrets.files.age.header import LARGE
from nixsecrets.files.kind import looks_secret
from nixsecrets.map.names import LOCK_NAME
from nixsecrets.map.resolve import Policy
from nixsecrets.repo import deleted
from nixsecrets.repo.worktree import MAP_NAME, Listing, Repo


@dataclass(frozen=True)
class Reach:
    """Secrets of a map that no step can change, though nothing is wrong with them.

    `hidden` lie below a folder with a map of its own, by the path of that map.
    `absent` are tracked by git and not on the disk: in a sparse checkout, or removed
    by hand.
    """

    hidden: Mapping[str, Sequence[str]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @cached_property
    def missed(self) -> frozenset[str]:
        """All of them: what secrets.nix and the lock say of these stays."""
        return frozenset(chain(self.absent, *self.hidden.values()))


def unreached(repo: Repo, policy: Policy, listing: Listing) -> Reach:
    """Return the secrets that are not among the paths of a listing."""
    found = {
        inner: [path for path in names if _hidden_secret(repo, policy, path)]
        for inner, names in listing.hidden.items()
    }
    hidden = {inner: paths for inner, paths in found.items() if paths}
    return Reach(hidden, _absent(repo, policy, listing.absent))


def _absent(repo: Repo, policy: Policy, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of the names that git tracks as a secret of the map.

    Where plaintext is allowed, git's version of the file says whether it is one.
    """
    named = [path for path in names if _named(policy, path)]
    tracked = deleted.tracked(repo, named)
    open_to_all = [one for one in tracked if _may_be_plaintext(policy, one.path)]
    ordinary: set[str] = set()
    if open_to_all and repo.git is not None:
        with repo.git.reader(limit=LARGE) as read:
            for path, _, oid in open_to_all:
                with contextlib.suppress(ProgramError):  # not in a partial clone
                    if not looks_secret(path, read(oid)):
                        ordinary.add(path)
    return tuple(sorted({one.path for one in tracked} - ordinary))


def _named(policy: Policy, path: str) -> bool:
    """Tell whether a rule names a path as a secret; those of an inner map are none."""
    ordinary = path.rpartition("/")[2] in {"", MAP_NAME, LOCK_NAME}
    return not (ordinary or policy.never_secret(path) or policy.winning(path) is None)


def _may_be_plaintext(policy: Policy, path: str) -> bool:
    won = policy.winning(path)
    return won is not None and won[0].plaintext_allowed


def _hidden_secret(repo: Repo, policy: Policy, path: str) -> bool:
    """Tell whether a file that another map hides would be a secret of this one.

    Where plaintext is allowed, the file itself says so.
    """
    if not _named(policy, path):
        return False
    if not _may_be_plaintext(policy, path):
        return True
    data = repo.read_quickly(path, LARGE)
    return data is None or looks_secret(path, data)
