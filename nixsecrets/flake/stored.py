"""Whether Nix gets a declared file as the work tree has it.

Nix sees what git stores: no submodules, what a filter made of a file, and nothing that
`git archive` leaves out.  A symbolic link that is declared as a path is stored alone.
"""

import os
from collections.abc import Collection, Iterable, Iterator

from nixsecrets.errors import path_text
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.flake.declared import Secret
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo.git import Git
from nixsecrets.repo.worktree import Repo

_EMPTY_BLOBS = frozenset(
    {
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
    }
)
"""The ids of the empty blob, which git has for an entry of `git add -N`."""


class Stored(NamedTuple):
    """How git stores one declared file; all paths are relative to the map's folder.

    - `tracked`: git tracks it, or its target.
    - `target`: where a path leads that is a symbolic link or below one, if into the
      repository.
    - `submodule`: the folder of the other repository that the file is in.
    - `filter`: the value of its git attribute.
    - `exported`: `git archive` includes it.
    - `announced`: it was added with `git add -N`.
    - `twins`: the tracked paths that differ from it in case only.
    """

    tracked: bool = True
    target: str = ""
    submodule: str = ""
    filter: str = ""
    exported: bool = True
    announced: bool = False
    twins: tuple[str, ...] = ()


def stored(repo: Repo, paths: Collection[str]) -> dict[str, Stored]:
    """Return how git stores each of `paths`."""
    if repo.git is None:
        return {path: Stored(target=_target(repo, path)) for path in paths}
    tracked = repo.git.tracked(repo.root)
    known = [path for path in paths if path in tracked]
    attributes = repo.git.attributes(repo.root, known, ("filter", "export-ignore"))
    announced = _announced(repo, repo.git, known)
    by_case: dict[str, list[str]] = {}
    for path in tracked:
        by_case.setdefault(path.casefold(), []).append(path)

    def one(path: str) -> Stored:
        target = _target(repo, path)
        said = attributes.get(path, {})
        twins = (twin for twin in by_case.get(path.casefold(), ()) if twin != path)
        return Stored(
            tracked=(target or path) in tracked,
            target=target,
            submodule="" if (target or path) in tracked else _submodule(repo, path),
            filter=said.get("filter", ""),
            exported="export-ignore" not in said,
            announced=path in announced,
            twins=tuple(sorted(twins)),
        )

    return {path: one(path) for path in paths}


def _target(repo: Repo, path: str) -> str:
    place = (repo.root / path).resolve()
    if place == repo.root / path or not place.is_relative_to(repo.root):
        return ""
    return place.relative_to(repo.root).as_posix()


def _submodule(repo: Repo, path: str) -> str:
    """Return the nearest folder above `path` that is a repository of its own, or ""."""
    folders = (repo.root / path).parents
    below = (f for f in folders if f != repo.root and f.is_relative_to(repo.root))
    inner = (folder for folder in below if os.path.lexists(folder / ".git"))
    return next((one.relative_to(repo.root).as_posix() for one in inner), "")


def _announced(repo: Repo, git: Git, paths: Iterable[str]) -> set[str]:
    below = repo.relative_to_top(f"{repo.root}/")
    entries = git.entries([below + path for path in paths])
    return {one.path[len(below) :] for one in entries if one.oid in _EMPTY_BLOBS}


def stored_problem(
    secret: Secret, file: Stored, sha256: str | None
) -> tuple[Code, str] | None:
    """Return why Nix does not get the file, None if it does.

    `sha256` is that of the file in the work tree, None if it does not exist there.
    """
    if secret.link:
        name = path_text(file.target) if file.target else "the file that it points to"
        message = (
            f"it is a symbolic link, which Nix stores without its target: name {name}"
        )
        return Code.DECLARED_LINK, message
    if file.twins and (sha256 is None or not file.tracked):
        twin = path_text(file.twins[0])
        message = f"it does not exist; git tracks {twin}, which differs in case"
        return Code.DECLARED_CASE, message
    if sha256 is None:
        return Code.DECLARED_MISSING, "it does not exist"
    if file.submodule and secret.exists is not True:
        message = (
            f"it is in the submodule {path_text(file.submodule)}, which Nix does not"
            " read: add ?submodules=1 to the flake's reference"
        )
        return Code.DECLARED_LEFT_OUT, message
    if secret.exists is False or not (file.tracked or file.submodule):
        return Code.DECLARED_UNTRACKED, "git does not track it"
    if file.filter and secret.sha256 not in (None, sha256):
        message = (
            f"git stores it through the filter {path_text(file.filter)}, and Nix sees"
            " what git stores: take it out of the filter in .gitattributes"
        )
        return Code.DECLARED_LEFT_OUT, message
    return None


def stored_findings(path: str, file: Stored) -> Iterator[Finding]:
    """Yield findings on a file that Nix gets here, but not everywhere."""
    if not file.tracked:
        return  # an error already
    if file.twins:
        message = f"git also tracks {path_text(file.twins[0])}, which differs in case"
        yield Finding(path, Code.CASE_TWINS, message)
    for applies, why in (
        (file.filter, f"git stores it through the filter {path_text(file.filter)}"),
        (not file.exported, "`git archive` leaves it out (export-ignore)"),
        (file.announced, "the next commit leaves it out (git add -N)"),
    ):
        if applies:
            message = f"a configuration declares it, and {why}"
            yield Finding(path, Code.DECLARED_ONLY_HERE, message)
