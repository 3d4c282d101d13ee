"""`nixsecrets ls`: which secrets there are, and who reads them."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from nixsecrets.cli import show, ui
from nixsecrets.cli.options import json_option
from nixsecrets.cli.paths import chosen
from nixsecrets.cli.session import Session
from nixsecrets.errors import UsageError
from nixsecrets.secretfiles.state import Actual, Unknown
from nixsecrets.world import World

HEAD = ("path", "backend", "changed", "readers")
UNCOMMITTED = "uncommitted"


@dataclass(frozen=True, slots=True)
class Listed:
    """One secret; `changed` is None where HEAD has it otherwise or not at all.

    `readers` is None where they cannot be told.
    """

    path: str
    backend: str
    changed: str | None
    readers: tuple[str, ...] | None


@click.command("ls")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--host", metavar="NAME", help="Only what this host can read.")
@click.option("--user", metavar="NAME", help="Only what this user can read.")
@json_option
@click.pass_obj
def command(
    start: Path,
    paths: tuple[Path, ...],
    host: str | None,
    user: str | None,
    *,
    as_json: bool,
) -> None:
    """List secrets: path, backend, when git last saw a change, who can read it.

    Readers are those that the files have, not those that the map wants (`status` shows
    the difference).  Needs no private key.

    \b
    Examples:
      nixsecrets ls
      nixsecrets ls secrets/hosts --host brunnen
      nixsecrets ls --json | jq -r '.[].path'
    """
    session = Session.open(start)
    world = session.world()
    files = world.secrets
    if paths:
        names = chosen(session.repo, start, paths, files)
        files = {path: files[path] for path in sorted(names)}
    for name, known, kind in (
        (host, {h.name for h in world.map.hosts}, "host"),
        (user, world.users, "user"),
    ):
        if name is not None and name not in known:
            raise UsageError(f"the map has no {kind} {name!r}", "nixsecrets ls")
    wanted = {name for name in (host, user) if name is not None}
    listed = [
        entry
        for entry in _entries(session, world, files)
        if wanted <= set(entry.readers or ())
    ]
    if as_json:
        ui.answer(json.dumps([asdict(e) for e in listed], indent=2, ensure_ascii=True))
        return
    for line in _table(listed):
        ui.answer(line)


def _entries(
    session: Session, world: World, files: dict[str, Actual]
) -> Iterator[Listed]:
    git = session.repo.git
    changed = git.last_changed(session.repo.root) if git else {}
    for path, actual in files.items():
        names = dict.fromkeys(world.book.label(reader) for reader in actual.recipients)
        known = not isinstance(actual.state, Unknown)
        readers = (*names, *actual.others) if known else None
        yield Listed(path, actual.backend.value, changed.get(path), readers)


def _table(listed: list[Listed]) -> Iterator[str]:
    """Yield the lines of a table, its head first; nothing where there is no entry."""
    rows = [HEAD] if listed else []
    for one in listed:
        names = "cannot be told" if one.readers is None else " ".join(one.readers)
        date = one.changed[:10] if one.changed else UNCOMMITTED
        rows.append((show.path_text(one.path), one.backend, date, names))
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        yield "  ".join([*cells, row[3]]).rstrip()
