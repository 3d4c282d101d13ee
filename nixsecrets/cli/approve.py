"""`nixsecrets approve`: the operator of this clone agrees to keys."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from nixsecrets import approvals
from nixsecrets.approvals import Standing
from nixsecrets.cli import approval, show, ui
from nixsecrets.cli.options import json_option
from nixsecrets.cli.session import Session
from nixsecrets.errors import UsageError, printable
from nixsecrets.policy.load import decode
from nixsecrets.world import MAP_NAME, World, fresh_world


@click.command("approve")
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option(
    "--list", "listing", is_flag=True, help="List every key: approved or not."
)
@click.option(
    "--revoke", is_flag=True, help="Forget the keys of NAMEs: they are asked about."
)
@click.option("-y", "--yes", is_flag=True, help="Agree without asking, and list them.")
@json_option
@click.pass_obj
def command(
    start: Path,
    names: tuple[str, ...],
    *,
    listing: bool,
    revoke: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Agree to the keys of the map, in this clone.

    A key that came by `git pull` is not trusted because the map names it.  Before a
    command first encrypts to one it shows name, fingerprint and the commit that brought
    it, and asks; so does this command, for all of them (or for NAMEs) at once.  What
    you agree to stays in this clone: it is never pushed, and other clones ask again.

    \b
    Examples:
      nixsecrets approve
      nixsecrets approve bob
      nixsecrets approve --list
      nixsecrets approve --revoke bob
      nixsecrets approve --yes            # in CI, in a fresh clone
    """
    if listing and revoke:
        raise UsageError("--list and --revoke do not go together")
    if as_json and not listing:
        raise UsageError("--json goes with --list")
    if revoke and not names:
        raise UsageError("give the names whose keys to forget")
    session = Session.open(start)
    text = decode(session.repo.read(MAP_NAME), MAP_NAME)
    world = fresh_world(session.repo, text)  # no file has to be looked at
    if revoke:
        return _revoke(world, names)
    every = approval.of_map(world, approval.recalled(world.repo))
    chosen = _of_names(every, names)
    if listing:
        _list(chosen, as_json=as_json)
        return 0
    return _approve(world, every, chosen, yes=yes)


def _of_names(every: Sequence[Standing], names: Sequence[str]) -> list[Standing]:
    unknown = set(names) - {one.name for one in every}
    if unknown:
        raise UsageError(
            f"the map has no key of {', '.join(map(printable, sorted(unknown)))}",
            "nixsecrets approve --list",
        )
    return [one for one in every if not names or one.name in names]


def _list(chosen: Sequence[Standing], *, as_json: bool) -> None:
    if as_json:
        ui.answer(json.dumps([one.as_json() for one in chosen], indent=2))
        return
    for one, line in zip(chosen, approval.table(chosen), strict=True):
        ui.answer(f"{'approved    ' if one.approved else 'not approved'}  {line}")
        if not one.approved:
            for alarm in approval.alarms(one):
                ui.warn(alarm)


def _approve(
    world: World, every: Sequence[Standing], chosen: Sequence[Standing], *, yes: bool
) -> int:
    asked = [one for one in chosen if not one.approved]
    if not asked:
        ui.say("these keys are approved in this clone; nothing to do")
        return 0
    first = not any(one.approved for one in every)
    hint = "agree to the keys above: nixsecrets approve --yes"
    approval.settle(world, asked, first=first, yes=yes, hint=hint)
    ui.say(f"{show.counted(len(asked), 'key')} approved in this clone")
    return 0


def _revoke(world: World, names: Sequence[str]) -> int:
    clone = approval.memory(world.repo)
    found = clone.read()
    known = {one.name for one in found.approved}
    unknown = sorted(set(names) - known)
    if unknown:
        raise UsageError(
            f"no key of {', '.join(map(printable, unknown))} is approved in this clone",
            "nixsecrets approve --list",
        )
    count = sum(one.name in names for one in found.approved)
    clone.change(lambda now: approvals.forgetting(now, names))
    keys = show.counted(count, "approved key")
    ui.say(f"forgot {keys}; nixsecrets approve asks again")
    return 0
