"""Arguments of commands: names of the map, paths and public keys."""

import functools
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import click

from nixsecrets.cli import ui
from nixsecrets.cli.options import Decorated, with_options
from nixsecrets.errors import KeyFormatError, UsageError, quoted
from nixsecrets.keys.recipients import Kind, Recipient, parse_recipient
from nixsecrets.map.model import Host, RecipientMap, User
from nixsecrets.repo.worktree import Repo
from nixsecrets.untrusted import inputs


@overload
def owner(recipient_map: RecipientMap, name: str, kind: Literal["host"]) -> Host: ...
@overload
def owner(recipient_map: RecipientMap, name: str, kind: Literal["user"]) -> User: ...
@overload
def owner(recipient_map: RecipientMap, name: str, kind: str) -> Host | User: ...
def owner(recipient_map: RecipientMap, name: str, kind: str) -> Host | User:
    """Return the host or user of that name.

    Raises:
        UsageError: the map has none.
    """
    owners: tuple[Host | User, ...] = recipient_map.hosts
    if kind == "user":
        owners = recipient_map.users
    for item in owners:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in owners)
    hint = f"it has: {known}" if known else f"nixsecrets add-{kind} {name}"
    raise UsageError(f"the map has no {kind} {name!r}", hint)


def relative(repo: Repo, start: Path, path: Path) -> str:
    """Return `path`, which is relative to `start`, relative to the map's folder.

    Links are followed within the tree: the secret is the file that a link leads to.

    Raises:
        UsageError: the path is outside the map's folder.
        SecretFileError: a link leads out of the repository.
    """
    full = start / path
    inside = full.parent.resolve() / full.name if full.name else full.resolve()
    try:
        name = inside.relative_to(repo.root).as_posix()
        if not inside.is_symlink():
            return name
        return Path(repo.locate(name)).relative_to(repo.root).as_posix()
    except ValueError:
        raise UsageError(
            f"{quoted(os.fspath(path))} is not below {repo.root}",
            "secrets live in the folder of nixsecrets.toml or below it",
        ) from None


def chosen(
    repo: Repo, start: Path, paths: Sequence[Path], files: Collection[str]
) -> set[str]:
    """Return those of `files` that are in `paths` (files or folders).

    Raises:
        UsageError: a path matches none of them.
    """
    found: set[str] = set()
    for path in paths:
        name = relative(repo, start, path)
        prefix = "" if name == "." else name + "/"
        hits = {f for f in files if f == name or f.startswith(prefix)}
        if not hits:
            raise UsageError(
                f"{quoted(os.fspath(path))} names no secret", "nixsecrets ls"
            )
        found |= hits
    return found


_KEYS = (
    click.option(
        "--key", "keys", multiple=True, metavar="KEY", help="Public key (repeatable)."
    ),
    click.option(
        "--key-file",
        "--github-keys-file",
        "key_files",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE",
        help="File with public keys (.pub, authorized_keys, .keys, recipients).",
    ),
)


def key_options(function: Decorated) -> Decorated:
    """Add the options for public keys; the command gets a list of keys as `keys`."""

    @functools.wraps(function)
    def wrapped(*, keys: Sequence[str], key_files: Sequence[Path], **rest: Any) -> Any:
        return function(keys=keys_from_options(keys, key_files), **rest)

    return with_options(_KEYS)(wrapped)


def keys_from_options(
    keys: Sequence[str], key_files: Sequence[Path]
) -> list[Recipient]:
    """Return the keys of the options --key and --key-file, each once.

    Raises:
        UsageError: there is none, or a file cannot be read.
        KeyFormatError: one is not a usable public key.
    """
    found = [key_from_text(key, "--key") for key in keys]
    found += [key for path in key_files for key in keys_from_file(path)]
    if not found:
        raise UsageError("give at least one --key or --key-file")
    return list(dict.fromkeys(found))


def key_from_text(text: str, where: str) -> Recipient:
    """Return the recipient in the value of the option `where`.

    Raises:
        KeyFormatError: it is invalid; the message has the option's name, not its value.
    """
    try:
        return parse_recipient(text)
    except KeyFormatError as error:
        raise KeyFormatError(f"{where}: {error.message}", error.hint) from None


def keys_from_file(path: Path) -> tuple[Recipient, ...]:
    """Return the usable public keys of a file (`.pub`, authorized_keys, `.keys`).

    Raises:
        UsageError: the file cannot be read.
        KeyFormatError: it holds no usable public key, or a private one.
    """
    try:
        text = inputs.read_text(path.expanduser(), pipes=True, errors="replace")
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise UsageError(f"{quoted(str(path))}: {why}") from None
    # few commands take keys, and 2 ms of patterns come with it
    from nixsecrets.keys.publickeys import read_public_keys

    found = read_public_keys(text, str(path))
    if not found.recipients:
        reasons = [f"line {s.line}: {s.reason}" for s in found.skipped]
        raise KeyFormatError(
            f"{path}: no usable public key", "\n".join(reasons) or "the file is empty"
        )
    for skipped in found.skipped:
        ui.warn(f"{path}:{skipped.line}: skipped: {skipped.reason}")
    return found.recipients


def key_from_file(path: Path) -> Recipient:
    """Return the host key of a file: of several keys, its ssh-ed25519 key.

    Raises:
        UsageError: the file cannot be read, or has several such keys.
        KeyFormatError: it has no usable public key, or a private one.
    """
    keys = keys_from_file(path)
    if len(keys) > 1:
        keys = tuple(k for k in keys if k.kind == "ssh-ed25519")
    if len(keys) != 1:
        raise UsageError(f"{path}: holds several keys", "give the one with --key")
    return keys[0]


def stock_sops_advice(keys: list[Recipient]) -> list[str]:
    """Return lines on how stock sops can open files for the ssh-ed25519 keys.

    Empty if there is no such key.
    """
    if not any(key.kind is Kind.SSH_ED25519 for key in keys):
        return []
    return [
        "sops files get the converted form of the ssh-ed25519 key; stock sops opens it",
        "after: ssh-to-age -private-key -i ~/.ssh/id_ed25519 >> "
        "~/.config/sops/age/keys.txt",
    ]
