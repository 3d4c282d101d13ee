"""Merges one file for git: what `git-setup` installs as the merge driver.

git gives the versions of a file in temporary files in the top folder of the work tree,
takes the second one for the result, and stops at the path if we exit with 1.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from nixsecrets.cli.session import Session
from nixsecrets.errors import NixsecretsError, path_text, printable
from nixsecrets.frozen import NamedTuple, replace
from nixsecrets.map.names import LOCK_NAME, MAP_NAME
from nixsecrets.merge import driver, trees
from nixsecrets.merge.driver import Answer, Means
from nixsecrets.merge.trees import Given
from nixsecrets.repo import files, parted, private
from nixsecrets.repo.clone import Clone
from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import run as run_git
from nixsecrets.repo.gitunlock import client, keeper
from nixsecrets.repo.parted import Commits
from nixsecrets.untrusted import inputs
from nixsecrets.world.world import World

_LARGEST = 64 << 20
_COMMAND = "nixsecrets resolve"
_OWNER = "git"


class Names(NamedTuple):
    """What git puts for %O, %A and %B (files), and for %P (a path below the top)."""

    base: Path
    ours: Path
    theirs: Path
    path: str


def merged(names: Names) -> int:
    """Merge a file into `names.ours`; return the exit code for git."""
    try:
        given = Given(names.path, *(inputs.read(one) for one in names[:3]))
        found = _found(names, given)
        if found is None:
            return _as_text(names)
        return client.finished(str(names.ours), found)
    except NixsecretsError as error:
        answer = Answer(why=error.message)
    except OSError as error:
        answer = Answer(why=files.explained(error, "merge", names.path).message)
    return client.finished(str(names.ours), _said(names.path, answer))


def _said(path: str, answer: Answer) -> bytes:
    """Return an answer as the keeper gives it."""
    if answer.data is not None and not answer.why:
        return client.MERGED + b"\0" + answer.data
    why = answer.why.partition("\n")[0].rstrip(":")
    line = printable(f"nixsecrets: {path_text(path)}: {why}; run {_COMMAND}")
    kind = client.OURS if answer.data is None else client.BOTH
    return kind + os.fsencode(line) + b"\0" + (answer.data or b"")


def _found(names: Names, given: Given) -> bytes | None:
    """Return what the file becomes, None for one that concerns only git."""
    session = Session.open(_nearest(Path.cwd() / names.path))
    git = session.repo.git
    if git is None:
        raise NixsecretsError("there is no git here")
    root = session.repo.root
    given = replace(given, path=(git.top / names.path).relative_to(root).as_posix())
    written = session.map()
    public = (MAP_NAME, LOCK_NAME, written.sops_config, written.agenix_rules)
    if given.path not in public and not given.is_secret:
        return None
    commits = parted.running(git, os.environ)
    owner = keeper.owner(_OWNER)
    mark = client.merge_mark(commits.theirs if commits and owner else "")
    said = client.merge_request(names.path, given.versions)
    answer = client.asked(said, mark) if mark else None
    if answer is not None:
        return answer
    every = _decided(session, git, names, given, commits)
    below = names.path.removesuffix(given.path)
    answers = _Answers(
        {
            client.merge_request(below + one.path, one.versions): _said(
                below + one.path, a
            )
            for one, a in every
        }
    )
    answer = answers(said)
    if owner and mark and len(every) > 1:
        keeper.leave(os.environ, owner, lambda _: answers, mark).ready()
    return answer


class _Answers:
    """The answers about a merge, by request; each reason is said once."""

    def __init__(self, found: Mapping[bytes, bytes]) -> None:
        self._found = {files.sha256(said): answer for said, answer in found.items()}
        self._reasons = set[bytes]()

    def __call__(self, said: bytes) -> bytes:
        answer = self._found.get(files.sha256(said), b"")
        head, separator, data = answer.partition(b"\0")
        reason = head.partition(b": ")[2].partition(b": ")[2]
        if not reason:
            return answer
        if reason in self._reasons:
            return head[:1] + separator + data
        self._reasons.add(reason)
        return answer


def _decided(
    session: Session, git: Git, names: Names, given: Given, commits: Commits | None
) -> list[tuple[Given, Answer]]:
    """Return the answers for every path of a merge, or only for the given one."""
    root = session.repo.root
    places = [Path.cwd() / one for one in names[:3]]
    inside = (one for one in places if one.is_relative_to(root))
    temporary = {one.relative_to(root).as_posix() for one in inside}
    clone = Clone.of(session.repo, os.environ)
    with (
        private.private_folder(os.environ) as folder,
        git.reader(limit=_LARGEST) as read,
        session.surveying() as begun,
    ):
        means = Means.at_hand(clone, os.environ, folder)
        if commits is not None:
            sides = trees.three(git, session.repo, commits, read)
            if sides.given(given.path) == given:
                try:
                    text = trees.merged_map(sides, {}).text
                    world = trees.world(session.repo, begun, text, sides)
                    world = _without(world, temporary)
                    found = driver.of_merge(sides, world, means)
                except NixsecretsError as error:
                    found = driver.declined(sides, error.message)
                return [(sides.given(path), one) for path, one in found.items()]
        world = session.with_files(session.mapped(begun), begun)
        answer = driver.of_file(given, _without(world, temporary), means)
        return [(given, answer)]


def _nearest(place: Path) -> Path:
    """Return the nearest folder above a path that exists on the disk."""
    return next(folder for folder in place.parents if folder.is_dir())


def _without(world: World, temporary: Collection[str]) -> World:
    """Return the world without git's temporary files, which it would list."""
    found = {p: file for p, file in world.files.items() if p not in temporary}
    return world._replace(files=found)


def _as_text(names: Names) -> int:
    """Merge a file that is no secret as git does without a driver."""
    labels = [word for name in ("ours", "base", "theirs") for word in ("-L", name)]
    places = (str(one.absolute()) for one in (names.ours, names.base, names.theirs))
    done = run_git(("merge-file", "-q", *labels, *places), Path.cwd())
    return min(done.returncode, 1)
