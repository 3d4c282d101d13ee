"""The first look at every file, begun before anything else is known.

What the bytes of a file show depends on neither map nor lock (`files.looks`), so
other processes look while this one loads what judges and reads map and lock.  A file
without a look (large, unreadable, spelled otherwise) is left to be read with care.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from nixsecrets.map.names import LOCK_NAME, no_secret
from nixsecrets.repo import pool
from nixsecrets.repo.unmerged import Stages, unmerged
from nixsecrets.repo.worktree import MAP_NAME, Listing, Repo

if TYPE_CHECKING:
    from nixsecrets.files.looks import Look
    from nixsecrets.repo.differing import Committed
    from nixsecrets.world.lookcache import LookCache

    Seen = tuple[Look | None, bool]
    """A look at a file, and whether it is a sops file as the last commit has it."""

_SMALL = 1 << 20  # bytes
WORTH_A_PROCESS = 400  # files; to fork and to copy the answers takes 20 ms
# looks, which take 30 ms; of 10,000 the cache saves two fifths of the time of `check`
_WORTH_A_CACHE = 1000
_CACHE = "looks"


class Survey(NamedTuple):
    """The files there are; map and lock as they were before these were listed.

    So what changes map or lock later is seen when they are replaced, and no record of
    a file that came later is taken for one of a file that is gone.

    `looks` yields them as they come, of more names than there are files, and lends a
    hand; it can be called once.  It adds the sops files that are as in the last commit
    to `unchanged`, as far as `committed` has any.  `cache` has the clone keep them
    for the next run.
    """

    listing: Listing
    map: bytes
    lock: bytes | None
    looks: "Callable[[], Iterator[tuple[str, Look | None]]]"
    unmerged: Mapping[str, Stages]
    committed: "Committed | None"
    unchanged: set[str]
    cache: Callable[[], None]

    @property
    def paths(self) -> Sequence[str]:
        """The regular files of this map."""
        return self.listing.paths


@contextlib.contextmanager
def begun(
    repo: Repo, *, compare: bool = False, only: str | None = None
) -> Iterator[Survey]:
    """List the files and have them looked at; `compare` them with the last commit, too.

    `only` looks at one file, as if there were no other.

    Raises `NixsecretsError` where map or lock cannot be read.
    """
    texts = repo.read(MAP_NAME), repo.read_if_there(LOCK_NAME)
    with repo.naming(only) as listed, _committed(repo, compare=compare) as there:
        from nixsecrets.files import looks as first  # while git lists them
        from nixsecrets.files.sops.state import Shown

        (names, some_unmerged), committed = listed(), there()
    if only is not None:  # it may be a folder
        names = [name for name in names if name == only]
    cached = _cached(repo) if len(names) >= _WORTH_A_CACHE else None
    look = cached.look if cached else first.look
    stages: Mapping[str, Stages] = {}
    if some_unmerged and repo.git is not None:
        stages = unmerged(repo.git, repo.root)

    def look_at(share: Sequence[str]) -> "list[Seen]":
        return [seen(path) for path in share]

    def seen(path: str) -> "Seen":
        # a rule may name one that is left out; then it is read with care
        skipped = no_secret(path) or path == MAP_NAME
        data = None if skipped else repo.read_quickly(path, _SMALL)
        if data is None:
            return None, False
        found = look(path, data)
        if committed is None or not isinstance(found[1], Shown):
            return found, False
        return found, committed.has(path, data)

    with pool.spreading(look_at, names, each=WORTH_A_PROCESS) as results:

        def looks() -> "Iterator[tuple[str, Look | None]]":
            for _, share, made in results():
                for path, (found, same) in zip(
                    share, pool.result_of(made), strict=True
                ):
                    if same:
                        unchanged.add(path)
                    if found is not None:
                        taken.append((path, found))
                    yield path, found

        def cache() -> None:
            if cached is not None:
                _cache(repo, cached, taken)

        listing, unchanged = repo.on_disk(names), set[str]()
        taken: list[tuple[str, Look]] = []
        yield Survey(listing, *texts, looks, stages, committed, unchanged, cache)


def _cached(repo: Repo) -> "LookCache":
    """Return the looks that the clone keeps."""
    from nixsecrets.repo.clone import Clone  # for thousands of files only
    from nixsecrets.world.lookcache import LookCache

    return LookCache(Clone.of(repo, os.environ).cached(_CACHE))


def _cache(repo: Repo, had: "LookCache", taken: "Sequence[tuple[str, Look]]") -> None:
    """Have the clone keep the looks, where many were not in its cache."""
    from nixsecrets.repo.clone import Clone
    from nixsecrets.world.lookcache import cacheable, rendered

    new = [(path, one) for path, one in taken if one[0] not in had]
    if sum(cacheable(path, one) for path, one in new) >= _WORTH_A_CACHE:
        kept = [one for path, one in taken if cacheable(path, one)]
        Clone.of(repo, os.environ).cache(_CACHE, rendered(kept))


@contextlib.contextmanager
def _committed(
    repo: Repo, *, compare: bool
) -> "Iterator[Callable[[], Committed | None]]":
    if repo.git is None or not compare:
        yield lambda: None
        return
    # for `check` alone
    from nixsecrets.repo import differing

    with differing.committed(repo.root) as there:
        yield there
