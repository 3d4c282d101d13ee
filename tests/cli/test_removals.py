"""A removal is remembered: what puts a removed key back is reported and asked about."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed, write_secret
from tests.fleet import Fleet

DNS = {"secrets/dns.age", "secrets/dns.yaml"}


def remove(fleet: Fleet, name: str = "stein") -> str:
    fleet.ok("remove-host", name, "--yes")
    fleet.commit(f"remove {name}")
    return fleet.git("rev-parse", "HEAD").strip()


def by_hand(fleet: Fleet, old: str, new: str) -> None:
    path = fleet.root / "nixsecrets.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def without(fleet: Fleet, name: str) -> None:
    """Take a host out of the map with an editor."""
    by_hand(fleet, f'\n[hosts."{name}"]\nkeys = ["{fleet.public(name)}"]\n', "")
    by_hand(fleet, 'dns = ["schere", "stein"]', 'dns = ["schere"]')


def forgotten(fleet: Fleet) -> None:
    """Let the clone remember nothing, as a colleague's."""
    shutil.rmtree(fleet.root / ".git/nixsecrets", ignore_errors=True)


def reverted(fleet: Fleet) -> None:
    remove(fleet)
    fleet.git("revert", "--no-edit", "HEAD")


def old_tree(fleet: Fleet) -> None:
    start = fleet.git("rev-parse", "HEAD").strip()
    remove(fleet)
    fleet.git("checkout", "-q", start, "--", ".")
    fleet.commit("back")


def merged_with_the_old_tree(fleet: Fleet) -> None:
    fleet.git("checkout", "-q", "-b", "side")
    remove(fleet)
    fleet.git("checkout", "-q", "main")
    fleet.commit("on main")
    fleet.git("merge", "-q", "-s", "ours", "--no-edit", "side")
    shown = fleet.git("log", "--format=%s", "--", "nixsecrets.toml")
    assert "remove" not in shown  # git itself hides it


def edited_by_hand(fleet: Fleet) -> None:
    before = (fleet.root / "nixsecrets.toml").read_text()
    without(fleet, "stein")
    fleet.ok("rekey", "--yes", "--allow-revoke")
    fleet.commit("by hand")
    (fleet.root / "nixsecrets.toml").write_text(before)
    fleet.ok("sync")
    fleet.commit("and back")


def rebased_away(fleet: Fleet) -> None:
    """Only the clone knows."""
    start = fleet.git("rev-parse", "HEAD").strip()
    remove(fleet)
    fleet.git("reset", "-q", "--hard", start)


WAYS = [reverted, old_tree, merged_with_the_old_tree, edited_by_hand, rebased_away]


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_access_that_comes_back_is_reported_and_asked_about(
    ready: Fleet, way: Callable[[Fleet], None], fresh: bool
) -> None:
    way(ready)
    if fresh and way is not rebased_away:
        forgotten(ready)
    done = ready.run("check")
    assert done.returncode == 1
    number = "0 files" if way is edited_by_hand else "2 files"
    assert "NS027  nixsecrets.toml" in done.stdout
    assert f"and can read {number} again" in done.stdout
    status = ready.run("status").stdout
    assert "stein was removed on " in status
    assert "the repository matches the map" not in status
    before = ready.snapshot()
    (ready.home / "value").write_text("new")
    given: tuple[str | Path, ...] = (
        "set",
        "secrets/dns.age",
        "--from-file",
        ready.home / "value",
        "--yes",
    )
    if way is edited_by_hand:
        given = ("rekey", "--yes")
    done = ready.run(*given)
    assert done.returncode == 1
    assert "stein would get a key of stein that is retired since " in done.stderr
    assert "nixsecrets: hint: agree with --allow-retired\n" in done.stderr
    assert changed(ready, before) == set()
    ready.ok(*given, "--allow-retired")
    if way is merged_with_the_old_tree:
        assert "NS009" in ready.run("check").stdout  # of the merge that HEAD still is
        ready.commit("it stays")
    ready.ok("check")  # agreed to, in this clone
    assert "removed" not in ready.run("status").stdout
    write_secret(ready, "secrets/dns.age", "and again")


