"""`nixsecrets provision`: a generated host key as files, for the first install."""

import os
from pathlib import Path

import click

from nixsecrets.apply.apply import unlocked
from nixsecrets.apply.carry_out import Bench, decrypt
from nixsecrets.cli import ui
from nixsecrets.cli.commands.known_hosts import known_hosts_line, names_of
from nixsecrets.cli.commands.scan import ssh_key_of
from nixsecrets.cli.names import owner
from nixsecrets.cli.options import identity_option
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.hosts import provision
from nixsecrets.keys.identities import parse_identities
from nixsecrets.map import hostkeys
from nixsecrets.map.model import Host
from nixsecrets.repo import private
from nixsecrets.repo.git import Git
from nixsecrets.untrusted import inputs
from nixsecrets.world.world import World, require_actual

_USUAL_KNOWN_HOSTS = "~/.ssh/known_hosts"


@click.command("provision")
@click.argument("name")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The folder to write: new or empty.",
)
@click.option(
    "--persist",
    default="",
    metavar="/PATH",
    help="Below this path of the target, for impermanence.",
)
@click.option(
    "--known-hosts",
    is_flag=False,
    flag_value=_USUAL_KNOWN_HOSTS,
    metavar="[FILE]",
    help="Append the host's line to this file, or to your known_hosts.",
)
@click.option("--clean", "--shred", is_flag=True, help="Remove what was written.")
@identity_option
@click.pass_obj
def command(
    start: Path,
    name: str,
    output: Path,
    persist: str,
    known_hosts: str | None,
    identity: tuple[Path, ...],
    *,
    clean: bool,
) -> int:
    """Write the host key made by `add-host --generate` for `nixos-anywhere`.

    The folder holds the private key in the clear, for the moment of the install:
    remove it with --clean.  A folder that git would add is refused.

    \b
    Examples:
      nixsecrets provision neu --output /dev/shm/extra
      nixos-anywhere --extra-files /dev/shm/extra --flake .#neu root@192.0.2.7
      nixsecrets provision neu --output /dev/shm/extra --clean
      nixsecrets provision neu -o /dev/shm/extra --persist /persist --known-hosts
    """
    folder = start / output
    if clean:
        provision.remove_tree(folder)
        ui.say(f"{output}: removed")
        return 0
    session = Session.open(start)
    world = session.world()
    host = owner(world.map, name, "host")
    file = provision.key_file(folder, persist)
    _refuse_in_repository(file.absolute())
    content = _private_key(world, host, identity)
    key = ssh_key_of(host)
    public = "" if key is None else f"{key.text} {key.comment}".rstrip()
    provision.write_tree(folder, content, public, persist=persist)
    ui.say(f"{file}: the private key of {name}, in the clear")
    if known_hosts is not None:
        _append_line(Path(known_hosts).expanduser(), host)
    ui.say(f"nixos-anywhere --extra-files {output} --flake .#{name} root@…")
    ui.say(f"nixsecrets provision {name} --output {output} --clean")
    return 0


def _refuse_in_repository(file: Path) -> None:
    """Refuse a file that git would add.

    Raises:
        NixsecretsError: the folder lies in a repository that does not ignore it.
    """
    there = next(place for place in file.parents if place.is_dir())
    git = Git.find(there)
    if git is not None and not git.ignores(there.resolve() / file.relative_to(there)):
        raise NixsecretsError(
            f"{quoted(str(file))} lies in a git repository that would add it",
            "choose a folder outside, for example below /dev/shm",
        )


def _private_key(world: World, host: Host, identity: tuple[Path, ...]) -> bytes:
    """Return the private key of a host from its secret.

    Raises:
        SecretFileError: there is none.
        NixsecretsError: it is not the private half of the key in the map.
    """
    path = hostkeys.key_path(host.name)
    if path not in world.files:
        raise NixsecretsError(
            f"the private key of {host.name} is not here: {path} does not exist",
            f"only a key made with --generate can be provisioned: "
            f"nixsecrets rotate-host {host.name} --generate",
        )
    actual = require_actual(world, path)
    with private.private_folder(os.environ) as folder:
        opened = unlocked([actual.recipients], keyring(identity), unlock)
        bench = Bench(opened, folder)
        content = decrypt(path, actual.backend, world.repo.read(path), bench)
    found = parse_identities(content, path).identities
    held = {recipient for one in found for recipient in one.recipients}
    if ssh_key_of(host) not in held:
        raise NixsecretsError(
            f"{path} is not the private half of the key that the map has for "
            f"{host.name}",
            f"nixsecrets rotate-host {host.name} --generate",
        )
    return content


def _append_line(file: Path, host: Host) -> None:
    """Append the host's line to a known_hosts file, once.

    Raises:
        NixsecretsError: the file cannot be written.
    """
    key = ssh_key_of(host)
    if key is None:
        return
    line = known_hosts_line(names_of(host), key)
    try:
        text = inputs.read_text(file, errors="surrogateescape")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise NixsecretsError(f"{quoted(str(file))}: {why}") from error
    if line in text.splitlines():
        return
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write(("" if not text or text.endswith("\n") else "\n") + line + "\n")
    except OSError as error:
        why = (error.strerror or "cannot be written").lower()
        raise NixsecretsError(f"{quoted(str(file))}: {why}") from error
    ui.say(f"{file}: added {host.name}")
