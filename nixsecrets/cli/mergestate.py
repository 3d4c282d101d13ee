"""The merge that a repository is in: what `check` and `status` say of it."""

from typing import TYPE_CHECKING

from nixsecrets.repo.unmerged import merging
from nixsecrets.world.world import World

if TYPE_CHECKING:
    from nixsecrets.merge.regained import Regained


def regained(world: World) -> "Regained | None":
    """Return what a merge gave back; None where git merges nothing and HEAD is none."""
    git = world.repo.git
    if git is None or not (world.conflicts or git.second_parent or merging(git)):
        return None
    from nixsecrets.merge import regained as back  # 40 ms, for a merge alone

    return back.regained(world)
