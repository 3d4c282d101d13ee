"""What a removed key could read stays listed until the value has really changed."""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import fleet as kit
from tests.cli.conftest import write_secret
from tests.fleet import Fleet


def exposed(fleet: Fleet, *flags: str) -> list[dict[str, Any]]:
    done = fleet.run("exposed", "--json", *flags)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    listed = report["exposed"]
    open_ones = [e for e in listed if e["state"] in ("unchanged", "partly", "unknown")]
    assert done.returncode == (1 if open_ones else 0)
    return list(listed)


def notes(fleet: Fleet, *flags: str) -> list[str]:
    return list(json.loads(fleet.run("exposed", "--json", *flags).stdout)["notes"])


def states(fleet: Fleet, *flags: str) -> dict[str, str]:
    return {e["path"]: e["state"] for e in exposed(fleet, *flags)}


def remove(fleet: Fleet, name: str) -> None:
    fleet.ok("remove-host", name, "--yes")
    fleet.commit(f"remove {name}")


def test_nothing_is_exposed_while_nobody_was_removed(ready: Fleet) -> None:
    done = ready.run("exposed")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "every value that a retired key could read has changed\n"


@pytest.mark.parametrize("committed", [True, False])
def test_what_a_removed_host_read_is_exposed_until_it_changes(
    ready: Fleet, committed: bool
) -> None:
    start = ready.git("rev-parse", "HEAD").strip()
    ready.ok("remove-host", "stein", "--yes")
    if committed:
        ready.commit("remove stein")
    found = exposed(ready)
    assert [(e["path"], e["state"], e["keys"]) for e in found] == [
        ("secrets/dns.age", "unchanged", []),
        ("secrets/dns.yaml", "unchanged", [["dns"]]),
    ]
    assert {e["commit"] for e in found} == {start}
    assert {e["known_to"] for e in found} == {"stein"}
    assert {e["key"] for e in found} == {ready.hosts["stein"].fingerprint}
    write_secret(ready, "secrets/dns.age", "another value")
    assert states(ready) == {"secrets/dns.yaml": "unchanged"}
    write_secret(ready, "secrets/dns.yaml", "dns: another\n")
    assert states(ready) == {}
    assert states(ready, "--all") == {
        "secrets/dns.age": "changed",
        "secrets/dns.yaml": "changed",
    }


def test_only_the_values_that_did_not_change_are_listed(ready: Fleet) -> None:
    write_secret(ready, "secrets/dns.yaml", "a: 1\nb:\n  c: two\n  d: [x, y]\ne: f\n")
    ready.commit("more")
    remove(ready, "stein")
    write_secret(ready, "secrets/dns.yaml", "a: 2\nb:\n  c: two\n  d: [x, z]\n")
    (found,) = (e for e in exposed(ready) if e["path"] == "secrets/dns.yaml")
    assert (found["state"], found["keys"]) == ("partly", [["b", "c"], ["b", "d", "0"]])


def test_the_report_for_people_names_file_host_commit_and_value(ready: Fleet) -> None:
    commit = ready.git("rev-parse", "--short=10", "HEAD").strip()
    day = ready.git("show", "-s", "--format=%cs", "HEAD").strip()
    remove(ready, "stein")
    done = ready.run("exposed")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "  secrets/dns.age"
    assert lines[1].startswith("      known to stein, retired 20")
    assert lines[1].endswith(f": unchanged since {commit} of {day}")
    assert lines[2] == "  secrets/dns.yaml"
    assert lines[4] == "        dns"
    assert done.stderr == "2 files to change: nixsecrets edit FILE\n"


