"""`nixsecrets textconv`: print a secret as text for git."""

import contextlib
import hashlib
import os
from pathlib import Path

import click

from nixsecrets.cli import prompt, show, ui
from nixsecrets.cli.options import identity_option
from nixsecrets.cli.session import keyring
from nixsecrets.errors import IdentityError, NixsecretsError
from nixsecrets.files.age import header
from nixsecrets.files.age.state import fits
from nixsecrets.files.decrypt import Bench, decrypt
from nixsecrets.files.kind import backend_of
from nixsecrets.files.sops.state import read_actual as read_sops
from nixsecrets.files.state import Actual
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring, Locked
from nixsecrets.repo import files, private
from nixsecrets.repo.gitunlock.unlock import OneUnlock
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
        data = inputs.read(file, handed=True)
    except OSError as error:
        raise files.explained(error, "read", os.fspath(file)) from error
    ui.answer_bytes(_text(file.name, data, identity))


def _text(name: str, data: bytes, identity: tuple[Path, ...]) -> bytes:
    backend = backend_of(name, data)
    if backend is None:
        return data
    try:
        with private.private_folder(os.environ) as folder:
            return _decrypted(name, backend, data, keyring(identity), folder)
    except NixsecretsError as error:
        digest = hashlib.sha256(data).hexdigest()
        return f"(cannot be shown: {error.message}; sha256 {digest})\n".encode()


def _decrypted(
    name: str, backend: Backend, data: bytes, ring: Keyring, folder: Path
) -> bytes:
    """Decrypt with what is open; where that fails, with what has to be unlocked."""
    try:
        return decrypt(name, backend, data, Bench(ring.identities, folder))
    except IdentityError:
        candidates = [one for one in ring.locked if _fits(one, name, backend, data)]
        if not candidates:
            raise
    unlock = OneUnlock.of_git(os.environ, _ask)
    for locked in candidates:
        with contextlib.suppress(IdentityError):
            return decrypt(name, backend, data, Bench(unlock(locked), folder))
    raise IdentityError("no identity opens it, as far as they are unlocked")


def _ask(terminal: int, source: str, again: bool) -> bytes:  # noqa: FBT001 (a callback)
    wrong = "that was wrong; " if again else ""
    question = f"\r\x1b[K{wrong}passphrase for {show.path_text(source)}: "
    return prompt.hidden_at(terminal, terminal, question)


def _fits(locked: Locked, name: str, backend: Backend, data: bytes) -> bool:
    """Tell whether a locked identity may be a reader: nobody is asked for nothing."""
    if not locked.recipients:
        return True
    if backend is Backend.AGE:
        entries = header.parse(data).entries
        return any(fits(one, r) for one in entries for r in locked.recipients)
    found = read_sops(name, data, KeyBook([]))
    if not isinstance(found, Actual) or not found.recipients:
        return True
    keys = {recipient.key_id for recipient in locked.recipients}
    return any(recipient.key_id in keys for recipient in found.recipients)
