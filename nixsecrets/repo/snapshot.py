"""The index, or a commit, as a tree that can be looked into and read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from nixsecrets.repo.changes import Entry
from nixsecrets.repo.git import Git


class _HasOid(Protocol):
    @property
    def oid(self) -> str: ...


class Snapshot(NamedTuple):
    """What the index (`commit` None) or a commit of a work tree holds.

    `reader` reads a blob by its id, as `Git.reader` gives it.
    """

    git: Git
    reader: Callable[[str], bytes]
    commit: str | None = None

    def lookup(self, paths: Sequence[str]) -> Mapping[str, Entry]:
        """Return those of `paths` that it holds; folders are none."""
        wanted = set(paths)
        found = self.git.entries(paths, commit=self.commit)
        return {entry.path: entry for entry in found if entry.path in wanted}

    def below(self, folders: Sequence[str]) -> Sequence[Entry]:
        """Return what lies in folders, and in the folders below them."""
        return self.git.entries([f"{one}/" for one in folders], commit=self.commit)

    def everything(self) -> Sequence[Entry]:
        """Return all that it holds."""
        if self.commit is None:
            return [change.new for change in self.git.everything_staged().changed]
        return self.git.entries(commit=self.commit)

    def read(self, blobs: Sequence[_HasOid]) -> Iterator[bytes]:
        """Yield the content of each, in order."""
        return (self.reader(blob.oid) for blob in blobs)
