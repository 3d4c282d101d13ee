"""`add-host --discover`: every host that the map does not know, at once.

The names are those of the folders in `--hosts-dir`, or of the flake's configurations.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nixsecrets.cli import road, show, ui
from nixsecrets.cli.hostkey import KeyOptions, require_terminal
from nixsecrets.cli.mapchange import change_map
from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.session import Session
from nixsecrets.errors import NixsecretsError, UsageError, quoted
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map import edit
from nixsecrets.map.load import NAME
from nixsecrets.map.model import RecipientMap

if TYPE_CHECKING:
    from nixsecrets.hosts.scan import Found
    from nixsecrets.hosts.trust import Rung
    from nixsecrets.world.world import World


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that may be added: its key and the rung that holds, else why not."""

    name: str
    key: Recipient | None = None
    rung: "Rung | None" = None
    error: NixsecretsError | None = None


def add_discovered(
    start: Path,
    session: Session,
    names: Sequence[str],
    groups: tuple[str, ...],
    keys: KeyOptions,
    options: RoadOptions,
) -> int:
    """Collect the keys of all new hosts, show one table, ask once, add them.

    Returns 1 where one had to be left out.
    """
    if keys.brought or keys.address or keys.fingerprint or keys.login:
        raise UsageError("--discover collects from the names; it takes no key options")
    names = _new_names(names, session.map())
    if not names:
        ui.say("the map knows every host there; nothing to do")
        return 0
    candidates = sorted(_collect(names, keys), key=lambda found: found.name)
    for text in _table(candidates):
        ui.say(text)
    good = [found for found in candidates if found.error is None]
    left_out = len(candidates) - len(good)
    if left_out:
        ui.warn(f"{show.counted(left_out, 'host')} left out")
    if not good:
        return road.PARTIAL
    rungs = _believed(good, keys, dry_run=options.dry_run)

    def changed(world: "World") -> str:
        text = world.map_text
        today = datetime.date.today().isoformat()
        for found, rung in zip(good, rungs, strict=True):
            assert found.key is not None  # noqa: S101 - has no error, so has a key
            text = edit.add_host(
                text,
                found.name,
                [found.key],
                groups=groups,
                verified=f"{rung} {today}",
            )
        return text

    return change_map(start, options, changed) or (road.PARTIAL if left_out else 0)


def names_of_folders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, but for hidden and shared ones.

    Raises:
        UsageError: it cannot be listed.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise UsageError(f"{quoted(str(folder))}: {why}", "pass --hosts-dir") from None
    return [name for name in names if not name.startswith((".", "_"))]


def names_in_flake(reference: str, start: Path) -> list[str]:
    """Return the names of the machines that a flake configures.

    Raises:
        NixsecretsError: it cannot be evaluated.
    """
    from nixsecrets.flake import program

    flake = program.resolve(reference, start)
    found = program.configurations(flake, start)
    return sorted({host.name for host in found if host.kind != "home"})


def _new_names(names: Iterable[str], recipient_map: RecipientMap) -> list[str]:
    """Return the names that the map does not know."""
    taken = {
        *(host.name for host in recipient_map.hosts),
        *(user.name for user in recipient_map.users),
        *(name for name, _ in recipient_map.groups),
    }
    fresh = [name for name in names if name not in taken]
    for name in fresh:
        if not NAME.fullmatch(name):
            ui.warn(f"{quoted(name)} cannot be the name of a host; left out")
    return [name for name in fresh if NAME.fullmatch(name)]


def _collect(names: Sequence[str], keys: KeyOptions) -> Iterable[Candidate]:
    from nixsecrets.hosts.scan import Target, collect_all

    with ui.progress("collecting", len(names)) as tick:
        targets = [Target(name, name) for name in names]
        for found in collect_all(targets, keys.manner):
            tick()
            yield _judged(found)


def _judged(found: "Found") -> Candidate:
    from nixsecrets.hosts import knownhosts, trust

    name = found.target.name
    if found.key is None or found.endpoint is None:
        return Candidate(name, error=found.error)
    try:
        known = knownhosts.standing(found.endpoint, found.key)
        return Candidate(name, found.key, trust.climb(name, found.key, known))
    except trust.KeyAlarmError as error:
        return Candidate(name, error=error)


def _table(candidates: Sequence[Candidate]) -> Iterable[str]:
    width = max(len(found.name) for found in candidates)
    for found in candidates:
        if found.error is not None:
            yield f"  {found.name:<{width}}  left out: {found.error.message}"
        elif found.key is not None:
            how = "in known_hosts" if found.rung else "not verified"
            yield f"  {found.name:<{width}}  {found.key.fingerprint}  {how}"


def _believed(
    good: Sequence[Candidate], keys: KeyOptions, *, dry_run: bool
) -> list["Rung"]:
    """Return the rung of each; ask once about those that nothing vouches for."""
    from nixsecrets.hosts.trust import Rung

    asked = Rung.FIRST_USE if keys.trust_on_first_use else Rung.ASKED
    unverified = [found for found in good if found.rung is None]
    if unverified and asked is Rung.ASKED and not dry_run:
        require_terminal()
        number = show.counted(len(unverified), "fingerprint")
        ui.confirm(
            f"did you compare the {number} marked as not verified?",
            hint="give --trust-on-first-use",
        )
    return [found.rung or asked for found in good]