@pytest.mark.parametrize("name", ["secrets/dns.age", "secrets/dns.yaml"])
def test_every_version_that_the_key_could_read_counts(ready: Fleet, name: str) -> None:
    first = ready.git("rev-parse", "HEAD").strip()
    content = "{}" if name.endswith("age") else "dns: {}\n"
    for value in ("second", "third"):
        write_secret(ready, name, content.format(value))
        ready.commit(value)
    remove(ready, "stein")
    write_secret(ready, name, content.format("fourth"))
    ready.commit("fourth")
    assert name not in states(ready)
    write_secret(ready, name, content.format("dns-canary"))  # that of the first one
    (found,) = (e for e in exposed(ready) if e["path"] == name)
    assert (found["state"], found["commit"]) == ("unchanged", first)
    write_secret(ready, name, content.format("second"))
    assert states(ready)[name] == "unchanged"
    write_secret(ready, name, content.format("fourth"))  # which it never could read
    assert name not in states(ready)


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("value", ["1234", "a longer value"])
@pytest.mark.parametrize("suffix", ["age", "yaml"])
def test_a_value_is_followed_by_nixsecrets_mv(
    ready: Fleet, suffix: str, value: str, committed: bool
) -> None:
    content = value if suffix == "age" else f"pin: {value}\n"
    write_secret(ready, f"secrets/dns.{suffix}", content)
    ready.commit("value")
    remove(ready, "stein")
    names = f"secrets/dns.{suffix}", f"secrets/moved.{suffix}"
    ready.ok("mv", *names, "--yes", "--allow-revoke")
    if committed:
        ready.commit("moved")
    (found,) = (e for e in exposed(ready) if e["path"] == f"secrets/moved.{suffix}")
    assert (found["state"], found["then"]) == ("unchanged", f"secrets/dns.{suffix}")
    write_secret(ready, f"secrets/moved.{suffix}", content.replace(value, "9876"))
    assert f"secrets/moved.{suffix}" not in states(ready)
    if committed:  # else nothing says what the file was made from
        assert states(ready, "--all")[f"secrets/moved.{suffix}"] == "changed"


@pytest.mark.parametrize("before", [True, False])
def test_a_value_is_followed_by_a_plain_git_mv(ready: Fleet, before: bool) -> None:
    write_secret(ready, "secrets/dns.yaml", "dns: another\n")
    ready.commit("another")
    if not before:
        remove(ready, "stein")
    ready.git("mv", "secrets/dns.yaml", "secrets/dns.2.yaml")
    ready.commit("moved")
    if before:
        remove(ready, "stein")
    found = {e["path"]: e for e in exposed(ready)}
    assert found["secrets/dns.2.yaml"]["state"] == "unchanged"
    then = "secrets/dns.2.yaml" if before else "secrets/dns.yaml"
    assert found["secrets/dns.2.yaml"]["then"] == then


def test_a_value_is_followed_when_its_host_is_renamed(ready: Fleet) -> None:
    write_secret(ready, "secrets/hosts/brunnen/pin.yaml", "pin: 1\n")
    ready.commit("pin")
    new = kit.ssh_key("new brunnen").public
    ready.ok("rotate-host", "brunnen", "--key", new, "--yes")
    ready.commit("rotated")
    ready.ok("rename-host", "brunnen", "quelle", "--yes")
    found = {p for p, state in states(ready).items() if state == "unchanged"}
    assert found >= {"secrets/hosts/quelle/pin.yaml", "secrets/hosts/quelle/tls.json"}


@pytest.mark.parametrize("committed", [True, False])
def test_a_value_is_followed_out_of_the_folder_of_a_removed_host(
    ready: Fleet, committed: bool
) -> None:
    write_secret(ready, "secrets/hosts/brunnen/pin.yaml", "pin: 1\n")
    ready.commit("pin")
    ready.ok("remove-host", "brunnen", "--move-to", "secrets/left", "--yes")
    if committed:
        ready.commit("removed")
    found = states(ready)
    assert found["secrets/left/pin.yaml"] == "unchanged"
    assert found["secrets/left/tls.json"] == "unchanged"


