"""Where files with identities may be: named in the environment, and the usual places.

Reads none of them, so that what only asks whether there are any loads nothing else.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

IDENTITY_VARIABLE = "NIXSECRETS_IDENTITY"
FILES = ("SOPS_AGE_KEY_FILE", "SOPS_AGE_SSH_PRIVATE_KEY_FILE")


def quiet_files(env: Mapping[str, str], home: Path) -> list[Path]:
    """Return the regular files among all these places: others may be waited for."""
    places = [*listed(env, home), *usual_places(env, home)]
    places += [Path(env[name]) for name in FILES if env.get(name)]
    # `Path.is_file` raises for one in a folder that we may not look into
    return [path for path in places if os.path.isfile(path)]  # noqa: PTH113


def listed(env: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield the paths of `NIXSECRETS_IDENTITY`.

    A shell expands `~` at most in the first of them, so it is done here.
    """
    for part in env.get(IDENTITY_VARIABLE, "").split(":"):
        if part.startswith("~/"):
            yield home / part[2:]
        elif part:
            yield Path(part)


def usual_places(env: Mapping[str, str], home: Path) -> Iterator[Path]:
    keys = Path("sops", "age", "keys.txt")
    if env.get("XDG_CONFIG_HOME"):
        # sops then looks nowhere else, on macOS neither.
        yield Path(env["XDG_CONFIG_HOME"]) / keys
    else:
        yield home / ".config" / keys
        yield home / "Library" / "Application Support" / keys
    yield home / ".ssh" / "id_ed25519"
    yield home / ".ssh" / "id_rsa"
