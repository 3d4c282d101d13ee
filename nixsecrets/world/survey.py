"""Looking at every file in worker processes, started before anything else is loaded.

What the bytes of a file show depends on neither map nor lock (`files.looks`), so the
workers look at files while this process imports modules and reads map and lock.  Files
without a look (large or unreadable) are read later.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from nixsecrets.frozen import NamedTuple
from nixsecrets.map.names import LOCK_NAME, no_secret
from nixsecrets.repo import pool
from nixsecrets.repo.unmerged import Stages, unmerged
from nixsecrets.repo.worktree import MAP_NAME, Listing, Repo

if TYPE_CHECKING:
    from nixsecrets.files.looks import Look
    from nixsecrets.repo.differing import Committed
    from nixsecrets.world.lookcache import LookCache

    Seen = tuple[Look | None, bool]
    """A look at a file, and whether it was found to equal the last commit."""

_SMALL = 1 << 20  # bytes
WORTH_A_PROCESS = 400  # files; a fork and copying the answers take 20 ms
# new looks, which take 30 ms; for 10,000 files the cache saves two fifths of `check`
_WORTH_A_CACHE = 1000
_CACHE = "looks"
Compared = Literal["none", "sops", "all"]
"""Which files are compared with the last commit."""


class Survey(NamedTuple):
    """The listed files, and looks at them.

    - `map` and `lock` were read before the files were listed: so a later change is
      noticed when they are replaced, and no new record is used for an old file.
    - `looks` joins in and yields (path, look) as they arrive, also for paths that are
      not files of this map.  It can be called once.
    - `unchanged` gets the files that were compared and equal the last commit.
    - `cache` stores the looks in the clone, for the next run.
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
def start(
    repo: Repo,
    *,
    compare: Compared = "none",
    only: str | None = None,
    tracked: bool = False,
) -> Iterator[Survey]:
    """List the files and start to look at them, and to `compare` them.

    `only` restricts all to one file; if git is known to track it, merged (`tracked`),
    it is not asked again.

    Raises:
        NixsecretsError: map or lock cannot be read.
    """
    texts = repo.read(MAP_NAME), repo.read_if_there(LOCK_NAME)
    naming = repo.naming(only, tracked=tracked)
    with naming as listed, _committed(repo, compare) as there:
        # imported while git lists the files
        from nixsecrets.files import looks as first

        if only is None:
            from nixsecrets.files.sops import state  # noqa: F401

        (names, some_unmerged), committed = listed(), there()
    if only is not None:  # git lists the files below it if it is a folder
        names = [name for name in names if name == only]
    cached = _cached(repo) if len(names) >= _WORTH_A_CACHE else None
    look = cached.look if cached else first.look
    stages: Mapping[str, Stages] = {}
    if some_unmerged and repo.git is not None:
        stages = unmerged(repo.git, repo.root)

    def look_at(share: Sequence[str]) -> "list[Seen]":
        return [seen(path) for path in share]

    def seen(path: str) -> "Seen":
        # if a rule names a skipped file literally, it is read later
        skipped = no_secret(path) or path == MAP_NAME
        data = None if skipped else repo.read_quickly(path, _SMALL)
        if data is None:
            return None, False
        found = look(path, data)
        other = compare == "sops" and not first.is_sops(found[1])
        if committed is None or other:
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
    """Return the looks that the clone has cached."""
    # only for thousands of files
    from nixsecrets.repo.clone import Clone
    from nixsecrets.world.lookcache import LookCache

    return LookCache(Clone.of(repo, os.environ).cached(_CACHE))


def _cache(repo: Repo, had: "LookCache", taken: "Sequence[tuple[str, Look]]") -> None:
    """Store the looks in the clone, if many are new."""
    # only for thousands of files
    from nixsecrets.repo.clone import Clone
    from nixsecrets.world.lookcache import cacheable, rendered

    if sum(one[0] not in had for _, one in taken) < _WORTH_A_CACHE:
        return
    kept = [one for path, one in taken if cacheable(path, one)]
    if sum(one[0] not in had for one in kept) >= _WORTH_A_CACHE:
        Clone.of(repo, os.environ).cache(_CACHE, rendered(kept))


@contextlib.contextmanager
def _committed(
    repo: Repo, compare: Compared
) -> "Iterator[Callable[[], Committed | None]]":
    if repo.git is None or compare == "none":
        yield lambda: None
        return
    from nixsecrets.repo import differing  # only for `check` and `ls`

    with differing.committed(repo.root) as there:
        yield there
