"""`nixsecrets approve`: approve keys for use in this clone."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from nixsecrets.cli import consent, show, ui
from nixsecrets.cli.options import allow_retired_option, json_option
from nixsecrets.cli.session import Session
from nixsecrets.errors import UsageError, printable
from nixsecrets.map.load import decode
from nixsecrets.plan import approvals, safety
from nixsecrets.plan.approvals import Standing
from nixsecrets.plan.recall import recall
from nixsecrets.plan.removals import Removal, Removals, return_edit
from nixsecrets.world.world import MAP_NAME, World, fresh_world


@click.command("approve")
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option(
    "--list",
    "listing",
    is_flag=True,
    help="List all keys and whether they are approved.",
)
@click.option("--revoke", is_flag=True, help="Withdraw the approval of NAMEs' keys.")
@click.option(
    "-y", "--yes", is_flag=True, help="Approve without asking, and list the keys."
)
@allow_retired_option
@json_option
@click.pass_obj
def command(
    start: Path,
    names: tuple[str, ...],
    *,
    listing: bool,
    revoke: bool,
    yes: bool,
    allow_retired: bool,
    as_json: bool,
) -> int:
    """Approve the map's keys for use in this clone.

    A key that arrived by `git pull` is not trusted merely because it is in the map.
    Before a command first encrypts to it, the command shows name, fingerprint and the
    commit that introduced the key, and asks.  This command does so for all keys (or
    those of NAMEs) at once.  Approvals are stored in this clone and never pushed; other
    clones ask again.  A removed key that is in the map again is asked about separately.

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
        raise UsageError("name the keys whose approval to withdraw")
    session = Session.open(start)
    text = decode(session.repo.read(MAP_NAME))
    world = fresh_world(session.repo, text)  # without files: only the map matters
    if revoke:
        return _revoke(world, names)
    every = approvals.map_standings(world.map, consent.recalled(world.repo))
    chosen = _of_names(every, names)
    if listing:
        _list(chosen, as_json=as_json)
        return 0
    with ui.waiting("searching the git history"):
        removals = recall(world)
    names_asked = {one.name for one in chosen}
    back = [one for one in removals.in_use(world.map) if one[0] in names_asked]
    code = 0
    if not back or any(not one.approved for one in chosen):
        code = _approve(world, every, chosen, yes=yes)
    _agree_to_return(world, removals, back, yes=yes, allowed=allow_retired)
    return code


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
        ui.answer_text(json.dumps([one.as_json() for one in chosen], indent=2))
        return
    for one, line in zip(chosen, approvals.table(chosen), strict=True):
        ui.answer(f"{'approved    ' if one.approved else 'not approved'}  {line}")
        if not one.approved:
            for alarm in approvals.alarms(one):
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
    given = {safety.YES} if yes else set()
    consent.ask(consent.about_keys(world, asked, given, first=first, hint=hint), given)
    consent.remember(world.repo, *consent.approval(asked, world.map))
    ui.say(f"{show.counted(len(asked), 'key')} approved in this clone")
    return 0


def _agree_to_return(
    world: World,
    removals: Removals,
    back: Sequence[tuple[str, Removal]],
    *,
    yes: bool,
    allowed: bool,
) -> None:
    """Ask whether removed keys may be used again, and record the answer.

    `yes` agrees if the map records that the return is intended.

    Raises:
        DeclinedError: the answer was no, or there is no terminal and no option agrees.
    """
    meant = all(removals.return_recorded(world.map, one.key.key_id) for _, one in back)
    given = {safety.ALLOW_RETIRED} if allowed or (yes and meant) else set()
    consent.ask(safety.return_question(back), given)
    if back:
        consent.remember(world.repo, return_edit((o for _, o in back), consent.today()))
        ui.say("approved in this clone: a removed key is used again")


def _revoke(world: World, names: Sequence[str]) -> int:
    clone = consent.memory(world.repo)
    found = clone.read()
    known = {one.name for one in found.approved}
    unknown = sorted(set(names) - known)
    if unknown:
        raise UsageError(
            f"no key of {', '.join(map(printable, unknown))} is approved in this clone",
            "nixsecrets approve --list",
        )
    count = sum(one.name in names for one in found.approved)
    clone.change(approvals.withdrawal_edit(names))
    keys = show.counted(count, "key")
    ui.say(f"withdrew the approval of {keys}; nixsecrets approve asks again")
    return 0
