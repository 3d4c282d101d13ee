"""remove, rename, list, rotate: the other commands about hosts and people."""

import json
import re
import threading
import time

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed, write_secret
from tests.cli.test_terminal import ended, spawn
from tests.fleet import Fleet
from tests.hosts.test_collect import server

OWN = "secrets/hosts/brunnen/tls.json"


def opens_own_file(fleet: Fleet, path: str, name: str) -> bool:
    return fleet.sops_opens(path, kit.age_secret((fleet.keys / name).read_bytes()))


def test_removing_a_host_lists_the_values_to_change(ready: Fleet) -> None:
    write_secret(
        ready, "secrets/app.yaml", "db:\n  user: u\n  password: p\nlist: [a]\n"
    )
    done = ready.run("remove-host", "brunnen", "--yes")
    assert done.returncode == 0
    assert (
        "change these values; those who lost access still know them:\n"
        "  secrets/app.yaml  (known to brunnen)\n"
        "      db/user\n"
        "      db/password\n"
        "      list/0\n"
        "  secrets/hosts/brunnen/tls.json  (known to brunnen)\n"
        "      key\n"
        "  secrets/wifi.age  (known to brunnen)\n"
    ) in done.stderr


def test_the_checklist_is_there_for_machines(ready: Fleet) -> None:
    report = json.loads(ready.ok("remove-host", "stein", "--yes", "--json"))
    assert report == {
        "version": 1,
        "exposed": [
            {"path": "secrets/dns.age", "known_to": ["stein"], "keys": []},
            {"path": "secrets/dns.yaml", "known_to": ["stein"], "keys": [["dns"]]},
        ],
    }


def test_the_files_of_a_removed_host_stay_with_always(ready: Fleet) -> None:
    ready.ok("remove-host", "brunnen", "--yes")
    assert (ready.root / OWN).exists()
    assert not opens_own_file(ready, OWN, "brunnen")
    alice = (ready.keys / "alice").read_text().splitlines()[-1]
    assert ready.sops_opens(OWN, alice)


def test_the_files_of_a_removed_host_go_with_it_if_asked(ready: Fleet) -> None:
    ready.ok("remove-host", "brunnen", "--yes", "--own-files", "delete")
    assert not (ready.root / OWN).exists()
    ready.ok("check")


def test_a_generated_key_goes_with_its_host_if_asked(ready: Fleet) -> None:
    ready.ok("add-host", "neu", "--generate", "--yes")
    path = ready.root / "secrets/host-keys/neu.age"
    ready.commit("neu")
    ready.ok("remove-host", "neu", "--yes", "--own-files", "delete")
    assert not path.exists()
    assert "host-keys/neu.age" not in ready.read("secrets/secrets.nix").decode()
    assert b"host-keys/neu.age" not in ready.read("nixsecrets.lock")
    ready.ok("check")


def test_the_files_of_a_removed_host_move_to_another_if_asked(ready: Fleet) -> None:
    write_secret(ready, "secrets/hosts/brunnen/deep/x.age", "deep-canary")
    folder = "secrets/hosts/stein"
    done = ready.run("remove-host", "brunnen", "--yes", "--move-to", folder)
    assert done.returncode == 0, done.stderr
    assert not (ready.root / OWN).exists()
    moved = f"{folder}/tls.json"
    assert opens_own_file(ready, moved, "stein")
    assert not opens_own_file(ready, moved, "brunnen")
    assert ready.age_decrypt(f"{folder}/deep/x.age", "stein") == b"deep-canary"
    assert not ready.age_opens(f"{folder}/deep/x.age", "brunnen")
    assert f"git add -- {folder}/deep/x.age {moved}\n" in done.stderr
    ready.ok("check")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--move-to", "elsewhere"),
            "elsewhere/tls.json: no rule of the map matches it",
        ),
        (("--own-files", "move"), "no folder to move the files to"),
        (("--own-files", "delete", "--move-to", "x"), "--move-to goes with"),
    ],
)
def test_a_move_that_cannot_be_is_refused(
    ready: Fleet, flags: tuple[str, ...], words: str
) -> None:
    before = ready.snapshot()
    done = ready.run("remove-host", "brunnen", "--yes", *flags)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert changed(ready, before) == set()


def test_a_file_in_the_way_of_a_move_stops_it(ready: Fleet) -> None:
    write_secret(ready, "secrets/hosts/stein/tls.json", '{"key": "other"}\n')
    before = ready.snapshot()
    flags = ("--yes", "--move-to", "secrets/hosts/stein")
    done = ready.run("remove-host", "brunnen", *flags)
    assert done.returncode == 1
    assert "secrets/hosts/stein/tls.json: a file already exists there" in done.stderr
    assert changed(ready, before) == set()


def test_renaming_a_host_moves_its_files_as_they_are(ready: Fleet) -> None:
    write_secret(ready, "secrets/hosts/brunnen/x.age", "x-canary")
    ready.ok("rotate-host", "brunnen", "--generate", "--yes")
    before = ready.snapshot()
    done = ready.run("rename-host", "brunnen", "quelle", "--yes")
    assert done.returncode == 0, done.stderr
    after = ready.snapshot()
    for path in (OWN, "secrets/hosts/brunnen/x.age", "secrets/host-keys/brunnen.age"):
        assert path not in after
        assert after[path.replace("brunnen", "quelle")] == before[path]
    text = ready.read("nixsecrets.toml").decode()
    assert "brunnen" not in text.replace("root@brunnen", "")
    assert "secrets/wifi.age" not in changed(ready, before)
    assert "also needs attention" not in done.stderr
    ready.ok("check")
    again = ready.run("rename-host", "brunnen", "quelle", "--yes")
    assert again.returncode == 2
    assert "the map has no host 'brunnen'" in again.stderr


