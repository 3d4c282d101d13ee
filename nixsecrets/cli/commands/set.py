"""`nixsecrets set`: store a value in a secret, without an editor."""

import os
from dataclasses import replace
from pathlib import Path

import click

from nixsecrets.apply.apply import ApplyError
from nixsecrets.apply.carry_out import Content
from nixsecrets.cli import given, save, show, ui
from nixsecrets.cli.arguments import relative
from nixsecrets.cli.options import Reach, RoadOptions, road_options, value_option
from nixsecrets.cli.save import Target
from nixsecrets.cli.session import Session, keyring
from nixsecrets.errors import IdentityError, NixsecretsError
from nixsecrets.files.age.payload import Spooled
from nixsecrets.files.sops import assign, metadata, textfaults
from nixsecrets.files.sops.keypath import Given
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring
from nixsecrets.repo import private
from nixsecrets.world.world import World


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
    session = Session.open(start)
    world = session.world()
    name = relative(session.repo, start, path)
    itself = key is None and _same_file(start, path, from_file)
    target = save.with_rule(world, save.target(world, name, in_place=itself))
    if itself and target.plain is None:
        raise NixsecretsError(
            f"{show.path_text(name)} is encrypted already",
            "give it new content: --from-file ANOTHER, or nixsecrets edit",
        )
    if key is not None:
        save.require_keys(name, target.backend(world))
        save.require_merged(world, name)
    save.report(world, target)
    save.ask_keys(world, target, options)
    with given.value(
        session.repo,
        None if from_file is None else start / from_file,
        f"value of {show.path_text(key or name)}",
        strip=strip_newline,
        in_memory=target.backend(world) is Backend.SOPS,
    ) as it:
        if not it and not allow_empty:
            raise NixsecretsError(
                "the value is empty; nothing was changed",
                "if it is meant: --allow-empty",
            )
        return give(session, world, target, key, it, keyring(options.identity), options)


def _same_file(start: Path, path: Path, other: Path | None) -> bool:
    return other is not None and (start / path).resolve() == (start / other).resolve()


def give(
    session: Session,
    world: World,
    target: Target,
    key: str | None,
    value: Content,
    ring: Keyring,
    options: RoadOptions,
    *,
    public: dict[str, str] | None = None,
) -> int:
    """Save a value as the content of a secret, or as the one at `key` in it.

    Raises:
        IdentityError: a sops file that cannot be opened cannot be changed.
        SecretFileError: its format cannot hold the value.
    """
    actual = target.actual
    content = value
    if key is not None and isinstance(value, bytes):  # a sops file's always is
        content = save.given(world, target, key, value)
    if actual is not None and _holds(world, target, content, ring):
        ui.say(f"{show.path_text(target.name)}: unchanged")
        return 0
    if key is not None:
        save.report_value(world, target, key)
    if isinstance(content, bytes) and _is_sops(world, target):
        kind = metadata.format_for(target.name)
        textfaults.require_values(kind, content)
    try:
        return save.save(
            session,
            target,
            content,
            before=target.sha256,
            ring=ring,
            options=options,
            public=public,
        )
    except ApplyError as error:
        unread = all(isinstance(one.error, IdentityError) for one in error.failed)
        if unread and actual is not None and actual.backend is Backend.SOPS:
            _explain_unread(error)
        raise


def _is_sops(world: World, target: Target) -> bool:
    return target.backend(world) is Backend.SOPS


def _explain_unread(error: NixsecretsError) -> None:
    """Say why age files can be written unread, and sops files cannot."""
    error.hint = "\n".join(
        filter(
            None,
            [
                "a sops file has to be opened to be changed: its values share one key;"
                " put the new value into an age file, or into a sops file of its own",
                error.hint,
            ],
        )
    )


def _holds(world: World, target: Target, content: Content, ring: Keyring) -> bool:
    """Tell whether the secret holds that already, as far as we can read it unasked.

    Raises:
        SecretFileError: a path names no single value.
    """
    assert target.actual is not None  # noqa: S101 - the caller looked
    unasked = replace(ring, locked=())
    if isinstance(content, Given):
        data = world.repo.read(target.name)
        try:
            return assign.holds(target.name, data, unasked.identities, content)
        except IdentityError:
            return False
    with private.private_folder(os.environ) as folder:
        bench = save.opened(target.actual, unasked, folder)
        try:
            if isinstance(content, Spooled):
                return save.holds(world, target.actual, content, bench)
            return save.plaintext(world, target.actual, bench) == content
        except NixsecretsError:
            return False
