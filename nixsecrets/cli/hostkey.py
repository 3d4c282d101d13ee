"""The host key that a command works with: its options, and the questions about it."""

import datetime
from pathlib import Path

import click

from nixsecrets.cli import ui
from nixsecrets.cli.arguments import key_from_file, key_from_text
from nixsecrets.cli.options import Decorator, RoadOptions, packed
from nixsecrets.errors import DeclinedError, UsageError
from nixsecrets.frozen import NamedTuple
from nixsecrets.hosts.local import local_key
from nixsecrets.hosts.obtain import collected, shown
from nixsecrets.hosts.scan import Manner
from nixsecrets.hosts.trust import Rung
from nixsecrets.keys.newkey import new_ssh_key
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.hostkeys import key_path

_SOURCES = (
    click.option(
        "--address",
        metavar="[USER@]HOST[:PORT]",
        help="Collect the key there (or a Host from ssh_config).",
    ),
    click.option("--key", metavar="KEY", help="The host's public key."),
    click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File with the host's public key.",
    ),
    click.option("--local", is_flag=True, help="Use this machine's key from /etc/ssh."),
    click.option(
        "--generate",
        is_flag=True,
        help="Generate the key pair; the private half becomes a secret.",
    ),
)
_TRUST = (
    click.option(
        "--fingerprint",
        metavar="SHA256:…",
        help="Expected fingerprint of the collected key.",
    ),
    click.option(
        "--login",
        is_flag=True,
        help="Compare with the host's key file, read over ssh.",
    ),
    click.option(
        "--trust-on-first-use",
        is_flag=True,
        help="Trust the collected key without verification.",
    ),
)
_MANNER = (
    click.option(
        "--timeout",
        type=click.FloatRange(0.1, 600),
        default=5.0,
        show_default=True,
        help="Timeout in seconds.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(0, 10),
        default=1,
        show_default=True,
        help="Number of retries.",
    ),
    click.option(
        "--ssh-config",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="ssh_config to use instead of the default ones.",
    ),
)


class KeyOptions(NamedTuple):
    """The options about a host's key."""

    address: str | None = None
    key: str | None = None
    key_file: Path | None = None
    local: bool = False
    generate: bool = False
    fingerprint: str | None = None
    login: bool = False
    trust_on_first_use: bool = False
    timeout: float = 5.0
    retries: int = 1
    ssh_config: Path | None = None

    @property
    def brought(self) -> bool:
        """Whether the key is given or generated, so that none is collected."""
        return self.generate or self.local or bool(self.key or self.key_file)

    @property
    def manner(self) -> Manner:
        """How to collect."""
        return Manner(self.timeout, self.retries, self.ssh_config)

    def check(self) -> None:
        """Raise UsageError for options that contradict each other."""
        sources = [self.key, self.key_file, self.local or None, self.generate or None]
        given = [source for source in sources if source is not None]
        if len(given) > 1:
            raise UsageError("give one of --key, --key-file, --local and --generate")
        if given and (self.fingerprint or self.login or self.trust_on_first_use):
            raise UsageError(
                "--fingerprint, --login and --trust-on-first-use verify a collected "
                "key, not a given one"
            )

    def refuse_loss(self, options: RoadOptions) -> None:
        """Raise UsageError for options with which a generated key would be lost.

        The map would then name a key that nobody has.
        """
        if self.generate and (options.no_rekey or options.keep_going):
            raise UsageError(
                "--generate writes a secret: not with --no-rekey, --keep-going"
            )


class Obtained(NamedTuple):
    """A host's key, how it was verified, and its private half if it was generated."""

    key: Recipient
    rung: Rung
    private: bytes | None = None

    @property
    def verified(self) -> str:
        """The text of `verified` in the map: rung and date."""
        return f"{self.rung} {datetime.date.today().isoformat()}"

    def contents(self, name: str) -> dict[str, bytes]:
        """Return the secret with a generated key of host `name`, path -> content."""
        return {} if self.private is None else {key_path(name): self.private}


def key_options(*, collecting_only: bool = False) -> Decorator:
    """Add the options about host keys; the command gets KeyOptions as `keys`."""
    chosen = _MANNER if collecting_only else (*_SOURCES, *_TRUST, *_MANNER)
    return packed(chosen, keys=KeyOptions)


def obtain(
    name: str,
    keys: KeyOptions,
    *,
    address: str | None = None,
    replaces: Recipient | None = None,
    dry_run: bool,
) -> Obtained:
    """Return the key for host `name`: given, generated, or collected and verified.

    `address` is the default for the option; `replaces` is the key that the new one
    will replace.

    Raises:
        NixsecretsError: the key cannot be collected, or something contradicts it.
        DeclinedError: nobody confirmed that it is the host's key.
    """
    keys.check()
    if keys.generate:
        pair = new_ssh_key(f"root@{name}")
        return Obtained(pair.public, Rung.GENERATED, pair.private)
    if keys.brought:
        return Obtained(_given(keys), Rung.GIVEN)
    with ui.waiting(f"collecting the key of {name}"):
        found = collected(
            name,
            keys.address or address or name,
            keys.manner,
            fingerprint=keys.fingerprint,
            login=keys.login,
            replaces=replaces,
        )
    if found.stale is not None:
        place, known_as = found.stale
        ui.warn(f"{place} has another key for {name}", f"ssh-keygen -R {known_as!r}")
    rung = found.rung or _asked(name, found.key, keys, dry_run=dry_run)
    return Obtained(found.key, rung)


def shown_key(name: str, keys: KeyOptions, address: str | None) -> Recipient:
    """Return the key that a host presents now, or the given one; not verified.

    Raises:
        NixsecretsError: the key cannot be collected or read.
    """
    keys.check()
    if keys.brought:
        return _given(keys)
    return shown(keys.address or address or name, keys.manner)


def _given(keys: KeyOptions) -> Recipient:
    if keys.key is not None:
        return key_from_text(keys.key, "--key")
    return local_key() if keys.key_file is None else key_from_file(keys.key_file)


def _asked(name: str, key: Recipient, keys: KeyOptions, *, dry_run: bool) -> Rung:
    """Show the fingerprint and ask whether it is the host's.

    Raises:
        DeclinedError: the answer was no, or there is no terminal.
    """
    ui.say(f"{name} shows {key.kind} {key.fingerprint}")
    if keys.trust_on_first_use:
        return Rung.FIRST_USE
    if not dry_run:
        require_terminal()
        ui.confirm(f"is this the key of {name}?", hint="give --fingerprint")
    return Rung.ASKED


def require_terminal() -> None:
    """Raise DeclinedError without a terminal, on which to compare a fingerprint."""
    if not ui.has_terminal():
        raise DeclinedError(
            "nothing was changed: cannot prompt to compare the fingerprint",
            "give --fingerprint, or --trust-on-first-use",
        )
