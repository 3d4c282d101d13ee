"""A connection to an ssh server: over TCP, or through ProxyJump and ProxyCommand.

Returns a socket, or an error that says what went wrong on the way; speaks no ssh.
"""

import contextlib
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.hosts.sshconfig import Endpoint

OTHER_WAY = "or give the key itself with --key or --key-file"

# Values that need no quoting in a ProxyCommand, which a shell reads.
_PLAIN = re.compile(r"[A-Za-z0-9._:%@-]+")
_TOKEN = re.compile(r"%(.)", re.DOTALL)
_LONGEST_COMPLAINT = 4096


class UnreachableError(NixsecretsError):
    """The server was not reached or did not respond; a retry may help."""


@dataclass
class Line:
    """A connection, and the proxy program that carries it, if any."""

    socket: socket.socket
    program: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def complaint(self) -> str | None:
        """Return the last line of the proxy program's stderr, None without one.

        Ends the program.
        """
        if self.program is None or self.program.stderr is None:
            return None
        self.program.kill()
        text = self.program.stderr.read(_LONGEST_COMPLAINT).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else None


@contextlib.contextmanager
def connected(where: Endpoint, timeout: float) -> Iterator[Line]:
    """Yield a connection to `where`; `timeout` is in seconds.

    Raises:
        UnreachableError: the server cannot be reached.
        NixsecretsError: its ProxyCommand cannot be run safely.
    """
    if where.jump is None and where.proxy is None:
        with _by_tcp(where, timeout) as connection:
            yield Line(connection)
        return
    with _through(_proxy_command(where, timeout), timeout) as line:
        yield line


@contextlib.contextmanager
def _by_tcp(where: Endpoint, timeout: float) -> Iterator[socket.socket]:
    try:
        address = (where.address.host, where.address.port)
        connection = socket.create_connection(address, timeout)
    except (OSError, UnicodeError) as error:
        raise _unreachable(where, error) from error
    with connection:
        yield connection


def _unreachable(where: Endpoint, error: OSError | UnicodeError) -> UnreachableError:
    shown = quoted(str(where))
    match error:
        case socket.gaierror() | UnicodeError():
            return UnreachableError(
                f"no address is known for {quoted(where.address.host)}",
                f"check the name, or pass --address; {OTHER_WAY}",
            )
        case ConnectionRefusedError():
            return UnreachableError(
                f"nothing listens at {shown}",
                "start sshd there (services.openssh.enable = true;), check the port, "
                + OTHER_WAY,
            )
        case TimeoutError():
            return UnreachableError(
                f"{shown} does not answer",
                f"check that the host is up and no firewall is in between; {OTHER_WAY}",
            )
        case _:
            reason = error.strerror or type(error).__name__
            return UnreachableError(
                f"cannot reach {shown}: {reason.lower()}",
                f"check address and network; {OTHER_WAY}",
            )


@contextlib.contextmanager
def _through(command: Sequence[str], timeout: float) -> Iterator[Line]:
    """Run a proxy program; the connection is its stdin and stdout."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(timeout)
        with theirs:
            try:
                program = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                )
            except OSError as error:
                raise UnreachableError(
                    f"{quoted(command[0])} cannot be started",
                    "install the OpenSSH client, " + OTHER_WAY,
                ) from error
        with program:
            try:
                yield Line(ours, program)
            finally:
                program.kill()


def _proxy_command(where: Endpoint, timeout: float) -> list[str]:
    if where.jump is not None:
        return jump_command(where, where.jump, timeout)
    shell = os.environ.get("SHELL") or "/bin/sh"
    return [shell, "-c", "exec " + filled_in(where, where.proxy or "")]


def jump_command(where: Endpoint, jump: str, timeout: float) -> list[str]:
    """Return the ssh command that forwards to the host from the last jump host."""
    *before, last = jump.split(",")
    command = ["ssh", "-T", "-o", "BatchMode=yes"]
    command += ["-o", f"ConnectTimeout={max(1, round(timeout))}"]
    if where.config is not None:
        command += ["-F", str(where.config)]
    if before:
        command += ["-J", ",".join(before)]
    if ":" in last and not last.startswith("ssh://"):
        last = f"ssh://{last}"
    forward = f"[{where.address.host}]:{where.address.port}"
    return [*command, "-W", forward, "--", last]


def filled_in(where: Endpoint, command: str) -> str:
    """Return a ProxyCommand with its tokens filled in (ssh_config(5), TOKENS).

    Raises:
        NixsecretsError: it has an unknown token, or a value has characters with a
            meaning to the shell.
    """
    values = {
        "%": "%",
        "h": where.address.host,
        "n": where.asked.host,
        "p": str(where.address.port),
        "r": where.address.user or "",
    }

    def fill(found: re.Match[str]) -> str:
        token = found[1]
        value = values.get(token)
        if value is None:
            raise NixsecretsError(
                f"the ProxyCommand of {quoted(where.asked.host)} has the token "
                f"%{token}, which is not filled in here",
                f"use ProxyJump, {OTHER_WAY}",
            )
        if value and not _PLAIN.fullmatch(value):
            raise NixsecretsError(
                f"{quoted(value)} cannot go into a ProxyCommand, which a shell reads",
                f"use ProxyJump, {OTHER_WAY}",
            )
        return shlex.quote(value)

    return _TOKEN.sub(fill, command)
