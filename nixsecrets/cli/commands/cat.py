"""`nixsecrets cat`: print a secret."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import identity_option, value_option
from nixsecrets.cli.session import Session, keyring
from nixsecrets.errors import UsageError

if TYPE_CHECKING:  # what opens a secret loads once the file is there
    from nixsecrets.keys.identities import Keyring


_SIDES = ["base", "ours", "theirs"]


@click.command("cat")
@click.argument("path", type=click.Path(path_type=Path))
@value_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE (mode 0600) instead of stdout.",
)
@click.option(
    "--side",
    type=click.Choice(_SIDES),
    help="Print one side's version of an unmerged file.",
)
@identity_option
@click.pass_obj
def command(
    start: Path,
    path: Path,
    key: str | None,
    output: Path | None,
    identity: tuple[Path, ...],
    side: str | None,
) -> None:
    """Print a secret, byte for byte; no newline is added.

    \b
    Examples:
      nixsecrets cat secrets/wifi.age
      nixsecrets cat secrets/powerdns.yaml --key powerdns/api-key
      nixsecrets cat secrets/tls.age --output /run/tls.key
      nixsecrets cat --side theirs secrets/wifi.age    # of an unmerged file
    """
    if side is not None and (key is not None or output is not None):
        raise UsageError("--side prints a whole version", "omit --key and --output")
    ring: Keyring | None = None
    if side is None and output is None:
        held = Session.holding(start, path)
        if held is not None:
            # one secret by itself: what looks at the others takes 40 ms
            from nixsecrets.values import alone

            session, name = held
            session.look_at_map()
            ring = keyring(identity)
            value = alone.content(session.repo, name, key, ring)
            if value is not None:
                ui.answer_bytes(value)
                return
    from nixsecrets.cli import output as with_world

    request = with_world.Request(start, path, key, output, side)
    with_world.answer(request, lambda: ring or keyring(identity))
