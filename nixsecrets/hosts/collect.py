"""Collects the ed25519 host key of a running ssh server, without logging in.

The key exchange is completed: the server signs it, which proves possession of the
private key (ssh-keyscan does not check that).  It does not prove that the server is the
intended machine: a man in the middle has a key too.
"""

import logging
import time
from typing import TYPE_CHECKING

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.hosts import kexinit
from nixsecrets.hosts.connect import OTHER_WAY, Line, UnreachableError, connected
from nixsecrets.hosts.sshconfig import Endpoint
from nixsecrets.keys.recipients import Recipient, from_ssh_blob

if TYPE_CHECKING:
    from paramiko import Transport

NO_ED25519 = (
    "let the host make one: "
    'services.openssh.hostKeys = [ { type = "ed25519"; '
    'path = "/etc/ssh/ssh_host_ed25519_key"; } ]; '
    "elsewhere: ssh-keygen -A"
)

_NOT_SSH = ("SSH protocol banner", "Indecipherable protocol version")
_PAUSE_SECONDS = 0.3


class NoEd25519Error(NixsecretsError):
    """An ssh server without an ed25519 host key; `offers` are the types it has."""

    def __init__(self, where: Endpoint, offers: tuple[str, ...]) -> None:
        """Name the offered types, and how to generate the missing key."""
        has = f", only {', '.join(offers)}" if offers else ""
        hint = f"{_NOT_SUPPORTED}\n{NO_ED25519}"
        super().__init__(f"{quoted(str(where))} has no ed25519 host key{has}", hint)
        self.offers = offers


_NOT_SUPPORTED = (
    "other host keys will not do: sops-nix and ssh-to-age convert only ed25519 keys"
)


def collect(where: Endpoint, *, timeout: float = 5.0, retries: int = 0) -> Recipient:
    """Return the ssh-ed25519 host key that the server at `where` proves to possess.

    `timeout` is in seconds and applies separately to connection and key exchange; a
    server that cannot be reached or hangs up is tried `retries` more times.

    Raises:
        UnreachableError: the server does not respond, or is not an ssh server.
        NoEd25519Error: it has no ed25519 key.
        NixsecretsError: it does not prove possession of its key.
    """
    for turn in range(retries + 1):
        try:
            with connected(where, timeout) as line:
                return from_ssh_blob(_exchange(line, where, timeout))
        except UnreachableError:
            if turn == retries:
                raise
            time.sleep(_PAUSE_SECONDS * (turn + 1))
    raise ValueError("retries are not negative")


def _exchange(line: Line, where: Endpoint, timeout: float) -> bytes:
    """Complete one key exchange; return the server's host key in wire format."""
    import paramiko  # 190 ms

    _silence_paramiko()
    try:
        transport = paramiko.Transport(line.socket)
    except (paramiko.SSHException, OSError) as error:
        raise _failed(line, where, timeout, error) from error
    try:
        return _host_key(transport, timeout)
    except Exception as error:
        # Any exception: paramiko's thread passes on whatever the bytes of an unknown
        # peer made it or its libraries raise.
        raise _failed(line, where, timeout, error) from error
    finally:
        transport.close()


def _host_key(transport: "Transport", timeout: float) -> bytes:
    transport.get_security_options().key_types = ("ssh-ed25519",)
    # A silent server must run into our timeout, not into paramiko's "error reading
    # banner", which also means a server of another protocol.
    transport.banner_timeout = timeout + 60
    transport.start_client(timeout=timeout)
    key: bytes = transport.get_remote_server_key().asbytes()
    return key


def _silence_paramiko() -> None:
    """Keep paramiko's thread from writing tracebacks to an unconfigured stderr."""
    logger = logging.getLogger("paramiko")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _failed(
    line: Line, where: Endpoint, timeout: float, error: Exception
) -> NixsecretsError:
    """Return the error for a failed key exchange.

    paramiko distinguishes most cases only by the text of its exception.
    """
    from paramiko.ssh_exception import IncompatiblePeer  # loaded by `_exchange`

    shown, text = quoted(str(where)), str(error)
    if isinstance(error, IncompatiblePeer) and "host key" in text:
        return NoEd25519Error(where, _offers(where, timeout))
    if isinstance(error, IncompatiblePeer):
        return NixsecretsError(
            f"{shown} has no key exchange or cipher in common with us",
            f"update sshd there; {OTHER_WAY}",
        )
    if "Signature verification" in text:
        return NixsecretsError(
            f"{shown} presents a host key without proving possession of it",
            "do not use this key; find out which machine answers at that address",
        )
    complaint = line.complaint()
    if complaint is not None:
        return UnreachableError(
            f"cannot reach {shown}: {quoted(complaint)}",
            f"see what `ssh {where.asked.host}` says; {OTHER_WAY}",
        )
    if any(words in text for words in _NOT_SSH):
        return UnreachableError(
            f"{shown} does not respond like an ssh server",
            f"check the port; a busy sshd also hangs up, then try again; {OTHER_WAY}",
        )
    if "No existing session" in text:
        return UnreachableError(
            f"{shown} accepts connections but did not finish the key exchange in time",
            f"check that sshd listens on this port; {OTHER_WAY}",
        )
    return UnreachableError(
        f"the key exchange with {shown} failed ({type(error).__name__})",
        f"try again; {OTHER_WAY}",
    )


def _offers(where: Endpoint, timeout: float) -> tuple[str, ...]:
    """Return the types of the server's host keys, empty if it hangs up."""
    try:
        with connected(where, timeout) as line:
            return kexinit.offered_types(line.socket)
    except (NixsecretsError, OSError, ValueError):
        return ()
