"""What git has not merged, or what still holds its conflict markers."""

from collections.abc import Mapping

from nixsecrets import splice
from nixsecrets.files.state import Actual, Damaged, NotSecret
from nixsecrets.map.resolve import Policy
from nixsecrets.repo import unmerged
from nixsecrets.repo.unmerged import Conflict
from nixsecrets.repo.worktree import Repo
from nixsecrets.world.survey import Survey


def conflicts(
    repo: Repo,
    policy: Policy,
    texts: Mapping[str, str | None],
    files: Mapping[str, Actual | Damaged | NotSecret],
    begun: Survey,
) -> dict[str, Conflict]:
    """Return what git has not merged, and what holds its conflict markers."""
    found: dict[str, Conflict] = {}
    if begun.unmerged and repo.git is not None:
        names = unmerged.sides(repo.git)
        for path, stages in begun.unmerged.items():
            found[path] = unmerged.conflict(stages, names)
    marked = {p: t.encode(errors="replace") for p, t in texts.items() if t}
    for path, file in files.items():
        # as a whole secret none can hold them
        broken = isinstance(file, Damaged) or (
            isinstance(file, NotSecret) and _must_be_secret(policy, path)
        )
        if broken and path not in found:
            marked[path] = repo.read(path)
    for path, data in marked.items():
        line = splice.conflict_line(data)
        if line and path not in found:
            found[path] = Conflict("holds git's conflict markers", line=line)
    return found


def _must_be_secret(policy: Policy, path: str) -> bool:
    won = policy.winning(path)
    return won is not None and not won[0].plaintext_allowed
