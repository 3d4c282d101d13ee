"""The files under a name's own rule (`{host}`, `{user}`): what becomes of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from nixsecrets.cli import show, ui
from nixsecrets.errors import NixsecretsError, UsageError
from nixsecrets.files.state import Actual
from nixsecrets.map import hostkeys
from nixsecrets.plan.diff import delete_step, move_step
from nixsecrets.plan.model import Step
from nixsecrets.plan.steps import Context
from nixsecrets.world.world import World

KEEP, DELETE, MOVE = "keep", "delete", "move"
FATES = (KEEP, DELETE, MOVE)


@dataclass(frozen=True, slots=True)
class Fate:
    """What the command line says of these files (None: ask, else keep)."""

    choice: str | None = None
    folder: str | None = None

    def check(self) -> None:
        """Refuse a folder without `move`.

        Raises:
            UsageError: the two options contradict each other.
        """
        if self.folder is not None and self.choice not in (None, MOVE):
            raise UsageError("--move-to goes with --own-files move")


def own_files(world: World, name: str) -> list[Actual]:
    """Return the secrets that the map gives to `name` by their path."""
    found = []
    for path, actual in world.secrets.items():
        winning = world.policy.winning(path)
        if winning is not None and name in (winning[1].host, winning[1].user):
            found.append(actual)
    return found


def steps(
    before: World, after: World, ctx: Context, name: str, fate: Fate, *, dry_run: bool
) -> list[Step]:
    """Return the steps for the own files of a name that goes; none where they stay.

    The private key of a host, if it was made here, goes with them and never moves.

    Raises:
        UsageError: no folder is given to move them to.
        NixsecretsError: a file is in the way.
        SecretFileError: no rule names the new path.
    """
    files = own_files(before, name)
    private = before.secrets.get(hostkeys.key_path(name))
    keys = [] if private is None or private in files else [private]
    if not files and not keys:
        return []
    choice, folder = fate.choice or (fate.folder and MOVE), fate.folder
    if choice is None and not dry_run:
        ui.say(f"{show.counted(len(files + keys), 'file')} of its own:")
        for actual in (files + keys)[: show.LINES]:
            ui.say(f"  {show.path_text(actual.path)}")
        choice = ui.choose("delete, move or keep for `always`?", FATES, KEEP)
    if choice == DELETE:
        return [delete_step(actual) for actual in files + keys]
    if choice != MOVE:
        return []
    folder = folder or ui.ask_text("folder to move them to")
    if not folder:
        raise UsageError("no folder to move the files to", "--move-to DIR")
    new = moved(before, [a.path for a in files], name, folder)
    return [move_step(after, a, new[a.path], ctx) for a in files]


def moved(world: World, paths: Sequence[str], name: str, folder: str) -> dict[str, str]:
    """Return where files go: what follows the segment with the name, below `folder`.

    Raises:
        NixsecretsError: two would be one file, or something is there.
    """
    new = {path: f"{folder.strip('/')}/{_rest(path, name)}" for path in paths}
    return _free(world, new)


def renamed(world: World, paths: Sequence[str], old: str, name: str) -> dict[str, str]:
    """Return where the files of `old` go once it is called `name`.

    Raises:
        NixsecretsError: something is there.
    """
    return _free(world, {path: _replaced(path, old, name) for path in paths})


def _free(world: World, new: dict[str, str]) -> dict[str, str]:
    for path in new.values():
        there = world.repo.read_if_there(path) is not None
        if there or list(new.values()).count(path) > 1:
            raise NixsecretsError(
                f"{show.path_text(path)}: a file is in the way",
                "move it away first; nothing was changed",
            )
    return new


def _rest(path: str, name: str) -> str:
    segments = path.split("/")
    at = next(i for i, segment in enumerate(segments) if name in segment)
    return "/".join(segments[at + 1 :]) or segments[-1]


def _replaced(path: str, old: str, name: str) -> str:
    """Put the new name into the first segment that the old one stands in, whole first.

    What `{host}` took cannot be told from the path alone where the name stands in it
    twice: the caller checks that the new path is the new name's.
    """
    segments = path.split("/")
    whole = [i for i, segment in enumerate(segments) if segment == old]
    part = [i for i, segment in enumerate(segments) if old in segment]
    at = (whole or part)[0]
    segments[at] = segments[at].replace(old, name, 1)
    return "/".join(segments)