def test_a_value_is_followed_over_backends_and_into_other_files(ready: Fleet) -> None:
    write_secret(ready, "secrets/dns.yaml", "a: {token: tok-en-1}\nb: another-2\n")
    ready.commit("values")
    remove(ready, "stein")
    (ready.root / "secrets/dns.yaml").unlink()
    for path, content in {
        "secrets/token.age": "tok-en-1\n",
        "secrets/settings.age": "TOKEN='tok-en-1'\nSIZE=3\n",
        "secrets/fresh.age": "TOKEN=tok-en-9\n",
        "secrets/app.yaml": "x: 1\ny: [0, tok-en-1]\n",
        "secrets/both.json": '{"dns": "dns-canary", "more": "another-2"}',
    }.items():
        write_secret(ready, path, content)
    ready.commit("elsewhere")
    found = {e["path"]: (e["state"], e["keys"]) for e in exposed(ready)}
    assert found == {
        "secrets/dns.age": ("unchanged", []),
        "secrets/token.age": ("unchanged", []),
        "secrets/settings.age": ("partly", []),
        "secrets/app.yaml": ("partly", [["y", "1"]]),
        "secrets/both.json": ("unchanged", [["dns"], ["more"]]),
    }
    assert "then in secrets/dns.yaml" in ready.run("exposed").stdout


def test_a_value_is_followed_from_age_to_sops_and_back(ready: Fleet) -> None:
    write_secret(ready, "secrets/dns.age", "7")
    ready.commit("short")
    remove(ready, "stein")
    (ready.root / "secrets/dns.age").unlink()
    write_secret(ready, "secrets/dns.2.yaml", "seven: 7\n")
    ready.commit("as sops")
    assert states(ready)["secrets/dns.2.yaml"] == "unchanged"
    (ready.root / "secrets/dns.2.yaml").unlink()
    write_secret(ready, "secrets/dns.3.age", "7\n")
    ready.commit("and back")
    assert states(ready)["secrets/dns.3.age"] == "unchanged"


def test_what_is_equal_by_chance_is_not_followed(ready: Fleet) -> None:
    write_secret(ready, "secrets/dns.yaml", "port: 8080\nuser: postgres\n")
    write_secret(ready, "secrets/app.yaml", "port: 8080\nuser: postgres\n")
    ready.commit("values")
    remove(ready, "stein")
    assert "secrets/app.yaml" not in states(ready)


NESTED = """\
db:
  password: one-canary
  hosts:
  # a comment, which is an item to sops
  - two-canary
  - three-canary
users:
- name: four-canary
  pins: [[five-canary]]
"8080": six-canary
a b: {it's: seven-canary}
-x: eight-canary
$HOME: nine-canary
a/b: ten-canary
"[c]": {d: eleven-canary}
"": not-nameable
"""
PASTED = [
    ("secrets/dns.yaml", NESTED, 11),
    ("secrets/dns.json", '{"a": {"b": ["x-canary", {"c": "y-canary"}]}}', 2),
    ("secrets/dns.env", "A=a-canary\nB=b-canary\n", 2),
    ("secrets/dns.ini", "x = x-canary\n[s]\ny = y-canary\n", 2),
]


@pytest.mark.parametrize(("path", "content", "number"), PASTED)
def test_every_key_path_that_is_printed_can_be_given_to_key(
    ready: Fleet, path: str, content: str, number: int
) -> None:
    write_secret(ready, path, content)
    ready.commit("keys")
    removal = ready.run("remove-host", "stein", "--yes")
    listed = ready.run("exposed").stdout
    program = f"{sys.executable} -m nixsecrets cat {path} --key"
    env = ready.env | {"PYTHONPATH": str(kit.PROJECT)}
    for text, indent in ((removal.stderr, 6), (listed, 8)):
        lines = text[text.rindex(f"  {path}") :].splitlines()[1:]
        lines = list(itertools.takewhile(lambda one: one.startswith("    "), lines))
        keys = [one.strip() for one in lines if one.startswith(" " * indent)]
        keys = [one for one in keys if not one.startswith(("known to", "…"))]
        assert len(keys) == number
        values = set()
        for key in keys:
            shell = ("/bin/sh", "-c", f"{program} {key}")
            values.add(kit.run_program(*shell, cwd=ready.root, env=env))
        assert len(values) == number
        assert all(value.endswith(b"-canary") for value in values)
    unnamed = "1 value that --key cannot name" in removal.stderr
    assert unnamed is path.endswith(".yaml")


