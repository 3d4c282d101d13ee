"""What the guard reads of a commit: interfaces that `repo` implements with git."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol


class Blob(Protocol):
    """A path in a tree, with git's mode and the id of its content."""

    @property
    def path(self) -> str:
        """The path, relative to the top of the work tree."""

    @property
    def oid(self) -> str:
        """The id of the content."""

    @property
    def regular(self) -> bool:
        """Whether it is an ordinary file."""

    @property
    def link(self) -> bool:
        """Whether it is a symbolic link; its content is the target."""


class Change(Protocol):
    """A file that is added or changed."""

    @property
    def new(self) -> Blob:
        """The file after the commit."""

    @property
    def old(self) -> Blob | None:
        """The file before the commit, None if it is added."""


class Tree(Protocol):
    """The tree of a commit."""

    def lookup(self, paths: Sequence[str]) -> Mapping[str, Blob]:
        """Return those of `paths` that are files, links or submodules in the tree."""

    def below(self, folders: Sequence[str]) -> Sequence[Blob]:
        """Return all blobs in `folders` and in the folders below them."""

    def everything(self) -> Sequence[Blob]:
        """Return all blobs of the tree."""

    def read(self, blobs: Sequence[Blob]) -> Iterator[bytes]:
        """Yield the content of each blob in order; of huge ones, the beginning."""
