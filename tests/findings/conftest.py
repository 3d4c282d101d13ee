"""A repository whose commits are guarded."""

from pathlib import Path

import pytest

from tests.fleet import PROJECT, Fleet

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


@pytest.fixture
def guarded(fleet: Fleet) -> Fleet:
    """A repository with a map, two secrets, and the hook; nothing else is staged."""
    fleet.add_host("web")
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


def without_nixsecrets(path: str) -> str:
    folders = path.split(":")
    return ":".join(f for f in folders if not (Path(f) / "nixsecrets").exists())
