"""The options that commands share, and the value they become."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

Decorated = Callable[..., Any]
Decorator = Callable[[Decorated], Decorated]


@dataclass(frozen=True, slots=True)
class RoadOptions:
    """How far to walk the road, and what was agreed to beforehand."""

    identity: tuple[Path, ...] = ()
    dry_run: bool = False
    as_json: bool = False
    yes: bool = False
    no_rekey: bool = False
    allow_revoke: bool = False
    allow_lockout: bool = False
    keep_going: bool = False
    keep_data_key: bool = False
    allow_retired: bool = False
    git_add: bool = False


identity_option = click.option(
    "-i",
    "--identity",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Private key to use first (age or ssh; may be repeated).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_ROAD = (
    identity_option,
    click.option("-n", "--dry-run", is_flag=True, help="Show the plan, do nothing."),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="The plan (--dry-run), or the values that are exposed, as JSON.",
    ),
    click.option("-y", "--yes", is_flag=True, help="Agree to the plan beforehand."),
    click.option(
        "--allow-revoke",
        is_flag=True,
        help="Agree to take access that the arguments do not name.",
    ),
    click.option(
        "--allow-lockout",
        is_flag=True,
        help="Agree to lose access yourself, or to leave a file without a reader.",
    ),
    click.option(
        "--keep-going", is_flag=True, help="Leave out what cannot be done; exit 1."
    ),
    click.option(
        "--keep-data-key",
        is_flag=True,
        help="Give a user a sops file without a fresh data key.",
    ),
    click.option("--git-add", is_flag=True, help="Stage the files that were written."),
)
_OF_THE_MAP = (
    click.option(
        "--no-rekey", is_flag=True, help="Change the map and the configs, no secret."
    ),
    click.option(
        "--allow-retired", is_flag=True, help="Agree that a retired key is used again."
    ),
)


def road_options(*, map_changes: bool) -> Decorator:
    """Add the options of a command that walks the road; it gets `options`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def packed(**values: Any) -> Any:
            fields = RoadOptions.__dataclass_fields__
            chosen = {n: values.pop(n) for n in list(values) if n in fields}
            return function(options=RoadOptions(**chosen), **values)

        wrapped: Callable[..., Any] = packed
        for option in reversed((*_ROAD, *_OF_THE_MAP) if map_changes else _ROAD):
            wrapped = option(wrapped)
        return wrapped

    return decorate
