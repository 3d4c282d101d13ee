"""`nixsecrets rekey`: re-encrypt secrets whose recipients differ from the map."""

from pathlib import Path

import click

from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.session import Session


@click.command("rekey")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--host", metavar="NAME", help="Change only files of this host or user.")
@road_options(Reach.FILES)
@click.pass_obj
def command(
    start: Path, paths: tuple[Path, ...], host: str | None, options: RoadOptions
) -> int:
    """Re-encrypt secrets whose recipients differ from the map, and no others.

    With PATHS (files or folders) or --host, changes only those files; otherwise all
    secrets and the generated files.

    \b
    Examples:
      nixsecrets rekey
      nixsecrets rekey secrets/wifi.age
      nixsecrets rekey --host brunnen --yes
      nixsecrets rekey --dry-run --json
    """
    session = Session.open(start)
    with (
        session.writing(dry_run=options.dry_run),
        session.surveying() as begun,
    ):
        from nixsecrets.cli import road  # 90 ms, during the survey

        return road.rekey(session, begun, options, paths=paths, host=host, start=start)
