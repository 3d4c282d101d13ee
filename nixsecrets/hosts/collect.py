"""Ask a running ssh server for its ed25519 host key, without logging in.

The key exchange is carried out to its end: the server has signed it, so it holds the
private half of the key it shows (ssh-keyscan does not check that).  This does not say
that the server is the machine one meant: a man in the middle has a key of his own.
"""

import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.hosts.address import SSH_PORT, Address, parse_address
from nixsecrets.keys.recipients import Recipient, from_ssh_blob

if TYPE_CHECKING:
    from paramiko import Transport

OTHER_WAY = "or give the key itself with --key or --key-file"
NO_ED25519 = (
    "let the host make one: "
    'services.openssh.hostKeys = [ { type = "ed25519"; '
    'path = "/etc/ssh/ssh_host_ed25519_key"; } ]; '
    "elsewhere: ssh-keygen -A"
)

_NOT_SSH = ("SSH protocol banner", "Indecipherable protocol version")


def collect(address: str, *, port: int = SSH_PORT, timeout: float = 5.0) -> Recipient:
    """Return the ssh-ed25519 host key that the server at `address` proves to hold.

    `port` counts where the address names none; `timeout` is in seconds, once for the
    connection and once for the key exchange.  A user name in the address is ignored.

    Raises:
        NixsecretsError: the server cannot be reached, is no ssh server, has no
            ed25519 key, or does not prove that the key is its own.
    """
    where = replace(parse_address(address, port=port), user=None)
    with _connected(where, timeout) as connection:
        return from_ssh_blob(_exchange(connection, where, timeout))


@contextlib.contextmanager
def _connected(where: Address, timeout: float) -> Iterator[socket.socket]:
    """Connect by TCP; what goes wrong inside the block is not looked at."""
    try:
        connection = socket.create_connection((where.host, where.port), timeout)
    except (OSError, UnicodeError) as error:
        raise _unreachable(where, error) from error
    with connection:
        yield connection


def _unreachable(where: Address, error: OSError | UnicodeError) -> NixsecretsError:
    shown = quoted(str(where))
    match error:
        case socket.gaierror() | UnicodeError():
            return NixsecretsError(
                f"no address is known for {quoted(where.host)}",
                f"check the name, or pass --address; {OTHER_WAY}",
            )
        case ConnectionRefusedError():
            return NixsecretsError(
                f"nothing listens at {shown}",
                "start sshd there (services.openssh.enable = true;), check the port, "
                + OTHER_WAY,
            )
        case TimeoutError():
            return NixsecretsError(
                f"{shown} does not answer",
                f"check that the host is up and no firewall is between; {OTHER_WAY}",
            )
        case _:
            reason = error.strerror or type(error).__name__
            return NixsecretsError(
                f"cannot reach {shown}: {reason.lower()}",
                f"check address and network; {OTHER_WAY}",
            )


def _exchange(connection: socket.socket, where: Address, timeout: float) -> bytes:
    """Carry out one key exchange; return the wire blob of the server's host key."""
    import paramiko

    _silence_paramiko()
    try:
        transport = paramiko.Transport(connection)
    except (paramiko.SSHException, OSError) as error:
        raise _failed(where, error) from error
    try:
        return _host_key(transport, timeout)
    except Exception as error:
        # Not narrower: the transport's thread hands over whatever the bytes of an
        # unknown peer made it or its libraries raise.
        raise _failed(where, error) from error
    finally:
        transport.close()


def _host_key(transport: "Transport", timeout: float) -> bytes:
    transport.get_security_options().key_types = ("ssh-ed25519",)
    # A silent server must end in our timeout, not in paramiko's "error reading
    # banner", which also stands for a server of another kind.
    transport.banner_timeout = timeout + 60
    transport.start_client(timeout=timeout)
    key: bytes = transport.get_remote_server_key().asbytes()
    return key


def _silence_paramiko() -> None:
    """Keep paramiko's thread from writing tracebacks to an unconfigured stderr."""
    logger = logging.getLogger("paramiko")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _failed(where: Address, error: Exception) -> NixsecretsError:
    """Say what a failed key exchange means; paramiko tells cases apart by text only."""
    from paramiko.ssh_exception import IncompatiblePeer

    shown, text = quoted(str(where)), str(error)
    if isinstance(error, IncompatiblePeer) and "host key" in text:
        return NixsecretsError(f"{shown} has no ed25519 host key", NO_ED25519)
    if isinstance(error, IncompatiblePeer):
        return NixsecretsError(
            f"{shown} has no key exchange or cipher in common with us",
            f"update sshd there; {OTHER_WAY}",
        )
    if "Signature verification" in text:
        return NixsecretsError(
            f"{shown} shows a host key that it does not hold",
            "do not use this key; find out which machine answers at that address",
        )
    if any(words in text for words in _NOT_SSH):
        return NixsecretsError(
            f"{shown} does not greet as an ssh server does",
            f"check the port; a busy sshd also hangs up, then try again; {OTHER_WAY}",
        )
    if "No existing session" in text:
        return NixsecretsError(
            f"{shown} accepts connections but did not finish the key exchange in time",
            f"check that sshd listens on this port; {OTHER_WAY}",
        )
    return NixsecretsError(
        f"the key exchange with {shown} failed ({type(error).__name__})",
        f"try again; {OTHER_WAY}",
    )
