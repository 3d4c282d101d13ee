"""Runs a program of OpenSSH without prompting."""

import subprocess
from collections.abc import Sequence

from nixsecrets.errors import NixsecretsError, ProgramError


def run(
    command: Sequence[str], seconds: float, late: NixsecretsError
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end; return exit code and output.

    Raises:
        ProgramError: it cannot be started.
        NixsecretsError: `late`, if it takes more than `seconds`.
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
