"""`nixsecrets edit`: a secret in your editor."""

import os
from pathlib import Path

import click

from nixsecrets.apply import unlocked
from nixsecrets.carryout import Bench, decrypt
from nixsecrets.cli import show, ui
from nixsecrets.cli.options import RoadOptions, road_options
from nixsecrets.cli.paths import relative
from nixsecrets.cli.road import walk
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.diff import content_plan, desired_for_path
from nixsecrets.errors import ConflictError, NixsecretsError
from nixsecrets.keys.identities import Keyring
from nixsecrets.repo import editor, private
from nixsecrets.secretfiles.state import Actual, NotSecret
from nixsecrets.world import World, find_file, require_actual


@click.command("edit")
@click.argument("path", type=click.Path(path_type=Path))
@road_options(map_changes=False)
@click.pass_obj
def command(start: Path, path: Path, options: RoadOptions) -> int:
    """Edit a secret, or make a new one, in your editor.

    The editor is $SOPS_EDITOR, $VISUAL or $EDITOR, else vi or nano.  The plaintext
    lies in a private folder in memory and nowhere else.  A new secret goes to the
    readers of the rule that names its path.

    \b
    Examples:
      nixsecrets edit secrets/powerdns.yaml
      EDITOR="code --wait" nixsecrets edit secrets/wifi.age
    """
    session = Session.open(start)
    private.remove_leftovers(os.environ)
    world = session.world()
    name = relative(session.repo, start, path)
    found = find_file(world, name)
    if isinstance(found, NotSecret):
        raise NixsecretsError(
            f"{show.path_text(name)} is not encrypted",
            f"encrypt it with sops or age first, or: git rm --cached {name}",
        )
    actual = None if found is None else require_actual(world, name)
    _say_readers(world, name, actual)
    ring = keyring(options.identity)
    content = _edited(world, name, actual, ring)
    if content is None:
        ui.say(f"{show.path_text(name)}: unchanged")
        return 0
    return save(session, name, actual, content, ring, options)


def _say_readers(world: World, name: str, actual: Actual | None) -> None:
    """Say who reads the secret, before it is opened.

    Raises:
        NixsecretsError: no rule names a new secret's path.
    """
    want = desired_for_path(world, name)
    if want is None and actual is None:
        raise NixsecretsError(
            f"no rule of the map names {show.path_text(name)}",
            f'add to nixsecrets.toml:\n[[secrets]]\npath = "{name}"\nreaders = []',
        )
    if actual is None and want is not None:
        names = ", ".join(dict.fromkeys(r.name for r in want.readers))
        ui.say(f"{show.path_text(name)} is new; its readers will be: {names}")


def _edited(
    world: World, name: str, actual: Actual | None, ring: Keyring
) -> bytes | None:
    """Return what the editor left, None where it is what it was."""
    terminal = ui.has_terminal()
    command = editor.editor_command(os.environ, terminal=terminal)
    with private.private_folder(os.environ) as folder:
        old = b""
        if actual is not None:
            bench = Bench(unlocked([actual.recipients], ring, unlock), folder)
            data = world.repo.read(name)
            old = decrypt(name, actual.backend, data, bench)
        path = folder / Path(name).name
        path.touch(mode=0o600)
        path.write_bytes(old)
        editor.run_editor(command, path, terminal=terminal)
        new = path.read_bytes()
    return None if new == old else new


def save(
    session: Session,
    name: str,
    actual: Actual | None,
    content: bytes,
    ring: Keyring,
    options: RoadOptions,
) -> int:
    """Write `content` as the secret `name`, to the readers it has (new: its rule's).

    Raises:
        ConflictError: the file is not what it was when it was opened.
    """
    with session.writing(dry_run=options.dry_run):
        world = session.world()
        now = find_file(world, name)
        if (now and now.sha256) != (actual and actual.sha256):
            raise ConflictError(
                f"{show.path_text(name)} changed on the disk while it was edited",
                "nothing was written; run the command again",
            )
        plan = content_plan(world, name)
        return walk(
            session, world, plan, ring, options, contents={name: content}, agreed=True
        )
