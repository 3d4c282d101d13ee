"""Where every change of the map begins: the lock, and the first look at the files.

What the work itself takes (`road`) is loaded while other processes look.
"""

from collections.abc import Callable, Collection, Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.session import Session

if TYPE_CHECKING:
    from nixsecrets.apply.carry_out import Content
    from nixsecrets.keys.recipients import KeyId
    from nixsecrets.plan.model import Step
    from nixsecrets.plan.steps import Context
    from nixsecrets.world.world import World


def change_map(
    start: Path,
    options: RoadOptions,
    edit: "Callable[[World], str]",
    *,
    named: "Callable[[World], Collection[KeyId]]" = lambda _: (),
    instead: "Callable[[World, World, Context], Collection[Step]]" = lambda *_: (),
    contents: "Mapping[str, Content] | None" = None,
) -> int:
    """Edit the map and carry out what that asks for, and nothing else.

    `edit` returns the new map text; `named` the keys whose loss of access the
    command's arguments asked for; `instead` the steps for files (worlds before and
    after) about which the command decides otherwise; `contents` are secrets written
    with it, by path.  Returns the exit code.
    """
    session = Session.open(start)
    with (
        session.writing(dry_run=options.dry_run),
        session.surveying() as begun,
    ):
        from nixsecrets.cli import road

        if not options.dry_run:
            _load_what_writes(begun.paths)
        return road.change(
            session,
            begun,
            options,
            edit,
            named=named,
            instead=instead,
            contents=contents,
        )


def _load_what_writes(paths: Container[str]) -> None:
    """Load now what a change will take, most likely: this process has the time."""
    from nixsecrets.apply import apply
    from nixsecrets.generated import yamltree

    apply.load_libraries()
    if ".sops.yaml" in paths:
        yamltree.load_library()
