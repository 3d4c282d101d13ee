"""Two edits merged by hand into a sops file: its MAC fits neither, which is seen."""

import os
import re
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.fleet import Fleet

FILE = "secrets/app.yaml"
TWO = "one: base-one\ntwo: base-two\n"
SAID = "its MAC does not match its values, so nobody can decrypt it"
UNSAID = (
    "not verified: the MAC of 1 changed sops file"
    " (no identity available without a prompt)\n"
)


@pytest.fixture
def by_hand(ready: Fleet) -> Fleet:
    """A file with one side's value, the other side's value, and one side's MAC."""
    ready.ok("set", FILE, "--yes", stdin=TWO)
    ready.commit("base")
    base = ready.read(FILE)
    ready.ok("set", FILE, "--key", "one", "--yes", stdin="ours")
    ours = ready.read(FILE).decode()
    ready.write(FILE, base)
    ready.ok("set", FILE, "--key", "two", "--yes", stdin="theirs")
    theirs = ready.read(FILE).decode()
    line = re.search(r"^one: .*$", ours, re.MULTILINE)
    assert line is not None
    ready.write(FILE, re.sub(r"(?m)^one: .*$", lambda _: line[0], theirs))
    ready.git("add", "-A")
    return ready


def keyless(fleet: Fleet) -> Fleet:
    del fleet.env["NIXSECRETS_IDENTITY"]
    return fleet


def test_the_file_is_one_that_no_host_opens(by_hand: Fleet) -> None:
    secret = kit.age_secret(by_hand.hosts["brunnen"].private.encode())
    assert not by_hand.sops_opens(FILE, secret)


def test_check_and_the_hook_name_it_where_a_key_is_at_hand(by_hand: Fleet) -> None:
    done = by_hand.run("check")
    assert (done.returncode, done.stdout) == (1, f"NS019  {FILE}: {SAID}\n")
    done = by_hand.run("hook", "run")
    assert done.returncode == 1
    assert f"NS019  {FILE}: {SAID} (the rule " in done.stdout
    by_hand.git("commit", "-q", "-m", "as it is", "--no-verify")
    assert by_hand.run("hook", "run").returncode == 0
    done = by_hand.run("hook", "run", "--from", "HEAD~1")
    assert "NS019" in done.stdout


def test_without_a_key_they_say_that_they_did_not_look(by_hand: Fleet) -> None:
    keyless(by_hand)
    done = by_hand.run("check")
    assert (done.returncode, done.stdout) == (0, "")
    assert UNSAID in done.stderr
    done = by_hand.run("hook", "run")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"nixsecrets: {UNSAID}"
    by_hand.git("commit", "-q", "-m", "as it is")
    for command in (("check",), ("hook", "run")):
        assert UNSAID not in by_hand.run(*command).stderr


def test_a_change_is_seen_whose_size_and_time_show_nothing(by_hand: Fleet) -> None:
    keyless(by_hand)
    place = by_hand.root / FILE
    os.utime(place, ns=(10**18, 10**18))
    by_hand.commit("as it is")
    data = by_hand.read(FILE)
    at = data.index(b"data:") + len(b"data:")
    other = b"Y" if data[at : at + 1] == b"X" else b"X"
    place.write_bytes(data[:at] + other + data[at + 1 :])
    os.utime(place, ns=(10**18, 10**18))
    assert UNSAID in by_hand.run("check").stderr
    place.write_bytes(data)
    assert UNSAID not in by_hand.run("check").stderr


def test_no_command_plugin_or_passphrase_is_asked_for_a_key(by_hand: Fleet) -> None:
    keyless(by_hand)
    seen = by_hand.home / "seen"
    script = by_hand.home / "key"
    script.write_text(f"#!/bin/sh\ntouch {seen}\ncat {by_hand.keys / 'alice'}\n")
    script.chmod(0o755)
    by_hand.env["SOPS_AGE_KEY_CMD"] = str(script)
    locked = kit.ssh_key("locked", passphrase="secret")
    locked.write(by_hand.home / ".ssh/id_ed25519")
    keys = by_hand.home / ".config/sops/age/keys.txt"
    keys.parent.mkdir(parents=True)
    os.mkfifo(keys)
    for command in (("check",), ("hook", "run")):
        done = by_hand.run(*command)
        assert done.returncode == 0
        assert UNSAID in done.stderr
        assert not seen.exists()


def test_a_key_in_its_usual_place_is_enough(by_hand: Fleet) -> None:
    keyless(by_hand)
    keys = by_hand.home / ".config/sops/age/keys.txt"
    keys.parent.mkdir(parents=True)
    keys.write_bytes((by_hand.keys / "alice").read_bytes())
    assert "NS019" in by_hand.run("check").stdout


def test_why_says_that_nobody_opens_it(by_hand: Fleet) -> None:
    done = by_hand.ok("why", FILE)
    assert "opens it\n" not in done
    assert f": has its data key, but {SAID}\n" in done


def test_why_opens_what_it_says_opens(ready: Fleet) -> None:
    for path in ("secrets/app.yaml", "secrets/wifi.age"):
        assert f"{ready.keys / 'alice'}: opens it\n" in ready.ok("why", path)
        done = ready.ok("why", path, "--identity", str(ready.keys / "schere"))
        assert f"{ready.keys / 'schere'}: does not open it\n" in done
    data = bytearray(ready.read("secrets/wifi.age"))
    data[-1] ^= 1
    ready.write("secrets/wifi.age", bytes(data))
    done = ready.ok("why", "secrets/wifi.age")
    assert f"{ready.keys / 'alice'}: opens it" not in done
    assert "is a reader, but" in done


def test_a_change_by_sops_or_by_us_is_fine(ready: Fleet) -> None:
    ready.ok("set", FILE, "--yes", stdin=TWO)
    ready.sops_encrypt(
        "secrets/mixed.yaml",
        "plain_unencrypted: 1.50\nreal: 1.50\nlist: [1, true, x]\n",
        [ready.public("alice"), kit.age_public(_secret(ready, "brunnen"))],
    )
    ready.git("add", "-A")
    done = ready.run("check")
    assert done.returncode == 0
    assert "NS019" not in done.stdout
    assert "not verified" not in done.stderr
    assert "NS019" not in ready.run("hook", "run").stdout


def _secret(fleet: Fleet, name: str) -> str:
    return kit.age_secret(fleet.hosts[name].private.encode())


def test_mixed_files_are_judged_by_sops(ready: Fleet) -> None:
    ready.sops_encrypt(
        "secrets/mixed.yaml",
        "plain_unencrypted: some\nreal: hidden\n",
        [ready.public("alice"), kit.age_public(_secret(ready, "brunnen"))],
    )
    text = ready.read("secrets/mixed.yaml").replace(b": some", b": other")
    ready.write("secrets/mixed.yaml", text)
    ready.git("add", "-A")
    assert f"NS019  secrets/mixed.yaml: {SAID}\n" in ready.run("check").stdout


def test_what_is_explained_writes_a_new_mac(by_hand: Fleet) -> None:
    assert "sops --rotate --ignore-mac -i FILE" in " ".join(
        by_hand.ok("explain", "NS019").split()
    )
    key = (by_hand.keys / "alice").read_text().splitlines()[-1]
    env = by_hand.env | {"SOPS_AGE_KEY": key}
    place = str(by_hand.root / FILE)
    kit.run_program(
        kit.sops_path(), "--rotate", "--ignore-mac", "-i", place, env=env, cwd=Path("/")
    )
    assert by_hand.ok("cat", FILE) == "one: ours\ntwo: theirs\n"
    assert by_hand.run("check").returncode == 0
