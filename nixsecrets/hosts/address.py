"""The address of a host: `[user@]host[:port]`, IPv6 with or without brackets."""

import ipaddress
import re
from dataclasses import dataclass

from nixsecrets.errors import NixsecretsError, quoted

SSH_PORT = 22
_HINT = "write it as host, host:port, user@host, or [IPv6 address]:port"
# Excludes characters that no host name, address, zone or user name has, and a leading
# "-", which the ssh program would take for an option.
_HOST = re.compile(r"(?!-)[^\s\x00-\x1f\x7f@/\\,\[\]\"'`$]+")
_USER = re.compile(r"(?!-)[^\s\x00-\x1f\x7f@:/\\\[\]\"'`$]+")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address; `user` None and `port` 0 leave these to ssh_config."""

    host: str
    user: str | None = None
    port: int = SSH_PORT

    def __str__(self) -> str:
        """Return the address in the form that `parse_address` reads."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port not in (0, SSH_PORT) else ""
        return f"{user}{host}{port}"


def parse_address(text: str, *, port: int = SSH_PORT) -> Address:
    """Parse `[user@]host[:port]`, also with `ssh://` in front.

    `port` is the default for a text without one.  A text with several colons and no
    brackets is an IPv6 address without a port.

    Raises:
        NixsecretsError: it is empty, has invalid characters, or a port out of
            1..65535.
    """
    rest = text.strip().removeprefix("ssh://").removesuffix("/")
    before, at, rest = rest.rpartition("@")
    host, digits = _split_port(rest)
    if (at and not _USER.fullmatch(before)) or not _HOST.fullmatch(host):
        raise NixsecretsError(f"{quoted(text)} is not the address of a host", _HINT)
    number = port if digits is None else _port(digits, text)
    return Address(host, before or None, number)


def _split_port(rest: str) -> tuple[str, str | None]:
    """Return host and port; the host is "" if the text is not an address."""
    if rest.startswith("["):
        host, closed, after = rest[1:].partition("]")
        if not closed or not _is_ipv6(host) or (after and not after.startswith(":")):
            return "", None
        return host, after[1:] if after else None
    if rest.count(":") == 1:
        host, _, port = rest.partition(":")
        return host, port
    return (rest, None) if ":" not in rest or _is_ipv6(rest) else ("", None)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _port(digits: str, text: str) -> int:
    if not _PORT.fullmatch(digits) or not 1 <= int(digits) <= 65535:
        raise NixsecretsError(f"{quoted(text)} has no usable port", _HINT)
    return int(digits)
