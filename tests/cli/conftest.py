"""One repository in working order, made once and copied for each test."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.fleet import Fleet

RULES = """
[sops]
config = ".sops.yaml"

[agenix]
rules = "secrets/secrets.nix"

[groups]
dns = ["schere", "stein"]
server = ["brunnen"]

[[secrets]]
path = "secrets/dns.*"
readers = ["dns"]

[[secrets]]
path = "secrets/hosts/{host}/**"
readers = ["{host}"]

[[secrets]]
path = "secrets/**"
readers = ["server"]
"""
CONTENTS = {
    "secrets/dns.age": "dns-canary",
    "secrets/dns.yaml": "dns: dns-canary\n",
    "secrets/wifi.age": "wifi-canary",
    "secrets/app.yaml": "app: app-canary\n",
    "secrets/hosts/brunnen/tls.json": '{"key": "tls-canary"}\n',
}


def write_secret(fleet: Fleet, path: str, content: str) -> None:
    """Write a secret as a script does: with an editor that copies."""
    fleet.env["EDITOR"] = set_editor(fleet, content)
    fleet.ok("edit", path)
    del fleet.env["EDITOR"]


def set_editor(fleet: Fleet, content: str) -> str:
    """Make a program that puts `content` into the file it is given; return its name."""
    source = fleet.home / "content"
    source.write_text(content)
    editor = fleet.home / "editor"
    editor.write_text(f'#!/bin/sh\ncp "{source}" "$1"\n')
    editor.chmod(0o755)
    return str(editor)


def in_order(base: Path) -> Fleet:
    """Return alice, brunnen, schere, stein; five secrets of both backends."""
    fleet = kit.make_fleet(base, hosts=("brunnen", "schere", "stein"))
    fleet.write_map(RULES)
    fleet.ok("sync")
    for path, content in CONTENTS.items():
        write_secret(fleet, path, content)
    fleet.commit("start")
    return fleet


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A repository in which nothing is wrong."""
    return in_order(tmp_path_factory.mktemp("template"))


@pytest.fixture
def ready(template: Fleet, tmp_path: Path) -> Fleet:
    """A copy of the template."""
    return copied(template, tmp_path / "fleet")


def copied(template: Fleet, target: Path) -> Fleet:
    """Copy a fleet, with everything next to it, to a new folder."""
    base = template.root.parent
    shutil.copytree(base, target, symlinks=True)

    def moved(path: Path) -> Path:
        return target / path.relative_to(base)

    env = {
        name: value.replace(str(base), str(target))
        for name, value in template.env.items()
    }
    return dataclasses.replace(
        template,
        root=moved(template.root),
        home=moved(template.home),
        keys=moved(template.keys),
        env=env,
        hosts=dict(template.hosts),
        users=dict(template.users),
    )


def changed(fleet: Fleet, before: dict[str, bytes]) -> set[str]:
    """Return the paths that are not as they were."""
    after = fleet.snapshot()
    return {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
