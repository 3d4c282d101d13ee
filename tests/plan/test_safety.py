"""Whatever a plan asks about, an option of every command agrees to it beforehand."""

from collections.abc import Iterator

import click

from nixsecrets.cli.main import cli
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.plan.removals import Removal
from nixsecrets.plan.safety import (
    ALLOW_LOCKOUT,
    ALLOW_RETIRED,
    ALLOW_REVOKE,
    YES,
    return_question,
)
from tests import fleet as kit

# The options beyond --dry-run, --json, --yes and --git-add, by what they are about.
CONTENT = {"--identity", ALLOW_REVOKE, ALLOW_LOCKOUT, ALLOW_RETIRED}
READERS = CONTENT | {"--keep-data-key"}
FILES = READERS | {"--keep-going"}
MAP = FILES | {"--no-rekey"}
TAKES: dict[str, set[str]] = {
    **{name: set() for name in ("accept", "git-setup", "rm", "sync")},
    **dict.fromkeys(("edit", "generate", "set"), CONTENT),
    "mv": READERS,
    "rekey": FILES,
    "resolve": FILES,
    **dict.fromkeys(("add-host", "add-user", "rename-host"), MAP),
    **dict.fromkeys(("remove-host", "remove-user", "rotate-host", "rotate-user"), MAP),
}


def commands_that_write() -> Iterator[tuple[str, set[str]]]:
    """Yield the commands that show a plan and carry it out, with their options."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        options = {opt for one in command.params for opt in one.opts}
        if "--git-add" in options and name != "init":
            yield name, options


def test_a_command_takes_the_options_that_mean_something_to_it_and_no_other() -> None:
    found = {name: options & MAP for name, options in commands_that_write()}
    assert found == TAKES


def test_every_command_that_writes_can_be_agreed_to_beforehand() -> None:
    for name, options in commands_that_write():
        assert {YES, "--dry-run", "--json"} <= options, name


def test_a_removed_key_is_shown_even_where_an_option_agrees() -> None:
    assert list(return_question([])) == []
    key = parse_recipient(kit.age_key().public)
    (one,) = return_question([("carol", Removal("bob", key, "2026-11-30"))])
    assert (one.flag, one.always) == (ALLOW_RETIRED, True)
    assert one.lines[0].startswith("carol would get a key of bob that is retired since")
