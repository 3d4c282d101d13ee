"""Where identities are searched, in which order, and the messages about bad ones."""

import json
import os
import shlex
import stat
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nixsecrets.errors import IdentityError
from nixsecrets.keys.find import find_identities
from nixsecrets.keys.identities import Keyring, X25519Identity, parse_identities
from nixsecrets.keys.identityfile import identity_file_text
from nixsecrets.keys.places import quiet_files
from tests.fleet import (
    AgeKey,
    age_key,
    program,
    rsa_key,
    run_program,
    sops_path,
    ssh_key,
)
from tests.keys.vectors import VECTORS


def found(keyring: Keyring) -> list[str]:
    return [identity.recipients[0].text for identity in keyring.identities]


def find(home: Path, *explicit: Path, **env: str) -> Keyring:
    return find_identities(env, home, explicit)


def write_key(path: Path) -> AgeKey:
    key = age_key()
    key.write(path)
    return key


def test_an_empty_home_has_no_identities_and_no_complaints(tmp_path: Path) -> None:
    assert find(tmp_path) == Keyring()


def test_all_places_are_looked_at_and_named_ones_come_first(tmp_path: Path) -> None:
    paths = {
        name: tmp_path / name
        for name in ("explicit", "listed one", "sops file", "ssh file")
    }
    keys = {name: write_key(path) for name, path in paths.items()}
    in_home = write_key(tmp_path / "tilde")
    usual = write_key(tmp_path / ".config/sops/age/keys.txt")
    on_macos = write_key(tmp_path / "Library/Application Support/sops/age/keys.txt")
    ssh, rsa, direct, printed = ssh_key("alice"), rsa_key(), age_key(), age_key()
    ssh.write(tmp_path / ".ssh" / "id_ed25519")
    rsa.write(tmp_path / ".ssh" / "id_rsa")
    keyring = find(
        tmp_path,
        paths["explicit"],
        NIXSECRETS_IDENTITY=f"{paths['listed one']}:~/tilde:",
        SOPS_AGE_KEY=direct.private,
        SOPS_AGE_KEY_FILE=str(paths["sops file"]),
        SOPS_AGE_SSH_PRIVATE_KEY_FILE=str(paths["ssh file"]),
        SOPS_AGE_KEY_CMD=f"echo '{printed.private}'",
        PATH=os.environ["PATH"],
    )
    assert found(keyring) == [
        keys["explicit"].public,
        keys["listed one"].public,
        in_home.public,
        direct.public,
        keys["sops file"].public,
        keys["ssh file"].public,
        printed.public,
        usual.public,
        on_macos.public,
        ssh.public,
        rsa.public,
    ]
    assert keyring.broken == ()
    sources = [identity.source for identity in keyring.identities]
    assert sources[3] == "SOPS_AGE_KEY"
    assert sources[6] == "SOPS_AGE_KEY_CMD"
    assert sources[7] == str(tmp_path / ".config/sops/age/keys.txt")


def test_xdg_config_home_hides_the_other_configuration_folders(tmp_path: Path) -> None:
    write_key(tmp_path / ".config/sops/age/keys.txt")
    write_key(tmp_path / "Library/Application Support/sops/age/keys.txt")
    key = write_key(tmp_path / "xdg/sops/age/keys.txt")
    assert found(find(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg"))) == [key.public]


@pytest.mark.parametrize(
    ("place", "env"),
    [
        (".config/sops/age/keys.txt", {}),
        ("xdg/sops/age/keys.txt", {"XDG_CONFIG_HOME": "{home}/xdg"}),
        ("elsewhere", {"SOPS_AGE_KEY_FILE": "{home}/elsewhere"}),
        ("elsewhere", {"SOPS_AGE_KEY_CMD": "cat {home}/elsewhere"}),
        (".ssh/id_ed25519", {}),
        (".ssh/id_rsa", {}),
        ("elsewhere", {"SOPS_AGE_SSH_PRIVATE_KEY_FILE": "{home}/elsewhere"}),
    ],
)
def test_the_real_sops_opens_with_the_key_that_is_found(
    place: str, env: dict[str, str], tmp_path: Path
) -> None:
    """sops and nixsecrets search the same places."""
    ssh = ".ssh" in place or "SOPS_AGE_SSH_PRIVATE_KEY_FILE" in env
    key = rsa_key() if place.endswith("rsa") else ssh_key("sops") if ssh else age_key()
    key.write(tmp_path / place)
    whole = {name: value.format(home=tmp_path) for name, value in env.items()}
    whole |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    whole["SOPS_DISABLE_VERSION_CHECK"] = "1"
    (identity,) = find_identities(whole, tmp_path, []).identities
    file = tmp_path / "secret.json"
    file.write_text('{"a": "b"}')
    recipient = identity.recipients[0].text
    run_program(sops_path(), "encrypt", "-i", "--age", recipient, str(file), env=whole)
    opened = run_program(sops_path(), "decrypt", str(file), env=whole)
    assert json.loads(opened) == {"a": "b"}


BAD: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "no such file"),
    "empty": (b"", "holds no identity"),
    "public": (VECTORS[0].ssh.encode(), "this is a public key"),
    "damaged": (VECTORS[0].secret[:-1].encode(), "corrupt"),
    "huge": (b"#" * (1024 * 1024 + 1), "larger than any identity file"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD.keys())
def test_a_named_identity_that_cannot_be_used_is_an_error(
    data: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "named"
    if data is not None:
        path.write_bytes(data)
    for explicit, env in (([path], ""), ([], str(path))):
        with pytest.raises(IdentityError, match=reason) as caught:
            find(tmp_path, *explicit, NIXSECRETS_IDENTITY=env)
        assert f'"{path}"' in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD.keys())
def test_an_unusable_identity_is_reported_and_hides_no_other(
    data: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "from variable"
    if data is not None:
        path.write_bytes(data)
    key = write_key(tmp_path / ".config/sops/age/keys.txt")
    keyring = find(tmp_path, SOPS_AGE_KEY_FILE=str(path))
    assert found(keyring) == [key.public]
    (broken,) = keyring.broken
    assert broken.source == str(path)
    assert reason in broken.reason


def test_a_named_file_with_one_good_and_one_bad_line_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"nonsense\n{VECTORS[0].secret}\n")
    keyring = find(tmp_path, path)
    assert found(keyring) == [VECTORS[0].age]
    assert keyring.broken[0].reason.startswith("line 1: ")


def test_an_inaccessible_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".ssh").write_text("a file where a folder belongs")
    broken = find(tmp_path).broken
    assert [one.reason for one in broken] == ["not a directory"] * 2


