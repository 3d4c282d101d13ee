"""A change of the map: what a command asks for, and the start of its run.

The survey of the files begins here, in other processes; meanwhile this one loads the
road (90 ms) and the libraries that a change most likely needs.
"""

from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class MapChange:
    """What a command changes.

    - `edit` returns the new text of the map.
    - `revoked` returns the keys whose loss of access the arguments ask for.
    - `instead`, called with the worlds before and after, returns steps that replace
      what the change of the map would mean for their files.
    - `contents` are secrets to write with it: path -> plaintext.
    """

    edit: "Callable[[World], str]"
    revoked: "Callable[[World], Collection[KeyId]]" = lambda _: ()
    instead: "Callable[[World, World, Context], Collection[Step]]" = lambda *_: ()
    contents: "Mapping[str, Content]" = field(default_factory=dict, repr=False)


def change_map(start: Path, options: RoadOptions, change: MapChange) -> int:
    """Edit the map above the folder `start` and apply what the change asks for.

    Returns the exit code.
    """
    session = Session.open(start)
    with (
        session.writing(dry_run=options.dry_run),
        session.surveying() as begun,
    ):
        from nixsecrets.cli import road

        if not options.dry_run:
            _load_libraries(begun.paths)
        return road.change_map(session, begun, options, change)


def _load_libraries(paths: Container[str]) -> None:
    """Import now what writing most likely needs: this process has nothing to do."""
    from nixsecrets.apply import apply
    from nixsecrets.generated import yamltree

    apply.load_libraries()
    if ".sops.yaml" in paths:
        yamltree.load_library()
