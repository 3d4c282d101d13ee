"""Names of our own files, and files whose names rule out that they are secrets.

Imports nothing: the survey of the files begins with it, before a map is read.
"""

MAP_NAME = "nixsecrets.toml"
LOCK_NAME = "nixsecrets.lock"
_ENDS = (".nix", ".md", ".pub")


def no_secret(path: str) -> bool:
    """Return whether wildcards of a rule never cover a path.

    These are `.git*`, Nix code, public keys, documentation, any `.sops.yaml` and the
    lock.
    """
    name = path.rpartition("/")[2]
    return (
        name.startswith(".git")
        or name.endswith(_ENDS)
        or name == ".sops.yaml"
        or path == LOCK_NAME
    )
