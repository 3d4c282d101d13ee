"""The three commits that a merge is about: where two sides parted, and both of them.

A merge, rebase, cherry-pick, revert or `stash pop` at which git stopped, or what git
finished by itself: the merge commit that HEAD is, a rebase, a cherry-pick.  Reads; the
index and git's own state stay as they are.
"""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.frozen import NamedTuple, field, frozen
from nixsecrets.repo import unmerged
from nixsecrets.repo.changes import Entry
from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import run
from nixsecrets.repo.unmerged import Sides
from nixsecrets.untrusted import inputs

_MERGED_PARENTS = 2
_MOST_ENTRIES = 1000
_PICKED = "cherry-pick: "
# git's own words (builtin/rebase.c); `pull --rebase` has its arguments before them
_STARTED = re.compile(r"^(rebase|pull\b.*) \(start\): ")
_FINISHED = re.compile(r"^(rebase|pull\b.*) \(finish\): ")
_OID = r"[0-9a-f]{40,64}"


class Commits(NamedTuple):
    """What a merge is made from; `base` is None where the sides have none in common.

    `finished` says that git has committed it; `untracked` is the commit in which a
    stash keeps the files that were untracked; `more_bases` are the other merge bases of
    branches that were merged crosswise.
    """

    base: str | None
    ours: str
    theirs: str
    names: Sides
    finished: bool = False
    untracked: str | None = None
    more_bases: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that looks at this merge."""
        return f"nixsecrets resolve{' --last' if self.finished else ''}"


@frozen
class Tree:
    """The ordinary files of one side, below the map's folder and relative to it."""

    entries: Mapping[str, Entry] = field(default_factory=dict)

    def oid(self, path: str) -> str | None:
        """Return the id of a file's content, None where the side has no such file."""
        entry = self.entries.get(path)
        return entry.oid if entry is not None and entry.regular else None


def stopped(git: Git) -> Commits | None:
    """Return what git has stopped at, None where it is merging nothing."""
    folder = git.folder
    names = unmerged.sides(git) if unmerged.merging(git) else None
    ours = git.head()
    if ours is None:
        return None
    if names is not None:
        theirs = _first(git, folder, "MERGE_HEAD")
        if theirs is not None:
            return _merge(git, ours, theirs, names)
        for name in ("REBASE_HEAD", "CHERRY_PICK_HEAD"):
            theirs = _first(git, folder, name)
            if theirs is not None:
                return Commits(_commit(git, f"{theirs}^"), ours, theirs, names)
        reverted = _first(git, folder, "REVERT_HEAD")
        if reverted is not None:
            theirs = _commit(git, f"{reverted}^")
            return (theirs and Commits(reverted, ours, theirs, names)) or None
    stash = _commit(git, "refs/stash")
    if stash is None or not unmerged.unmerged(git, git.top):
        return None
    names = Sides(unmerged.sides(git).ours, "the stash")
    base, untracked = _commit(git, f"{stash}^1"), _commit(git, f"{stash}^3")
    return Commits(base, ours, stash, names, untracked=untracked)


def running(git: Git, env: Mapping[str, str]) -> Commits | None:
    """Return what git merges while it runs a merge driver; None where it names no side.

    git names the other side in the environment, or the picked commit in the files of a
    rebase.  For a stash it is a guess: the caller compares the versions of each file.

    Raises:
        NixsecretsError: the sides have several merge bases.
    """
    ours = git.head()
    if ours is None:
        return None
    heads = _named_heads(env)
    theirs = _commit(git, heads[0]) if len(heads) == 1 else None
    if theirs is not None:
        found = _merge(git, ours, theirs, Sides("ours", "theirs"))
        if found.more_bases:
            raise NixsecretsError("the branches have several merge bases")
        return found
    picked = _picked(git)
    theirs = picked or _commit(git, "refs/stash")
    if theirs is None:
        return None
    base = _commit(git, f"{theirs}^")
    untracked = None if picked else _commit(git, f"{theirs}^3")
    return Commits(base, ours, theirs, Sides("ours", "theirs"), untracked=untracked)


def _named_heads(env: Mapping[str, str]) -> list[str]:
    """Return the ids of the commits that git-merge names in the environment."""
    prefix = unmerged.GITHEAD
    return [name.removeprefix(prefix) for name in env if name.startswith(prefix)]


def _picked(git: Git) -> str | None:
    """Return the commit that a rebase picks: the last one in its list of those done."""
    try:
        done = inputs.read_text(git.folder / "rebase-merge" / "done", errors="replace")
    except OSError:
        return None
    words = (done.strip().rpartition("\n")[2]).split()
    picked = next((word for word in words[1:] if re.fullmatch(_OID, word)), None)
    return picked and _commit(git, picked)


