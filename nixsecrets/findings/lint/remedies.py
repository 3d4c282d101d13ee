"""The command that mends each finding, below it.

What mends a finding can depend on git: on whether the last commit has a whole secret,
and on a merge that is not finished.
"""

from collections.abc import Iterable, Iterator, Sequence

from nixsecrets.findings.catalogue import (
    RESTORED,
    Code,
    Finding,
    argument,
    fix_for,
    unmerged_fix,
)
from nixsecrets.findings.reports import text_line
from nixsecrets.repo.unmerged import merging
from nixsecrets.repo.worktree import MAP_NAME, Repo
from nixsecrets.world.world import World

_LARGEST = 64 << 20  # bytes of a file that are looked at
MANY = 3  # stale files, from which on a rekey of all of them is what is meant


def with_fixes(findings: Sequence[Finding], world: World, folder: str) -> Iterator[str]:
    """Yield the findings as text, below each the one command that mends it.

    One that mends many is told without their names, and once for those in a row.
    `folder` is the map's as seen from where the person is, empty where that is it.
    """
    repo = world.repo
    broken = {one.path for one in findings if one.code in RESTORED}
    restorable = repo.git is None or not broken or not merging(repo.git)
    committed = _restorable(repo, sorted(broken)) if broken else {}
    stale = {Code.STALE, Code.UNKNOWN}
    many = sum(one.code in stale for one in findings) > MANY
    last = ""
    for one in findings:
        yield text_line(one)
        there = committed.get(one.path, False)
        fix = one.fix or _fix(world, one, folder, committed=there)
        if one.code in RESTORED and not restorable:
            fix = ""  # a version of git's would throw one side of the merge away
        if many and one.code in stale:
            fix = fix.removesuffix(f" {argument(one.path)}")
        if fix and fix != last:
            yield f"    {fix}"
        last = fix


def _fix(world: World, one: Finding, folder: str, *, committed: bool | None) -> str:
    """Return the command that mends a finding; of a conflict it depends on the file."""
    conflict = world.conflicts.get(one.path)
    if one.code is not Code.UNMERGED or conflict is None:
        fix = fix_for(one.code, one.path, folder, committed=committed)
        # what git is told to forget lies in the work tree as before
        return "" if " rm --cached " in fix else fix
    if one.path == world.map.sops_config and not world.config_readable:
        return ""
    if one.path in world.texts:
        return unmerged_fix(one.path, folder, generated=True)
    if one.path == MAP_NAME or (conflict.stages and not conflict.both):
        return ""
    return unmerged_fix(one.path, folder, added=not conflict.stages)


def _restorable(repo: Repo, paths: Sequence[str]) -> dict[str, bool | None]:
    """Tell of each path whether the last commit has a whole secret there.

    Without an entry it has nothing, None stands for what is broken, too.
    """
    if repo.git is None:
        return {}
    from nixsecrets.files.faults import restores  # 14 ms, where a secret is broken

    below = repo.relative_to_top(f"{repo.root}/")
    entries = repo.git.head_entries([below + path for path in paths])
    with repo.git.reader(limit=_LARGEST) as read:
        found = [(one.path.removeprefix(below), read(one.oid)) for one in entries]
    return {path: restores(path, last) for path, last in found}


def from_top(repo: Repo, findings: Iterable[Finding]) -> list[Finding]:
    """Return findings whose paths are relative to the top of the work tree."""
    below = repo.relative_to_top(f"{repo.root}/")
    return [one._replace(path=below + one.path) for one in findings]
