"""Two files under one symmetric key: both are named, and rekey parts them."""

import json
import shutil

import pytest

from tests import fleet as kit
from tests.fleet import Fleet, run_program, sops_path

COPIES = {
    "secrets/wifi.age": "secrets/wlan.age",
    "secrets/app.yaml": "secrets/app2.yaml",
}


def named(fleet: Fleet) -> dict[str, str]:
    """Return the files that share a key, by `check`, and what is said."""
    problems = json.loads(fleet.run("check", "--json").stdout)["problems"]
    return {p["path"]: p["message"] for p in problems if p["code"] == "NS016"}


def copy(fleet: Fleet, path: str) -> str:
    """Copy a file by hand; that its readers are right was said for the first one."""
    other = COPIES[path]
    shutil.copy(fleet.root / path, fleet.root / other)
    if path.endswith(".age"):
        fleet.ok("accept", other, "--yes")
    return other


@pytest.mark.parametrize("path", COPIES)
def test_check_names_both_and_rekey_parts_them(ready: Fleet, path: str) -> None:
    assert named(ready) == {}
    other = copy(ready, path)
    found = named(ready)
    assert set(found) == {path, other}
    assert f"has the same symmetric key as {other}" in found[path]
    assert f"has the same symmetric key as {path}" in found[other]
    check = ready.run("check")
    assert check.returncode == 1
    assert f"    nixsecrets rekey {other}" in check.stdout
    before = ready.read(path)
    ready.ok("sync")
    ready.ok("rekey", other, "--yes")
    assert ready.read(path) == before
    assert named(ready) == {}
    assert ready.ok("cat", path) == ready.ok("cat", other)
    snapshot = ready.snapshot()
    ready.ok("rekey", "--yes")
    assert ready.snapshot() == snapshot


def test_an_old_version_next_to_one_that_got_a_reader_is_named(ready: Fleet) -> None:
    """The header is another since; the file key is not."""
    path = "secrets/wifi.age"
    old = ready.read(path)
    new = ready.add_host("neu")
    ready.ok("add-host", "neu", "--key", new.public, "--group", "server", "--yes")
    assert ready.read(path) != old
    ready.write("secrets/wlan.age", old)
    assert set(named(ready)) == {path, "secrets/wlan.age"}


def test_a_copy_whose_entries_sops_rewrote_is_named(ready: Fleet) -> None:
    """`sops updatekeys` wraps the old data key for everybody again."""
    other = copy(ready, "secrets/app.yaml")
    folder = ready.home / "elsewhere"
    folder.mkdir()
    keys = f"{ready.public('alice')},{kit.age_key().public}"
    (folder / ".sops.yaml").write_text(f"creation_rules: [{{age: '{keys}'}}]\n")
    file = shutil.move(ready.root / other, folder / "app2.yaml")
    secret = kit.age_secret((ready.keys / "alice").read_bytes())
    env = ready.env | {"SOPS_AGE_KEY": secret}
    run_program(sops_path(), "updatekeys", "-y", str(file), env=env, cwd=folder)
    ready.write(other, (folder / "app2.yaml").read_bytes())
    assert set(named(ready)) == {"secrets/app.yaml", other}


def test_a_copy_that_no_rule_names_is_parted_by_the_other_one(ready: Fleet) -> None:
    shutil.copy(ready.root / "secrets/app.yaml", ready.root / "stray.yaml")
    assert set(named(ready)) == {"secrets/app.yaml", "stray.yaml"}
    assert "nixsecrets rekey stray.yaml" not in ready.run("check").stdout
    ready.ok("rekey", "secrets/app.yaml", "--yes")
    assert named(ready) == {}


@pytest.mark.parametrize("path", COPIES)
def test_the_rekey_of_one_leaves_nothing_to_look_at(ready: Fleet, path: str) -> None:
    copy(ready, path)
    third = f"secrets/third{path[-5:]}"
    shutil.copy(ready.root / path, ready.root / third)
    if path.endswith(".age"):
        ready.ok("accept", third, "--yes")
    done = ready.run("rekey", third, "--yes")
    assert f"also needs attention: {path}, {COPIES[path]}; " in done.stderr
    done = ready.run("rekey", path, "--yes")
    assert done.returncode == 0, done.stderr
    assert "also needs attention" not in done.stderr
    assert named(ready) == {}


def test_a_copy_that_a_command_deletes_is_none_to_look_at(ready: Fleet) -> None:
    """Problems are those that are left after the plan, not those before it."""
    own = "secrets/hosts/brunnen/tls.json"
    shutil.copy(ready.root / own, ready.root / "secrets/copy.json")
    remove = ("remove-host", "brunnen", "--own-files", "delete")
    done = ready.run(*remove, "--yes", "--allow-revoke")
    assert done.returncode == 0, done.stderr
    assert "also needs attention" not in done.stderr
    assert named(ready) == {}


def test_a_moved_file_is_checked_at_its_new_path(ready: Fleet) -> None:
    done = ready.run("rename-host", "brunnen", "fountain", "--yes")
    assert done.returncode == 0, done.stderr
    assert "also needs attention" not in done.stderr
    assert "is not in the map" not in done.stderr
