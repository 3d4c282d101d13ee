"""Secrets of the map that no command reaches: said, and no removal goes past them."""

import shutil
from collections.abc import Callable

import pytest

from tests.fleet import Fleet, ssh_key

Way = Callable[[Fleet], None]

HIDES = "hides 5 files that rules of this map match"


def hide(fleet: Fleet) -> None:
    """Do what somebody who can push does: put a map of their own below the map."""
    fleet.write("secrets/nixsecrets.toml", fleet.read("nixsecrets.toml"))
    fleet.commit("tidy up")


def link(fleet: Fleet) -> None:
    (fleet.root / "secrets/nixsecrets.toml").symlink_to("../nixsecrets.toml")
    fleet.commit("tidy up")


@pytest.mark.parametrize("way", [hide, link])
def test_a_map_below_that_hides_secrets_is_an_error(ready: Fleet, way: Way) -> None:
    way(ready)
    found = ready.run("check")
    assert found.stdout == f"NS065  secrets/nixsecrets.toml: {HIDES}\n"
    assert found.returncode == 1
    assert f"secrets/nixsecrets.toml: {HIDES}" in ready.ok("status")


def test_without_git_it_is_one_too(ready: Fleet) -> None:
    hide(ready)
    shutil.rmtree(ready.root / ".git")
    assert HIDES in ready.run("check").stdout


@pytest.mark.parametrize("way", [hide, link])
def test_no_removal_goes_past_hidden_secrets(ready: Fleet, way: Way) -> None:
    way(ready)
    before = ready.snapshot()
    yes = ("--yes", "--allow-revoke", "--allow-lockout")
    done = ready.run("remove-host", "brunnen", "--own-files", "keep", *yes)
    assert done.returncode == 1
    assert f"secrets/nixsecrets.toml: {HIDES}" in done.stderr
    assert (
        "error: nothing was changed: secrets/nixsecrets.toml hides 3 files to"
        " re-encrypt:\n  secrets/app.yaml\n  secrets/hosts/brunnen/tls.json\n"
        "  secrets/wifi.age\n"
    ) in done.stderr
    assert "git rm secrets/nixsecrets.toml" in done.stderr
    key = ssh_key("another").public
    assert ready.run("rotate-host", "brunnen", "--key", key, *yes).returncode == 1
    assert ready.snapshot() == before


def test_what_is_not_hidden_is_removed_with_keep_going(ready: Fleet) -> None:
    yes = ("--yes", "--own-files", "keep", "--keep-going")
    hide(ready)
    done = ready.run("remove-host", "brunnen", *yes)
    assert done.returncode == 1
    assert "skipped: secrets/nixsecrets.toml hides 3 files" in done.stderr
    (ready.root / "secrets/nixsecrets.toml").unlink()
    assert "still readable by brunnen" in ready.run("check").stdout
    assert "wifi.age" in ready.read("secrets/secrets.nix").decode()
    ready.ok("rekey", "--yes", "--allow-revoke")
    assert "NS010" not in ready.run("check").stdout


def test_a_grant_and_a_rekey_say_that_secrets_are_hidden(ready: Fleet) -> None:
    hide(ready)
    key = ssh_key("another").public
    done = ready.run("add-host", "neu", "--key", key, "--group", "server", "--yes")
    assert f"secrets/nixsecrets.toml: {HIDES}" in done.stderr
    assert done.returncode == 0, done.stderr
    assert f"secrets/nixsecrets.toml: {HIDES}" in ready.run("rekey", "--yes").stderr


def test_an_inner_map_outside_of_every_rule_hides_nothing(ready: Fleet) -> None:
    ready.write("more/nixsecrets.toml", ready.read("nixsecrets.toml"))
    ready.write("more/x.yaml", "a: b\n")
    ready.ok("check")
    ready.write("secrets/more/nixsecrets.toml", ready.read("nixsecrets.toml"))
    ready.write("secrets/more/nixsecrets.lock", "")
    ready.write("secrets/more/readme.md", "x\n")
    ready.ok("check")


def test_where_plaintext_is_allowed_only_what_is_encrypted_is_hidden(
    ready: Fleet,
) -> None:
    rule = (
        '[[secrets]]\npath = "more/**"\nreaders = ["server"]\nplaintext = "allowed"\n'
    )
    ready.write("nixsecrets.toml", ready.read("nixsecrets.toml").decode() + rule)
    ready.ok("sync")
    ready.write("more/nixsecrets.toml", ready.read("nixsecrets.toml"))
    ready.write("more/x.yaml", "a: b\n")
    ready.ok("check")
    ready.write("more/y.yaml", ready.read("secrets/app.yaml"))
    found = ready.run("check").stdout
    assert "more/nixsecrets.toml: hides a file that rules" in found


