"""Parsers for git's listings of the index, of trees and of commits.

For `ls-files -s`, `ls-tree` and the raw diff format (git-diff-tree(1), "Raw output
format"), all with `-z`: paths are never quoted and may contain anything but NUL.
"""

import os
from collections.abc import Iterable, Iterator, Sequence

from nixsecrets.frozen import NamedTuple

_REGULAR_MODES = frozenset({"100644", "100755", "100664"})


class Entry(NamedTuple):
    """A path in the index or in a tree; `mode` is git's, in octal digits."""

    path: str
    mode: str
    oid: str

    @property
    def regular(self) -> bool:
        """Whether it is a regular file."""
        return self.mode in _REGULAR_MODES

    @property
    def link(self) -> bool:
        """Whether it is a symbolic link; its blob is the target."""
        return self.mode == "120000"


class Change(NamedTuple):
    """A path that is added or changed; `old` is None if it is added."""

    new: Entry
    old: Entry | None


class Changes(NamedTuple):
    """The changes of one commit; `commit` is its id, None for the index."""

    commit: str | None
    changed: tuple[Change, ...]
    deleted: tuple[Entry, ...]


def of_listed(line: str) -> Entry:
    """Parse a line of `ls-files -s` or `ls-tree`."""
    head, _, path = line.partition("\t")
    # ls-files: mode, id, stage; ls-tree: mode, type, id
    mode, *rest = head.split(" ")
    oid = rest[1] if rest[0] in {"blob", "commit", "tree"} else rest[0]
    return Entry(path, mode, oid)


def of_attributes(words: Sequence[str]) -> dict[str, dict[str, str]]:
    """Parse `check-attr -z`: path, attribute and value in turn; drop unset ones."""
    found: dict[str, dict[str, str]] = {}
    for path, name, value in zip(words[::3], words[1::3], words[2::3], strict=True):
        if value not in ("unspecified", "unset"):
            found.setdefault(path, {})[name] = value
    return found


def of_raw(commit: str | None, words: Iterable[str]) -> Changes:
    """Parse a raw diff, split at NULs: in turn `:modes ids status` and the path.

    The entry of a merge has one more colon, mode and id for each further parent.
    """
    changed: list[Change] = []
    deleted: list[Entry] = []
    pairs = iter(words)
    for head, path in zip(pairs, pairs, strict=True):
        parents = len(head) - len(head.lstrip(":"))
        fields = head[parents:].split(" ")
        # a mode for each parent and one for the result, then the ids likewise
        modes, oids = fields[: parents + 1], fields[parents + 1 : 2 * parents + 2]
        old = Entry(path, modes[0], oids[0]) if modes[0] != "000000" else None
        if modes[-1] != "000000":
            changed.append(Change(Entry(path, modes[-1], oids[-1]), old))
        elif old is not None:
            deleted.append(old)
    return Changes(commit, tuple(changed), tuple(deleted))


def of_commits(output: str) -> Iterator[Changes]:
    """Parse `diff-tree --stdin -z`: each commit's id, then its entries."""
    words = iter(output.removesuffix("\0").split("\0") if output else ())
    commit: str | None = None
    entries: list[str] = []
    for word in words:
        if word.startswith(":"):
            entries += (word, next(words))
            continue
        if commit is not None:
            yield of_raw(commit, entries)
        commit, entries = word.strip(), []
    if commit is not None:
        yield of_raw(commit, entries)


def of_dates(output: bytes) -> dict[str, str]:
    """Parse `log -z --name-only` whose commits are printed as \\1 and their date."""
    found: dict[str, str] = {}
    date = ""
    for word in os.fsdecode(output).split("\0"):
        word = word.lstrip("\n")
        if word.startswith("\1"):
            date = word[1:]
        elif word:
            found.setdefault(word, date)
    return found