def test_a_value_of_a_later_document_is_named_with_its_document(ready: Fleet) -> None:
    write_secret(ready, "secrets/dns.yaml", "a: one\n---\na: two\n")
    ready.commit("documents")
    remove(ready, "stein")
    (found,) = (e for e in exposed(ready) if e["path"] == "secrets/dns.yaml")
    assert (found["keys"], found["unnamed"]) == ([["[1]", "a"], ["[2]", "a"]], 0)
    assert "[2]/a" in ready.run("exposed").stdout
    assert ready.run("cat", "secrets/dns.yaml", "--key", "[2]/a").stdout == "two"


def test_older_versions_that_nobody_here_can_open_are_counted(ready: Fleet) -> None:
    bob = ready.add_user("bob")
    ready.ok("add-user", "bob", "--key", bob.public, "--group", "dns", "--yes")
    ready.commit("bob")
    write_secret(ready, "secrets/dns.age", "bob reads this")
    ready.commit("second")
    remove(ready, "stein")
    write_secret(ready, "secrets/dns.age", "third")
    ready.operate_as("bob")
    (said,) = (n for n in notes(ready) if "could not be opened" in n)
    assert said.startswith("2 older versions could not be opened")  # age and yaml
    assert "secrets/dns.age" not in states(ready)


def test_a_file_that_is_gone_is_not_to_be_changed(ready: Fleet) -> None:
    remove(ready, "stein")
    (ready.root / "secrets/dns.age").unlink()
    assert states(ready) == {"secrets/dns.yaml": "unchanged"}
    assert states(ready, "--all")["secrets/dns.age"] == "gone"


def test_a_rotated_key_is_a_removed_key(ready: Fleet) -> None:
    new = kit.ssh_key("new brunnen").public
    ready.ok("rotate-host", "brunnen", "--key", new, "--yes")
    assert set(states(ready)) == {
        "secrets/app.yaml",
        "secrets/hosts/brunnen/tls.json",
        "secrets/wifi.age",
    }


def test_a_key_that_came_back_is_not_exposed(ready: Fleet) -> None:
    key = ready.public("stein")
    remove(ready, "stein")
    again = ("add-host", "stein", "--key", key, "--group", "dns", "--yes")
    ready.ok(*again, "--allow-retired")
    assert states(ready) == {}


def test_an_anonymous_key_is_identified_by_the_lock_of_its_time(ready: Fleet) -> None:
    bob = ready.add_user("bob")
    ready.ok("add-user", "bob", "--key", bob.public, "--group", "dns", "--yes")
    ready.commit("bob")
    ready.ok("remove-user", "bob", "--yes")
    ready.commit("bob left")
    found = {e["path"]: e["certain"] for e in exposed(ready)}
    assert found == {"secrets/dns.age": True, "secrets/dns.yaml": True}


def test_without_the_lock_of_its_time_an_anonymous_key_is_only_perhaps_a_reader(
    ready: Fleet,
) -> None:
    bob = ready.add_user("bob")
    ready.age_encrypt("secrets/old.age", "old", "alice", "bob")
    ready.commit("by hand")
    ready.ok("add-user", "bob", "--key", bob.public, "--yes")
    ready.ok("rekey", "--yes", "--allow-revoke")
    ready.ok("remove-user", "bob", "--yes")
    ready.commit("bob left")
    found = {e["path"]: e["certain"] for e in exposed(ready)}
    assert found["secrets/old.age"] is False
    assert "perhaps known to bob" in ready.run("exposed").stdout


def test_a_payload_that_only_moved_to_other_readers_needs_no_identity(
    ready: Fleet,
) -> None:
    remove(ready, "stein")
    ready.git("checkout", "-q", "HEAD~", "--", "secrets/dns.age")
    nobody = {"NIXSECRETS_IDENTITY": ""}
    report = json.loads(ready.run("exposed", "--json", env=nobody).stdout)
    found = {e["path"]: (e["state"], e["reason"]) for e in report["exposed"]}
    assert found["secrets/dns.age"] == ("unchanged", None)
    state, reason = found["secrets/dns.yaml"]
    assert state == "unknown"
    assert "no identity" in reason


