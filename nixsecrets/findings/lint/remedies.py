"""Findings as text, each with the command that resolves it.

The command can depend on git: on whether the last commit has an intact version, and on
an unfinished merge.
"""

from collections.abc import Iterable, Iterator, Sequence

from nixsecrets.errors import argument
from nixsecrets.findings.catalogue import (
    RESTORED,
    Code,
    Finding,
    fix_for,
    unmerged_fix,
)
from nixsecrets.findings.reports import text_line
from nixsecrets.repo.unmerged import merging
from nixsecrets.repo.worktree import Repo
from nixsecrets.world.world import World

_LARGEST = 64 << 20  # bytes of a file that are read
MANY = 3  # with more stale files, the remedy is one rekey of all


def with_fixes(findings: Sequence[Finding], world: World, folder: str) -> Iterator[str]:
    """Yield the findings as text, below each the command that resolves it.

    A command that resolves several findings in a row is shown once, without names.
    `folder` is the map's folder relative to the working directory, empty if equal.
    """
    repo = world.repo
    broken = {one.path for one in findings if one.code in RESTORED}
    restorable = repo.git is None or not broken or not merging(repo.git)
    committed = _restorable(repo, sorted(broken)) if broken else {}
    waits = any(conflict.stages for conflict in world.conflicts.values())
    stale = {Code.STALE, Code.UNKNOWN}
    many = sum(one.code in stale for one in findings) > MANY
    last = ""
    for one in findings:
        yield text_line(one)
        there = committed.get(one.path, False)
        fix = one.fix or _fix(world, one, folder, committed=there)
        if one.code in RESTORED and not restorable:
            fix = ""  # the last commit has only one side of the merge
        if waits and one.code in (*stale, Code.OUT_OF_DATE):
            fix = unmerged_fix(one.path, folder)
        if many and one.code in stale:
            fix = fix.removesuffix(f" {argument(one.path)}")
        if fix and fix != last:
            yield f"    {fix}"
        last = fix


def _fix(world: World, one: Finding, folder: str, *, committed: bool | None) -> str:
    """Return the command that resolves a finding, "" if no single one does."""
    git = world.repo.git
    if one.code is not Code.UNMERGED or git is None:
        fix = fix_for(one.code, one.path, folder, committed=committed)
        # `git rm --cached` is for the hook: the file would still be in the work tree
        return "" if " rm --cached " in fix else fix
    conflict = world.conflicts.get(one.path)
    waits = conflict is not None and bool(conflict.stages)
    finished = not (waits or merging(git))
    if finished and one.path == world.map.sops_config and not world.config_readable:
        return ""
    generated = one.path in world.texts
    return unmerged_fix(one.path, folder, finished=finished, generated=generated)


def _restorable(repo: Repo, paths: Sequence[str]) -> dict[str, bool | None]:
    """Return whether the last commit has an intact secret at each path.

    None: it has the same fault.  Paths that it does not have are left out.
    """
    if repo.git is None:
        return {}
    from nixsecrets.files.faults import restores  # 14 ms, for corrupt secrets only

    below = repo.relative_to_top(f"{repo.root}/")
    entries = repo.git.head_entries([below + path for path in paths])
    with repo.git.reader(limit=_LARGEST) as read:
        found = [(one.path.removeprefix(below), read(one.oid)) for one in entries]
    return {path: restores(path, last) for path, last in found}


def from_top(repo: Repo, findings: Iterable[Finding]) -> list[Finding]:
    """Return findings whose paths are relative to the top of the work tree."""
    below = repo.relative_to_top(f"{repo.root}/")
    return [one._replace(path=below + one.path) for one in findings]
