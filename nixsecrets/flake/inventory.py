"""The inventory of declared secrets: reads and writes its JSON format.

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
from collections.abc import Iterator, Mapping
from typing import Any

from nixsecrets.errors import NixsecretsError, printable
from nixsecrets.flake.declared import (
    AgeSide,
    Bind,
    Configuration,
    Framework,
    Installed,
    Part,
    Secret,
    SopsSide,
    Template,
)

VERSION = 1
_OLDEST_HINT = "write it with `nixsecrets check --flake . --save FILE`"


def parse(
    text: str, filename: str, *, with_inputs: bool = False
) -> tuple[Configuration, ...]:
    """Parse the JSON text of an inventory; `filename` is for errors.

    `with_inputs`: keep where the files of inputs are on this machine, for an inventory
    that Nix has just written here; nobody else may name a file to read.

    Raises:
        NixsecretsError: it is not an inventory, or has another version.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NixsecretsError(f"{filename}: is not JSON", _OLDEST_HINT) from error
    reader = _Reader(filename, with_inputs=with_inputs)
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

    def __init__(self, filename: str, *, with_inputs: bool) -> None:
        self.filename = filename
        self.with_inputs = with_inputs

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
            in_store=tuple(
                (self.text(one, "option") or "", self.text(one, "instead") or "")
                for one in self.items(value, "inStore")
            ),
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
                of_input=self.of_input(one) if self.with_inputs else None,
                error=self.text(one, "error"),
                key=self.text(one, "key"),
                format=self.text(one, "format"),
                needed_for_users=one.get("neededForUsers") is True,
                installed=self.installed(one),
            )

    def of_input(self, value: Mapping[str, Any]) -> tuple[str, str, str] | None:
        name, source = self.text(value, "input"), self.raw(value, "source")
        path = self.path(value, "file")
        return (name, source, path) if name and source and path else None

    def elsewhere(self, value: Mapping[str, Any]) -> str | None:
        of_input = self.text(value, "input")
        if of_input is not None:
            return "the flake" if of_input == "self" else f"the input {of_input}"
        if value.get("built") is True:
            return "a file that Nix builds"
        outside = self.text(value, "outside")
        return None if outside is None else f"{outside} on the machine"
