"""How to reach a host according to ssh_config, evaluated by OpenSSH (`ssh -G`).

Only OpenSSH itself interprets Include, Match and tokens as ssh does.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from nixsecrets.errors import NixsecretsError, ProgramError, quoted
from nixsecrets.hosts import openssh
from nixsecrets.hosts.address import SSH_PORT, Address, parse_address

_SECONDS = 20
_GLOBAL_KNOWN_HOSTS = (
    "/etc/ssh/ssh_known_hosts",
    "/etc/ssh/ssh_known_hosts2",
)
_USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One machine as ssh would reach it.

    `asked` is the given name or address, `address` what ssh_config makes of it; `alias`
    is its HostKeyAlias, `jump` its ProxyJump, `proxy` its ProxyCommand, each None
    without one.  `config` is an ssh_config file that replaces the default ones.
    """

    asked: Address
    address: Address
    alias: str | None = None
    jump: str | None = None
    proxy: str | None = None
    known_hosts: tuple[Path, ...] = ()
    config: Path | None = None

    def __str__(self) -> str:
        """Return host, port and proxy for a message."""
        through = self.jump or ("a ProxyCommand" if self.proxy else None)
        where = str(replace(self.address, user=None))
        return where if through is None else f"{where} through {through}"

    @property
    def machine(self) -> str:
        """The machine that gets the connections: the jump host, or the host itself."""
        return self.jump or str(replace(self.address, user=None))


def resolve(text: str, *, config: Path | None = None) -> Endpoint:
    """Return the endpoint of `[user@]host[:port]` or of a Host in ssh_config.

    Without the ssh program, the text itself counts, and the default known_hosts files.

    Raises:
        NixsecretsError: the text is not an address, or ssh_config cannot be read.
    """
    asked = parse_address(text, port=0)
    late = NixsecretsError(
        f"ssh took too long to resolve {quoted(asked.host)}",
        f"see what `ssh -G {asked.host}` does",
    )
    try:
        done = openssh.run(_command(asked, config), _SECONDS, late)
    except ProgramError:
        return direct(asked)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = f": {quoted(lines[-1])}" if lines else ""
        raise NixsecretsError(
            f"ssh cannot resolve {quoted(asked.host)}{said}",
            f"correct ssh_config; see what `ssh -G {asked.host}` says",
        )
    settings = _settings(done.stdout.decode(errors="surrogateescape"))
    return _endpoint(asked, settings, config)


def direct(asked: Address) -> Endpoint:
    """Return the endpoint of an address without consulting ssh_config."""
    files = (*_USER_KNOWN_HOSTS, *_GLOBAL_KNOWN_HOSTS)
    return Endpoint(
        asked,
        replace(asked, port=asked.port or SSH_PORT),
        known_hosts=tuple(Path(file).expanduser() for file in files),
    )


def _command(asked: Address, config: Path | None) -> list[str]:
    command = ["ssh", "-G", "-T"]
    if config is not None:
        command += ["-F", str(config)]
    if asked.port:
        command += ["-p", str(asked.port)]
    if asked.user:
        command += ["-l", asked.user]
    return [*command, "--", asked.host]


def _settings(text: str) -> dict[str, str]:
    """Return the first value of each keyword that `ssh -G` prints."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        settings.setdefault(key.lower(), value)
    return settings


def _endpoint(
    asked: Address, settings: dict[str, str], config: Path | None
) -> Endpoint:
    user = asked.user or settings.get("user")
    port = asked.port or int(settings.get("port", SSH_PORT))
    files = [
        Path(name).expanduser()
        for key in ("userknownhostsfile", "globalknownhostsfile")
        for name in settings.get(key, "none").split()
        if name != "none"
    ]
    return Endpoint(
        asked,
        Address(settings.get("hostname", asked.host), user, port),
        alias=settings.get("hostkeyalias"),
        jump=_unless_none(settings.get("proxyjump")),
        proxy=_unless_none(settings.get("proxycommand")),
        known_hosts=tuple(files),
        config=config,
    )


def _unless_none(value: str | None) -> str | None:
    return None if value in (None, "", "none") else value
