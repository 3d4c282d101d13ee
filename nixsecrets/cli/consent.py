"""Asks the questions of `plan.safety`, and records the answers in this clone."""

import datetime
import os
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from nixsecrets.cli import ui
from nixsecrets.errors import NixsecretsError
from nixsecrets.map.model import RecipientMap
from nixsecrets.plan import approvals
from nixsecrets.plan.approvals import Standing
from nixsecrets.repo.clone import Clone
from nixsecrets.repo.remembered import Edit, Remembered
from nixsecrets.repo.worktree import MAP_NAME, Repo
from nixsecrets.world.world import World

if TYPE_CHECKING:  # 10 ms; `status` reads the records and asks nothing
    from nixsecrets.plan.safety import Question


def ask(questions: "Iterable[Question]", given: Collection[str]) -> None:
    """Ask each question that no option in `given` answers.

    Raises:
        DeclinedError: the answer was no, or there is no terminal.
    """
    from nixsecrets.plan.safety import Alarm  # as above

    for one in questions:
        agreed = one.flag in given
        for line in one.lines if one.always or not agreed else ():
            (ui.warn if isinstance(line, Alarm) else ui.say)(line)
        if not agreed:
            ui.confirm(one.text, hint=one.hint)


def memory(repo: Repo) -> Clone:
    """Return the store of this clone's records about the map of `repo`."""
    return Clone.of(repo, os.environ)


def recalled(repo: Repo) -> Remembered:
    """Return this clone's records; warn if they cannot be used."""
    found = memory(repo).read()
    warn_of_damage(repo, found)
    return found


def warn_of_damage(repo: Repo, found: Remembered) -> None:
    """Warn if this clone's records cannot be used."""
    if found.damage is not None:
        place = memory(repo).place
        ui.warn(
            f"the records of this clone cannot be used: {place}: {found.damage}",
            "every key must be approved again",
        )


def remember(repo: Repo, *edits: Edit) -> None:
    """Apply `edits` to this clone's records in one write; warn if that fails."""

    def combined(now: Remembered) -> Remembered:
        for edit in edits:
            now = edit(now)
        return now

    try:
        if edits:
            memory(repo).change(combined)
    except NixsecretsError as error:
        ui.warn(error.message, error.hint)


def today() -> str:
    """Return today's date as map and records write it (YYYY-MM-DD)."""
    return datetime.date.today().isoformat()


def approval(standing: Sequence[Standing], recipient_map: RecipientMap) -> list[Edit]:
    """Return the edit of the records that approves keys; empty without keys."""
    readers = [one.reader for one in standing]
    return [approvals.approval_edit(readers, recipient_map, today())] if readers else []


def about_keys(
    world: World,
    standing: Sequence[Standing],
    given: Collection[str],
    *,
    first: bool,
    hint: str = "review and approve the keys: nixsecrets approve (or --yes)",
) -> "list[Question]":
    """Return the question about unapproved keys, with the origin of each.

    Origins are omitted the `first` time that this clone approves any key.
    """
    # as above
    from nixsecrets.plan import safety

    origins: list[str] = []
    if standing and not first:
        from nixsecrets.repo.blame import blame

        with ui.waiting("searching the git history"):
            there = world.repo.git is not None
            lines = blame(world.repo.root, MAP_NAME) if there else []
        origins = [approvals.origin_text(world, one, lines) for one in standing]
    return list(safety.approval_question(standing, origins, given, hint))
