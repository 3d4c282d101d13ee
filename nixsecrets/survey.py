"""The first look at every file, begun before anything else is known.

What the bytes of a file show depends on neither map nor lock (`secretfiles.looks`), so
other processes look while this one loads what judges and reads map and lock.  A file
without a look (large, unreadable, spelled otherwise) is left to be read with care.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nixsecrets.policy.names import LOCK_NAME, no_secret
from nixsecrets.repo import processes
from nixsecrets.repo.tree import MAP_NAME, Repo
from nixsecrets.secretfiles.looks import Look, look

_SMALL = 1 << 20  # bytes
_WORTH_A_PROCESS = 400  # files; to fork and to copy the answers takes 20 ms


@dataclass(frozen=True, slots=True)
class Survey:
    """The files there are; map and lock as they were before any file was looked at.

    `looks` waits for the looks, and lends a hand.
    """

    paths: Sequence[str]
    map: bytes
    lock: bytes | None
    looks: Callable[[], Mapping[str, Look | None]]


@contextlib.contextmanager
def begun(repo: Repo) -> Iterator[Survey]:
    """List the files and have them looked at.

    Raises `NixsecretsError` where map or lock cannot be read.
    """
    with repo.listing() as names:
        texts = repo.read(MAP_NAME), repo.read_if_there(LOCK_NAME)
        paths = names()
    # a rule may name one of the others; then it is read with care
    likely = [path for path in paths if not no_secret(path)]

    def look_at(share: Sequence[str]) -> list[Look | None]:
        read = ((path, repo.read_quickly(path, _SMALL)) for path in share)
        return [None if data is None else look(path, data) for path, data in read]

    with processes.spreading(look_at, likely, each=_WORTH_A_PROCESS) as finished:
        yield Survey(paths, *texts, lambda: dict(zip(likely, finished(), strict=True)))
