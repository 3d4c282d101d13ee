"""Where a command gets a host's key from, and how a collected one is believed."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.cli.keyargs import key_from_file, key_from_text
from nixsecrets.cli.options import Decorator, packed
from nixsecrets.errors import DeclinedError, UsageError
from nixsecrets.keys.recipients import Recipient

if TYPE_CHECKING:
    from nixsecrets.hosts.scan import Manner
    from nixsecrets.hosts.sshconfig import Endpoint
    from nixsecrets.hosts.trust import Rung

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
_BELIEF = (
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


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What the command line says about a host's key."""

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
        """Tell whether the key is given or made here, so that nothing is collected."""
        return self.generate or self.local or bool(self.key or self.key_file)

    @property
    def manner(self) -> "Manner":
        """How to collect."""
        from nixsecrets.hosts.scan import Manner

        return Manner(self.timeout, self.retries, self.ssh_config)

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: more than one source, or belief asked for a key that is given.
        """
        sources = [self.key, self.key_file, self.local or None, self.generate or None]
        given = [source for source in sources if source is not None]
        if len(given) > 1:
            raise UsageError("give one of --key, --key-file, --local and --generate")
        belief = self.fingerprint or self.login or self.trust_on_first_use
        if given and belief:
            raise UsageError(
                "--fingerprint, --login and --trust-on-first-use are about a key that "
                "is collected, not about one that is given"
            )


@dataclass(frozen=True, slots=True)
class Obtained:
    """A host's key, how it was believed, and the private half if it was made here."""

    key: Recipient
    rung: "Rung"
    private: bytes | None = None

    @property
    def verified(self) -> str:
        """What the map records."""
        return f"{self.rung} {datetime.date.today().isoformat()}"


def key_options(*, collecting_only: bool = False) -> Decorator:
    """Add the options of a command that needs host keys; it gets `keys`."""
    chosen = _MANNER if collecting_only else (*_SOURCES, *_BELIEF, *_MANNER)
    return packed(chosen, keys=KeyOptions)


def obtain(
    name: str,
    keys: KeyOptions,
    *,
    address: str | None = None,
    replaces: Recipient | None = None,
    dry_run: bool,
) -> Obtained:
    """Return the key for `name`: given, made, or collected and believed.

    `address` counts where the options name none; `replaces` is the key that the new
    one is to replace.

    Raises:
        NixsecretsError: there is no key to be had, or it is not to be believed.
        DeclinedError: nobody said that this is the host's key.
    """
    from nixsecrets.hosts.trust import Rung

    keys.check()
    if keys.generate:
        from nixsecrets.keys.newkey import new_ssh_key

        pair = new_ssh_key(f"root@{name}")
        return Obtained(pair.public, Rung.GENERATED, pair.private)
    if keys.brought:
        return Obtained(_given(keys), Rung.GIVEN)
    where = keys.address or address or name
    return _collected(name, keys, where, replaces, dry_run=dry_run)


def shown_key(name: str, keys: KeyOptions, address: str | None) -> Recipient:
    """Return the key that a host shows now, or that was given; not yet believed.

    Raises:
        NixsecretsError: there is no key to be had.
    """
    keys.check()
    if keys.brought:
        return _given(keys)
    from nixsecrets.hosts.collect import collect
    from nixsecrets.hosts.sshconfig import resolve

    where = resolve(keys.address or address or name, config=keys.ssh_config)
    return collect(where, timeout=keys.timeout, retries=keys.retries)


def _given(keys: KeyOptions) -> Recipient:
    if keys.key is not None:
        return key_from_text(keys.key, "--key")
    if keys.key_file is not None:
        return key_from_file(keys.key_file)
    from nixsecrets.hosts.local import local_key

    return local_key()


def _collected(
    name: str,
    keys: KeyOptions,
    address: str,
    replaces: Recipient | None,
    *,
    dry_run: bool,
) -> Obtained:
    from nixsecrets.hosts import knownhosts, trust
    from nixsecrets.hosts.collect import collect
    from nixsecrets.hosts.sshconfig import resolve

    wanted = keys.fingerprint and trust.parse_fingerprint(keys.fingerprint)
    where = resolve(address, config=keys.ssh_config)
    key = collect(where, timeout=keys.timeout, retries=keys.retries)
    known = knownhosts.standing(where, key)
    rung = trust.climb(name, key, known, fingerprint=wanted, replaces=replaces)
    if rung is trust.Rung.FINGERPRINT and known.others:
        ui.warn(
            f"{known.others[0][0]} has another key for {name}",
            f"ssh-keygen -R {knownhosts.lookup_names(where)[0]!r}",
        )
    if rung is None and keys.login:
        rung = _logged_in(name, key, where, keys.timeout)
    return Obtained(key, rung or asked(name, key, keys, dry_run=dry_run))


def _logged_in(name: str, key: Recipient, where: "Endpoint", timeout: float) -> "Rung":
    """Compare with what the host's own file says.

    Raises:
        KeyAlarmError: the file holds another key than the server showed.
    """
    from nixsecrets.hosts.login import KEY_PATH, key_over_login
    from nixsecrets.hosts.trust import KeyAlarmError, Rung

    file = key_over_login(where, timeout=timeout)
    if file != key:
        raise KeyAlarmError(
            f"{name} shows {key.fingerprint}, but its {KEY_PATH} is {file.fingerprint}",
            "nothing was changed; restart sshd there, or find out which machine "
            "answered",
        )
    return Rung.LOGIN


def asked(name: str, key: Recipient, keys: KeyOptions, *, dry_run: bool) -> "Rung":
    """Have a person compare the fingerprint.

    Raises:
        DeclinedError: the answer was no, or nobody is there.
    """
    from nixsecrets.hosts.trust import Rung

    ui.say(f"{name} shows {key.kind} {key.fingerprint}")
    if keys.trust_on_first_use:
        return Rung.FIRST_USE
    if dry_run:
        return Rung.ASKED
    require_terminal()
    ui.confirm(f"is this the key of {name}?", hint="give --fingerprint")
    return Rung.ASKED


def require_terminal() -> None:
    """Refuse where nobody can compare a fingerprint.

    Raises:
        DeclinedError: there is no terminal.
    """
    if not ui.has_terminal():
        raise DeclinedError(
            "nothing was changed: nobody is here to compare the fingerprint",
            "give --fingerprint, or --trust-on-first-use",
        )
