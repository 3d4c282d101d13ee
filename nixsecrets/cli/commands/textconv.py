"""`nixsecrets textconv`: print a secret as text for git."""

import functools
import hashlib
import os
from pathlib import Path

import click

from nixsecrets.cli import prompt, show, ui
from nixsecrets.cli.options import identity_option
from nixsecrets.cli.session import keyring
from nixsecrets.errors import NixsecretsError
from nixsecrets.files.decrypt import plaintext_of
from nixsecrets.files.kind import backend_of
from nixsecrets.repo import files, private
from nixsecrets.repo.gitunlock.shared import OneUnlock
from nixsecrets.untrusted import inputs


@click.command("textconv")
@click.argument("file", type=click.Path(path_type=Path))
@identity_option
def command(file: Path, identity: tuple[Path, ...]) -> None:
    """Print the content of a file, decrypted if it is a secret you can open.

    For `git diff` and `git log -p`, set up by `nixsecrets git-setup`.  A secret that
    you cannot open is printed as one line that changes with the file.

    Prompts for the passphrase of a key on the terminal, once per git command; the
    unlocked key is held in memory until that git ends.

    \b
    Examples:
      nixsecrets textconv secrets/wifi.age
    """
    try:
        data = inputs.read(file, pipes=True)
    except OSError as error:
        raise files.explained(error, "read", os.fspath(file)) from error
    ui.answer_bytes(_text(file.name, data, identity))


def _text(name: str, data: bytes, identity: tuple[Path, ...]) -> bytes:
    if backend_of(name, data) is None:
        return data
    of_git = functools.cache(lambda: OneUnlock.of_git(os.environ, _ask))
    try:
        with private.private_folder(os.environ) as folder:
            ring = keyring(identity)
            return plaintext_of(name, data, ring, lambda one: of_git()(one), folder)
    except NixsecretsError as error:
        digest = hashlib.sha256(data).hexdigest()
        return f"(cannot be shown: {error.message}; sha256 {digest})\n".encode()


def _ask(terminal: int, source: str, again: bool) -> bytes:  # noqa: FBT001 (a callback)
    wrong = "wrong passphrase; " if again else ""
    question = f"\r\x1b[K{wrong}passphrase for {show.path_text(source)}: "
    return prompt.hidden_at(terminal, terminal, question)
