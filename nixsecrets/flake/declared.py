"""What configurations declare, as values; read from JSON that Nix or anybody wrote.

    {"nixsecrets_declared": 1, "hosts": [
      {"kind": "nixos", "name": "brunnen", "parts": [
        {"at": "", "age": {"identityPaths": ["/etc/ssh/ssh_host_ed25519_key"],
                           "secrets": [{"name": "wifi", "file": "secrets/wifi.age"}]}}
      ]},
      {"kind": "nixos", "name": "broken", "error": "what Nix said"}
    ]}

Only `name` is required of a host, only `name` and `file` of a secret; `file` is
relative to the top of the git repository.  Pure.
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
class Secret:
    """One `age.secrets.NAME` or `sops.secrets.NAME`.

    `file` is None where the path was lost (interpolation): then `sha256` finds it.
    `elsewhere` says where a file lies that is none of this repository, `error` what
    is wrong with the declaration itself.  `exists` is what the flake sees: None where
    nobody looked.
    """

    framework: Framework
    name: str
    file: str | None = None
    sha256: str | None = None
    exists: bool | None = None
    elsewhere: str | None = None
    error: str | None = None
    key: str | None = None
    format: str | None = None
    owner: str | None = None
    mode: str | None = None
    needed_for_users: bool = False

    @property
    def option(self) -> str:
        """How the configuration calls it."""
        return f"{self.framework}.secrets.{self.name}"


@dataclass(frozen=True, slots=True)
class Template:
    """One `sops.templates.NAME`; `uses` names the secrets in it, None: unknown."""

    name: str
    uses: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class AgeSide:
    """What agenix would do: the secrets, and the private keys it tries."""

    identity_paths: tuple[str, ...] | None
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class SopsSide:
    """What sops-nix would do; a path list is None where nobody said."""

    ssh_key_paths: tuple[str, ...] | None
    key_file: str | None
    ssh_private_key_file: str | None
    gnupg: bool
    secrets: tuple[Secret, ...]
    templates: tuple[Template, ...]


SideT = TypeVar("SideT", AgeSide, SopsSide)


@dataclass(frozen=True, slots=True)
class Part:
    """What installs secrets of its own: a system, a home, a container in it.

    `at` names it within its host (`home-manager user alice`), empty for the host
    itself.  `user` is whose keys it has, None for the host's.  `persistent` are the
    folders that outlive a reboot, empty where all do.
    """

    at: str
    user: str | None
    container: str | None
    age: AgeSide | None
    sops: SopsSide | None
    persistent: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Everything declared, in the order of the frameworks and names."""
        age = self.age.secrets if self.age else ()
        return (*age, *(self.sops.secrets if self.sops else ()))

    def without(self, known: Collection[tuple[str | None, Secret]]) -> "Part":
        """Return the part without the secrets that `known` has for its user."""

        def left(side: SideT) -> SideT:
            kept = (one for one in side.secrets if (self.user, one) not in known)
            return replace(side, secrets=tuple(kept))

        age = self.age and left(self.age)
        return replace(self, age=age, sops=self.sops and left(self.sops))


@dataclass(frozen=True, slots=True)
class Configuration:
    """One configuration of a flake; `error` is why it does not evaluate."""

    kind: str
    name: str
    host_name: str | None = None
    error: str | None = None
    parts: tuple[Part, ...] = ()


def parse(text: str, filename: str) -> tuple[Configuration, ...]:
    """Read an inventory.

    Raises:
        NixsecretsError: it is no inventory, or one of a newer kind.
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
    """Return the JSON text of an inventory, from what Nix told of each host."""
    value = {"nixsecrets_declared": VERSION, "hosts": hosts}
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


_LONE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can hold and no file or terminal can."""


class _Reader:
    """Reads the parts of an inventory; a wrong type is an error, unknown keys pass."""

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
        """Return a path of the repository in the one way that it is written here."""
        found = self.raw(value, key)
        return posixpath.normpath(found) if found else None

    def text(self, value: Mapping[str, Any], key: str) -> str | None:
        """Return a text that may be shown: it is a stranger's."""
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
        )

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
                Template(self.name(one), self.texts(one, "uses"))
                for one in self.items(value, "templates")
            ),
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
                elsewhere=self.elsewhere(one),
                error=self.text(one, "error"),
                key=self.text(one, "key"),
                format=self.text(one, "format"),
                owner=self.text(one, "owner"),
                mode=self.text(one, "mode"),
                needed_for_users=one.get("neededForUsers") is True,
            )

    def elsewhere(self, value: Mapping[str, Any]) -> str | None:
        of_input = self.text(value, "input")
        if of_input is not None:
            return f"the input {of_input}"
        outside = self.text(value, "outside")
        return None if outside is None else f"{outside} on the machine"
