"""`nixsecrets ls`: list secrets and their recipients."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import json_option
from nixsecrets.cli.session import Session
from nixsecrets.errors import UsageError, path_text
from nixsecrets.frozen import NamedTuple

if TYPE_CHECKING:  # the survey begins before these are loaded
    from nixsecrets.files.state import Actual
    from nixsecrets.world.survey import Survey
    from nixsecrets.world.world import World

HEAD = ("path", "backend", "changed", "readers")
UNCOMMITTED = "uncommitted"


class Listed(NamedTuple):
    """One secret; `changed` is None if HEAD has another version or none.

    `readers` is None where they are unknown.
    """

    path: str
    backend: str
    changed: str | None
    readers: tuple[str, ...] | None


@click.command("ls")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--host", metavar="NAME", help="List only secrets this host can read.")
@click.option("--user", metavar="NAME", help="List only secrets this user can read.")
@click.option(
    "--declared",
    is_flag=False,
    flag_value=".",
    metavar="[REF|FILE]",
    help="With --host, the name of a configuration: compare with what it declares, from"
    " a flake (needs nix) or from a .json file written by `check --save`.",
)
@json_option
@click.pass_obj
def command(
    start: Path,
    paths: tuple[Path, ...],
    host: str | None,
    user: str | None,
    declared: str | None,
    *,
    as_json: bool,
) -> None:
    """List secrets: path, backend, date of the last commit, recipients.

    Shows the actual recipients of the files, not those in the map (`status` shows the
    difference).  Needs no private key.

    \b
    Examples:
      nixsecrets ls
      nixsecrets ls secrets/hosts --host brunnen
      nixsecrets ls --host brunnen --declared
      nixsecrets ls --json | jq -r '.[].path'
    """
    session = Session.open(start)
    git, root = session.repo.git, session.repo.root
    dating = nullcontext(dict[str, str]) if git is None else git.dating(root)
    with dating as dates, session.surveying(compare="all") as begun:
        world = session.world_of(begun)
        files = _chosen(world, start, paths)
        if declared is not None:
            if host is None or user is not None or paths:
                raise UsageError("--declared needs one --host", "nixsecrets ls --help")
            _answer_sides(world, host, declared, start, as_json=as_json)
            return
        _refuse_unknown(world, host, user)
        with ui.waiting("searching the git history"):
            changed = _committed(world, begun, files, dates())
    wanted = {name for name in (host, user) if name is not None}
    listed = [
        entry
        for entry in _entries(world, files, changed)
        if wanted <= set(entry.readers or ())
    ]
    if as_json:
        import json

        ui.answer_text(
            json.dumps([e._asdict() for e in listed], indent=2, ensure_ascii=True)
        )
        return
    for line in _table(listed):
        ui.answer(line)


def _chosen(
    world: "World", start: Path, paths: tuple[Path, ...]
) -> "Mapping[str, Actual]":
    """Return the secrets at `paths`; all of them without paths."""
    if not paths:
        return world.secrets
    from nixsecrets.cli.arguments import chosen  # the survey has begun

    names = chosen(world.repo, start, paths, world.secrets)
    return {path: world.secrets[path] for path in sorted(names)}


def _refuse_unknown(world: "World", host: str | None, user: str | None) -> None:
    """Raise UsageError for a name that the map does not have."""
    for name, kind in ((host, "host"), (user, "user")):
        if name is not None:
            from nixsecrets.cli.arguments import owner  # as above

            owner(world.map, name, kind)


def _committed(
    world: "World",
    begun: "Survey",
    files: "Mapping[str, Actual]",
    dates: Mapping[str, str],
) -> dict[str, str]:
    """Return the dates of the files that equal the last commit."""

    def same(path: str) -> bool:
        if path in begun.unchanged or begun.committed is None:
            return path in begun.unchanged
        data = world.repo.read_if_there(path)  # large, or linked
        return data is not None and begun.committed.has(path, data)

    return {path: dates[path] for path in files if path in dates and same(path)}


def _answer_sides(
    world: "World", host: str, declared: str, start: Path, *, as_json: bool
) -> None:
    """Print the files that a configuration declares or that its owner can read."""
    # Nix is loaded for this option alone
    import json
    from dataclasses import asdict

    from nixsecrets.flake.declarations import Source
    from nixsecrets.flake.reading import sides

    is_file = declared.endswith(".json")
    source = Source(
        None if is_file else declared, Path(declared) if is_file else None, (host,)
    )
    found = sides(world, source, start, progress=ui.progress)
    if as_json:
        ui.answer_text(json.dumps([asdict(side) for side in found], indent=2))
        return
    rows = [("path", "may read", "declares")] if found else []
    for side in found:
        may = {True: "yes", False: "no", None: "unknown"}[side.may_read]
        rows.append((path_text(side.path), may, " ".join(side.declares) or "-"))
    width = max((len(row[0]) for row in rows), default=0)
    for path, may, declares in rows:
        ui.answer(f"{path:<{width}}  {may:<8}  {declares}".rstrip())


def _entries(
    world: "World", files: "Mapping[str, Actual]", changed: Mapping[str, str]
) -> Iterator[Listed]:
    from nixsecrets.files.state import Unknown  # as above

    for path, actual in files.items():
        names = dict.fromkeys(world.book.label(reader) for reader in actual.recipients)
        known = not isinstance(actual.state, Unknown)
        readers = (*names, *map(str, actual.others)) if known else None
        yield Listed(path, actual.backend.value, changed.get(path), readers)


def _table(listed: list[Listed]) -> Iterator[str]:
    """Yield the lines of a table with its heading; none without entries."""
    rows = [HEAD] if listed else []
    for one in listed:
        names = "unknown" if one.readers is None else " ".join(one.readers)
        date = one.changed[:10] if one.changed else UNCOMMITTED
        rows.append((path_text(one.path), one.backend, date, names))
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        yield "  ".join([*cells, row[3]]).rstrip()
