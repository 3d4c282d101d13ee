"""Reads declarations from a flake or a file and compares them with the repository."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from nixsecrets.errors import NixsecretsError, UsageError, printable, quoted
from nixsecrets.flake import nix
from nixsecrets.flake.declarations import Source
from nixsecrets.flake.declared import Configuration
from nixsecrets.flake.gather import gather, place_of
from nixsecrets.flake.inventory import inventory, parse
from nixsecrets.flake.owners import owner_of
from nixsecrets.flake.verdict import Report, judge, readable
from nixsecrets.untrusted import inputs
from nixsecrets.world.world import World

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows progress, given a label and a total; yields the function that counts one."""


def configurations(
    source: Source, start: Path, progress: Progress
) -> tuple[Configuration, ...]:
    """Return the configurations of a source, those of `source.hosts` if it names any.

    Raises:
        NixsecretsError: the flake or the file cannot be read.
        UsageError: it has no such host.
    """
    if source.file is not None:
        found = _from_file(source.file)
        _require_known(source.hosts, {one.name for one in found})
        return tuple(o for o in found if not source.hosts or o.name in source.hosts)
    return _from_flake(source, start, progress)


def _from_file(file: Path) -> tuple[Configuration, ...]:
    try:
        text = inputs.read_text(file, pipes=True)
    except (OSError, UnicodeDecodeError) as error:
        why = "cannot be read"
        if isinstance(error, inputs.NotRegularError):
            why = f"is {error.reason}"
        raise NixsecretsError(
            f"{quoted(str(file))} {why}",
            "write it with `nixsecrets check --flake . --save FILE`",
        ) from error
    return parse(text, file.name)


def _from_flake(
    source: Source, start: Path, progress: Progress
) -> tuple[Configuration, ...]:
    with progress("asking nix for the configurations", 1):
        flake = nix.resolve(source.flake or ".", start)
        every = nix.configurations(flake, start)
    _require_known(source.hosts, {one.name for one in every})
    asked = [one for one in every if not source.hosts or one.name in source.hosts]
    with progress("evaluating", len(asked)) as tick:
        declared = nix.declare(flake, asked, start, jobs=source.jobs, tick=tick)
    text = inventory(declared)
    if source.save is not None:
        source.save.write_text(text, encoding="utf-8")
    return parse(text, "the flake")


def _require_known(hosts: Sequence[str], known: set[str]) -> None:
    for host in hosts:
        if host not in known:
            raise UsageError(
                f"there is no configuration {quoted(host)}",
                f"there are: {', '.join(map(printable, sorted(known))) or 'none'}",
            )


def report(world: World, source: Source, start: Path, *, progress: Progress) -> Report:
    """Return the verdict on every declared secret, and findings."""
    found = configurations(source, start, progress)
    place = place_of(world)
    seen = gather(world, found, place)
    return judge(world, found, seen, place, whole=not source.hosts)


@dataclass(frozen=True, slots=True)
class Side:
    """One file: whether a host can read it, and the options that declare it.

    `may_read` is None if it was not checked.
    """

    path: str
    may_read: bool | None
    declares: tuple[str, ...]


def sides(
    world: World, source: Source, start: Path, *, progress: Progress
) -> list[Side]:
    """Return every file that the configurations of a source declare, or could.

    Those of a host include what its home-manager users and containers declare, with
    their keys.

    Raises:
        NixsecretsError: a configuration does not evaluate.
    """
    found, place = configurations(source, start, progress), place_of(world)
    for one in found:
        if one.error is not None:
            raise NixsecretsError(f"{one.name} does not evaluate: {one.error}")
    readers = {owner_of(world, one).name for one in found}
    may: dict[str, bool | None] = {
        path: True
        for path, actual in world.secrets.items()
        if readers & {world.book.name(key) for key in actual.recipients}
    }
    declares: dict[str, list[str]] = {path: [] for path in may}
    judged = set()
    for secret, path, reads in readable(
        world, found, gather(world, found, place), place
    ):
        path = path or secret.elsewhere or secret.option
        if path not in judged or reads:
            may[path] = reads
        judged.add(path)
        names = declares.setdefault(path, [])
        if secret.option not in names:
            names.append(secret.option)
    return [
        Side(path, may[path], tuple(names)) for path, names in sorted(declares.items())
    ]
