"""Reads a host's public key over an ssh session that known_hosts authenticates.

The ssh program logs in.  Options on its command line override ssh_config, so that no
setting there can make the session accept an unknown server.
"""

from nixsecrets.errors import KeyFormatError, NixsecretsError, quoted
from nixsecrets.hosts import openssh
from nixsecrets.hosts.sshconfig import Endpoint
from nixsecrets.keys.publickeys import read_public_keys
from nixsecrets.keys.recipients import Kind, Recipient

KEY_PATH = "/etc/ssh/ssh_host_ed25519_key.pub"
_SECONDS = 60  # in addition to connecting: a hardware key may need a touch

# IgnoreUnknown comes first: not every OpenSSH knows all of these.
_STRICT = (
    "IgnoreUnknown=GSSAPIKeyExchange,KnownHostsCommand",
    "StrictHostKeyChecking=yes",
    "BatchMode=yes",
    "NoHostAuthenticationForLocalhost=no",
    "VerifyHostKeyDNS=no",
    "KnownHostsCommand=none",
    "GSSAPIKeyExchange=no",
    "UpdateHostKeys=no",
    "ControlMaster=no",
    "ControlPath=none",
    "PermitLocalCommand=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "RemoteCommand=none",
    "RequestTTY=no",
)


def key_over_login(where: Endpoint, *, timeout: float = 5.0) -> Recipient:
    """Log in and return the ssh-ed25519 key in the host's public key file.

    `timeout` is in seconds, for connecting.

    Raises:
        NixsecretsError: known_hosts does not authenticate the server, the login fails,
            or there is no such file.
        KeyFormatError: the file does not contain exactly one such key.
    """
    shown = quoted(str(where))
    late = NixsecretsError(
        f"the login to {shown} took too long", f"see what `ssh {where.asked}` does"
    )
    done = openssh.run(command(where, timeout), timeout + _SECONDS, late)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "no output"
        raise NixsecretsError(
            f"could not read the key over ssh from {shown}: {quoted(last)}",
            "--login needs a server in known_hosts and a login without a "
            f"question: see what `ssh {where.asked.host} cat {KEY_PATH}` says",
        )
    return _one_key(done.stdout.decode(errors="replace"), where)


def command(where: Endpoint, timeout: float) -> list[str]:
    """Return the ssh command that prints the host's public key."""
    argv = ["ssh", "-T", "-x", "-a"]
    for option in (*_STRICT, f"ConnectTimeout={max(1, round(timeout))}"):
        argv += ["-o", option]
    if where.config is not None:
        argv += ["-F", str(where.config)]
    if where.asked.port:
        argv += ["-p", str(where.asked.port)]
    if where.asked.user:
        argv += ["-l", where.asked.user]
    return [*argv, "--", where.asked.host, f"cat {KEY_PATH}"]


def _one_key(text: str, where: Endpoint) -> Recipient:
    found = read_public_keys(text, f"{where.asked.host}:{KEY_PATH}").recipients
    match found:
        case (key,) if key.kind is Kind.SSH_ED25519:
            return key
        case _:
            raise KeyFormatError(
                f"{where.asked.host}:{KEY_PATH} is not one ssh-ed25519 public key",
                "look at the file on the host",
            )