def test_renaming_to_a_taken_name_changes_nothing(ready: Fleet) -> None:
    before = ready.snapshot()
    done = ready.run("rename-host", "brunnen", "dns", "--yes")
    assert done.returncode == 1
    assert changed(ready, before) == set()


def test_hosts_lists_key_groups_and_how_it_was_verified(ready: Fleet) -> None:
    ready.hosts["neu"] = kit.ssh_key("neu")
    ready.ok("add-host", "neu", "--key", ready.public("neu"), "--yes")
    lines = ready.ok("hosts").splitlines()
    assert lines[0].split() == ["NAME", "KEY", "GROUPS", "VERIFIED", "FILES"]
    key = ready.hosts["brunnen"].fingerprint
    assert lines[1].split() == ["brunnen", key, "server", "-", "3"]
    assert re.search(r"given 20\d\d-\d\d-\d\d  0$", lines[4])
    report = json.loads(ready.ok("hosts", "--json"))
    assert report["hosts"][0] == {
        "name": "brunnen",
        "keys": [" ".join(ready.public("brunnen").split()[:2])],
        "fingerprints": [key],
        "groups": ["server"],
        "address": None,
        "verified": None,
        "files": 3,
    }


def test_rotating_a_user_replaces_all_keys_at_once(ready: Fleet) -> None:
    old = ready.add_user("bob")
    ready.ok("add-user", "bob", "--key", old.public, "--group", "dns", "--yes")
    new = kit.age_key()
    new.write(ready.keys / "bob2")
    done = ready.run("rotate-user", "bob", "--key", new.public, "--yes")
    assert done.returncode == 0, done.stderr
    assert ready.age_decrypt("secrets/dns.age", "bob2") == b"dns-canary"
    assert not ready.age_opens("secrets/dns.age", "bob")
    assert "secrets/dns.age  (known to bob)" in done.stderr
    text = ready.read("nixsecrets.toml").decode()
    assert old.public in text[text.index("[[retired]]") :]
    again = ready.run("rotate-user", "bob", "--key", new.public, "--yes")
    assert (again.returncode, "nothing to do" in again.stderr) == (0, True)
    ready.ok("check")


def test_a_keys_file_gives_what_is_usable_and_says_what_is_not(
    ready: Fleet,
) -> None:
    file = ready.home / "carol.keys"
    good, rsa = kit.ssh_key("carol"), kit.rsa_key()
    ecdsa = (
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA=="
    )
    file.write_text(f"{good.public}\n{ecdsa}\n{rsa.public}\n")
    flags = ("--github-keys-file", file, "--yes")
    done = ready.run("add-user", "carol", *flags)
    assert done.returncode == 0, done.stderr
    assert f"{file}:2: skipped: " in done.stderr
    text = ready.read("nixsecrets.toml").decode()
    assert good.public.split()[1] in text
    assert rsa.public.split()[1] in text


@pytest.mark.parametrize(
    ("answer", "left"), [("delete", False), ("d", False), ("keep", True), ("", True)]
)
def test_a_person_is_asked_about_the_files_of_a_removed_host(
    ready: Fleet, answer: str, left: bool
) -> None:
    child = spawn(ready, "remove-host", "brunnen")
    child.expect_exact(f"  {OWN}")
    child.expect_exact("delete, move or keep for `always`? [keep/delete/move] (keep) ")
    child.sendline(answer)
    child.expect_exact("go on? [y/N] ")
    child.sendline("y")
    assert ended(child)[1] == 0
    assert (ready.root / OWN).exists() is left


def test_an_interrupted_scan_ends_at_once_and_changes_nothing(ready: Fleet) -> None:
    released = threading.Event()
    before = ready.snapshot()
    with server(lambda _: released.wait(60)) as address:
        path = ready.root / "nixsecrets.toml"
        table = '[hosts."brunnen"]\n'
        text = path.read_text()
        path.write_text(text.replace(table, f'{table}address = "{address}"\n'))
        child = spawn(ready, "scan", "brunnen", "--timeout", "60")
        time.sleep(3)
        child.sendintr()
        started = time.monotonic()
        output, code = ended(child)
        released.set()
    assert code == 130
    assert "interrupted" in output
    assert time.monotonic() - started < 30
    assert changed(ready, before) == {"nixsecrets.toml"}


def test_a_removal_counts_the_files_that_differ_from_the_map_after_it(
    ready: Fleet,
) -> None:
    mallory = kit.age_key().public
    opener = {"SOPS_AGE_KEY": ready.users["alice"].private}
    kit.run_program(
        *(kit.sops_path(), "rotate", "-i", "--add-age", mallory),
        "secrets/app.yaml",
        env={**ready.env, **opener},
        cwd=ready.root,
    )
    ready.commit("mallory helps herself")
    done = ready.run("remove-host", "brunnen", "--yes", "--own-files", "delete")
    assert done.returncode == 0, done.stderr
    assert "also differs from the map: 1 file; nixsecrets rekey" in done.stderr
    assert mallory in ready.run("check").stdout


def test_a_reader_that_stays_in_the_map_is_not_promised_to_be_listed(
    ready: Fleet,
) -> None:
    text = ready.read("nixsecrets.toml").decode()
    ready.write("nixsecrets.toml", text.replace('["schere", "stein"]', '["schere"]'))
    done = ready.run("rekey", "--yes", "--allow-revoke")
    assert done.returncode == 0, done.stderr
    assert "  secrets/dns.age  (known to stein)\n" in done.stderr
    said = (
        "keep this list: nixsecrets exposed covers values known to removed keys, not"
        " what"
        " stein knows\n"
    )
    assert said in done.stderr
