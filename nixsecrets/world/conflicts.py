"""Files with an unfinished merge: unmerged in the index, or with conflict markers."""

from collections.abc import Mapping

from nixsecrets import splice
from nixsecrets.files.state import Actual, Damaged, NotSecret
from nixsecrets.map.resolve import Policy
from nixsecrets.repo import unmerged
from nixsecrets.repo.unmerged import Conflict
from nixsecrets.repo.worktree import MAP_NAME, Repo
from nixsecrets.world.survey import Survey


def conflicts(
    repo: Repo,
    policy: Policy,
    texts: Mapping[str, str | None],
    files: Mapping[str, Actual | Damaged | NotSecret],
    begun: Survey,
) -> dict[str, Conflict]:
    """Return the conflict of each unmerged file of ours, and of each with markers.

    `texts` are the generated files, `files` the secrets as interpreted.
    """
    found: dict[str, Conflict] = {}
    if begun.unmerged and repo.git is not None:
        names = unmerged.sides(repo.git)
        for path, stages in begun.unmerged.items():
            if _is_ours(path, policy, texts, files):
                found[path] = unmerged.conflict(stages, names)
    marked = {p: t.encode(errors="replace") for p, t in texts.items() if t}
    for path, file in files.items():
        # an intact encrypted file cannot have markers
        broken = isinstance(file, Damaged) or (
            isinstance(file, NotSecret) and policy.requires_encryption(path)
        )
        if broken and path not in found:
            marked[path] = repo.read(path)
    for path, data in marked.items():
        line = splice.conflict_line(data)
        if line and path not in found:
            found[path] = Conflict("holds git's conflict markers", line=line)
    return found


def _is_ours(
    path: str,
    policy: Policy,
    texts: Mapping[str, str | None],
    files: Mapping[str, Actual | Damaged | NotSecret],
) -> bool:
    """Return whether `resolve` merges a path: a secret, or one of its public files."""
    if path == MAP_NAME or path in texts:
        return True
    if policy.never_secret(path):
        return False
    if isinstance(files.get(path), NotSecret):
        return policy.requires_encryption(path)
    return path in files or policy.winning(path) is not None