def test_a_shallow_clone_says_so(ready: Fleet, tmp_path: Path) -> None:
    remove(ready, "stein")
    kit.git(
        tmp_path,
        "clone",
        "-q",
        "--depth=1",
        f"file://{ready.root}",
        "shallow",
        env=ready.env,
    )
    done = ready.run("-C", tmp_path / "shallow", "exposed", "--json")
    said = json.loads(done.stdout)["notes"]
    assert said[0].startswith("this clone is shallow")
    assert said[1].startswith("the history never shows the key of stein")


def test_a_rewritten_history_is_said_to_be(ready: Fleet) -> None:
    remove(ready, "stein")
    ready.git("checkout", "-q", "--orphan", "fresh")
    ready.commit("squashed")
    assert states(ready) == {}
    (note,) = notes(ready)
    assert note.startswith("the history never shows the key of stein (SHA256:")
    assert "it was rewritten or begins later" in note


def test_a_limit_is_said(ready: Fleet) -> None:
    remove(ready, "stein")
    assert notes(ready, "--max-commits", "1")[0] == (
        "only the newest 1 commits were read (--max-commits)"
    )


def test_a_version_on_a_merged_branch_counts(ready: Fleet) -> None:
    ready.git("checkout", "-q", "-b", "side")
    write_secret(ready, "secrets/side.age", "side-canary")
    ready.commit("side")
    ready.git("checkout", "-q", "main")
    ready.commit("on main")
    ready.git("merge", "-q", "--no-edit", "side")
    remove(ready, "brunnen")
    assert states(ready)["secrets/side.age"] == "unchanged"


@pytest.mark.parametrize("name", ["secrets/dns.json", "secrets/dns.env"])
def test_the_values_of_other_formats_are_compared_too(ready: Fleet, name: str) -> None:
    old = '{"a": "1", "b": "2"}\n' if name.endswith("json") else "a=1\nb=2\n"
    write_secret(ready, name, old)
    ready.commit("more")
    remove(ready, "stein")
    write_secret(ready, name, old.replace("2", "3"))
    (found,) = (e for e in exposed(ready) if e["path"] == name)
    assert (found["state"], found["keys"]) == ("partly", [["a"]])


def test_a_binary_sops_file_is_one_value(ready: Fleet) -> None:
    write_secret(ready, "secrets/dns.bin", "blob\x00\x01")
    ready.commit("more")
    remove(ready, "stein")
    assert states(ready)["secrets/dns.bin"] == "unchanged"
    write_secret(ready, "secrets/dns.bin", "other\x00\x01")
    assert "secrets/dns.bin" not in states(ready)


def test_no_value_is_shown(ready: Fleet) -> None:
    remove(ready, "stein")
    for flags in ((), ("--json",), ("--all",)):
        done = ready.run("exposed", *flags)
        assert "canary" not in done.stdout + done.stderr


def test_without_git_there_is_no_answer(ready: Fleet) -> None:
    import shutil

    shutil.rmtree(ready.root / ".git")
    done = ready.run("exposed")
    assert done.returncode == 1
    assert "there is no git history" in done.stderr


def test_a_key_that_left_the_map_by_hand_is_a_retired_one(ready: Fleet) -> None:
    path = ready.root / "nixsecrets.toml"
    owner = f'\n[hosts."stein"]\nkeys = ["{ready.public("stein")}"]\n'
    text = path.read_text().replace(owner, "").replace('"schere", "stein"', '"schere"')
    path.write_text(text)
    ready.ok("rekey", "--yes", "--allow-revoke")
    ready.commit("by hand")
    assert "[[retired]]" not in path.read_text()
    assert states(ready) == {
        "secrets/dns.age": "unchanged",
        "secrets/dns.yaml": "unchanged",
    }
