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
    returned_keys,
)
from tests import fleet as kit


def commands_that_write() -> Iterator[click.Command]:
    """Yield the commands that show a plan and carry it out."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        options = {opt for one in command.params for opt in one.opts}
        if "--git-add" in options and name != "init":
            yield command


def test_every_command_that_writes_takes_the_options_that_the_hints_name() -> None:
    for command in commands_that_write():
        options = {opt for one in command.params for opt in one.opts}
        assert {YES, ALLOW_REVOKE, ALLOW_LOCKOUT, ALLOW_RETIRED} <= options, (
            command.name
        )


def test_a_removed_key_is_shown_even_where_an_option_agrees() -> None:
    assert list(returned_keys([])) == []
    key = parse_recipient(kit.age_key().public)
    (one,) = returned_keys([("carol", Removal("bob", key, "2026-11-30"))])
    assert (one.flag, one.always) == (ALLOW_RETIRED, True)
    assert one.lines[0].startswith("carol would get a key of bob that is retired since")
