"""What the guard has to know of a commit: ports, which `repo` fills from git."""

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
        """Whether it is a symbolic link; its content is where it leads."""


class Change(Protocol):
    """A path that is added or changed."""

    @property
    def new(self) -> Blob:
        """What it is to be."""

    @property
    def old(self) -> Blob | None:
        """What it was; None where it was not there."""


class Tree(Protocol):
    """What a commit leaves behind."""

    def lookup(self, paths: Sequence[str]) -> Mapping[str, Blob]:
        """Return those of `paths` that are files (or links, submodules) of it."""

    def below(self, folders: Sequence[str]) -> Sequence[Blob]:
        """Return what lies in folders, and in the folders below them."""

    def everything(self) -> Sequence[Blob]:
        """Return all that it holds."""

    def read(self, blobs: Sequence[Blob]) -> Iterator[bytes]:
        """Yield the content of each, in order; of huge ones the beginning."""
