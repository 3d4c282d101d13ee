"""Reads the declared files of the repository, for `verdict`."""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nixsecrets.errors import NixsecretsError
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.keytree import Keys, keys_of
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.state import Actual
from nixsecrets.flake.declared import Configuration, Secret
from nixsecrets.flake.stored import Stored, stored
from nixsecrets.keys.forms import Backend
from nixsecrets.world.world import Found, World, find_file


@dataclass(frozen=True, slots=True)
class Seen:
    """One declared file in the work tree.

    `found` is None if it does not exist.  `format` and `keys` are those of a sops file;
    `keys` is None unless sops-nix can select a key from it (YAML, JSON).
    """

    path: str
    found: Found | None
    stored: Stored
    format: SopsFormat | None = None
    keys: Keys | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Converts declared paths, relative to the top of git, to those of the map.

    `below_top` is the map's folder below the top, "" for the top itself; `by_hash`
    maps SHA-256 (hex) to path.
    """

    below_top: str
    by_hash: Mapping[str, str] = field(default_factory=dict, repr=False)

    def path_of(self, secret: Secret) -> str | None:
        """Return the path relative to the map's folder, None if outside of it."""
        if secret.file is None:
            return self.by_hash.get(secret.sha256 or "")
        if not self.below_top:
            return secret.file
        if secret.file.startswith(self.below_top + "/"):
            return secret.file.removeprefix(self.below_top + "/")
        return None


def place_of(world: World) -> Place:
    """Return the place of a world's map."""
    below = posixpath.normpath(world.repo.relative_to_top(str(world.repo.root)) or ".")
    by_hash = {found.sha256: path for path, found in world.files.items()}
    return Place("" if below == "." else below, by_hash)


def gather(
    world: World, configurations: Iterable[Configuration], place: Place
) -> dict[str, Seen]:
    """Read every declared file of the repository; return them by path."""
    paths = {
        path
        for configuration in configurations
        for part in configuration.parts
        for secret in part.secrets
        if (path := place.path_of(secret)) is not None
    }
    by_path = stored(world.repo, paths)
    return {path: _look(world, path, by_path[path]) for path in sorted(paths)}


def _look(world: World, path: str, file: Stored) -> Seen:
    try:
        found = find_file(world, file.target or path)
    except NixsecretsError:
        # `..`, a link out of the repository, a folder, an invalid name
        return Seen(path, None, file)
    if not isinstance(found, Actual) or found.backend is not Backend.SOPS:
        return Seen(path, found, file)
    data = world.repo.read(path)
    kind = metadata.parse(path, data).format
    keys = None
    if kind in (SopsFormat.YAML, SopsFormat.JSON):
        keys = keys_of(kind, data)
    return Seen(path, found, file, kind, keys)
