"""A fleet with files of every kind."""

from pathlib import Path

import pytest

from tests.fleet import Fleet, make_fleet

RULES = """
[[secrets]]
path = "notes.md"
readers = ["web"]

[[secrets]]
path = "s/**"
readers = ["web"]
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A fleet with files of every kind: complete, corrupt, large, unusual."""
    fleet = make_fleet(tmp_path, hosts=["web"])
    fleet.write_map(RULES)
    fleet.ok("set", "s/recorded.age", stdin="x")
    fleet.age_encrypt("s/armored.age", "x", "web", armor=True)
    usual = fleet.age_encrypt("s/usual.age", "x" * 100, "alice", "web").read_bytes()
    payload = usual.index(b"\n---") + 49
    fleet.write("s/copy.age", usual)
    fleet.write("s/cut.age", usual[: payload + 20])
    fleet.write("s/header.age", usual.replace(b"\n-> ssh", b"\n->  ssh"))
    fleet.write("s/text.age", usual[:payload] + b"plain text " * 9)
    fleet.write("s/large.age", usual + bytes(3 << 20))
    fleet.write("s/odd \udcff\n name.age", usual)
    fleet.write("notes.md", usual)  # no secret by its name, but for its rule
    fleet.write("unnamed.md", usual)
    keys = [fleet.public("alice")]
    for name in ("s/values.yaml", "s/values.json", "elsewhere.yaml"):
        fleet.sops_encrypt(name, '{"a": "b"}', keys)
    values = fleet.read("s/values.yaml")
    fleet.write("s/cut.yaml", values[: values.index(b"    mac")])
    fleet.write("s/spoilt.yaml", values.replace(b"YWdl", b"YW-l", 1))
    fleet.write("s/other.yaml", values.replace(keys[0].encode(), b"age1none"))
    fleet.write("s/open.yaml", "a: b\n")
    fleet.write("s/empty", b"")
    (fleet.root / "s/link.age").symlink_to("usual.age")
    (fleet.root / "s/away").symlink_to("/etc")
    return fleet
