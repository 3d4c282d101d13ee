"""`nixsecrets set`: store a value in a secret, without an editor."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import click

from nixsecrets.cli import save, show, ui
from nixsecrets.cli.options import Reach, RoadOptions, road_options, value_option
from nixsecrets.cli.session import Session, keyring
from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.forms import Backend
from nixsecrets.plan import target
from nixsecrets.values import intake, read


@click.command("set")
@click.argument("path", type=click.Path(path_type=Path))
@value_option
@click.option(
    "--from-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the value from FILE instead of stdin.",
)
@click.option("--strip-newline", is_flag=True, help="Remove one trailing newline.")
@click.option("--allow-empty", is_flag=True, help="Allow an empty value.")
@road_options(Reach.CONTENT)
@click.pass_obj
def command(
    start: Path,
    path: Path,
    key: str | None,
    from_file: Path | None,
    options: RoadOptions,
    *,
    strip_newline: bool,
    allow_empty: bool,
) -> int:
    """Store a value in a secret, from stdin, a file, or a hidden prompt.

    The bytes are stored exactly.  With --key, nothing else in the file changes, and the
    new value is a string, whatever it was.  You can write an age file even if you
    cannot read it; a sops file must be opened to be changed.

    \b
    Examples:
      nixsecrets set secrets/wifi.age < psk
      nixsecrets set secrets/powerdns.yaml --key powerdns/api-key --strip-newline < key
      nixsecrets set secrets/tls.age --from-file tls.key
      nixsecrets set secrets/wifi.age        # hidden prompt
      nixsecrets set app.yaml --from-file app.yaml    # encrypt it in place
    """
    session, name, tracked = Session.at(start, path)
    # `save` looks again under the lock, and at the others where it needs them
    world = session.world(only=name, tracked=tracked)
    itself = key is None and _same_file(start, path, from_file)
    wanted = save.with_rule(world, target.target(world, name, in_place=itself))
    if itself and wanted.plain is None:
        raise NixsecretsError(
            f"{show.path_text(name)} is encrypted already",
            "give it new content: --from-file ANOTHER, or nixsecrets edit",
        )
    if key is not None:
        read.require_keys(name, wanted.backend(world))
        target.require_merged(world, name)
    save.report(world, wanted)
    save.ask_keys(world, wanted, options)
    with (
        _opened(None if from_file is None else start / from_file) as stream,
        intake.value(
            session.repo,
            stream or ui.ask_secret(f"value of {show.path_text(key or name)}"),
            "stdin" if from_file is None else os.fspath(from_file),
            strip=strip_newline,
            in_memory=wanted.backend(world) is Backend.SOPS,
        ) as it,
    ):
        if not it and not allow_empty:
            raise NixsecretsError(
                "the value is empty; nothing was changed",
                "to allow it: --allow-empty",
            )
        return save.store(
            session, world, wanted, key, it, keyring(options.identity), options
        )


def _opened(file: Path | None) -> AbstractContextManager[BinaryIO | None]:
    """Yield the file or stdin, None if the value must be typed."""
    return nullcontext(ui.given_stream()) if file is None else intake.opened(file)


def _same_file(start: Path, path: Path, other: Path | None) -> bool:
    return other is not None and (start / path).resolve() == (start / other).resolve()
