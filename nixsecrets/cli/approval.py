"""Keys that the operator of this clone has not seen: shown, agreed to, remembered.

What is asked about follows from the plan (`Plan.unapproved`); every command that writes
comes through `agreed_keys`.
"""

import datetime
import os
from collections.abc import Iterable, Iterator, Sequence

from nixsecrets.cli import show, ui
from nixsecrets.errors import NixsecretsError, printable
from nixsecrets.map.model import Reader, RecipientMap
from nixsecrets.plan import approvals
from nixsecrets.plan.approvals import Standing, fingerprint
from nixsecrets.plan.files import keys_written
from nixsecrets.plan.model import Plan, pair_of
from nixsecrets.repo.blame import Origin, blame
from nixsecrets.repo.clone import Clone
from nixsecrets.repo.remembered import Remembered
from nixsecrets.repo.tree import MAP_NAME, Repo
from nixsecrets.world.world import World

HINT = "look at the keys and agree: nixsecrets approve (or --yes)"


def memory(repo: Repo) -> Clone:
    """Return what this clone remembers of the map of `repo`."""
    return Clone.of(repo, os.environ)


def recalled(repo: Repo) -> Remembered:
    """Return what is remembered; say where it cannot be used."""
    clone = memory(repo)
    found = clone.read()
    if found.damage is not None:
        ui.warn(
            f"what this clone remembers cannot be used: {clone.place}: {found.damage}",
            "every key is asked about again",
        )
    return found


def of_map(world: World, found: Remembered) -> list[Standing]:
    """Return the standing of every key of the map."""
    readers = approvals.readers_of(world.map)
    return approvals.standings(readers, world.map, found)


def missing(
    plan: Plan, world: World, found: Remembered, introduced: Iterable[Reader] = ()
) -> list[Standing]:
    """Return the keys that a plan needs and that this clone has not approved.

    `introduced` are agreed to by the command line itself.  Where nothing was ever
    approved here it is every key of the map: asked about once, not one by one.
    """
    brought = {pair_of(reader) for reader in introduced}
    agreed = approvals.pairs(found) | brought
    needed = plan.unapproved(agreed, keys_written(world, plan.steps))
    if (needed or brought) and not found.approved:
        every = (*approvals.readers_of(world.map), *needed)
        needed = tuple(reader for reader in every if pair_of(reader) not in agreed)
    return approvals.standings(needed, world.map, found)


def agreed_keys(
    plan: Plan, world: World, introduced: Iterable[Reader], *, yes: bool
) -> None:
    """Have the keys agreed to that a plan needs; remember the answer.

    Raises:
        DeclinedError: a person said no, or nobody is there and no flag says yes.
    """
    found = recalled(world.repo)
    standing = missing(plan, world, found, introduced)
    if not standing:
        return
    settle(world, standing, first=not found.approved, yes=yes)


def settle(
    world: World,
    standing: Sequence[Standing],
    *,
    first: bool,
    yes: bool,
    hint: str = HINT,
) -> None:
    """Show keys, have them agreed to (with `yes` they are), remember the answer.

    Raises:
        DeclinedError: a person said no, or nobody is there and no flag says yes.
    """
    tell(world, standing, first=first, yes=yes)
    if not yes:
        keys = "this key" if len(standing) == 1 else f"these {len(standing)} keys"
        ui.confirm(f"approve {keys} in this clone?", hint=hint)
    remember(world.repo, [one.reader for one in standing], world.map)


def tell(
    world: World, standing: Sequence[Standing], *, first: bool, yes: bool = False
) -> None:
    """Show keys with their fingerprints; but for the first time, where they come from.

    A key that is not the one that was approved is an alarm.
    """
    if yes:
        ui.say("approved in this clone by --yes:")
    elif first:
        ui.say("no key is approved in this clone yet:")
    else:
        ui.say("not approved in this clone:")
    show_origin = not first
    look = show_origin and world.repo.git is not None
    committed = blame(world.repo.root, MAP_NAME) if look else []
    for one, line in zip(standing, table(standing), strict=True):
        ui.say(f"  {line}")
        if show_origin:
            ui.say(f"    {_origin_text(world, one, committed)}")
        for alarm in alarms(one):
            ui.warn(alarm)