COMMANDS: dict[str, tuple[str, ...]] = {
    "set": ("set", "secrets/dns.yaml", "--key", "dns"),
    "generate": ("generate", "secrets/dns.2.age"),
    "edit": ("edit", "secrets/dns.age"),
    "mv": ("mv", "secrets/wifi.age", "secrets/dns.3.age", "--allow-revoke"),
    "add-host": ("add-host", "fels", "--group", "dns"),
    "rekey": ("rekey",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_asks_before_it_encrypts_to_a_removed_key(
    ready: Fleet, command: str
) -> None:
    reverted(ready)
    if command == "rekey":
        ready.age_encrypt("secrets/dns.4.age", "x", "alice")
    arguments = COMMANDS[command]
    if command == "add-host":
        arguments += ("--key", kit.ssh_key("fels").public, "--keep-going")
    editor = ready.home / "editor"
    editor.write_text("#!/bin/sh\necho more >> $1\n")
    editor.chmod(0o755)
    ready.env["EDITOR"] = str(editor)
    before = ready.snapshot()
    done = kit.run_cli(*arguments, "--yes", cwd=ready.root, env=ready.env, stdin="v")
    if command == "add-host":  # a grant writes nothing for stein
        assert done.returncode == 0, done.stderr
        assert "stein was removed on" in done.stderr
        return
    assert (done.returncode, changed(ready, before)) == (1, set())
    assert "hint: agree with --allow-retired" in done.stderr


def test_an_old_version_of_a_file_that_is_put_back_is_named(ready: Fleet) -> None:
    commit = remove(ready)
    ready.git("checkout", "-q", "HEAD~", "--", "secrets/dns.yaml")
    done = ready.run("check")
    assert done.returncode == 1
    (line,) = (one for one in done.stdout.splitlines() if "NS027" in one)
    assert "secrets/dns.yaml" in line
    assert f"in {commit[:10]} and can read 1 file" in line
    ready.ok("rekey", "--yes", "--allow-revoke")
    assert "NS027" not in ready.run("check").stdout


def test_a_retired_entry_that_was_dropped_is_remembered(ready: Fleet) -> None:
    remove(ready)
    text = (ready.root / "nixsecrets.toml").read_text()
    (ready.root / "nixsecrets.toml").write_text(text[: text.index("[[retired]]")])
    ready.commit("dropped")
    forgotten(ready)
    ready.ok("check")
    again = ("add-host", "fels", "--key", ready.public("stein"), "--group", "dns")
    done = ready.run(*again, "--yes")
    assert done.returncode == 1
    assert "fels would get a key of stein that is retired since" in done.stderr
    ready.ok(*again, "--yes", "--allow-retired")
    assert "[[retired]]" in (ready.root / "nixsecrets.toml").read_text()
    ready.commit("agreed")
    forgotten(ready)
    ready.ok("check")  # the map says for every clone that it is meant


def test_a_return_that_was_agreed_to_is_silent_in_every_clone(ready: Fleet) -> None:
    remove(ready)
    again = ("add-host", "stein", "--key", ready.public("stein"), "--group", "dns")
    ready.ok(*again, "--yes", "--allow-retired")
    ready.commit("back on purpose")
    ready.ok("check")
    forgotten(ready)
    ready.ok("check")
    remove(ready)
    forgotten(ready)
    ready.git("revert", "--no-edit", "HEAD")
    assert "NS027" in ready.run("check").stdout  # the second removal was not agreed to


def test_a_rotated_key_that_comes_back_is_a_removed_one(ready: Fleet) -> None:
    new = kit.ssh_key("new stein").public
    ready.ok("rotate-host", "stein", "--key", new, "--yes")
    ready.commit("rotated")
    ready.ok("check")
    ready.git("revert", "--no-edit", "HEAD")
    assert "stein was removed on" in ready.run("check").stdout


def test_what_keeps_the_key_is_no_removal(ready: Fleet) -> None:
    ready.ok("rename-host", "stein", "fels", "--yes")
    ready.commit("renamed")
    by_hand(ready, 'dns = ["schere", "fels"]', 'dns = ["schere"]')
    ready.ok("rekey", "--yes", "--allow-revoke")
    ready.commit("out of the group")
    by_hand(ready, 'dns = ["schere"]', 'dns = ["schere", "fels"]')
    ready.ok("rekey", "--yes")
    ready.commit("into it")
    done = ready.run("check")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "spoilt", ["version = 1", "<<<<<<< HEAD\n", "", "\x00", "version = 99\nnew = 1\n"]
)
def test_old_maps_that_nobody_can_read_any_more_do_not_matter(
    ready: Fleet, spoilt: str
) -> None:
    good = ready.read("nixsecrets.toml")
    ready.write("nixsecrets.toml", spoilt.encode() + b"\n" + good[20:])
    ready.commit("spoilt")
    ready.write("nixsecrets.toml", good)
    ready.commit("as before")
    ready.ok("check")
    remove(ready)
    removed = ready.read("nixsecrets.toml")
    ready.write("nixsecrets.toml", b"<<<<<<< HEAD\n" + removed)
    ready.commit("spoilt again")
    ready.write("nixsecrets.toml", good)
    ready.commit("back")
    assert "NS027" in ready.run("check").stdout


def test_check_says_where_it_looked(ready: Fleet, tmp_path: Path) -> None:
    whole = "removals: the whole history of the map was searched\n"
    assert ready.run("check").stderr == whole
    assert "removals" not in ready.run("check", "--json").stderr
    ready.commit("more")
    source = f"file://{ready.root}"
    kit.git(tmp_path, "clone", "-q", "--depth=1", source, "one", env=ready.env)
    done = ready.run("-C", tmp_path / "one", "check")
    assert done.returncode == 0
    assert "removals: this clone is shallow" in done.stderr
    shutil.rmtree(ready.root / ".git")
    done = ready.run("check")
    assert done.stderr == "removals: no git history to search\n"


def test_what_was_seen_is_remembered_and_another_branch_is_not_mistaken(
    ready: Fleet,
) -> None:
    for number in range(60):
        by_hand(ready, "version = 1\n", f"version = 1\n# {number}\n")
        ready.commit(str(number))
    ready.git("checkout", "-q", "-b", "side")
    without(ready, "stein")
    ready.ok("rekey", "--yes", "--allow-revoke")
    ready.commit("by hand")
    forgotten(ready)
    ready.ok("check")
    kept = (ready.root / ".git/nixsecrets/clone/remembered").read_text()
    assert [json.loads(one).get("kind") for one in kept.splitlines()[1:]] == [
        "scanned",
        "seen",
    ]
    ready.ok("check")
    ready.git("checkout", "-q", "main")
    ready.ok("check")  # nobody was removed here
    ready.git("merge", "-q", "side")
    ready.git("revert", "--no-edit", "HEAD")
    assert "NS027" in ready.run("check").stdout


def test_approve_agrees_to_a_return_in_this_clone(ready: Fleet) -> None:
    reverted(ready)
    done = ready.run("approve", "--yes", "stein")
    assert done.returncode == 1
    assert "hint: agree with --allow-retired" in done.stderr
    assert ready.run("check").returncode == 1
    done = ready.run("approve", "stein", "--yes", "--allow-retired")
    assert (done.returncode, "is used again" in done.stderr) == (0, True), done.stderr
    ready.ok("check")
    write_secret(ready, "secrets/dns.age", "for stein, too")
    remove(ready)
    ready.git("revert", "--no-edit", "HEAD")
    assert ready.run("check").returncode == 1  # it was removed once more


def test_a_fresh_clone_approves_a_return_that_the_map_says_is_meant(
    ready: Fleet,
) -> None:
    remove(ready)
    again = ("add-host", "stein", "--key", ready.public("stein"), "--group", "dns")
    ready.ok(*again, "--yes", "--allow-retired")
    ready.commit("back on purpose")
    forgotten(ready)
    ready.ok("approve", "--yes")
    write_secret(ready, "secrets/dns.age", "for stein, too")


@pytest.mark.parametrize(
    "spelled",
    [
        lambda key: key.replace("ssh-", r"\u0073sh-"),
        lambda key: key.replace("ssh-", r"ssh\u002d"),
    ],
)
def test_a_key_that_the_old_map_spelled_with_escapes_is_a_removed_one(
    ready: Fleet, spelled: Callable[[str], str]
) -> None:
    by_hand(ready, ready.public("stein"), spelled(ready.public("stein")))
    ready.commit("the same key in other letters")
    ready.ok("check")
    reverted(ready)
    forgotten(ready)
    assert "NS027  nixsecrets.toml" in ready.run("check").stdout
