"""The questions of `safety`, asked; what was agreed to, remembered in this clone."""

import datetime
import os
from collections.abc import Collection, Iterable, Sequence

from nixsecrets.cli import ui
from nixsecrets.errors import NixsecretsError
from nixsecrets.map.model import RecipientMap
from nixsecrets.plan import approvals, safety
from nixsecrets.plan.approvals import Standing
from nixsecrets.plan.safety import Alarm, Question
from nixsecrets.repo.blame import blame
from nixsecrets.repo.clone import Clone
from nixsecrets.repo.remembered import Edit, Remembered
from nixsecrets.repo.worktree import MAP_NAME, Repo
from nixsecrets.world.world import World


def ask(questions: Iterable[Question], given: Collection[str]) -> None:
    """Ask each question that no option in `given` has answered.

    Raises:
        DeclinedError: a person said no, or nobody is there to answer.
    """
    for one in questions:
        agreed = one.flag in given
        for line in one.lines if one.always or not agreed else ():
            (ui.warn if isinstance(line, Alarm) else ui.say)(line)
        if not agreed:
            ui.confirm(one.text, hint=one.hint)


def memory(repo: Repo) -> Clone:
    """Return what this clone remembers of the map of `repo`."""
    return Clone.of(repo, os.environ)


def recalled(repo: Repo) -> Remembered:
    """Return what this clone remembers; say where it cannot be used."""
    found = memory(repo).read()
    warn_of_damage(repo, found)
    return found


def warn_of_damage(repo: Repo, found: Remembered) -> None:
    """Say where what this clone remembers cannot be used."""
    if found.damage is not None:
        place = memory(repo).place
        ui.warn(
            f"the records of this clone cannot be used: {place}: {found.damage}",
            "every key must be approved again",
        )


def remember(repo: Repo, *edits: Edit) -> None:
    """Change what this clone remembers; say where that cannot be."""

    def every(now: Remembered) -> Remembered:
        for edit in edits:
            now = edit(now)
        return now

    try:
        if edits:
            memory(repo).change(every)
    except NixsecretsError as error:
        ui.warn(error.message, error.hint)


def today() -> str:
    """Return the date that the memory and the map record."""
    return datetime.date.today().isoformat()


def approval(standing: Sequence[Standing], recipient_map: RecipientMap) -> list[Edit]:
    """Return the change of the memory once keys are agreed to; none without keys."""
    readers = [one.reader for one in standing]
    return [approvals.approving(readers, recipient_map, today())] if readers else []


def about_keys(
    world: World,
    standing: Sequence[Standing],
    given: Collection[str],
    *,
    first: bool,
    hint: str = "review and approve the keys: nixsecrets approve (or --yes)",
) -> list[Question]:
    """Return the question about keys, with where each comes from.

    Where it is the `first` time that this clone approves any, that is left out.
    """
    origins: list[str] = []
    if standing and not first:
        lines = blame(world.repo.root, MAP_NAME) if world.repo.git is not None else []
        origins = [approvals.origin_text(world, one, lines) for one in standing]
    return list(safety.unapproved_keys(standing, origins, given, hint))
