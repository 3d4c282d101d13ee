"""The merge that a repository is in: what `check` and `status` say of it."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from nixsecrets.errors import counted
from nixsecrets.frozen import NamedTuple
from nixsecrets.repo import unmerged
from nixsecrets.repo.git import Git
from nixsecrets.repo.unmerged import Activity, Sides, merging
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


_GO_ON = {
    Activity.MERGE: "git commit",
    Activity.REBASE: "git rebase --continue",
    Activity.CHERRY_PICK: "git cherry-pick --continue",
    Activity.REVERT: "git revert --continue",
    Activity.OTHER: "nixsecrets status",
}


class State(NamedTuple):
    """What git has stopped at, and the unmerged files of nixsecrets."""

    activity: Activity
    names: Sides
    paths: tuple[str, ...]
    gives_back: bool = False

    @property
    def command(self) -> str:
        """The command that goes on."""
        left = self.paths or self.gives_back
        return "nixsecrets resolve" if left else _GO_ON[self.activity]

    @property
    def line(self) -> str:
        """A line for a person."""
        ours, theirs = self.names
        what = f"{self.activity} of {theirs} onto {ours}"
        if self.activity is Activity.MERGE:
            what = f"merge of {theirs} into {ours}"
        if self.activity in (Activity.REVERT, Activity.OTHER):
            what = f"{theirs} onto {ours}"
        number = f"{counted(len(self.paths), 'file')} not merged yet"
        return f"git has stopped: {what}; {number}; {self.command}"

    def as_json(self) -> dict[str, object]:
        """Return the state as `status --json` shows it."""
        return {
            "activity": self.activity.value,
            "ours": self.names.ours,
            "theirs": self.names.theirs,
            "unmerged": len(self.paths),
            "paths": list(self.paths),
            "command": self.command,
        }


def stopped(
    git: Git | None, paths: Collection[str], *, gives_back: bool = False
) -> State | None:
    """Return what git has stopped at; None if it merges nothing.

    `paths` are the unmerged ones; `gives_back`: access came back with what is merged.
    """
    if git is None or not (paths or merging(git)):
        return None
    names = unmerged.sides(git)
    return State(unmerged.activity(git), names, tuple(sorted(paths)), gives_back)