def test_odd_files_are_broken_and_nothing_hangs(tmp_path: Path) -> None:
    folder = tmp_path / ".ssh" / "id_ed25519"
    folder.mkdir(parents=True)
    (tmp_path / ".ssh" / "id_rsa").symlink_to(tmp_path / "nowhere")
    names = ("/dev/zero", "/dev/null/x", "nul\0byte", "x" * 5000)
    rings = [find(tmp_path, SOPS_AGE_KEY_FILE=name) for name in names]
    assert [len(keyring.broken) for keyring in rings] == [2] * len(names)
    assert {keyring.broken[-1].source for keyring in rings} == {str(folder)}


COMMANDS = {
    "no-such-program-anywhere": "did not start",
    "false": "exit status 1",
    "'unclosed": "not a command",
    "   ": "not a command",
    "echo nonsense": "not an identity",
    "true": "holds no identity",
}


@pytest.mark.parametrize(("command", "reason"), COMMANDS.items())
def test_a_command_that_gives_no_identity_is_broken(
    command: str, reason: str, tmp_path: Path
) -> None:
    env: Mapping[str, str] = {"SOPS_AGE_KEY_CMD": command, "PATH": os.environ["PATH"]}
    keyring = find_identities(env, tmp_path, [])
    assert keyring.identities == ()
    (broken,) = keyring.broken
    assert broken.source == "SOPS_AGE_KEY_CMD"
    assert reason in broken.reason


def test_a_command_runs_once_without_a_shell_and_without_stdin(tmp_path: Path) -> None:
    log, key = tmp_path / "log", age_key()
    script = tmp_path / "give key"
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"with open({str(log)!r}, 'a') as file:\n"
        "    file.write(repr((sys.argv[1:], sys.stdin.read())) + '\\n')\n"
        f"print({key.private!r})\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    command = f"{shlex.quote(str(script))} '$HOME' ; `id`"
    keyring = find(tmp_path, SOPS_AGE_KEY_CMD=command)
    assert found(keyring) == [key.public]
    assert log.read_text() == "(['$HOME', ';', '`id`'], '')\n"


def test_a_locked_key_that_hides_its_public_half_has_it_in_the_pub_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / ".ssh" / "id_rsa"
    path.parent.mkdir()
    keygen = [program("ssh-keygen"), "-q", "-N", "secret", "-f", str(path)]
    run_program(*keygen, "-t", "rsa", "-b", "2048", "-m", "PEM", env={})
    public = path.with_name("id_rsa.pub")
    (locked,) = find(tmp_path).locked
    assert [one.text for one in locked.recipients] == [
        " ".join(public.read_text().split()[:2])
    ]
    ssh_key("alice", passphrase="secret").write(tmp_path / ".ssh" / "id_ed25519")
    assert [len(one.recipients) for one in find(tmp_path).locked] == [2, 1]
    (tmp_path / ".ssh" / "id_ed25519").unlink()
    public.write_text("rubbish")
    assert find(tmp_path).locked[0].recipients == ()
    public.unlink()
    assert find(tmp_path).locked[0].recipients == ()


def test_a_new_identity_is_one_that_age_and_we_read(tmp_path: Path) -> None:
    fresh = X25519Identity.generate("new")
    secret, recipient = fresh.secret_text(), fresh.recipients[0]
    created = datetime(2026, 11, 20, 12, 30, 15, 5, tzinfo=UTC)
    text = identity_file_text(secret, recipient.text, created)
    (identity,) = parse_identities(text.encode(), "keys.txt").identities
    assert identity.recipients == (recipient,)
    path = tmp_path / "keys.txt"
    path.write_text(text)
    printed = run_program(program("age-keygen"), "-y", str(path), env={})
    assert printed.decode().strip() == recipient.text
    first, second, third = text.splitlines()
    assert first.startswith("# created: 2026-11-20T")
    assert datetime.fromisoformat(first.split()[-1]) == created.replace(microsecond=0)
    assert second == f"# public key: {recipient.text}"
    assert third == secret


def test_a_place_that_cannot_be_looked_at_has_no_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    write_key(key)
    env = {"NIXSECRETS_IDENTITY": f"/{'n' * 300}:{key}"}
    assert quiet_files(env, tmp_path / ("n" * 300)) == [key]
