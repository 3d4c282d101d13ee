"""Paths as a person types them, as paths relative to the map's folder."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from nixsecrets.errors import UsageError, quoted
from nixsecrets.repo.tree import Repo


def relative(repo: Repo, start: Path, path: Path) -> str:
    """Return `path`, typed in `start`, relative to the map's folder.

    Links are followed, as long as they stay in the tree: a link is no secret, the file
    that it leads to is.

    Raises:
        UsageError: it lies outside the map's folder.
        SecretFileError: a link leads out of the repository.
    """
    full = start / path
    inside = full.parent.resolve() / full.name if full.name else full.resolve()
    try:
        name = inside.relative_to(repo.root).as_posix()
        if not inside.is_symlink():
            return name
        return Path(repo.locate(name)).relative_to(repo.root).as_posix()
    except ValueError:
        raise UsageError(
            f"{quoted(os.fspath(path))} is not below {repo.root}",
            "secrets live in the folder of nixsecrets.toml or below it",
        ) from None


def chosen(
    repo: Repo, start: Path, paths: Sequence[Path], files: Collection[str]
) -> set[str]:
    """Return the known files that `paths` (files or folders) name.

    Raises:
        UsageError: a path names no known file.
    """
    found: set[str] = set()
    for path in paths:
        name = relative(repo, start, path)
        prefix = "" if name == "." else name + "/"
        hits = {f for f in files if f == name or f.startswith(prefix)}
        if not hits:
            raise UsageError(
                f"{quoted(os.fspath(path))} names no secret", "nixsecrets ls"
            )
        found |= hits
    return found
