"""The options that commands share, as values."""

import functools
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from posixpath import normpath
from typing import Any

import click

from nixsecrets.frozen import NamedTuple

Decorated = Callable[..., Any]
Decorator = Callable[[Decorated], Decorated]


class RoadOptions(NamedTuple):
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
    overwrite: tuple[str, ...] = ()

    @property
    def given(self) -> frozenset[str]:
        """The options that agree to a question of `plan.safety`, as typed."""
        agreed = {
            "--yes": self.yes,
            "--allow-revoke": self.allow_revoke,
            "--allow-lockout": self.allow_lockout,
            "--allow-retired": self.allow_retired,
            **{f"--overwrite {normpath(path)}": True for path in self.overwrite},
        }
        return frozenset(flag for flag, said in agreed.items() if said)


identity_option = click.option(
    "-i",
    "--identity",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Private key to try first (age or ssh; repeatable).",
)
value_option = click.option(
    "-k",
    "--key",
    metavar="KEY",
    help="One value of a sops file, by its path (powerdns/api-key).",
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif", "gitlab"]),
    default="text",
    help="Output format of the findings.",
)
allow_retired_option = click.option(
    "--allow-retired",
    is_flag=True,
    help="Allow using a removed key again.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_ROAD = (
    click.option(
        "-n", "--dry-run", is_flag=True, help="Show the plan, change nothing."
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print the plan (--dry-run) or the exposed values as JSON.",
    ),
    click.option("-y", "--yes", is_flag=True, help="Agree to the plan in advance."),
    click.option("--git-add", is_flag=True, help="Stage the written files (git add)."),
)
_SECRETS = (
    identity_option,
    click.option(
        "--allow-revoke",
        is_flag=True,
        help="Allow revoking access that the arguments do not name.",
    ),
    click.option(
        "--allow-lockout",
        is_flag=True,
        help="Allow locking yourself out, or leaving a file without readers.",
    ),
    allow_retired_option,
)
_KEEP_DATA_KEY = click.option(
    "--keep-data-key",
    is_flag=True,
    help="Grant a user access to a sops file without a new data key.",
)
_KEEP_GOING = click.option(
    "--keep-going", is_flag=True, help="Skip files that cannot be changed; exit 1."
)
_NO_REKEY = click.option(
    "--no-rekey",
    is_flag=True,
    help="Change the map and generated files, but no secrets.",
)


class Reach(IntEnum):
    """How much a command can change; each level has the options of those below it."""

    GENERATED = 0  # no secret is encrypted
    CONTENT = 1  # one secret gets new content
    READERS = 2  # one secret gets other readers
    FILES = 3  # any number of secrets
    MAP = 4  # the map, too


def road_options(reach: Reach) -> Decorator:
    """Add the options that apply to a command of this reach; it gets `options`."""
    added = [
        *_ROAD,
        *(_SECRETS if reach >= Reach.CONTENT else ()),
        *((_KEEP_DATA_KEY,) if reach >= Reach.READERS else ()),
        *((_KEEP_GOING,) if reach >= Reach.FILES else ()),
        *((_NO_REKEY,) if reach >= Reach.MAP else ()),
    ]
    return packed(added, options=RoadOptions)


def packed(added: Sequence[Decorator], **packs: Any) -> Decorator:
    """Add options, and hand those that are fields of a named tuple over as one value.

    `packs` names the command's parameter and its type.
    """
    ((name, kind),) = packs.items()

    def decorate(function: Decorated) -> Decorated:
        @functools.wraps(function)
        def wrapped(**values: Any) -> Any:
            fields = kind._fields
            chosen = {one: values.pop(one) for one in fields if one in values}
            return function(**{name: kind(**chosen)}, **values)

        return with_options(added)(wrapped)

    return decorate


def with_options(added: Sequence[Decorator]) -> Decorator:
    """Add options, which `--help` lists in this order."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(added):
            function = option(function)
        return function

    return decorate
