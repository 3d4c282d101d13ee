"""The maps of a commit: which one applies to a path, and which rule claims it."""

import posixpath
from collections.abc import Iterable, Iterator, Sequence

from nixsecrets.errors import MapError
from nixsecrets.findings.catalogue import RESTORED, Code, fix_for, unmerged_fix
from nixsecrets.findings.guard.commit import Blob, Tree
from nixsecrets.frozen import NamedTuple
from nixsecrets.map.load import decode, load
from nixsecrets.map.model import Rule
from nixsecrets.map.names import MAP_NAME, no_secret
from nixsecrets.map.resolve import Policy


class Claim(NamedTuple):
    """A rule that wins a path; `map` is the path of the rule's map.

    `merging`: the commit concludes a merge.
    """

    rule: Rule
    map: str
    merging: bool = False

    def fix(self, code: Code, path: str, *, committed: bool | None = True) -> str:
        """Return the command that resolves a finding in a claimed path."""
        folder = posixpath.dirname(self.map)
        inside = posixpath.relpath(path, folder) if folder else path
        if code is Code.UNMERGED:
            return unmerged_fix(inside, folder, finished=not self.merging)
        if code in RESTORED and self.merging:
            return ""  # the last commit has only one side of the merge
        return fix_for(code, inside, folder, committed=committed)

    def __str__(self) -> str:
        """Return the rule's pattern with file and line."""
        return f"the rule {self.rule.pattern} ({self.map}:{self.rule.line})"


class Maps:
    """The maps of one commit, read on demand (`learn`)."""

    def __init__(self, tree: Tree, *, merging: bool = False) -> None:
        """Start without any map; `merging`: the commit concludes a merge."""
        self.tree, self.merging = tree, merging
        # by folder; None if it has no map
        self._policies: dict[str, Policy | None] = {}
        self._links: dict[str, str] = {}  # targets of maps that are links, by path

    @property
    def at_top(self) -> bool:
        """Whether a map at the top of the work tree was read."""
        return self._policies.get("") is not None

    def learn(self, paths: Iterable[str]) -> None:
        """Read the maps at or above paths.

        Raises:
            MapError: one cannot be read.
        """
        folders = {folder for path in paths for folder in _above(path)}
        wanted = [posixpath.join(f, MAP_NAME) for f in folders - set(self._policies)]
        there = self.tree.lookup(sorted(wanted))
        maps = {p: self._followed(e) if e.link else e for p, e in there.items()}
        maps = {path: blob for path, blob in maps.items() if blob.regular}
        contents = self.tree.read(list(maps.values()))
        for path, data in zip(maps, contents, strict=True):
            folder = posixpath.dirname(path)
            self._policies[folder] = _policy(folder, data)
        for folder in folders:
            self._policies.setdefault(folder, None)

    def _followed(self, link: Blob) -> Blob:
        """Return the map that a link leads to.

        Raises:
            MapError: the target is not a file of the commit.  A map that cannot be
                read must not count as absent.
        """
        for data in self.tree.read([link]):
            target = leads_to(link.path, data)
            found = self.tree.lookup([target]).get(target) if target else None
            if target is not None and found is not None and found.regular:
                self._links[link.path] = target
                return found
        raise MapError(
            link.path,
            0,
            "a link to no file of this commit",
            "commit the map itself, or what it leads to",
        )

    def nearest(self, path: str) -> tuple[str, str, Policy] | None:
        """Return the nearest map's folder, the path from there, and its policy."""
        for folder in _above(path):
            policy = self._policies.get(folder)
            if policy is not None:
                return folder, path[len(folder) + 1 :] if folder else path, policy
        return None

    def claim(self, path: str) -> Claim | None:
        """Return the rule that makes `path` a secret, None if there is none."""
        nearest = self.nearest(path)
        if nearest is None:
            return None
        folder, inside, policy = nearest
        won = None if policy.never_secret(inside) else policy.winning(inside)
        place = posixpath.join(folder, MAP_NAME)
        return won and Claim(won[0], place, self.merging)

    def newly_claimed(
        self, changed: Sequence[Blob], deleted: Sequence[Blob]
    ) -> list[Blob]:
        """Return the unchanged files to check because the map that applies changed.

        A changed or new map claims them, or the map that applied was deleted.
        """
        paths = {blob.path for blob in changed}
        maps = {p for p in paths if posixpath.basename(p) == MAP_NAME}
        maps |= {link for link, target in self._links.items() if target in paths}
        gone = [b.path for b in deleted if posixpath.basename(b.path) == MAP_NAME]
        if not (maps or gone):
            return []
        below = tuple(posixpath.join(posixpath.dirname(p), "") for p in gone)
        others = [blob for blob in self.tree.everything() if blob.path not in paths]
        self.learn(blob.path for blob in others)
        claims = ((blob, self.claim(blob.path)) for blob in others)
        return [
            blob
            for blob, claim in claims
            if claim and (claim.map in maps or blob.path.startswith(below))
        ]

    def nobodys(self, path: str) -> bool:
        """Return whether no rule matches a file whose name allows it to be a secret."""
        nearest = self.nearest(path)
        if nearest is None:
            return not no_secret(path)
        return not nearest[2].never_secret(nearest[1]) and self.claim(path) is None

    def generated(self, path: str) -> bool:
        """Return whether nixsecrets generates a file; it is full of public keys."""
        nearest = self.nearest(path)
        return nearest is not None and nearest[2].generated(nearest[1])


def leads_to(path: str, link: bytes) -> str | None:
    """Return the path that a link leads to, None if that is outside the work tree."""
    target = link.decode("utf-8", "surrogateescape")
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return None if target.startswith("/") or found.startswith("../") else found


def _policy(folder: str, data: bytes) -> Policy:
    """Read the map of a folder.

    Raises:
        MapError: it cannot be read.
    """
    try:
        return Policy(load(decode(data, MAP_NAME)))
    except MapError as error:
        error.file = posixpath.join(folder, error.file)
        error.reason += " (as it is to be committed)"
        raise


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a path, the nearest first; the top is empty."""
    while path:
        path = posixpath.dirname(path)
        yield path
