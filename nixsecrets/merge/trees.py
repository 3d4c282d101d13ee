"""The three sides of a merge as git has them, and the repository under their map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nixsecrets.errors import MapError, NixsecretsError, argument, path_text
from nixsecrets.files.kind import backend_of
from nixsecrets.frozen import field, frozen, replace
from nixsecrets.map.load import decode, load
from nixsecrets.map.names import LOCK_NAME, MAP_NAME
from nixsecrets.map.resolve import Policy
from nixsecrets.merge import mapmerge, secrets
from nixsecrets.merge import three as three_way
from nixsecrets.merge.valuemerge import WHOLE
from nixsecrets.repo import parted
from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import BlobReader, merge_texts
from nixsecrets.repo.parted import Commits, Tree
from nixsecrets.repo.worktree import Repo
from nixsecrets.splice import conflict_line
from nixsecrets.world.survey import Survey
from nixsecrets.world.world import World, mapped_world, with_files

Choices = Mapping[str, Mapping[str, str]]
"""Which side counts, by path and key path ("ours", "theirs")."""
Opened = secrets.Open
NO_CHOICES: Mapping[str, str] = {}


@frozen
class Given:
    """A file as git hands it to its driver; a version that does not exist is empty."""

    path: str
    base: bytes = field(repr=False)
    ours: bytes = field(repr=False)
    theirs: bytes = field(repr=False)

    @property
    def versions(self) -> list[bytes]:
        """The versions: base, ours, theirs."""
        return [self.base, self.ours, self.theirs]

    @property
    def is_secret(self) -> bool:
        """Whether any version is encrypted."""
        return any(backend_of(self.path, one) is not None for one in self.versions)


@frozen
class Three:
    """The three sides of a merge: trees, and the public texts in them.

    `more_bases` are those of a merge that has several: whom a side removed since any of
    them is removed.
    """

    commits: Commits
    base: Tree
    ours: Tree
    theirs: Tree
    read: BlobReader = field(repr=False)
    more_bases: tuple[Tree, ...] = ()

    @property
    def trees(self) -> tuple[Tree, Tree, Tree]:
        """Base, ours, theirs."""
        return self.base, self.ours, self.theirs

    def text(self, tree: Tree, path: str) -> str | None:
        """Return a public text of one side, None where it has none."""
        oid = tree.oid(path)
        return None if oid is None else decode(self.read(oid), path)

    def texts(self, path: str) -> tuple[str | None, str | None, str | None]:
        """Return a public text of all three."""
        base, ours, theirs = (self.text(tree, path) for tree in self.trees)
        return base, ours, theirs

    def given(self, path: str) -> Given:
        """Return the versions of a file."""
        oids = (tree.oid(path) for tree in self.trees)
        return Given(path, *(b"" if oid is None else self.read(oid) for oid in oids))

    def changed(self) -> list[str]:
        """Return the paths that either side changed, sorted."""
        every = {path for tree in self.trees for path in tree.entries}
        return sorted(
            path for path in every if len({tree.oid(path) for tree in self.trees}) > 1
        )


def three(git: Git, repo: Repo, commits: Commits, read: BlobReader) -> Three:
    """Read the trees of a merge."""
    return below(git, repo.root, commits, read)


def below(git: Git, root: Path, commits: Commits, read: BlobReader) -> Three:
    """Read what the sides of a merge have below a folder."""
    sides = (commits.base, commits.ours, commits.theirs)
    base, ours, theirs = (parted.tree(git, side, root) for side in sides)
    more = parted.tree(git, commits.untracked, root)
    theirs = Tree({**theirs.entries, **more.entries})
    older = tuple(parted.tree(git, one, root) for one in commits.more_bases)
    return Three(commits, base, ours, theirs, read, older)


def merged_map(sides: Three, choices: Mapping[str, str]) -> mapmerge.Merged:
    """Return the map of both sides.

    Raises:
        MapError: a side's map cannot be read, or both make no valid one, or both
            changed the same entity.
        UsageError: a choice names what is not in conflict.
    """
    base, ours, theirs = sides.texts(MAP_NAME)
    if ours is None or theirs is None:
        return mapmerge.Merged(ours or theirs or "")
    whole = choices.get(WHOLE)
    if whole is not None:
        return mapmerge.Merged(theirs if whole == "theirs" else ours)
    found = mapmerge.merged(base or "", ours, theirs, choices)
    secrets.refuse_unknown(MAP_NAME, choices, found.met)
    if found.clashes:
        raise _clash(found.clashes, sides.commits)
    return found


def refuse_links(sides: Three, repo: Repo) -> None:
    """Refuse to merge where a branch put a link: writing would follow it.

    Raises:
        NixsecretsError: a path that a side changed is a link on the disk and a file on
            our side.
    """
    for path in sides.changed():
        place = repo.root / path
        if sides.ours.oid(path) is not None and place.is_symlink():
            raise NixsecretsError(
                f"{path_text(path)}: {sides.commits.names.theirs} made it a link",
                f"git checkout HEAD -- {argument(path)} keeps ours; then nixsecrets"
                " resolve",
            )


def refuse_own_map(sides: Three, present: bytes, merged: str, folder: Path) -> None:
    """Refuse to replace a map that somebody changed after git merged it.

    `folder` is a private folder.

    Raises:
        MapError: it is neither a side's, nor what git or nixsecrets make of them.
    """
    texts = [text.encode() for text in (*sides.texts(MAP_NAME), merged) if text]
    if present in texts or conflict_line(present) or not present:
        return
    base, ours, theirs = ((text or "").encode() for text in sides.texts(MAP_NAME))
    made = merge_texts(folder, ("", ours), ("", base), ("", theirs))
    if present != made:
        raise MapError(
            MAP_NAME,
            0,
            "it was changed after the merge, and the merge would undo that",
            f"{sides.commits.command} --keep-map",
        )


def _clash(clashes: Sequence[mapmerge.Clash], commits: Commits) -> MapError:
    """Name what both sides changed, with both lines, and the ways to settle it."""
    names, command = commits.names, commits.command
    lines = [
        f"  {one.name}: {names.ours} at line {one.ours},"
        f" {names.theirs} at line {one.theirs}"
        for one in clashes
    ]
    first = f"'{MAP_NAME}#{clashes[0].name}'"
    return MapError(
        MAP_NAME,
        0,
        "\n".join(["both sides changed the same parts", *lines]),
        f"{command} --ours {first}, or --theirs {first}\n"
        f"or write {MAP_NAME} as it shall be: {command} --keep-map",
    )


def world(repo: Repo, begun: Survey, map_text: str, sides: Three) -> World:
    """Return the repository under the merged map, with the records of both locks."""
    locks = [sides.text(tree, LOCK_NAME) or "" for tree in (sides.ours, sides.theirs)]
    if begun.lock:  # what an earlier run wrote, or git put together
        locks.append(begun.lock.decode(errors="surrogateescape"))
    both = "\n".join(locks)
    surveyed = replace(
        begun, map=map_text.encode(), lock=both.encode(errors="surrogateescape")
    )
    read = mapped_world(repo, surveyed)
    present = begun.lock.decode(errors="surrogateescape") if begun.lock else None
    texts = {**read.texts, LOCK_NAME: present}
    config = read.map.sops_config
    if config is not None:
        texts[config] = _config(sides, config)
    return with_files(replace(read, texts=texts), surveyed)


def _config(sides: Three, path: str) -> str | None:
    """Return what `.sops.yaml` holds besides what is generated, of both sides."""
    base, ours, theirs = sides.texts(path)
    if ours is None or theirs is None:
        return ours if theirs is None else theirs
    return three_way.texts(base or "", ours, theirs)


def policies(
    sides: Three, *, readable: bool = False
) -> tuple[Policy | None, Policy | None, Policy | None]:
    """Return the map of each side, compiled; None where it has none.

    Arguments and errors are those of `policies_of`.
    """
    base, ours, theirs = policies_of(sides, sides.trees, readable=readable)
    return base, ours, theirs


def policies_of(
    sides: Three, trees: Sequence[Tree], *, readable: bool = False
) -> list[Policy | None]:
    """Return the map of each tree, compiled; None where it has none.

    With `readable`, None also for one that cannot be read.

    Raises:
        MapError: a map cannot be read.
    """

    def compiled(tree: Tree) -> Policy | None:
        try:
            text = sides.text(tree, MAP_NAME)
            return None if text is None else Policy(load(text))
        except MapError:
            if readable:
                return None
            raise

    return [compiled(tree) for tree in trees]
