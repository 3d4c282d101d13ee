"""Reads the declared files of the repository, for `verdict`."""

import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.keytree import Keys, keys_of
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.state import Actual
from nixsecrets.flake.declared import Configuration, Secret
from nixsecrets.flake.stored import Stored, stored
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.forms import Backend
from nixsecrets.untrusted import inputs
from nixsecrets.world.world import (
    LOCK_NAME,
    MAP_NAME,
    Found,
    World,
    examine,
    find_file,
    known_keys,
)


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
    maps SHA-256 (hex) to path; `files` are the paths of all files.
    """

    below_top: str
    by_hash: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Collection[str] = field(default=(), repr=False)

    def path_of(self, secret: Secret) -> str | None:
        """Return the path relative to the map's folder, None if outside of it."""
        if secret.file is not None:
            return self._below(secret.file)
        if same := self.by_hash.get(secret.sha256 or ""):
            return same
        if secret.of_input is None or not self.other_version(secret):
            return None
        return self._below(secret.of_input[2])

    def other_version(self, secret: Secret) -> str | None:
        """Return where an input has another version of a file of the map, or None.

        That input has a map in the same place.
        """
        if secret.of_input is None or secret.sha256 is None:
            return None
        _, source, path = secret.of_input
        if secret.sha256 in self.by_hash or self._below(path) not in self.files:
            return None
        if not Path(source, self.below_top, MAP_NAME).is_file():
            return None
        return f"{source}/{path}"

    def _below(self, path: str) -> str | None:
        if not self.below_top:
            return path
        if path.startswith(self.below_top + "/"):
            return path.removeprefix(self.below_top + "/")
        return None


def place_of(world: World) -> Place:
    """Return the place of a world's map."""
    below = posixpath.normpath(world.repo.relative_to_top(str(world.repo.root)) or ".")
    by_hash = {found.sha256: path for path, found in world.files.items()}
    return Place("" if below == "." else below, by_hash, world.files.keys())


def gather(
    world: World, configurations: Iterable[Configuration], place: Place
) -> dict[str, Seen]:
    """Read every declared file of the repository; return them by path.

    Another version that an input has is there by its path in the store.
    """
    secrets = {s for one in configurations for part in one.parts for s in part.secrets}
    paths = {path for one in secrets if (path := place.path_of(one)) is not None}
    by_path = stored(world.repo, paths)
    seen = {path: _look(world, path, by_path[path]) for path in sorted(paths)}
    for secret in secrets:
        if (there := place.other_version(secret)) and there not in seen:
            seen[there] = _look_at_input(world, secret, place, there)
    return seen


def _look_at_input(world: World, secret: Secret, place: Place, there: str) -> Seen:
    """Read a file of an input, with the lock that the input has."""
    path, (_, source, _) = place.path_of(secret) or "", secret.of_input or ("", "", "")
    lock_file = Path(source, place.below_top, LOCK_NAME)
    text = inputs.read_text(lock_file, errors="replace") if lock_file.is_file() else ""
    lock = Lock.parse(text, LOCK_NAME, lambda: known_keys(world.map))
    data = inputs.read(there)
    return _seen(path, examine(path, data, world.book, lock), Stored(), data)


def _look(world: World, path: str, file: Stored) -> Seen:
    try:
        found = find_file(world, file.target or path)
    except NixsecretsError:
        # `..`, a link out of the repository, a folder, an invalid name
        return Seen(path, None, file)
    if not isinstance(found, Actual) or found.backend is not Backend.SOPS:
        return Seen(path, found, file)
    return _seen(path, found, file, world.repo.read(path))


def _seen(path: str, found: Found, file: Stored, data: bytes) -> Seen:
    if not isinstance(found, Actual) or found.backend is not Backend.SOPS:
        return Seen(path, found, file)
    kind = metadata.parse(path, data).format
    keys = None
    if kind in (SopsFormat.YAML, SopsFormat.JSON):
        keys = keys_of(kind, data)
    return Seen(path, found, file, kind, keys)
