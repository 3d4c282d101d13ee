"""Running a person's editor on one private file.

Chooses the program and reports how it ended; what the file means is the caller's.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from nixsecrets.errors import NixsecretsError, ProgramError

VARIABLES = ("SOPS_EDITOR", "VISUAL", "EDITOR")
FALLBACKS = ("vi", "nano")


def editor_command(env: Mapping[str, str], *, terminal: bool) -> list[str]:
    """Return the editor's command line: shell words, run without a shell.

    Without a terminal only a configured editor is run, never a fall-back.

    Raises:
        NixsecretsError: there is no editor.
    """
    for name in VARIABLES:
        if env.get(name, "").strip():
            try:
                return shlex.split(env[name])
            except ValueError:
                raise NixsecretsError(
                    f"${name} is no valid command line", "look at its quotes"
                ) from None
    for program in FALLBACKS if terminal else ():
        if shutil.which(program, path=env.get("PATH")):
            return [program]
    raise NixsecretsError("there is no editor", "set $EDITOR")


def run_editor(command: list[str], path: Path, *, terminal: bool) -> None:
    """Run the editor on `path` until it ends.

    Its TMPDIR is the file's private folder; without a terminal its stdin is empty.

    Raises:
        ProgramError: it cannot be started, or ended with a failure.
    """
    env = {**os.environ, "TMPDIR": str(path.parent)}
    stdin = None if terminal else subprocess.DEVNULL
    try:
        done = subprocess.run([*command, str(path)], env=env, stdin=stdin, check=False)
    except OSError as error:
        why = (error.strerror or "cannot be started").lower()
        raise ProgramError(f"the editor {command[0]}: {why}", "set $EDITOR") from None
    if done.returncode != 0:
        raise ProgramError(
            f"the editor {command[0]} ended with exit code {done.returncode}",
            "nothing was changed",
        )
