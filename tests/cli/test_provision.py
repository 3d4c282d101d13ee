"""A generated key, provisioned as nixos-anywhere does it; known_hosts from the map."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.hosts import provision
from nixsecrets.hosts.address import parse_address
from nixsecrets.hosts.collect import collect
from nixsecrets.hosts.sshconfig import direct
from tests import fleet as kit
from tests.cli.conftest import changed
from tests.fleet import Fleet, SshKey

KEY = "etc/ssh/ssh_host_ed25519_key"


@pytest.fixture
def generated(ready: Fleet) -> Fleet:
    """The fleet with a host whose key was made here."""
    ready.ok("add-host", "neu", "--generate", "--group", "server", "--yes")
    ready.commit("neu")
    return ready


def modes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("umask", [0o077, 0o000, 0o022])
def test_the_tree_has_the_modes_that_the_target_needs(
    generated: Fleet, tmp_path: Path, umask: int
) -> None:
    old = os.umask(umask)
    try:
        generated.ok("provision", "neu", "--output", tmp_path / "extra")
    finally:
        os.umask(old)
    assert modes(tmp_path / "extra") == {
        "etc": 0o755,
        "etc/ssh": 0o755,
        KEY: 0o600,
        KEY + ".pub": 0o644,
    }


def test_an_installed_host_shows_the_key_of_the_map_and_reads_its_secrets(
    generated: Fleet, tmp_path: Path
) -> None:
    extra, target = tmp_path / "extra", tmp_path / "mnt"
    generated.ok("provision", "neu", "--output", extra)
    target.mkdir()
    packed = subprocess.run(
        ["tar", "-C", extra, "-cpf-", "."], capture_output=True, check=True
    )
    unpack = ["tar", "-C", str(target), "-xf-", "--no-same-owner"]
    subprocess.run(unpack, input=packed.stdout, check=True)
    private = target / KEY
    installed = SshKey(
        private.read_text(), private.with_name(private.name + ".pub").read_text()
    )
    with kit.start_sshd(tmp_path / "sshd", installed) as port:
        shown = collect(direct(parse_address(f"127.0.0.1:{port}", port=0)))
    report = json.loads(generated.ok("hosts", "--json"))
    (host,) = (host for host in report["hosts"] if host["name"] == "neu")
    assert host["fingerprints"] == [shown.fingerprint]
    assert host["keys"] == [shown.text]
    (generated.keys / "neu").write_bytes(private.read_bytes())
    (generated.keys / "neu").chmod(0o600)
    assert generated.age_decrypt("secrets/wifi.age", "neu") == b"wifi-canary"


def test_impermanence_puts_the_key_below_its_path(
    generated: Fleet, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    generated.ok("provision", "neu", "--output", extra, "--persist", "/nix/persist")
    assert modes(extra)["nix/persist/" + KEY] == 0o600
    assert modes(extra)["nix"] == 0o755
    generated.ok("provision", "neu", "--output", extra, "--clean")
    assert not extra.exists()


def test_clean_removes_what_was_written_and_nothing_else(
    generated: Fleet, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    generated.ok("provision", "neu", "--output", extra)
    (extra / "etc/hostname").write_text("neu")
    done = generated.run("provision", "neu", "--output", extra, "--clean")
    assert done.returncode == 1
    assert "was not written by provision" in done.stderr
    assert (extra / KEY).exists()
    (extra / "etc/hostname").unlink()
    generated.ok("provision", "neu", "--output", extra, "--shred")
    assert not extra.exists()


def test_a_folder_that_is_not_empty_is_refused(
    generated: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra/mine").write_text("mine")
    done = generated.run("provision", "neu", "--output", tmp_path / "extra")
    assert done.returncode == 1
    assert 'extra" is not empty ("mine")' in done.stderr
    assert modes(tmp_path / "extra").keys() == {"mine"}


def test_a_folder_that_git_would_add_is_refused(generated: Fleet) -> None:
    before = generated.snapshot()
    done = generated.run("provision", "neu", "--output", "extra")
    assert done.returncode == 1
    assert "is in a git repository that would add it" in done.stderr
    assert changed(generated, before) == set()
    generated.write(".gitignore", "/extra/\n")
    generated.ok("provision", "neu", "--output", "extra")
    assert (generated.root / "extra" / KEY).exists()


def test_a_file_system_that_keeps_no_modes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_modes(self: Path, mode: int) -> None:
        del self, mode

    monkeypatch.setattr(Path, "chmod", no_modes)
    with pytest.raises(NixsecretsError, match="does not keep file modes"):
        provision.write_tree(tmp_path / "extra", b"private", "public")
    assert not (tmp_path / "extra").exists()


def test_only_a_key_that_was_made_here_can_be_provisioned(
    generated: Fleet, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    done = generated.run("provision", "brunnen", "--output", extra)
    assert done.returncode == 1
    assert "secrets/host-keys/brunnen.age does not exist" in done.stderr
    other = kit.ssh_key("other").public
    generated.ok("rotate-host", "neu", "--key", other, "--yes")
    done = generated.run("provision", "neu", "--output", extra)
    assert done.returncode == 1
    assert "is not the private half of the key that the map has" in done.stderr
    assert not extra.exists()


@pytest.mark.parametrize("persist", ["persist", "/a/../b"])
def test_a_persistent_path_must_be_absolute_and_plain(
    generated: Fleet, tmp_path: Path, persist: str
) -> None:
    extra = tmp_path / "extra"
    done = generated.run("provision", "neu", "--output", extra, "--persist", persist)
    assert done.returncode == 2
    assert not extra.exists()


def test_the_private_key_is_never_shown(generated: Fleet, tmp_path: Path) -> None:
    done = generated.run("provision", "neu", "--output", tmp_path / "extra")
    lines = (tmp_path / "extra" / KEY).read_text().splitlines()
    assert not any(line in done.stdout + done.stderr for line in lines)


def test_the_line_goes_to_known_hosts_once(generated: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("# no newline at the end")
    for folder in ("one", "two"):
        flags = ("--output", tmp_path / folder, "--known-hosts", file)
        generated.ok("provision", "neu", *flags)
    found = kit.run_program(
        kit.program("ssh-keygen"), "-F", "neu", "-f", str(file), env=generated.env
    )
    assert found.decode().count("neu ssh-ed25519 ") == 1


def with_addresses(fleet: Fleet) -> None:
    path = fleet.root / "nixsecrets.toml"
    text = path.read_text()
    for name, address in (
        ("brunnen", "root@brunnen.lan:2222"),
        ("stein", "2001:db8::7"),
    ):
        table = f'[hosts."{name}"]\n'
        text = text.replace(table, f'{table}address = "{address}"\n')
    path.write_text(text)


def test_known_hosts_lines_are_what_ssh_looks_up(ready: Fleet) -> None:
    with_addresses(ready)
    file = ready.home / "known_hosts"
    file.write_text(ready.ok("known-hosts"))
    keys = {name: " ".join(ready.public(name).split()[:2]) for name in ready.hosts}
    assert file.read_text() == (
        f"[brunnen]:2222,[brunnen.lan]:2222 {keys['brunnen']}\n"
        f"schere {keys['schere']}\n"
        f"stein,2001:db8::7 {keys['stein']}\n"
    )
    for name in ("[brunnen.lan]:2222", "schere", "2001:db8::7"):
        keygen = kit.program("ssh-keygen")
        assert kit.run_program(keygen, "-F", name, "-f", str(file), env=ready.env)


def test_the_nix_value_is_what_the_module_takes(ready: Fleet) -> None:
    with_addresses(ready)
    file = ready.home / "known-hosts.nix"
    file.write_text(ready.ok("known-hosts", "--nix"))
    options = ["--store", "dummy://", "--eval", "--strict", "--json", "--readonly-mode"]
    nix = kit.program("nix-instantiate")
    answer = kit.run_program(nix, *options, str(file), env=ready.env)
    keys = {name: " ".join(ready.public(name).split()[:2]) for name in ready.hosts}
    assert json.loads(answer) == {
        "brunnen": {
            "hostNames": ["[brunnen]:2222", "[brunnen.lan]:2222"],
            "publicKey": keys["brunnen"],
        },
        "schere": {"hostNames": ["schere"], "publicKey": keys["schere"]},
        "stein": {"hostNames": ["stein", "2001:db8::7"], "publicKey": keys["stein"]},
    }
