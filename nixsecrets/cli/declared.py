"""What configurations declare, for the commands that ask: from a flake or a file."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import with_options
from nixsecrets.errors import NixsecretsError, UsageError, printable, quoted
from nixsecrets.untrusted import inputs

if TYPE_CHECKING:  # `check` starts without what reads and judges
    from nixsecrets.flake.declared import Configuration
    from nixsecrets.flake.verdict import Report
    from nixsecrets.world.world import World


@dataclass(frozen=True, slots=True)
class Source:
    """Where declarations come from, and which of them are asked for.

    Both `flake` and `file` None: nobody asked.
    """

    flake: str | None
    file: Path | None
    hosts: tuple[str, ...] = ()
    jobs: int = 1
    save: Path | None = None

    @property
    def asked(self) -> bool:
        """Whether there is anything to read."""
        return self.flake is not None or self.file is not None


_OPTIONS = (
    click.option(
        "--flake",
        is_flag=False,
        flag_value=".",
        metavar="[REF]",
        help="Check the secrets declared by a flake (needs nix).",
    ),
    click.option(
        "--declared",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Check the declarations in a file written by --save (no nix).",
    ),
    click.option(
        "--host",
        "hosts",
        multiple=True,
        metavar="NAME",
        help="Check only this configuration (repeatable).",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        default=min(4, os.cpu_count() or 1),
        show_default="one per core, 4 at most",
        help="Number of parallel evaluations.",
    ),
    click.option(
        "--save",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write the flake's declarations to FILE.",
    ),
)


def declared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where declarations come from; it gets `source`."""
    import functools

    @functools.wraps(function)
    def packed(**values: Any) -> Any:
        names = Source.__dataclass_fields__
        source = Source(**{name: values.pop(name) for name in names})
        _require_sense(source)
        return function(source=source, **values)

    return with_options(_OPTIONS)(packed)


def _require_sense(source: Source) -> None:
    if source.flake is not None and source.file is not None:
        raise UsageError("--flake and --declared name two sources", "give one of them")
    if not source.asked and (source.hosts or source.save):
        raise UsageError(
            "--host and --save are about what a flake declares", "add --flake"
        )
    if source.file is not None and source.save is not None:
        raise UsageError("--save copies what --declared reads", "leave it out")


def configurations(source: Source, start: Path) -> "tuple[Configuration, ...]":
    """Read what is declared.

    Raises:
        NixsecretsError: the flake or the file cannot be read, or has no such host.
    """
    if source.file is not None:
        found = _from_file(source.file)
        _require_known(source.hosts, {one.name for one in found})
        return tuple(o for o in found if not source.hosts or o.name in source.hosts)
    return _from_flake(source, start)


def _from_file(file: Path) -> "tuple[Configuration, ...]":
    from nixsecrets.flake.declared import parse

    try:
        text = inputs.read_text(file, handed=True)
    except (OSError, UnicodeDecodeError) as error:
        why = "cannot be read"
        if isinstance(error, inputs.NotRegularError):
            why = f"is {error.reason}"
        raise NixsecretsError(
            f"{quoted(str(file))} {why}",
            "write it with `nixsecrets check --flake . --save FILE`",
        ) from error
    return parse(text, file.name)


def _from_flake(source: Source, start: Path) -> "tuple[Configuration, ...]":
    from nixsecrets.flake import program
    from nixsecrets.flake.declared import inventory, parse

    flake = program.resolve(source.flake or ".", start)
    every = program.configurations(flake, start)
    _require_known(source.hosts, {one.name for one in every})
    asked = [one for one in every if not source.hosts or one.name in source.hosts]
    with ui.progress("evaluating", len(asked)) as tick:
        told = program.declare(flake, asked, start, jobs=source.jobs, tick=tick)
    text = inventory(told)
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


def report(world: "World", source: Source, start: Path) -> "Report":
    """Judge what is declared against the repository."""
    from nixsecrets.flake.gather import gather, place_of
    from nixsecrets.flake.verdict import judge

    found = configurations(source, start)
    place = place_of(world)
    seen = gather(world, found, place)
    return judge(world, found, seen, place, whole=not source.hosts)


@dataclass(frozen=True, slots=True)
class Side:
    """One file: whether a host can read it, and as what its parts declare it."""

    path: str
    may_read: bool
    declares: tuple[str, ...]


def sides(world: "World", host: str, source: Source, start: Path) -> list[Side]:
    """Return every file that a host can read or declares, sorted."""
    from nixsecrets.flake.gather import place_of

    found, place = configurations(source, start), place_of(world)
    for one in found:
        if one.error is not None:
            raise NixsecretsError(f"{one.name} does not evaluate: {one.error}")
    declares: dict[str, list[str]] = {
        path: []
        for path, actual in world.secrets.items()
        if host in {world.book.name(key) for key in actual.recipients}
    }
    may = frozenset(declares)
    for part in (part for one in found for part in one.parts):
        for secret in part.secrets:
            path = place.path_of(secret) or secret.elsewhere or secret.option
            names = declares.setdefault(path, [])
            if secret.option not in names:
                names.append(secret.option)
    return [
        Side(path, path in may, tuple(names))
        for path, names in sorted(declares.items())
    ]
