"""Reads declarations from a flake or a file and compares them with the repository."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    source: Source, world: World, start: Path, progress: Progress
) -> tuple[Configuration, ...]:
    """Return the configurations of a source, those of `source.hosts` if it names any.

    Of a flake in another repository than the world's, no file is one of the map by its
    path: it is by its content, or because an input has it.

    Raises:
        NixsecretsError: the flake or the file cannot be read.
        UsageError: it has no such host.
    """
    if source.file is not None:
        found = _from_file(source.file)
        _require_known(source.hosts, {one.name for one in found})
        return tuple(o for o in found if not source.hosts or o.name in source.hosts)
    return _from_flake(source, world, start, progress)


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
    source: Source, world: World, start: Path, progress: Progress
) -> tuple[Configuration, ...]:
    with progress("asking nix for the configurations", 1):
        flake = nix.resolve(source.flake or ".", start)
        every = nix.configurations(flake, start)
    _require_known(source.hosts, {one.name for one in every})
    asked = [one for one in every if not source.hosts or one.name in source.hosts]
    with progress("evaluating", len(asked)) as tick:
        declared = nix.declare(flake, asked, start, jobs=source.jobs, tick=tick)
    foreign = _is_foreign(flake, source, world)
    if foreign:
        _own_files(declared)
    text = inventory(declared)
    if source.save is not None:
        source.save.write_text(text, encoding="utf-8")
    return parse(text, "the flake", with_inputs=foreign)


def _is_foreign(flake: nix.Flake, source: Source, world: World) -> bool:
    """Return whether the flake is in another repository than the map."""
    if flake.top is None or world.repo.git is None:
        return source.secrets is not None
    return not world.repo.root.resolve().is_relative_to(flake.top.resolve()) or (
        world.repo.git.top.resolve() != flake.top.resolve()
    )


def _own_files(declared: list[dict[str, Any]]) -> None:
    """Mark the files of the flake's own repository as those of an input are."""
    for configuration in declared:
        for part in configuration.get("parts") or []:
            for side in (part.get("age"), part.get("sops")):
                for secret in (side or {}).get("secrets") or []:
                    if "file" in secret:
                        secret.setdefault("input", "self")


def _require_known(hosts: Sequence[str], known: set[str]) -> None:
    for host in hosts:
        if host not in known:
            raise UsageError(
                f"there is no configuration {quoted(host)}",
                f"there are: {', '.join(map(printable, sorted(known))) or 'none'}",
            )


def report(world: World, source: Source, start: Path, *, progress: Progress) -> Report:
    """Return the verdict on every declared secret, and findings."""
    found = configurations(source, world, start, progress)
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
    found = configurations(source, world, start, progress)
    place = place_of(world)
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
