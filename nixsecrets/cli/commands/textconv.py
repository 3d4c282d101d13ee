"""`nixsecrets textconv`: print a secret as text for git."""

import os
from pathlib import Path

import click

from nixsecrets.cli import diffdriver, ui
from nixsecrets.cli.options import identity_option
from nixsecrets.repo import files


@click.command("textconv")
@click.argument("file", type=click.Path(path_type=Path))
@identity_option
def command(file: Path, identity: tuple[Path, ...]) -> None:
    """Print the content of a file, decrypted if it is a secret you can open.

    git runs it by its short name, `nixsecrets-textconv`, after `nixsecrets git-setup`.
    A secret that you cannot open is printed as one line that changes with the file.

    The first of a git command leaves a process in memory that decrypts for the others
    and ends with that git.  Prompts for the passphrase of a key on the terminal, once
    per git command.

    \b
    Examples:
      nixsecrets textconv secrets/wifi.age
    """
    try:
        text = diffdriver.text_of(file, identity)
    except OSError as error:
        raise files.explained(error, "read", os.fspath(file)) from error
    ui.answer_bytes(text)
