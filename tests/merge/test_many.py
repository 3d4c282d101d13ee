"""Two hundred files, all of which both sides changed, by real age and real sops."""

from pathlib import Path

from benchmarks.fleets import LEAVES, Shape, build
from tests.fleet import approve_keys
from tests.merge.branches import add, key, opens, parted, put, remove, resolve, several

FILES = 200
AGE, SOPS = "secrets/age/00007.age", "secrets/sops/00007.yaml"


def test_a_removal_and_a_grant_of_two_hundred_files_are_one(tmp_path: Path) -> None:
    half = FILES // 2
    built = build(tmp_path / "fleet", Shape(half, half, readers=5, real_sops=False))
    fleet = built.fleet
    approve_keys(fleet.root, fleet.env)
    found = parted(
        fleet,
        several(remove(LEAVES), put(AGE, "new\n"), key(SOPS, "token", "new")),
        several(add("elm", "servers"), put("secrets/age/new.age", "v")),
    )
    done = resolve(found)
    assert done.returncode == 0, done.stderr
    assert fleet.git("ls-files", "-u") == ""
    fleet.commit("merged")
    fleet.ok("check")
    assert fleet.ok("cat", AGE) == "new\n"
    assert "token: new\n" in fleet.ok("cat", SOPS)
    for path in [*built.paths, "secrets/age/new.age"]:
        assert opens(fleet, path, "elm"), path
        assert not opens(fleet, path, LEAVES), path
