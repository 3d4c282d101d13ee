"""A program of OpenSSH, run to its end without a question to anybody."""

import subprocess
from collections.abc import Sequence

from nixsecrets.errors import NixsecretsError, ProgramError


def run(
    command: Sequence[str], seconds: float, late: NixsecretsError
) -> "subprocess.CompletedProcess[bytes]":
    """Return what a program did.

    Raises:
        ProgramError: it cannot be started.
        NixsecretsError: `late`, where it takes more than `seconds`.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise late from error
    except OSError as error:
        raise ProgramError(
            f"{command[0]} cannot be started", "install the OpenSSH client"
        ) from error
