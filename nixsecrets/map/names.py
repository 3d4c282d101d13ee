"""Files that are no secrets by their names, whatever the wildcards of a rule cover.

Loaded before any map is read.
"""

MAP_NAME = "nixsecrets.toml"
LOCK_NAME = "nixsecrets.lock"
_ENDS = (".nix", ".md", ".pub")


def no_secret(path: str) -> bool:
    """Tell whether a file is `.git*`, Nix code, a public key, documentation or ours."""
    name = path.rpartition("/")[2]
    return (
        name.startswith(".git")
        or name.endswith(_ENDS)
        or name == ".sops.yaml"
        or path == LOCK_NAME
    )
