"""The command under a finding mends it: each is taken from the output and run."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.findings.shims import put_on_path
from tests.fleet import Fleet, age_key, make_fleet

TABLES = """
[sops]
config = ".sops.yaml"

[agenix]
rules = "secrets.nix"

[[secrets]]
path = "secrets/**"
readers = ["web"]
"""
FIX = re.compile(r"^    (\S.*)$", re.MULTILINE)


def placed(tmp_path: Path, below: str) -> Fleet:
    """A fleet in order, whose map lies at the top, or below in `fleet/`."""
    fleet = make_fleet(tmp_path, hosts=("web",))
    put_on_path(fleet, tmp_path / "bin")
    fleet.write(f"{below}nixsecrets.toml", fleet.map_text(TABLES))
    alice, web = fleet.public("alice"), fleet.public("web")
    fleet.sops_encrypt(f"{below}secrets/app.yaml", "a: b\n", [alice])
    fleet.age_encrypt(f"{below}secrets/wifi file.age", "wifi", alice, web)
    fleet.ok("-C", below or ".", "rekey", "--yes")
    fleet.commit("start")
    return fleet


def shell(fleet: Fleet, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=fleet.root,
        env={"EDITOR": "true"} | fleet.env,
        capture_output=True,
        text=True,
        check=False,
    )


def in_the_open(name: str) -> Callable[[Fleet, str], None]:
    return lambda fleet, below: void(fleet.write(f"{below}secrets/{name}", "a: b\n"))


def void(_: object) -> None:
    """Drop a value."""


def a_value(fleet: Fleet, below: str) -> None:
    path = f"{below}secrets/app.yaml"
    fleet.write(path, b"b: hunter2\n" + fleet.read(path))


def cut_off(fleet: Fleet, below: str) -> None:
    path = f"{below}secrets/wifi file.age"
    fleet.write(path, fleet.read(path)[:-20])


def others(fleet: Fleet, below: str) -> None:
    keys = [fleet.public("alice"), age_key().public]
    fleet.sops_encrypt(f"{below}secrets/app.yaml", "a: b\n", keys)


def several_others(fleet: Fleet, below: str) -> None:
    for number in range(5):
        key = [fleet.public("alice")]
        fleet.sops_encrypt(f"{below}secrets/x{number}.yaml", "a: b\n", key)


def a_file_by_hand(fleet: Fleet, below: str) -> None:
    fleet.write(f"{below}.sops.yaml", "")


SPOILED: dict[str, Callable[[Fleet, str], None]] = {
    "a plaintext for sops": in_the_open("new.yaml"),
    "a plaintext for age": in_the_open("new file.age"),
    "a plaintext in binary": in_the_open("-k"),
    "a value in the open": a_value,
    "a file cut off": cut_off,
    "other readers": others,
    "several stale files": several_others,
    "a generated file": a_file_by_hand,
}


IN_A_FOLDER = ("a plaintext for age", "a value in the open", "several stale files")
WHERE = [("", what) for what in SPOILED] + [("fleet/", what) for what in IN_A_FOLDER]


@pytest.mark.parametrize(("below", "what"), WHERE)
def test_the_command_under_a_finding_of_check_mends_it(
    tmp_path: Path, below: str, what: str
) -> None:
    fleet = placed(tmp_path, below)
    assert fleet.run("-C", below or ".", "check").stdout == ""
    SPOILED[what](fleet, below)
    found = fleet.run("-C", below or ".", "check")
    assert found.returncode == 1
    fixes = FIX.findall(found.stdout)
    assert len(fixes) in {1, 2}, found.stdout  # a new age file is none of secrets.nix
    for fix in fixes:
        agreed = " --yes --allow-revoke" if "rekey" in fix else ""
        done = shell(fleet, fix + agreed)
        assert done.returncode == 0, done.stdout + done.stderr
    again = fleet.run("-C", below or ".", "check")
    assert again.returncode == 0, again.stdout


JUDGED = [pair for pair in WHERE if "readers" not in pair[1] and "stale" not in pair[1]]


@pytest.mark.parametrize(("below", "what"), JUDGED)
def test_the_command_under_a_finding_of_the_hook_mends_it(
    tmp_path: Path, below: str, what: str
) -> None:
    fleet = placed(tmp_path, below)
    SPOILED[what](fleet, below)
    fleet.git("add", "-A")
    found = fleet.run("hook", "run")
    assert found.returncode == (what != "a generated file")
    for fix in FIX.findall(found.stdout):
        assert shell(fleet, fix).returncode == 0, fix
        fleet.git("add", "-A")
    again = fleet.run("hook", "run")
    assert again.returncode == 0, again.stdout


@pytest.mark.parametrize("below", ["", "fleet/"])
def test_what_was_never_committed_is_taken_out_and_not_restored(
    tmp_path: Path, below: str
) -> None:
    fleet = placed(tmp_path, below)
    fleet.write(f"{below}secrets/new.age", "age-encryption.org/v1\n-> broken\n")
    fleet.git("add", "-A")
    found = fleet.run("hook", "run").stdout
    assert re.search(r"^    git( -C fleet)? rm --cached ", found, re.MULTILINE)
    assert "checkout" not in found + fleet.run("-C", below or ".", "check").stdout


def test_an_encrypted_file_is_not_encrypted_once_more(fleet: Fleet) -> None:
    fleet.add_host("web")
    fleet.write_map(TABLES)
    fleet.age_encrypt("secrets/a.age", "x", "alice")
    before = fleet.read("secrets/a.age")
    path = ("secrets/a.age", "--from-file", "secrets/a.age")
    done = fleet.run("set", *path)
    assert (done.returncode, fleet.read("secrets/a.age")) == (1, before)
    assert "is encrypted already" in done.stderr


def test_only_the_file_itself_is_replaced_by_its_encrypted_form(fleet: Fleet) -> None:
    fleet.add_host("web")
    fleet.write_map(TABLES)
    fleet.write("secrets/a.age", "in the open")
    fleet.write("other", "another")
    done = fleet.run("set", "secrets/a.age", "--from-file", "other")
    assert (done.returncode, fleet.read("secrets/a.age")) == (1, b"in the open")
    hint = "nixsecrets set secrets/a.age --from-file secrets/a.age"
    assert hint in done.stderr
    fleet.ok(*hint.split()[1:])
    assert fleet.age_decrypt("secrets/a.age", "alice") == b"in the open"
