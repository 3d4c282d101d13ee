"""Finding identities: those named by the user, and those that sops and agenix use.

Reads key files and runs the commands in `SOPS_AGE_KEY_CMD` and
`SOPS_AGE_SSH_PRIVATE_KEY_CMD`; never prompts.  `identities` parses the content.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path

from nixsecrets.errors import IdentityError, KeyFormatError, quoted
from nixsecrets.frozen import replace
from nixsecrets.keys.identities import (
    Broken,
    Identity,
    Keyring,
    Locked,
    PluginIdentity,
    both_forms,
    parse_identities,
)
from nixsecrets.keys.places import FILES, listed, quiet_files, usual_places
from nixsecrets.untrusted import inputs

_LARGEST_FILE = 1024 * 1024
_COMMANDS = ("SOPS_AGE_KEY_CMD", "SOPS_AGE_SSH_PRIVATE_KEY_CMD")


def find_identities(
    env: Mapping[str, str], home: Path, explicit: Sequence[Path]
) -> Keyring:
    """Return all available identities.

    In this order: the files in `explicit`; the paths of `NIXSECRETS_IDENTITY`,
    separated by `:`; every place where sops and agenix look: `SOPS_AGE_KEY`, `…_FILE`,
    `SOPS_AGE_SSH_PRIVATE_KEY_FILE`, `SOPS_AGE_KEY_CMD`,
    `SOPS_AGE_SSH_PRIVATE_KEY_CMD` (run without a shell), `sops/age/keys.txt` in the
    configuration folder, `~/.ssh/id_ed25519` and `~/.ssh/id_rsa`.  Unusable files of
    the last group are listed as `Broken`.

    Raises:
        IdentityError: a file of `explicit` or `NIXSECRETS_IDENTITY` has no identity.
    """
    rings = [
        *(_named(path) for path in explicit),
        *(_named(path) for path in listed(env, home)),
        *_variables(env),
        *(_read(path, absent=Keyring()) for path in usual_places(env, home)),
    ]
    return reduce(Keyring.merge, rings, Keyring())


def quiet_identities(env: Mapping[str, str], home: Path) -> tuple[Identity, ...]:
    """Return the identities that need neither a prompt nor another program.

    Commands (`…_CMD`) are not run; plugins and locked keys are skipped, and so are
    files that cannot be read or that could block (not regular).
    """
    rings = [_read(path) for path in quiet_files(env, home)]
    found = reduce(Keyring.merge, [*rings, *_key_variable(env)], Keyring()).identities
    return tuple(one for one in found if not isinstance(one, PluginIdentity))


def _named(path: Path) -> Keyring:
    """Read a file that the user named; raises `IdentityError` if it has no identity."""
    keyring = _read(path, pipes=True)
    if keyring.identities or keyring.locked:
        return keyring
    first = keyring.broken[0]
    raise IdentityError(
        f"no identity in {quoted(str(path))}: {first.reason}",
        first.hint or "name an age identity file or an ssh private key",
    )


def _key_variable(env: Mapping[str, str]) -> Iterator[Keyring]:
    if text := env.get("SOPS_AGE_KEY"):
        data = text.encode("utf-8", "surrogateescape")
        yield parse_identities(data, "SOPS_AGE_KEY")


def _variables(env: Mapping[str, str]) -> Iterator[Keyring]:
    yield from _key_variable(env)
    for name in FILES:
        if env.get(name):
            yield _read(Path(env[name]), pipes=True)
    for name in _COMMANDS:
        if env.get(name):
            yield _from_command(name, env)


def _read(path: Path, *, absent: Keyring | None = None, pipes: bool = False) -> Keyring:
    """Read one file; return `absent`, if given, where there is no such file.

    `pipes` also accepts a pipe that the shell opened, such as `/dev/stdin`.
    """
    try:
        # bounded: a pipe may be endless
        with inputs.open_regular(path, pipes=pipes) as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        if absent is not None and isinstance(error, FileNotFoundError):
            return absent
        # a ValueError means a NUL byte in the name
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
    """Add the public key from the `.pub` file if the locked file does not show it."""
    if locked.recipients:
        return locked
    from nixsecrets.keys.publickeys import read_public_keys  # for a locked key alone

    public = path.with_name(path.name + ".pub")
    try:
        text = inputs.read_text(public)
        recipients = read_public_keys(text, str(public)).recipients
    except (OSError, ValueError, KeyFormatError):
        return locked
    forms = tuple(form for one in recipients for form in both_forms(one))
    return replace(locked, recipients=forms)


def _from_command(name: str, env: Mapping[str, str]) -> Keyring:
    """Run the command in variable `name`, as sops does: split into words, no shell.

    Its stdin is empty; its stderr goes to the terminal, as it may ask for a touch or a
    PIN.
    """
    import shlex  # for a key that a program prints
    import subprocess

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
