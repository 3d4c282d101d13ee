"""Prints a secret in the cases that `values.alone` does not cover.

A passphrase or a plugin is needed, git has not merged the file, the plaintext goes to a
file, or there is an error to report.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nixsecrets.cli import show, ui
from nixsecrets.cli.arguments import relative
from nixsecrets.cli.session import Session, unlock
from nixsecrets.errors import NixsecretsError, SecretFileError, UsageError
from nixsecrets.files.age import pyrage_port
from nixsecrets.files.decrypt import Bench
from nixsecrets.files.sops import extract
from nixsecrets.files.state import Actual
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring
from nixsecrets.repo import files, private
from nixsecrets.values import read, sides
from nixsecrets.world.world import World, require_actual


class Request(NamedTuple):
    """What to print: `path` is relative to `start`; the rest are options of `cat`."""

    start: Path
    path: Path
    key: str | None
    output: Path | None
    side: str | None


def answer(request: Request, ring: Callable[[], Keyring]) -> None:
    """Print a secret, or write it to a file."""
    start, path, key, output, side = request
    session = Session.open(start)
    name = relative(session.repo, start, path)
    # a file to be written may be the path of another secret
    world = session.world(only=name if output is None else None)
    if side is not None:
        with private.private_folder(os.environ) as folder:
            ui.answer_bytes(sides.side_text(world, name, side, ring(), unlock, folder))
        return
    actual = require_actual(world, name)
    place = None if output is None else _free(world, session, start, output)
    with private.private_folder(os.environ) as folder:
        bench = read.opened(actual, ring(), unlock, folder)
        if key is None and actual.backend is Backend.AGE:
            write = partial(read.plaintext_to, world, actual, bench)
        else:
            value = content(world, actual, key, bench)
            write = partial(_write_value, value)
        if place is None:
            _to_stdout(write)
        else:
            _to_file(write, place, show.path_text(os.fspath(output or "")))


def _write_value(value: bytes, target: pyrage_port.Writable) -> None:
    target.write(value)


def _to_stdout(write: Callable[[pyrage_port.Writable], None]) -> None:
    """Write a value to stdout, a large one while it is decrypted.

    Raises:
        SecretFileError: the file is corrupt; what was printed before is authentic.
    """
    out = ui.Answer()
    try:
        write(out)
    except SecretFileError as error:
        if out.size:
            error.reason += "; the printed output is incomplete"
        raise
    out.end()


def _to_file(
    write: Callable[[pyrage_port.Writable], None], place: Path, shown: str
) -> None:
    """Write a value to a file, which appears at `place` only when it is complete."""
    try:
        with files.durable_writer(str(place)) as descriptor:
            write(files.Descriptor(descriptor))
    except OSError as error:
        raise files.explained(error, "write", shown) from error


def content(world: World, actual: Actual, key: str | None, bench: Bench) -> bytes:
    """Return the plaintext of a secret, or its value at `key`.

    Raises:
        UsageError: an age file has no keys.
        SecretFileError: there is no such value.
        IdentityError: no identity opens it.
    """
    if key is None:
        return read.plaintext(world, actual, bench)
    read.require_keys(actual.path, actual.backend)
    data = world.repo.read(actual.path)
    return extract.value_at(actual.path, data, bench.identities, key, **bench.run)


def _free(world: World, session: Session, start: Path, output: Path) -> Path:
    """Return the absolute path of `output`, after checking that plaintext may go there.

    Raises:
        UsageError: it is a secret, a folder, or a device.
        NixsecretsError: git would add it.
    """
    place = (start / output).resolve()
    shown = show.path_text(os.fspath(output))
    if place.is_dir():
        raise UsageError(f"{shown} is a folder", "name a file in it")
    if place.exists() and not place.is_file():  # writing would replace a device
        raise UsageError(
            f"{shown} is not a regular file", "omit --output to print to stdout"
        )
    try:
        name = relative(session.repo, start, place)
    except UsageError:
        return place
    if name in world.files or world.policy.winning(name) is not None:
        raise UsageError(
            f"{shown} is the path of a secret, which must be encrypted",
            "write the plaintext outside the repository",
        )
    git = session.repo.git
    if git is not None and not git.ignores(place):
        raise NixsecretsError(
            f"{shown} is in the repository, and git would add the plaintext",
            "write it outside the repository, or to a path in .gitignore",
        )
    return place
