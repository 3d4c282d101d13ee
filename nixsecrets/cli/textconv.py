"""`nixsecrets textconv`: a secret as text, for git to compare."""

import hashlib
import os
from pathlib import Path

import click

from nixsecrets.carryout import Bench, decrypt
from nixsecrets.cli import ui
from nixsecrets.cli.options import identity_option
from nixsecrets.cli.session import keyring
from nixsecrets.errors import NixsecretsError
from nixsecrets.keys.forms import Backend
from nixsecrets.repo import files, private
from nixsecrets.secretfiles.agefile import looks_like_age
from nixsecrets.secretfiles.sopsmeta import looks_like_sops


@click.command("textconv")
@click.argument("file", type=click.Path(path_type=Path))
@identity_option
def command(file: Path, identity: tuple[Path, ...]) -> None:
    """Print what a file holds, decrypted where it is a secret that you can open.

    For `git diff` and `git log -p`; `nixsecrets git-setup` arranges it.  A file that
    you cannot open is shown as one line that changes when the file does.

    \b
    Examples:
      nixsecrets textconv secrets/wifi.age
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise files.explained(error, "read", os.fspath(file)) from error
    ui.answer_bytes(_text(file.name, data, identity))


def _text(name: str, data: bytes, identity: tuple[Path, ...]) -> bytes:
    if looks_like_age(data):
        backend = Backend.AGE
    elif looks_like_sops(name, data):
        backend = Backend.SOPS
    else:
        return data
    try:
        with private.private_folder(os.environ) as folder:
            bench = Bench(keyring(identity).identities, folder)
            return decrypt(name, backend, data, bench)
    except NixsecretsError as error:
        digest = hashlib.sha256(data).hexdigest()
        return f"(cannot be shown: {error.message}; sha256 {digest})\n".encode()
