"""A repository whose commits are guarded."""

from pathlib import Path

import pytest

from tests.cli.conftest import copied
from tests.fleet import PROJECT, Fleet, make_fleet

RULES = """
[[secrets]]
path = "secrets/**"
readers = ["web"]

[[secrets]]
path = "k8s/**"
readers = ["web"]
plaintext = "allowed"
sops = { encrypted_regex = "^(data|stringData)$" }
"""
K8S = "kind: Secret\ndata:\n    a: b\n"


@pytest.fixture(scope="session")
def guarded_template(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    fleet = make_fleet(tmp_path_factory.mktemp("guarded"), hosts=("web",))
    fleet.write_map(RULES)
    alice = fleet.public("alice")
    fleet.age_encrypt("secrets/wifi.age", "wifi", "alice", "web")
    fleet.sops_encrypt("secrets/app.yaml", "a: b\n", [alice])
    regex = ("--encrypted-regex", "^(data|stringData)$")
    fleet.sops_encrypt("k8s/db.yaml", K8S, [alice], *regex)
    fleet.write("README", "hello\n")
    fleet.commit("start")
    fleet.env["PYTHONPATH"] = str(PROJECT)
    fleet.env["PATH"] = without_nixsecrets(fleet.env["PATH"])
    fleet.ok("hook", "install")
    return fleet


@pytest.fixture
def guarded(guarded_template: Fleet, tmp_path: Path) -> Fleet:
    """A repository with a map, two secrets, and the hook; nothing else is staged."""
    return copied(guarded_template, tmp_path / "fleet")


def without_nixsecrets(path: str) -> str:
    folders = path.split(":")
    return ":".join(f for f in folders if not (Path(f) / "nixsecrets").exists())
