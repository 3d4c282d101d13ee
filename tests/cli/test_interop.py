"""What we write, real programs open; what they wrote and is right, we leave."""

import json

import pytest

from nixsecrets.keys.recipients import parse_recipient
from tests import fleet as kit
from tests.cli.conftest import changed, set_editor, write_secret
from tests.fleet import Fleet, age_secret

FORMATS = {
    "secrets/f.yaml": "db:\n    password: canary\n    port: 5432\n",
    "secrets/f.json": '{\n\t"db": "canary"\n}\n',
    "secrets/f.env": "DB=canary\n",
    "secrets/f.ini": "[db]\npassword = canary\n",
    "secrets/f.bin": "canary\x00\x01\n",
}


def host_identity(fleet: Fleet, name: str) -> str:
    """What sops-nix makes of a host's ssh key."""
    return age_secret((fleet.keys / name).read_bytes())


@pytest.mark.parametrize("path", FORMATS)
def test_sops_files_open_with_the_converted_host_key(ready: Fleet, path: str) -> None:
    write_secret(ready, path, FORMATS[path])
    opened = ready.sops_decrypt(path, host_identity(ready, "brunnen")).decode()
    assert opened == FORMATS[path]
    assert not ready.sops_opens(path, host_identity(ready, "stein"))


@pytest.mark.parametrize("path", FORMATS)
def test_a_granted_and_a_revoked_sops_file_has_a_good_mac(
    ready: Fleet, path: str
) -> None:
    write_secret(ready, path, FORMATS[path])
    key = ready.add_host("neu")
    ready.ok("add-host", "neu", "--key", key.public, "--group", "server", "--yes")
    assert ready.sops_decrypt(path, host_identity(ready, "neu"))
    ready.ok("remove-host", "brunnen", "--yes")
    assert ready.sops_decrypt(path, host_identity(ready, "neu"))
    assert not ready.sops_opens(path, host_identity(ready, "brunnen"))


def test_age_files_open_with_the_hosts_own_ssh_key(ready: Fleet) -> None:
    assert ready.age_decrypt("secrets/wifi.age", "brunnen") == b"wifi-canary"
    assert ready.age_decrypt("secrets/dns.age", "stein") == b"dns-canary"
    assert not ready.age_opens("secrets/dns.age", "brunnen")


def test_an_armored_file_stays_armored_through_grant_and_revocation(
    ready: Fleet,
) -> None:
    path = ready.root / "nixsecrets.toml"
    rule = '[[secrets]]\npath = "secrets/pem/*"\narmor = true\nreaders = ["server"]\n'
    text = path.read_text()
    at = text.index("[[secrets]]")
    path.write_text(text[:at] + rule + "\n" + text[at:])
    ready.ok("sync")
    write_secret(ready, "secrets/pem/a.age", "armored")
    key = ready.add_host("neu")
    ready.ok("add-host", "neu", "--key", key.public, "--group", "server", "--yes")
    ready.ok("remove-host", "brunnen", "--yes")
    assert ready.read("secrets/pem/a.age").startswith(b"-----BEGIN AGE")
    assert ready.age_decrypt("secrets/pem/a.age", "neu") == b"armored"


def test_an_age_file_of_stock_age_that_matches_is_taken_over_untouched(
    ready: Fleet,
) -> None:
    ready.age_encrypt("secrets/stock.age", "s", "alice", "brunnen")
    before = ready.snapshot()
    status = json.loads(ready.ok("status", "--json"))
    assert [
        s["reason"] for s in status["steps"] if s["path"] == "secrets/stock.age"
    ] == ["unknown"]
    ready.ok("accept", "secrets/stock.age", "--yes")
    ready.ok("sync")
    ready.ok("check")
    assert "secrets/stock.age" not in changed(ready, before)


def test_an_age_file_with_only_ssh_readers_needs_nobodys_word(ready: Fleet) -> None:
    alice = kit.ssh_key("alice the second")
    ready.add_user("alice2", alice)
    path = ready.root / "nixsecrets.toml"
    text = path.read_text().replace(ready.public("alice"), alice.public)
    path.write_text(text)
    ready.age_encrypt("secrets/stock.age", "s", alice.public, "brunnen")
    status = json.loads(ready.ok("status", "--json"))
    assert "secrets/stock.age" not in {step["path"] for step in status["steps"]}


@pytest.mark.parametrize("path", FORMATS)
@pytest.mark.parametrize("stock", ["packaged", "newest"])
def test_a_sops_file_of_stock_sops_that_matches_is_taken_over_untouched(
    ready: Fleet, path: str, stock: str
) -> None:
    readers = [
        ready.public("alice"),
        parse_recipient(ready.public("brunnen")).converted().text,
    ]
    if stock == "packaged":
        ready.sops_encrypt(path, FORMATS[path], readers)
    else:
        newest = kit.reference_program("sops")
        target = ready.write(path, FORMATS[path])
        command = [newest, "encrypt", "-i", "--age", ",".join(readers), str(target)]
        kit.run_program(*command, env=ready.env, cwd=target.parent)
    before = ready.snapshot()
    ready.ok("check")
    assert ready.run("rekey", "--yes").stderr == "nothing to do\n"
    assert changed(ready, before) == set()


def test_stock_sops_edits_what_we_wrote_and_we_read_it_again(ready: Fleet) -> None:
    env = ready.env | {
        "SOPS_AGE_KEY_FILE": str(ready.keys / "alice"),
        "EDITOR": set_editor(ready, "app: other\n"),
    }
    path = "secrets/app.yaml"
    kit.run_program(kit.sops_path(), path, env=env, cwd=ready.root)
    ready.ok("check")
    identity = host_identity(ready, "brunnen")
    assert ready.sops_decrypt(path, identity) == b"app: other\n"


def test_stock_sops_creates_files_by_our_rules(ready: Fleet) -> None:
    env = ready.env | {"SOPS_AGE_KEY_FILE": str(ready.keys / "alice")}
    plain = ready.write("secrets/hosts/stein/new.yaml", "a: b\n")
    kit.run_program(
        kit.sops_path(), "encrypt", "-i", str(plain), env=env, cwd=ready.root
    )
    ready.ok("check")
    assert ready.sops_opens(
        "secrets/hosts/stein/new.yaml", host_identity(ready, "stein")
    )


def test_agenix_rules_evaluate_to_the_readers_of_the_map(ready: Fleet) -> None:
    nix = kit.program("nix-instantiate")
    options = ["--store", "dummy://", "--eval", "--strict", "--json", "--readonly-mode"]
    answer = kit.run_program(
        nix,
        *options,
        "-E",
        "import ./secrets.nix",
        env=ready.env,
        cwd=ready.root / "secrets",
    )
    rules = json.loads(answer)
    keys = {name: " ".join(ready.public(name).split()[:2]) for name in ready.hosts}
    alice = ready.public("alice")
    assert rules == {
        "dns.age": {"publicKeys": [alice, keys["schere"], keys["stein"]]},
        "wifi.age": {"publicKeys": [alice, keys["brunnen"]]},
    }
