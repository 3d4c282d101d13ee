"""What `edit` asks before it saves, and the flags that answer beforehand."""

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import changed
from tests.edit.helpers import CANARY, ended, kept, script, sops_text, terminal
from tests.fleet import PROJECT, Fleet

WIFI, DNS, APP = "secrets/wifi.age", "secrets/dns.yaml", "secrets/app.yaml"


@pytest.mark.parametrize("blank", ["", "\\n", " \\n\\n"])
def test_an_emptied_text_needs_its_own_yes(fleet: Fleet, blank: str) -> None:
    script(fleet, f"printf '{blank}' > \"$1\"")
    before = fleet.snapshot()
    for args in ((), ("--yes",)):
        done = fleet.run("edit", WIFI, *args)
        assert done.returncode == 1
        assert "cannot prompt without a terminal" in done.stderr
        assert "to save it: --allow-empty" in done.stderr
    with terminal(fleet, "edit", WIFI, "--yes") as child:
        child.expect_exact(f"{WIFI} would be empty; save it anyway? [y/N]")
        child.sendline("n")
        assert ended(child) == 1
    assert changed(fleet, before) == set()
    fleet.ok("edit", WIFI, "--allow-empty")
    assert fleet.age_decrypt(WIFI, "alice").strip() == b""


def test_an_emptied_yaml_file_is_no_riddle(fleet: Fleet) -> None:
    script(fleet, ': > "$1"')
    before = fleet.snapshot()
    done = fleet.run("edit", APP, "--allow-empty")
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: the text is empty, and sops cannot store an empty yaml"
        " file\n"
        "nixsecrets: hint: nixsecrets rm FILE removes the secret;"
        " {} is one without values\n"
    )
    assert changed(fleet, before) == set()
    assert kept(fleet) == []
    script(fleet, 'test -e once && echo "app: new" > "$1" || : > "$1"; : > once')
    with terminal(fleet, "edit", APP) as child:
        child.expect_exact("cannot store an empty yaml file")
        child.expect_exact("edit it again? [Y/n]")
        child.sendline("")
        assert ended(child) == 0, child.before
    assert sops_text(fleet, APP) == b"app: new\n"


def changed_meanwhile(fleet: Fleet) -> bytes:
    """Leave a kept text of wifi.age, and another version of it on the disk."""
    inner = fleet.home / "inner"
    inner.write_text('#!/bin/sh\nprintf theirs > "$1"\n')
    inner.chmod(0o755)
    nested = f'EDITOR="{inner}" PYTHONPATH="{PROJECT}" "{sys.executable}" -m nixsecrets'
    script(fleet, f'printf {CANARY} > "$1"\n{nested} edit {WIFI} 2>/dev/null')
    assert fleet.run("edit", WIFI).returncode == 1
    assert len(kept(fleet)) == 1
    return fleet.read(WIFI)


def test_a_conflict_without_a_terminal_has_ways_out(fleet: Fleet) -> None:
    theirs = changed_meanwhile(fleet)
    fleet.env["EDITOR"] = "true"
    done = fleet.run("edit", "--resume")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"nixsecrets: error: {WIFI} changed on disk since the draft was kept",
        f"nixsecrets: hint: nixsecrets edit --resume {WIFI} --both:"
        " opens both versions as one text",
        f"nixsecrets: hint: nixsecrets edit --resume {WIFI} --mine: your draft replaces"
        " the newer version",
        f"nixsecrets: hint: nixsecrets edit --discard {WIFI}: deletes your draft",
    ]
    assert fleet.read(WIFI) == theirs
    assert len(kept(fleet)) == 1


def test_mine_replaces_the_newer_version(fleet: Fleet) -> None:
    changed_meanwhile(fleet)
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", "--resume", "--mine")
    assert fleet.age_decrypt(WIFI, "alice") == CANARY.encode()
    assert kept(fleet) == []


def test_both_are_one_text_whose_marks_have_to_go(fleet: Fleet) -> None:
    theirs = changed_meanwhile(fleet)
    fleet.env["EDITOR"] = "true"
    done = fleet.run("edit", "--resume", "--both")
    assert done.returncode == 1
    assert "the conflict markers are still in the text" in done.stderr
    assert fleet.read(WIFI) == theirs
    assert len(kept(fleet)) == 1
    script(fleet, """sed -i '/^[<=>][<=>]/d' "$1" """)
    fleet.ok("edit", "--resume", "--both")
    assert fleet.age_decrypt(WIFI, "alice").split() == [CANARY.encode(), b"theirs"]
    assert kept(fleet) == []


