"""Where identities are found: what was asked for, and all that sops and agenix look at.

Reads key files and runs the one command a person may have named for it; asks nobody
anything and caches nothing.  `identities` says what the content means.
"""

import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

from nixsecrets.errors import IdentityError, KeyFormatError, quoted
from nixsecrets.keys.identities import (
    Broken,
    Identity,
    Keyring,
    Locked,
    PluginIdentity,
    X25519Identity,
    both_forms,
    parse_identities,
)
from nixsecrets.keys.places import FILES, listed, quiet_files, usual_places
from nixsecrets.keys.publickeys import read_public_keys
from nixsecrets.keys.recipients import Recipient
from nixsecrets.untrusted import inputs

_LARGEST_FILE = 1024 * 1024
_COMMANDS = ("SOPS_AGE_KEY_CMD", "SOPS_AGE_SSH_PRIVATE_KEY_CMD")


def find_identities(
    env: Mapping[str, str], home: Path, explicit: Sequence[Path]
) -> Keyring:
    """Return all identities at hand, those of `explicit` first.

    After them the paths of `NIXSECRETS_IDENTITY` (`:` between), then every place where
    sops and agenix look: `SOPS_AGE_KEY`, `…_FILE`, `…_CMD` (run once, without a shell),
    `SOPS_AGE_SSH_PRIVATE_KEY_FILE`, `…_CMD`, `sops/age/keys.txt` in the configuration
    folder, `~/.ssh/id_ed25519` and `id_rsa`.

    Raises `IdentityError` where `explicit` or `NIXSECRETS_IDENTITY` names something
    that holds no identity.  What is only found there is `Broken` in the same case.
    """
    rings = [
        *(_named(path) for path in explicit),
        *(_named(path) for path in listed(env, home)),
        *_variables(env),
        *(_read(path, absent=Keyring()) for path in usual_places(env, home)),
    ]
    return reduce(Keyring.merge, rings, Keyring())


def quiet_identities(env: Mapping[str, str], home: Path) -> tuple[Identity, ...]:
    """Return the identities that open a file without a question and without a program.

    Commands (`…_CMD`) are not run, plugins and passphrases are left out, and what is
    no regular file is not read: it could be waited for.  What cannot be read is left
    out, too.
    """
    rings = [_read(path) for path in quiet_files(env, home)]
    if env.get("SOPS_AGE_KEY"):
        rings.append(parse_identities(_encode(env["SOPS_AGE_KEY"]), "SOPS_AGE_KEY"))
    found = reduce(Keyring.merge, rings, Keyring()).identities
    return tuple(one for one in found if not isinstance(one, PluginIdentity))


def create_age_identity() -> tuple[str, Recipient]:
    """Make an age identity; return its secret text and its public key."""
    identity = X25519Identity.generate("a new identity")
    return identity.secret_text(), identity.recipients[0]


def _named(path: Path) -> Keyring:
    """Read a file that a person named; it has to hold something of use."""
    keyring = _read(path, handed=True)
    if keyring.identities or keyring.locked:
        return keyring
    first = keyring.broken[0]
    raise IdentityError(
        f"no identity in {quoted(str(path))}: {first.reason}",
        first.hint or "name an age identity file or an ssh private key",
    )


def _variables(env: Mapping[str, str]) -> Iterator[Keyring]:
    if env.get("SOPS_AGE_KEY"):
        yield parse_identities(_encode(env["SOPS_AGE_KEY"]), "SOPS_AGE_KEY")
    for name in FILES:
        if env.get(name):
            yield _read(Path(env[name]), handed=True)
    for name in _COMMANDS:
        if env.get(name):
            yield _from_command(name, env)


def _read(
    path: Path, *, absent: Keyring | None = None, handed: bool = False
) -> Keyring:
    """Read one file; `absent`, if given, is the answer where there is no such file.

    `handed`: see `inputs.opened`.
    """
    try:
        # Not the whole file at once: a pipe may be endless.
        with inputs.opened(path, handed=handed) as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        if absent is not None and isinstance(error, FileNotFoundError):
            return absent
        # A ValueError is a NUL byte in the name.
        reason = (getattr(error, "strerror", None) or "no such name").lower()
        return Keyring(broken=(Broken(str(path), reason),))
    if len(data) > _LARGEST_FILE:
        reason = "the file is larger than any identity file"
        return Keyring(broken=(Broken(str(path), reason),))
    keyring = parse_identities(data, str(path))
    return replace(
        keyring, locked=tuple(_with_public(item, path) for item in keyring.locked)
    )


def _with_public(locked: Locked, path: Path) -> Locked:
    """Take the public key from the `.pub` file where the locked file hides its own."""
    if locked.recipients:
        return locked
    public = path.with_name(path.name + ".pub")
    try:
        text = inputs.read_text(public)
        recipients = read_public_keys(text, str(public)).recipients
    except (OSError, ValueError, KeyFormatError):
        return locked
    forms = tuple(form for one in recipients for form in both_forms(one))
    return replace(locked, recipients=forms)


def _from_command(name: str, env: Mapping[str, str]) -> Keyring:
    """Run the command in variable `name`, as sops does: words, no shell, no stdin.

    What it says on stderr goes to the terminal: it may ask for a touch or a PIN.
    """
    try:
        words = shlex.split(env[name])
        if not words:
            raise ValueError("no words")
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=dict(env),
            check=False,
        )
    except ValueError:
        return Keyring(broken=(Broken(name, "it is not a command"),))
    except OSError as error:
        reason = (error.strerror or "cannot be run").lower()
        return Keyring(broken=(Broken(name, f"the command did not start: {reason}"),))
    if done.returncode != 0:
        reason = f"the command failed with exit status {done.returncode}"
        return Keyring(broken=(Broken(name, reason),))
    return parse_identities(done.stdout, name)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