def removed_by_hand(fleet: Fleet) -> None:
    (fleet.root / "secrets/wifi.age").unlink()
    (fleet.root / "secrets/app.yaml").unlink()


def linked_away(fleet: Fleet) -> None:
    removed_by_hand(fleet)
    (fleet.root / "secrets/wifi.age").symlink_to("/etc/hostname")


def sparse(fleet: Fleet) -> None:
    fleet.git("status")  # or git takes the copied files for changed ones, and lets be
    fleet.git("sparse-checkout", "set", "--no-cone", "/*", *(f"!{p}" for p in ABSENT))


ABSENT = ("/secrets/wifi.age", "/secrets/app.yaml")
WAYS = [removed_by_hand, linked_away, sparse]
TRACKED = "2 secrets that git tracks are missing from the disk"
NAMES = "secrets/app.yaml, secrets/wifi.age"


@pytest.mark.parametrize("way", WAYS)
def test_secrets_that_are_not_on_the_disk_are_an_error(ready: Fleet, way: Way) -> None:
    way(ready)
    found = ready.run("check")
    assert found.stdout == f"NS066  nixsecrets.toml: {TRACKED}: {NAMES}\n"
    assert found.returncode == 1
    assert f"{TRACKED}: {NAMES}" in ready.ok("status")


@pytest.mark.parametrize("way", WAYS)
def test_sync_keeps_what_is_said_of_secrets_that_are_not_there(
    ready: Fleet, way: Way
) -> None:
    before = ready.read("secrets/secrets.nix"), ready.read("nixsecrets.lock")
    way(ready)
    done = ready.run("sync")
    assert f"warning: nixsecrets.toml: {TRACKED}" in done.stderr
    assert (ready.read("secrets/secrets.nix"), ready.read("nixsecrets.lock")) == before


@pytest.mark.parametrize("way", WAYS)
def test_no_removal_goes_past_secrets_that_are_not_there(
    ready: Fleet, way: Way
) -> None:
    way(ready)
    before = ready.snapshot()
    yes = ("--yes", "--allow-revoke")
    for words in (("remove-host", "brunnen", "--own-files", "keep"), ("rekey",)):
        done = ready.run(*words, *yes)
        assert done.returncode == 1
        assert (
            f"error: nothing was changed: {TRACKED}:\n  secrets/app.yaml\n"
            "  secrets/wifi.age\nnixsecrets: hint: git checkout -- FILE, git"
            " sparse-checkout disable, or git rm FILE; --keep-going processes the"
            " others"
        ) in done.stderr
    assert ready.snapshot() == before
    ready.ok("remove-host", "schere", *yes)  # which reads neither
    ready.ok("rekey", "secrets/hosts", *yes)


def test_what_was_removed_with_git_or_by_a_command_is_not_missed(ready: Fleet) -> None:
    ready.git("rm", "-q", "secrets/app.yaml")
    ready.ok("rm", "secrets/dns.age", "--yes")
    ready.ok("mv", "secrets/wifi.age", "secrets/wlan.age")
    ready.ok("remove-host", "brunnen", "--own-files", "delete", "--yes")
    found = ready.run("check").stdout
    assert "NS066" not in found
    ready.git("checkout", "--", "secrets/dns.age")
    ready.git("commit", "-qam", "the rest")
    (ready.root / "secrets/dns.age").unlink()
    ready.write("secrets/dns.age", ready.read("secrets/wlan.age"))
    ready.git("add", "secrets/dns.age")
    (ready.root / "secrets/dns.age").unlink()
    assert "NS066" in ready.run("check").stdout  # another version of it


def test_a_file_in_plaintext_that_is_not_there_is_no_secret(ready: Fleet) -> None:
    rule = '[[secrets]]\npath = "more/**"\nreaders = ["server"]\n'
    rule += 'plaintext = "allowed"\n'
    ready.write("nixsecrets.toml", ready.read("nixsecrets.toml").decode() + rule)
    ready.write("more/x.yaml", "a: b\n")
    ready.write("more/y.yaml", ready.read("secrets/app.yaml"))
    ready.ok("sync")
    ready.commit("more")
    (ready.root / "more/x.yaml").unlink()
    assert "NS066" not in ready.run("check").stdout
    (ready.root / "more/y.yaml").unlink()
    assert "missing from the disk: more/y.yaml" in ready.run("check").stdout
