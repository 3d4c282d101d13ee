"""The host key of this machine, read from sshd's public key file."""

from pathlib import Path

from nixsecrets.errors import KeyFormatError, NixsecretsError, quoted
from nixsecrets.keys.publickeys import read_public_keys
from nixsecrets.keys.recipients import Kind, Recipient
from nixsecrets.untrusted import inputs

ETC_SSH = Path("/etc/ssh")
_NAME = "ssh_host_ed25519_key.pub"
_MAKE_ONE = (
    "make one: services.openssh.enable = true; on NixOS, Remote Login on macOS, "
    "`sudo ssh-keygen -A` elsewhere; or name the file with --key-file"
)


def local_key(etc_ssh: Path = ETC_SSH) -> Recipient:
    """Return the ssh-ed25519 host key of this machine.

    Raises:
        NixsecretsError: there is none, or the file cannot be read.
        KeyFormatError: the file does not contain exactly one such key.
    """
    path = etc_ssh / _NAME
    try:
        text = inputs.read_text(path)
    except FileNotFoundError as error:
        message = f"this machine has no ed25519 host key ({quoted(str(path))})"
        raise NixsecretsError(message, _MAKE_ONE) from error
    except UnicodeDecodeError as error:
        raise _not_a_key(path) from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        message = f"cannot read {quoted(str(path))}: {reason}"
        raise NixsecretsError(message, "name the file with --key-file") from error
    match read_public_keys(text, str(path)).recipients:
        case (recipient,) if recipient.kind is Kind.SSH_ED25519:
            return recipient
        case _:
            raise _not_a_key(path)


def _not_a_key(path: Path) -> KeyFormatError:
    return KeyFormatError(
        f"{path}: not one ssh-ed25519 public key",
        f"write it again: ssh-keygen -y -f {path.with_suffix('')} | sudo tee {path}",
    )
