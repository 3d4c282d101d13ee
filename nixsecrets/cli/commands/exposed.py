"""`nixsecrets exposed`: list unchanged values that removed keys could read."""

import datetime
import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.options import identity_option, json_option
from nixsecrets.cli.outcome import key_lines
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.unlock import once
from nixsecrets.map.model import Retired
from nixsecrets.plan.recall import recall
from nixsecrets.repo.history import LONGEST_BLOB, MAX_COMMITS, read_history
from nixsecrets.values.access import Access
from nixsecrets.values.exposed import Exposure, Report, State, find_exposed
from nixsecrets.values.read import Opener


@click.command("exposed")
@click.option(
    "--max-commits",
    type=click.IntRange(min=1),
    default=MAX_COMMITS,
    show_default=True,
    help="Number of commits to search.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also list values that have changed since.",
)
@identity_option
@json_option
@click.pass_obj
def command(
    start: Path,
    max_commits: int,
    identity: tuple[Path, ...],
    *,
    everything: bool,
    as_json: bool,
) -> int:
    """List the values that a retired key could read and that have not changed.

    Searches the git history for every version that the key could read, and compares
    its values with the current files, wherever they were moved.  Values of sops files
    are listed as `--key` takes them.  Exits with 1 if there are any.

    \b
    Examples:
      nixsecrets exposed
      nixsecrets exposed --json | jq -r '.exposed[].path'
    """
    session = Session.open(start)
    git = session.repo.git
    if git is None:
        raise NixsecretsError(
            "there is no git history to search",
            "keep the map in a repository",
        )
    world = session.world()
    with ExitStack() as stack, git.reader(limit=LONGEST_BLOB) as blob:
        opener = Opener(world, keyring(identity), once(unlock), stack)
        with ui.waiting("searching the git history"):
            history = read_history(git, session.repo.root, limit=max_commits)
            known = recall(world).by_key.values()
        removed = [Retired(one.name, one.key, one.date or None) for one in known]
        with ui.waiting("comparing the values"):
            report = find_exposed(world, history, blob, opener, removed)
    shown = [e for e in report.exposures if e.open or everything]
    if as_json:
        ui.answer_text(_to_json(report, shown))
    else:
        _show(report, shown)
    return 1 if any(exposure.open for exposure in shown) else 0


def _show(report: Report, shown: list[Exposure]) -> None:
    for line in _lines(shown):
        ui.answer(line)
    for note in report.notes:
        ui.warn(note)
    number = len({exposure.path for exposure in shown if exposure.open})
    if number:
        ui.say(f"{show.counted(number, 'file')} to change: nixsecrets edit FILE")
    else:
        ui.say("every value that a retired key could read has changed")


def _lines(shown: list[Exposure]) -> Iterator[str]:
    for path, group in groupby(shown, key=lambda exposure: exposure.path):
        exposures = list(group)
        yield f"  {show.path_text(path)}"
        for exposure in exposures:
            yield f"      {_who(exposure)}: {_what(exposure)}"
        still = [exposure.found for exposure in exposures if exposure.open]
        keys = dict.fromkeys(key for found in still for key in found.keys)
        unnamed = max((found.unnamed for found in still), default=0)
        for line in key_lines(list(keys), unnamed):
            yield f"        {line}"


def _who(exposure: Exposure) -> str:
    perhaps = "perhaps " if exposure.access is Access.PERHAPS else ""
    when = f", retired {exposure.retired.date}" if exposure.retired.date else ""
    return f"{perhaps}known to {exposure.retired.name}{when}"


def _what(exposure: Exposure) -> str:
    since = f"since {exposure.version.commit[:10]} of {_day(exposure)}"
    if exposure.version.path != exposure.path:
        since += f", then in {show.path_text(exposure.version.path)}"
    match exposure.found.state:
        case State.UNCHANGED:
            return f"unchanged {since}"
        case State.PARTLY:
            return f"some values are unchanged {since}"
        case State.CHANGED:
            return f"changed {since}"
        case State.GONE:
            return f"the file is gone {since}"
        case State.UNKNOWN:
            return f"cannot be compared with {since[6:]}: {exposure.found.reason}"


def _day(exposure: Exposure) -> str:
    when = datetime.datetime.fromtimestamp(exposure.version.seconds, datetime.UTC)
    return when.date().isoformat()


def _to_json(report: Report, shown: list[Exposure]) -> str:
    listed = [
        {
            "path": exposure.path,
            "known_to": exposure.retired.name,
            "key": exposure.retired.key.fingerprint,
            "retired": exposure.retired.date,
            "certain": exposure.access is Access.YES,
            "state": exposure.found.state.value,
            "commit": exposure.version.commit,
            "date": _day(exposure),
            "then": exposure.version.path,
            "keys": [list(keys) for keys in exposure.found.keys],
            "unnamed": exposure.found.unnamed,
            "reason": exposure.found.reason,
        }
        for exposure in shown
    ]
    whole = {"version": 1, "exposed": listed, "notes": list(report.notes)}
    return json.dumps(whole, indent=2)