def table(standing: Sequence[Standing]) -> Iterator[str]:
    """Yield a line for each key: name, kind of its owner, kind and fingerprint."""
    cells = [
        (printable(one.name), one.kind, one.key.kind.value, fingerprint(one.key))
        for one in standing
    ]
    widths = [max((len(row[i]) for row in cells), default=0) for i in range(3)]
    for *row, last in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([*padded, last])


def alarms(one: Standing) -> Iterator[str]:
    """Yield how a key differs from what was approved before."""
    name, now = printable(one.name), fingerprint(one.key)
    if one.was:
        yield f"{name}: was {', '.join(map(printable, one.was))}, now {now}"
    if one.known_as:
        names = ", ".join(map(printable, one.known_as))
        yield f"{name}: {now} was approved as the key of {names}"


def _line_of(world: World, one: Standing) -> int | None:
    """Return the line of the map that holds a key: its owner's, where it is twice."""
    owner = next((o for o in world.map.owners if o.name == one.name), None)
    if owner is None:
        return None
    lines = enumerate(world.map_text.split("\n"), start=1)
    found = [number for number, line in lines if _holds(line, one)]
    return min(found, key=lambda number: (number < owner.line, number), default=None)


def _holds(line: str, one: Standing) -> bool:
    return one.key.text.split(" ")[-1].lower() in line.lower()


def _origin_text(
    world: World, one: Standing, committed: Sequence[tuple[str, Origin]]
) -> str:
    """Say where a key comes from: the line, and the commit that brought the line."""
    number = _line_of(world, one)
    if number is None:
        return "not in the map: files name it as a reader"
    place = f"{MAP_NAME}:{number}"
    if world.repo.git is None:
        return place
    found = [
        (abs(at - number), origin)
        for at, (line, origin) in enumerate(committed, start=1)
        if _holds(line, one)
    ]
    if not found:
        return f"{place}, in no commit yet"
    origin = min(found)[1]
    said = printable(f"{origin.author}, {origin.date}: {origin.subject}")
    return f"{place}, commit {origin.commit[:12]} ({said})"


def remember(
    repo: Repo, readers: Sequence[Reader], recipient_map: RecipientMap
) -> None:
    """Remember that the operator agreed to these keys; say where that cannot be."""
    today = datetime.date.today().isoformat()

    def edit(now: Remembered) -> Remembered:
        return approvals.with_approved(now, readers, recipient_map, today)

    if readers:
        _change(repo, edit)


def follow(before: World, after: World, introduced: Sequence[Reader]) -> None:
    """Remember the keys that a command brought into the map, forget those it took."""
    use = {pair_of(reader) for reader in approvals.readers_of(after.map)}
    gone = {r.name for r in approvals.readers_of(before.map) if pair_of(r) not in use}
    today = datetime.date.today().isoformat()

    def edit(now: Remembered) -> Remembered:
        now = approvals.forgetting(now, gone, after.map)
        return approvals.with_approved(now, introduced, after.map, today)

    if gone or introduced:
        _change(after.repo, edit)


def _change(repo: Repo, edit: "approvals.Edit") -> None:
    try:
        memory(repo).change(edit)
    except NixsecretsError as error:
        ui.warn(error.message, error.hint)


def line_on_others(world: World, found: Remembered) -> str | None:
    """Return the line on keys that are not approved, None where all are."""
    agreed = approvals.pairs(found)
    every = approvals.readers_of(world.map)
    count = sum(pair_of(reader) not in agreed for reader in every)
    if not count:
        return None
    keys = show.counted(count, "key")
    verb = "is" if count == 1 else "are"
    return f"{keys} of the map {verb} not approved in this clone: nixsecrets approve"
