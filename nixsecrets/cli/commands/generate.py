"""`nixsecrets generate`: generate a value without displaying it."""

from pathlib import Path

import click

from nixsecrets.cli import save, show, ui
from nixsecrets.cli.arguments import relative
from nixsecrets.cli.options import Reach, RoadOptions, road_options, value_option
from nixsecrets.cli.session import Session, keyring
from nixsecrets.errors import UsageError
from nixsecrets.keys import generate
from nixsecrets.plan import target
from nixsecrets.plan.target import Target
from nixsecrets.values import read
from nixsecrets.world.world import World


@click.command("generate")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(list(generate.KINDS)),
    default="password",
    show_default=True,
    help="Kind of value.",
)
@click.option(
    "--length",
    type=click.IntRange(1, 4096),
    help="Characters of a password, words of a passphrase, bytes of hex and base64.",
)
@value_option
@road_options(Reach.CONTENT)
@click.pass_obj
def command(
    start: Path,
    path: Path,
    kind: str,
    length: int | None,
    key: str | None,
    options: RoadOptions,
) -> int:
    """Generate a value and store it without displaying it.

    The public half of a key pair is printed, and written to FILE.pub next to the secret
    (not with --key).  Asks before replacing an existing value.

    \b
    Examples:
      nixsecrets generate secrets/db.age --kind password --length 32
      nixsecrets generate secrets/app.yaml --key session/secret --kind base64
      nixsecrets generate secrets/wg0.age --kind wireguard
    """
    maker, usual = generate.KINDS[kind]
    if length is not None and not usual:
        raise UsageError(f"the length of {kind} is fixed", "omit --length")
    session = Session.open(start)
    world = session.world()
    name = relative(session.repo, start, path)
    wanted = save.with_rule(world, target.target(world, name))
    if key is not None:
        read.require_keys(name, wanted.backend(world))
        target.require_merged(world, name)
    ring = keyring(options.identity)
    if not (options.yes or options.dry_run) and _is_there(world, wanted, key):
        what = show.path_text(name) + (f" {key}" if key else "")
        ui.confirm(
            f"{what} has a value; replace it?",
            hint="agree in advance with --yes",
        )
    save.report(world, wanted)
    fresh = maker(length or usual)
    public = None
    if fresh.public is not None and key is None:
        public = {name + ".pub": fresh.public + "\n"}
    code = save.store(
        session, world, wanted, key, fresh.secret, ring, options, public=public
    )
    if code == 0 and fresh.public is not None and not options.dry_run:
        ui.answer(fresh.public)
    return code


def _is_there(world: World, wanted: Target, key: str | None) -> bool:
    """Return whether a value would be replaced; True if that cannot be determined."""
    if key is None:
        return wanted.actual is not None
    return target.has_value(world, wanted, key)
