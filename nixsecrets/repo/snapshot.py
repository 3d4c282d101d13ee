"""The index or a commit as a tree of files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from nixsecrets.frozen import NamedTuple
from nixsecrets.repo.changes import Entry
from nixsecrets.repo.git import Git


class _HasOid(Protocol):
    @property
    def oid(self) -> str: ...


class Snapshot(NamedTuple):
    """The files in the index (`commit` None) or in a commit.

    `reader` returns the content of a blob, by its id (see `Git.reader`).
    """

    git: Git
    reader: Callable[[str], bytes]
    commit: str | None = None

    def lookup(self, paths: Sequence[str]) -> Mapping[str, Entry]:
        """Return the entries of the files at `paths`, by path; without folders."""
        wanted = set(paths)
        found = self.git.entries(paths, commit=self.commit)
        return {entry.path: entry for entry in found if entry.path in wanted}

    def below(self, folders: Sequence[str]) -> Sequence[Entry]:
        """Return the entries of all files below `folders`."""
        return self.git.entries([f"{one}/" for one in folders], commit=self.commit)

    def everything(self) -> Sequence[Entry]:
        """Return all entries."""
        if self.commit is None:
            return [change.new for change in self.git.everything_staged().changed]
        return self.git.entries(commit=self.commit)

    def read(self, blobs: Sequence[_HasOid]) -> Iterator[bytes]:
        """Yield the content of each blob, in order."""
        return (self.reader(blob.oid) for blob in blobs)
