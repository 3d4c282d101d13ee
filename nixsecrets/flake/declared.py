"""What the configurations of a flake declare, as values."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

Framework = Literal["age", "sops"]


@dataclass(frozen=True, slots=True)
class Installed:
    """How the plaintext is installed.

    - `owner`, `mode`: the options of that name.
    - `unknown_owner`, `unknown_group`: a name that the configuration has not.
    - `unknown_units`: units to restart or reload that the configuration has not.
    - `password_of`: the users whose password is read from it.
    """

    owner: str | None = None
    mode: str | None = None
    unknown_owner: str | None = None
    unknown_group: str | None = None
    unknown_units: tuple[str, ...] = ()
    password_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """One `age.secrets.NAME` or `sops.secrets.NAME`.

    - `file`: its path; None if Nix lost it (string interpolation copies the file to
      the store): then `sha256` identifies the file.
    - `exists`: whether the flake sees the file, None if unknown.
    - `link`: the option is a path to a symbolic link, which Nix 2.26 copies as such.
    - `copy`: the path within the copy in the store that the option names, if `file` is
      None: empty for a copy of the file alone.
    - `elsewhere`: where a file outside of this repository is.
    - `of_input`: the file in the store, if a flake input has it: the input's name, its
      folder in the store, and the path below that.
    - `error`: what is wrong with the declaration itself.
    - `key`, `format`, `needed_for_users`: the options of that name.
    """

    framework: Framework
    name: str
    file: str | None = None
    sha256: str | None = None
    exists: bool | None = None
    link: bool = False
    copy: str | None = None
    elsewhere: str | None = None
    of_input: tuple[str, str, str] | None = None
    error: str | None = None
    key: str | None = None
    format: str | None = None
    needed_for_users: bool = False
    installed: Installed = Installed()

    @property
    def option(self) -> str:
        """The name of the Nix option."""
        return f"{self.framework}.secrets.{self.name}"


@dataclass(frozen=True, slots=True)
class Template:
    """One `sops.templates.NAME`; `uses` are the secrets in it, None if unknown."""

    name: str
    uses: tuple[str, ...] | None = None
    installed: Installed = Installed()


@dataclass(frozen=True, slots=True)
class AgeSide:
    """The agenix options: secrets, and paths of private keys (None if unknown)."""

    identity_paths: tuple[str, ...] | None
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class SopsSide:
    """The sops-nix options.

    `ssh_key_paths` is None if unknown; `generate_key`: the machine creates `key_file`
    if it does not exist; `gnupg`: PGP entries can be opened as well.
    """

    ssh_key_paths: tuple[str, ...] | None
    key_file: str | None
    ssh_private_key_file: str | None
    gnupg: bool
    secrets: tuple[Secret, ...]
    templates: tuple[Template, ...]
    generate_key: bool = False


SideT = TypeVar("SideT", AgeSide, SopsSide)


@dataclass(frozen=True, slots=True)
class Bind:
    """A path in a container that is the path `source` of its host."""

    at: str
    source: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a configuration with its own secrets: system, home or container.

    - `at`: its place in the host (`home-manager user alice`), "" for the host itself.
    - `user`: the user whose keys it has, None for those of the host.
    - `container`: its name, if it is a container or a guest.
    - `persistent`: the folders that survive a reboot, empty if all do.
    - `users_by_unit`: a systemd unit creates users (sysusers, userborn), as late as
      agenix runs then.
    - `in_store`: options with a secret in plaintext, and what to set instead.
    - `map_name`: the name in the map that it says it has (`nixsecrets.name`).
    - `binds`: what a container sees of its host's files; None if unknown.
    - `ephemeral`: the rest of the container is empty at every start.
    """

    at: str
    user: str | None
    container: str | None
    age: AgeSide | None
    sops: SopsSide | None
    persistent: tuple[str, ...] = ()
    users_by_unit: bool = False
    in_store: tuple[tuple[str, str], ...] = ()
    map_name: str | None = None
    binds: tuple[Bind, ...] | None = None
    ephemeral: bool = False

    @property
    def is_variant(self) -> bool:
        """Whether it belongs to a specialisation."""
        return self.at.startswith("specialisation ")

    def source_of(self, path: str) -> str | None:
        """Return the path on the host of a path in a container, None if it has none."""
        for bind in self.binds or ():
            folder = bind.at.rstrip("/")
            if path == folder or path.startswith(folder + "/"):
                return bind.source.rstrip("/") + path.removeprefix(folder)
        return None

    @property
    def identity_paths(self) -> set[str]:
        """The paths of all private keys that it names."""
        paths = set(self.age.identity_paths or ()) if self.age else set()
        if self.sops is not None:
            more = (self.sops.key_file, self.sops.ssh_private_key_file)
            paths.update(self.sops.ssh_key_paths or (), filter(None, more))
        return paths

    @property
    def sides(self) -> "tuple[AgeSide | SopsSide, ...]":
        """The options of agenix and of sops-nix, if they declare secrets."""
        both = (self.age, self.sops)
        return tuple(one for one in both if one is not None and one.secrets)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All declared secrets: those of agenix, then those of sops-nix."""
        return tuple(secret for side in self.sides for secret in side.secrets)

    def opened(self) -> "Iterator[Opened]":
        """Yield each secret with what decides how it is opened."""
        for side in self.sides:
            yield from ((self._opener(side), one) for one in side.secrets)

    def _opener(self, side: "AgeSide | SopsSide") -> "Part":
        bare: dict[str, Any] = {"secrets": ()}
        if isinstance(side, SopsSide):
            bare["templates"] = ()
        age = replace(side, **bare) if isinstance(side, AgeSide) else None
        sops = replace(side, **bare) if isinstance(side, SopsSide) else None
        return replace(self, at="", age=age, sops=sops)

    def without(self, known: "Collection[Opened]") -> "Part":
        """Return the part without its secrets that are opened as in `known`."""

        def left(side: SideT) -> SideT:
            opener = self._opener(side)
            kept = (one for one in side.secrets if (opener, one) not in known)
            return replace(side, secrets=tuple(kept))

        age = self.age and left(self.age)
        return replace(self, age=age, sops=self.sops and left(self.sops))


Opened = tuple[Part, Secret]
"""A secret, and the part without secrets that opens it."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One configuration of a flake; `error` is why it does not evaluate."""

    kind: str
    name: str
    host_name: str | None = None
    error: str | None = None
    parts: tuple[Part, ...] = ()