def test_a_conflict_is_asked_about_before_the_editor_opens(fleet: Fleet) -> None:
    changed_meanwhile(fleet)
    script(fleet, """sed -i '/^[<=>][<=>]/d' "$1" """)
    with terminal(fleet, "edit", "--resume") as child:
        child.expect_exact("changed on disk since the draft was kept")
        child.expect_exact("open both in the editor? [Y/n]")
        child.sendline("y")
        assert ended(child) == 0, child.before
    assert b"theirs" in fleet.age_decrypt(WIFI, "alice")


def test_a_text_of_a_secret_that_was_removed_meanwhile_creates_it_again(
    fleet: Fleet,
) -> None:
    changed_meanwhile(fleet)
    fleet.ok("rm", WIFI, "--yes")
    fleet.env["EDITOR"] = "true"
    assert fleet.run("edit", "--resume").returncode == 1
    fleet.ok("edit", "--resume", "--mine")
    assert fleet.age_decrypt(WIFI, "brunnen") == CANARY.encode()


def test_a_way_out_without_resume_is_a_mistake(fleet: Fleet) -> None:
    done = fleet.run("edit", WIFI, "--mine")
    assert done.returncode == 2
    assert "--mine goes with --resume" in done.stderr


def given_to_more(fleet: Fleet) -> None:
    """Let the map say that brunnen reads the files of the dns machines too."""
    path = fleet.root / "nixsecrets.toml"
    text = path.read_text()
    assert 'readers = ["dns"]' in text
    path.write_text(text.replace('readers = ["dns"]', 'readers = ["dns", "brunnen"]'))
    fleet.ok("sync")


def readers(fleet: Fleet, path: str) -> str:
    """Return the line of `ls` about a secret."""
    return fleet.ok("ls", path).splitlines()[-1]


@pytest.mark.parametrize("path", ["secrets/dns.age", DNS])
@pytest.mark.parametrize(
    ("said", "more"), [("y", True), ("n", False), ("", False)], ids=["y", "n", "enter"]
)
def test_drift_is_reported_before_the_file_is_opened_and_asked_about(
    fleet: Fleet, path: str, said: str, *, more: bool
) -> None:
    given_to_more(fleet)
    seen = fleet.home / "opened"
    script(fleet, f'echo "dns: {CANARY}" > "$1"; : > "{seen}"')
    with terminal(fleet, "edit", path) as child:
        child.expect_exact(f"{path} differs from its rule: ")
        child.expect_exact("brunnen")
        child.expect_exact("it keeps those it has")
        child.expect_exact("instead of its current ones? [y/N]")
        assert not seen.exists(), "the file is opened only after the report"
        child.sendline(said)
        assert ended(child) == 0, child.before
    assert ("brunnen" in readers(fleet, path)) is more


@pytest.mark.parametrize("path", ["secrets/dns.age", DNS])
def test_rekey_saves_for_the_readers_that_the_map_says(fleet: Fleet, path: str) -> None:
    given_to_more(fleet)
    script(fleet, f'echo "dns: {CANARY}" > "$1"')
    done = fleet.run("edit", "--rekey", path)
    assert done.returncode == 0, done.stderr
    assert f"{path} differs from its rule: " in done.stderr
    assert "the map's will be" in done.stderr
    assert "brunnen" in readers(fleet, path)
    if path.endswith(".age"):
        assert CANARY.encode() in fleet.age_decrypt(path, "brunnen")


def test_a_rule_is_offered_and_added_for_a_new_secret(fleet: Fleet) -> None:
    script(fleet, f'printf {CANARY} > "$1"')
    before = fleet.snapshot()
    path = "other/new.age"
    with terminal(fleet, "edit", path) as child:
        child.expect_exact(f"no rule of the map matches {path}; nixsecrets can add one")
        child.expect_exact("who may read it in addition to `always`")
        child.sendline("stein nobody-there")
        assert ended(child) == 1
    assert changed(fleet, before) == set()
    with terminal(fleet, "edit", path) as child:
        child.expect_exact("who may read it in addition to `always`")
        child.sendline("stein")
        child.expect_exact(f"{path} is new; its readers will be: alice, stein")
        assert ended(child) == 0, child.before
    assert fleet.age_decrypt(path, "stein") == CANARY.encode()
    assert f'path = "{path}"' in fleet.read("nixsecrets.toml").decode()
    assert Path(fleet.root / path).exists()
    fleet.commit()
    assert fleet.run("check").returncode == 0
