"""The inventory of declared secrets: its JSON format, and its values.

    {"nixsecrets_declared": 1, "hosts": [
      {"kind": "nixos", "name": "brunnen", "parts": [
        {"at": "", "age": {"identityPaths": ["/etc/ssh/ssh_host_ed25519_key"],
                           "secrets": [{"name": "wifi", "file": "secrets/wifi.age"}]}}
      ]},
      {"kind": "nixos", "name": "broken", "error": "what Nix said"}
    ]}

A host needs only `name`, a secret only `name` and `file`; `file` is relative to the top
of the git repository.  The file may have been written by `inventory.nix`, by `check
--save`, or by anybody else.
"""

import json
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from nixsecrets.errors import NixsecretsError, printable

VERSION = 1
Framework = Literal["age", "sops"]
_OLDEST_HINT = "write it with `nixsecrets check --flake . --save FILE`"


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


def parse(text: str, filename: str) -> tuple[Configuration, ...]:
    """Parse the JSON text of an inventory; `filename` is for errors.

    Raises:
        NixsecretsError: it is not an inventory, or has another version.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NixsecretsError(f"{filename}: is not JSON", _OLDEST_HINT) from error
    reader = _Reader(filename)
    if not isinstance(value, dict) or value.get("nixsecrets_declared") != VERSION:
        raise reader.wrong(f'has no "nixsecrets_declared": {VERSION}')
    return tuple(reader.configuration(one) for one in reader.items(value, "hosts"))


def inventory(hosts: list[Any]) -> str:
    """Return the JSON text of an inventory of `hosts`, the values that Nix returned."""
    value = {"nixsecrets_declared": VERSION, "hosts": hosts}
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


_LONE = re.compile("[\ud800-\udfff]")
"""A lone surrogate, which is valid in JSON but not in UTF-8."""


class _Reader:
    """Reads the parts of an inventory; wrong types raise, unknown keys are ignored."""

    def __init__(self, filename: str) -> None:
        self.filename = filename

    def wrong(self, what: str) -> NixsecretsError:
        return NixsecretsError(f"{self.filename}: {what}", _OLDEST_HINT)

    def items(self, value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
        found = value.get(key) or []
        if not isinstance(found, list) or not all(isinstance(i, dict) for i in found):
            raise self.wrong(f'"{key}" is not a list of objects')
        return found

    def raw(self, value: Mapping[str, Any], key: str) -> str | None:
        found = value.get(key)
        if found is None:
            return None
        if not isinstance(found, str) or _LONE.search(found):
            raise self.wrong(f'"{key}" is not text')
        return found

    def path(self, value: Mapping[str, Any], key: str) -> str | None:
        """Return a path of the repository in normal form."""
        found = self.raw(value, key)
        return posixpath.normpath(found) if found else None

    def text(self, value: Mapping[str, Any], key: str) -> str | None:
        """Return a text with control characters escaped: anyone may have written it."""
        found = self.raw(value, key)
        return None if found is None else printable(found)

    def name(self, value: Mapping[str, Any]) -> str:
        found = self.text(value, "name")
        if not found:
            raise self.wrong('a host, secret or template has no "name"')
        return found

    def texts(self, value: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
        found = value.get(key)
        if found is None:
            return None
        if not isinstance(found, list) or not all(
            isinstance(one, str) and not _LONE.search(one) for one in found
        ):
            raise self.wrong(f'"{key}" is not a list of texts')
        return tuple(map(printable, found))

    def object(self, value: Mapping[str, Any], key: str) -> dict[str, Any] | None:
        found = value.get(key)
        if found is not None and not isinstance(found, dict):
            raise self.wrong(f'"{key}" is not an object')
        return found

    def configuration(self, value: Mapping[str, Any]) -> Configuration:
        return Configuration(
            kind=self.text(value, "kind") or "nixos",
            name=self.name(value),
            host_name=self.text(value, "hostName"),
            error=self.text(value, "error"),
            parts=tuple(self.part(one) for one in self.items(value, "parts")),
        )

    def part(self, value: Mapping[str, Any]) -> Part:
        age, sops = self.object(value, "age"), self.object(value, "sops")
        return Part(
            at=self.text(value, "at") or "",
            user=self.text(value, "user"),
            container=self.text(value, "container"),
            age=None if age is None else self.age(age),
            sops=None if sops is None else self.sops(sops),
            persistent=self.texts(value, "persistent") or (),
            users_by_unit=value.get("usersByUnit") is True,
            map_name=self.text(value, "mapName"),
            binds=self.binds(value),
            ephemeral=value.get("ephemeral") is True,
        )

    def binds(self, value: Mapping[str, Any]) -> tuple[Bind, ...] | None:
        if value.get("binds") is None:
            return None
        both = (
            (self.text(one, "at"), self.text(one, "from"))
            for one in self.items(value, "binds")
        )
        return tuple(Bind(at, source) for at, source in both if at and source)

    def age(self, value: Mapping[str, Any]) -> AgeSide:
        paths = self.texts(value, "identityPaths")
        return AgeSide(paths, tuple(self.secrets(value, "age")))

    def sops(self, value: Mapping[str, Any]) -> SopsSide:
        return SopsSide(
            ssh_key_paths=self.texts(value, "sshKeyPaths"),
            key_file=self.text(value, "keyFile"),
            ssh_private_key_file=self.text(value, "sshPrivateKeyFile"),
            gnupg=value.get("gnupg") is True,
            secrets=tuple(self.secrets(value, "sops")),
            templates=tuple(
                Template(self.name(one), self.texts(one, "uses"), self.installed(one))
                for one in self.items(value, "templates")
            ),
            generate_key=value.get("generateKey") is True,
        )

    def installed(self, value: Mapping[str, Any]) -> Installed:
        return Installed(
            owner=self.text(value, "owner"),
            mode=self.text(value, "mode"),
            unknown_owner=self.text(value, "unknownOwner"),
            unknown_group=self.text(value, "unknownGroup"),
            unknown_units=self.texts(value, "unknownUnits") or (),
            password_of=self.texts(value, "passwordOf") or (),
        )

    def secrets(
        self, value: Mapping[str, Any], framework: Framework
    ) -> Iterator[Secret]:
        for one in self.items(value, "secrets"):
            exists = one.get("exists")
            yield Secret(
                framework=framework,
                name=self.name(one),
                file=None if self.raw(one, "input") else self.path(one, "file"),
                sha256=self.text(one, "sha256"),
                exists=exists if isinstance(exists, bool) else None,
                link=one.get("link") is True,
                copy=self.text(one, "copy"),
                elsewhere=self.elsewhere(one),
                error=self.text(one, "error"),
                key=self.text(one, "key"),
                format=self.text(one, "format"),
                needed_for_users=one.get("neededForUsers") is True,
                installed=self.installed(one),
            )

    def elsewhere(self, value: Mapping[str, Any]) -> str | None:
        of_input = self.text(value, "input")
        if of_input is not None:
            return f"the input {of_input}"
        if value.get("built") is True:
            return "a file that Nix builds"
        outside = self.text(value, "outside")
        return None if outside is None else f"{outside} on the machine"
