"""The first look at every file, begun before anything else is known.

What the bytes of a file show depends on neither map nor lock (`files.looks`), so
other processes look while this one loads what judges and reads map and lock.  A file
without a look (large, unreadable, spelled otherwise) is left to be read with care.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixsecrets.map.names import LOCK_NAME, no_secret
from nixsecrets.repo import processes
from nixsecrets.repo.tree import MAP_NAME, Listing, Repo
from nixsecrets.repo.unmerged import Stages

if TYPE_CHECKING:
    from nixsecrets.files.looks import Look

_SMALL = 1 << 20  # bytes
WORTH_A_PROCESS = 400  # files; to fork and to copy the answers takes 20 ms


@dataclass(frozen=True, slots=True)
class Survey:
    """The files there are; map and lock as they were before these were listed.

    So what changes map or lock later is seen when they are replaced, and no record of
    a file that came later is taken for one of a file that is gone.

    `looks` yields them as they come, of more names than there are files, and lends a
    hand; it can be called once.
    """

    listing: Listing
    map: bytes
    lock: bytes | None
    looks: "Callable[[], Iterator[tuple[str, Look | None]]]"
    unmerged: Mapping[str, Stages]

    @property
    def paths(self) -> Sequence[str]:
        """The regular files of this map."""
        return self.listing.paths


@contextlib.contextmanager
def begun(repo: Repo) -> Iterator[Survey]:
    """List the files and have them looked at.

    Raises `NixsecretsError` where map or lock cannot be read.
    """
    texts = repo.read(MAP_NAME), repo.read_if_there(LOCK_NAME)
    with repo.naming() as listed, repo.unmerging() as unmerged:
        from nixsecrets.files.looks import look  # while git lists them

        names, stages = listed(), unmerged()

    def look_at(share: Sequence[str]) -> "list[Look | None]":
        # a rule may name one that is left out; then it is read with care
        read = (None if no_secret(p) else repo.read_quickly(p, _SMALL) for p in share)
        return [
            None if data is None else look(path, data)
            for path, data in zip(share, read, strict=True)
        ]

    with processes.spreading(look_at, names, each=WORTH_A_PROCESS) as results:

        def looks() -> "Iterator[tuple[str, Look | None]]":
            for _, share, made in results():
                yield from zip(share, processes.kept(made), strict=True)

        yield Survey(repo.on_disk(names), *texts, looks, stages)