def committing(git: Git, env: Mapping[str, str]) -> Commits | None:
    """Return what git is about to commit a merge of, for a hook; None without one.

    git runs pre-merge-commit before it writes MERGE_HEAD, but names the other side in
    the environment.
    """
    heads = _named_heads(env)
    ours, theirs = git.head(), _commit(git, heads[0]) if len(heads) == 1 else None
    if ours is None or theirs is None:
        return stopped(git) if unmerged.merging(git) else None
    names = Sides(_named(git, ours), _named(git, theirs))
    return _merge(git, ours, theirs, names)


def finished(git: Git, commit: str | None = None) -> Commits | None:
    """Return what a merge commit, else HEAD, was made from, None for another one."""
    head = commit or git.head()
    if head is None:
        return None
    asked = run(("rev-list", "--parents", "-n", "1", head), git.top)
    _, *parents = asked.stdout.decode().split()
    if len(parents) != _MERGED_PARENTS:
        return None
    ours, theirs = parents
    names = Sides(_named(git, ours), _named(git, theirs))
    return _merge(git, ours, theirs, names)._replace(finished=True)


def replayed(git: Git) -> Commits | None:
    """Return what the rebase or cherry-pick was made from that HEAD has come from.

    None where HEAD came from something else: the reflog, which only this clone has,
    says it.  What was picked is found by its author, date and subject.
    """
    entries = _reflog(git)
    if not entries:
        return None
    head = entries[0].commit
    if _FINISHED.search(entries[0].what):
        starts = (n for n, one in enumerate(entries) if _STARTED.search(one.what))
        at = next(starts, len(entries))
        if at + 1 >= len(entries):
            return None
        ours, theirs = entries[at].commit, entries[at + 1].commit
        base = _base(git, ours, theirs)
    else:
        picked = list(
            itertools.takewhile(lambda one: one.what.startswith(_PICKED), entries)
        )
        if not picked or len(picked) == len(entries):
            return None
        ours = entries[len(picked)].commit
        made = [one.commit for one in picked]
        found = [_source(git, one, made) for one in (head, made[-1])]
        if None in found:
            return None
        theirs, first = (str(one) for one in found)
        base = _commit(git, f"{first}^")
    names = Sides(_named(git, ours), _named(git, theirs))
    return Commits(base, ours, theirs, names, finished=True)


class _Entry(NamedTuple):
    commit: str
    what: str


def _reflog(git: Git) -> list[_Entry]:
    flags = ("--no-show-signature", "-g", f"-n{_MOST_ENTRIES}", "--format=%H %gs")
    found = run(("log", *flags, "HEAD", "--"), git.top).stdout
    lines = found.decode(errors="replace").splitlines()
    return [_Entry(*line.split(" ", 1)) for line in lines if " " in line]


def _source(git: Git, copy: str, without: Collection[str]) -> str | None:
    """Return the commit that was copied, None where there is none, or several."""
    flags = ("log", "--no-show-signature", "-z", "--format=%H %an <%ae> %at %s")
    (mine,) = _logged(git, (*flags, "-1", copy))
    every = _logged(git, (*flags, "--all"))
    same = {id_ for id_, text in every if text == mine[1]} - {*without}
    return same.pop() if len(same) == 1 else None


def _logged(git: Git, arguments: Sequence[str]) -> list[tuple[str, str]]:
    listed = run((*arguments, "--"), git.top).stdout.decode(errors="replace")
    parts = (text.partition(" ") for text in listed.split("\0")[:-1])
    return [(commit, text) for commit, _, text in parts]


def tree(git: Git, commit: str | None, root: Path, *, index: bool = False) -> Tree:
    """Return what a commit, or the `index`, has below the folder `root`."""
    if commit is None and not index:
        return Tree()
    prefix = "" if root == git.top else f"{root.relative_to(git.top)}/"
    found = git.entries(commit=commit)
    inside = (entry for entry in found if entry.path.startswith(prefix))
    return Tree({entry.path[len(prefix) :]: entry for entry in inside})


def _first(git: Git, folder: Path, name: str) -> str | None:
    """Return the commit that a file of git's state names."""
    return _commit(git, name) if (folder / name).exists() else None


def _commit(git: Git, revision: str) -> str | None:
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    found = run((*arguments, revision + "^{commit}"), git.top)
    return found.stdout.decode().strip() or None


def _merge(git: Git, ours: str, theirs: str, names: Sides) -> Commits:
    bases = _bases(git, ours, theirs)
    base = bases[0] if bases else None
    return Commits(base, ours, theirs, names, more_bases=tuple(bases[1:]))


def _base(git: Git, ours: str, theirs: str) -> str | None:
    return _merge(git, ours, theirs, Sides("", "")).base


def _bases(git: Git, ours: str, theirs: str) -> list[str]:
    found = run(("merge-base", "--all", ours, theirs), git.top)
    return found.stdout.decode().split()


def _named(git: Git, commit: str) -> str:
    return unmerged.named(git, commit) or f"commit {commit[:10]}"
