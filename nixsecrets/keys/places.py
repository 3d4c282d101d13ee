"""Paths of identity files: those named in the environment, and the default ones.

Apart from `find`, which parses them, so that listing them loads no cryptography.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

IDENTITY_VARIABLE = "NIXSECRETS_IDENTITY"
FILES = ("SOPS_AGE_KEY_FILE", "SOPS_AGE_SSH_PRIVATE_KEY_FILE")


def quiet_files(env: Mapping[str, str], home: Path) -> list[Path]:
    """Return the named and default paths that are regular files: these never block."""
    places = [*listed(env, home), *usual_places(env, home)]
    places += [Path(env[name]) for name in FILES if env.get(name)]
    # `Path.is_file` raises PermissionError where the folder is not accessible
    return [path for path in places if os.path.isfile(path)]  # noqa: PTH113


def listed(env: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield the paths of `NIXSECRETS_IDENTITY`, separated by `:`.

    `~` is expanded here: a shell does it for the first path at most.
    """
    for part in env.get(IDENTITY_VARIABLE, "").split(":"):
        if part.startswith("~/"):
            yield home / part[2:]
        elif part:
            yield Path(part)


def usual_places(env: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield the default identity files of sops and agenix, present or not."""
    keys = Path("sops", "age", "keys.txt")
    if env.get("XDG_CONFIG_HOME"):
        # sops then looks nowhere else, not even on macOS
        yield Path(env["XDG_CONFIG_HOME"]) / keys
    else:
        yield home / ".config" / keys
        yield home / "Library" / "Application Support" / keys
    yield home / ".ssh" / "id_ed25519"
    yield home / ".ssh" / "id_rsa"
