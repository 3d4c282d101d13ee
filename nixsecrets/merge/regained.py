"""Access that a merge gave back although one of its sides had taken it away.

git merges files one by one: a removed host opens the file that the other side added,
and a map may name somebody again whom it named elsewhere.  Who that is follows from
the readers that `resolve` would give each file.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nixsecrets.errors import MapError
from nixsecrets.files.kind import backend_of
from nixsecrets.files.state import Actual
from nixsecrets.findings.catalogue import Code, Finding, unmerged_fix
from nixsecrets.keys.forms import Backend
from nixsecrets.map.load import decode
from nixsecrets.map.load import load as load_map
from nixsecrets.map.model import Reader
from nixsecrets.map.names import LOCK_NAME, MAP_NAME
from nixsecrets.map.resolve import Policy
from nixsecrets.merge import trees
from nixsecrets.merge.lineage import Lineage, backends, listed
from nixsecrets.merge.secrets import Version
from nixsecrets.merge.trees import Three
from nixsecrets.repo import parted, unmerged
from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import BlobReader
from nixsecrets.repo.parted import Commits, Tree
from nixsecrets.world.world import World, examine

_LARGEST = 64 << 20


class Regained(NamedTuple):
    """What a merge gave back: findings, and the command that resolves them.

    There is one for each file that somebody reads whom a side removed, and for the map
    where it specifies that they do.  `paths` are the files that they concern.
    """

    findings: tuple[Finding, ...] = ()
    paths: frozenset[str] = frozenset()
    command: str = ""


def regained(world: World) -> Regained:
    """Return what the merge gave back that git has stopped at, or that HEAD is."""
    git = world.repo.git
    if git is None:
        return Regained()
    stopped = bool(world.conflicts) or unmerged.merging(git)
    commits = parted.stopped(git) if stopped else None
    if commits is None and git.second_parent is not None:
        commits = parted.finished(git)
    if commits is None:
        return Regained()
    with git.reader(limit=_LARGEST) as read:
        sides = trees.three(git, world.repo, commits, read)
        lock = world.texts.get(LOCK_NAME)
        lineage = Lineage(sides, _merged(sides), lock, now=world.policy)
        load = world.repo.read_if_there
        return _given_back(lineage, load, backends(world), commits.command)


def _merged(sides: Three) -> Policy | None:
    """Return the map that the sides come to, None if a person has to decide it.

    A change that somebody made since is none of the merge.
    """
    try:
        return Policy(load_map(trees.merged_map(sides, {}).text))
    except MapError:
        return None


def _given_back(
    lineage: Lineage,
    load: Callable[[str], bytes | None],
    secrets: Iterable[tuple[str, Backend]],
    command: str,
) -> Regained:
    """Return what came back with a merge.

    `load` reads a file of it, `secrets` are those in it, `command` is the remedy.
    """
    again: dict[str, list[str]] = {}
    found: list[Finding] = []
    paths = lineage.paths()
    for path in paths:
        data = load(path)
        if data is None or backend_of(path, data) is None:
            continue
        now = examine(path, data, lineage.book, lineage.lock)
        if not isinstance(now, Actual):
            continue
        versions = lineage.versions(path)
        if not any(isinstance(one, Version) for one in versions):
            continue
        who = lineage.settled(path, versions)
        for reader in who.again:
            again.setdefault(reader.name, []).append(path)
        readers = (Reader(lineage.book.label(r), r) for r in now.recipients)
        names = dict.fromkeys(reader.name for reader in who.back(readers))
        if names:
            what = f"the merge lets {', '.join(names)} read it, whom one side removed"
            found.append(Finding(path, Code.REGAINED, what, fix=command))
    for path, reader in lineage.given_back(secrets, paths):
        again.setdefault(reader.name, []).append(path)
    for name, there in sorted(again.items()):
        what = f"the merge lets {name} read {listed(there)}, whom one side removed"
        found.append(Finding(MAP_NAME, Code.REGAINED, what, fix=command))
    concerned = {path for there in again.values() for path in there}
    concerned |= {one.path for one in found}
    return Regained(tuple(found), frozenset(concerned), command)


def in_commit(
    git: Git, commits: Commits, read: BlobReader, commit: str | None
) -> Iterator[Finding]:
    """Yield the findings on a merge as it is in the index, or in a commit.

    For each map in it; paths are relative to the top of the work tree.
    """
    for entry in git.entries(commit=commit):
        folder, _, name = entry.path.rpartition("/")
        if name != MAP_NAME or not entry.regular:
            continue
        root = git.top / folder
        now = parted.tree(git, commit, root, index=commit is None)

        policy = Policy(load_map(decode(read(entry.oid), entry.path)))
        load = _reader(now, read)
        lock = (load(LOCK_NAME) or b"").decode(errors="surrogateescape")
        sides = trees.below(git, root, commits, read)
        lineage = Lineage(sides, _merged(sides), lock, now=policy)
        command = unmerged_fix(MAP_NAME, folder, finished=commits.finished)
        secrets = _secrets(now, policy, load)
        for one in _given_back(lineage, load, secrets, command).findings:
            yield one._replace(path=f"{folder}/{one.path}" if folder else one.path)


def _reader(tree: Tree, read: BlobReader) -> Callable[[str], bytes | None]:
    def load(path: str) -> bytes | None:
        oid = tree.oid(path)
        return None if oid is None else read(oid)

    return load


def _secrets(
    tree: Tree, policy: Policy, load: Callable[[str], bytes | None]
) -> Iterator[tuple[str, Backend]]:
    for path in tree.entries:
        data = None if policy.never_secret(path) else load(path)
        backend = None if data is None else backend_of(path, data)
        if backend is not None:
            yield path, backend
