"""The commands one by one, as a person meets them; transcripts where words matter."""

import stat
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed, set_editor
from tests.fleet import Fleet


def test_init_starts_a_fleet_with_a_new_key(tmp_path: Path) -> None:
    fleet = kit.make_fleet(tmp_path, users=())
    done = fleet.run("init", "--user", "alice", "--create-key")
    assert done.returncode == 0
    key = fleet.home / ".config/sops/age/keys.txt"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sorted(fleet.snapshot()) == [
        ".gitattributes",
        ".sops.yaml",
        "nixsecrets.lock",
        "nixsecrets.toml",
        "secrets/secrets.nix",
    ]
    lines = fleet.read(".gitattributes").decode().splitlines()
    assert lines == ["nixsecrets.lock merge=union", "*.age -text -merge", "*.env -text"]
    assert done.stderr.splitlines()[-1] == (
        "git add -- .gitattributes .sops.yaml nixsecrets.lock nixsecrets.toml "
        "secrets/secrets.nix"
    )
    assert fleet.ok("check") == ""


def test_init_without_key_and_without_terminal_says_what_to_do(tmp_path: Path) -> None:
    fleet = kit.make_fleet(tmp_path, users=())
    done = fleet.run("init")
    assert done.returncode == 1
    assert "cannot prompt without a terminal" in done.stderr
    assert "nixsecrets: hint: agree with --create-key" in done.stderr
    assert fleet.snapshot() == {}
    assert list(fleet.home.iterdir()) == []


@pytest.mark.parametrize("folder", [".ssh/id_ed25519", ".config/sops/age/keys.txt"])
def test_init_finds_the_key_there_is(tmp_path: Path, folder: str) -> None:
    fleet = kit.make_fleet(tmp_path, users=())
    key = kit.ssh_key("me") if folder.startswith(".ssh") else kit.age_key()
    key.write(fleet.home / folder)
    fleet.ok("init", "--user", "me")
    assert key.public.split()[-1] in fleet.read("nixsecrets.toml").decode()


@pytest.mark.parametrize(
    "present", ["nixsecrets.toml", ".sops.yaml", "secrets/secrets.nix", "deep/er/x.age"]
)
def test_init_overwrites_nothing(tmp_path: Path, present: str) -> None:
    fleet = kit.make_fleet(tmp_path)
    if present.endswith(".age"):
        fleet.age_encrypt(present, "x", "alice")
    else:
        fleet.write(present, "# mine\n")
    before = fleet.snapshot()
    done = fleet.run("init")
    assert done.returncode == 1
    assert "nixsecrets: error:" in done.stderr
    assert fleet.snapshot() == before


def test_add_host_collects_the_key_from_a_real_server(
    ready: Fleet, tmp_path: Path
) -> None:
    key = ready.add_host("neu")
    with kit.start_sshd(tmp_path / "sshd", key) as port:
        address = f"127.0.0.1:{port}"
        before = ready.snapshot()
        refused = ready.run("add-host", "neu", "--address", address, "--yes")
        assert refused.returncode == 1
        assert f"neu shows ssh-ed25519 {key.fingerprint}" in refused.stderr
        assert changed(ready, before) == set()
        wrong = ready.run(
            "add-host",
            "neu",
            "--address",
            address,
            "--fingerprint",
            f"SHA256:{'A' * 43}",
        )
        assert wrong.returncode == 1
        assert changed(ready, before) == set()
        fingerprint = ("--fingerprint", key.fingerprint)
        ready.ok("add-host", "neu", "--address", address, *fingerprint, "--yes")
    text = ready.read("nixsecrets.toml").decode()
    assert f'address = "{address}"' in text
    assert 'verified = "fingerprint 20' in text


def test_add_host_says_who_gains_what(ready: Fleet) -> None:
    key = ready.add_host("neu")
    done = ready.run("add-host", "neu", "--key", key.public, "--group", "dns", "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "  write       .sops.yaml\n"
        "  write       nixsecrets.lock\n"
        "  write       nixsecrets.toml\n"
        "  grant       secrets/dns.age      +neu\n"
        "  grant       secrets/dns.yaml     +neu\n"
        "  write       secrets/secrets.nix\n"
        f"neu (ssh-ed25519 {key.fingerprint}) will be able to read 2 more files\n"
    )


def test_add_user_says_how_stock_sops_gets_at_an_ssh_key(ready: Fleet) -> None:
    key = kit.ssh_key("bob")
    path = ready.home / "bob.pub"
    path.write_text(key.public + "\n")
    done = ready.run("add-user", "bob", "--key-file", str(path), "--yes")
    assert done.returncode == 0
    assert "ssh-to-age -private-key" in done.stderr


def test_edit_keeps_the_file_when_the_editor_fails(ready: Fleet) -> None:
    before = ready.snapshot()
    done = ready.run("edit", "secrets/wifi.age", env={"EDITOR": "false"})
    assert done.returncode == 1
    assert "ended with exit code 1" in done.stderr
    assert changed(ready, before) == set()


def test_edit_without_a_change_writes_nothing(ready: Fleet) -> None:
    before = ready.snapshot()
    done = ready.run("edit", "secrets/app.yaml", env={"EDITOR": "true"})
    assert (done.returncode, done.stderr) == (0, "secrets/app.yaml: unchanged\n")
    assert changed(ready, before) == set()


def test_edit_of_a_new_secret_needs_a_rule_and_shows_one(ready: Fleet) -> None:
    done = ready.run("edit", "other/x.age", env={"EDITOR": "true"})
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: no rule of the map matches other/x.age\n"
        "nixsecrets: hint: add to nixsecrets.toml:\n"
        "nixsecrets: hint: [[secrets]]\n"
        'nixsecrets: hint: path = "other/x.age"\n'
        "nixsecrets: hint: readers = []\n"
    )


def test_a_changed_value_is_the_only_one_with_new_ciphertext(ready: Fleet) -> None:
    path = "secrets/two.yaml"
    for content in ("one: same\ntwo: old\n", "one: same\ntwo: new\n"):
        editor = set_editor(ready, content)
        assert ready.run("edit", path, env={"EDITOR": editor}).returncode == 0
        lines = ready.read(path).decode().splitlines()
        if "old" in content:
            first = lines
    assert lines[0] == first[0]
    assert lines[1] != first[1]


def test_why_shows_rule_recipients_and_identities(ready: Fleet) -> None:
    answer = ready.ok("why", "secrets/dns.age")
    alice, stein = ready.public("alice"), ready.public("stein").rsplit(" ", 1)[0]
    lines = answer.splitlines()
    assert lines[0] == "secrets/dns.age: an age file"
    assert lines[1].startswith("rule: secrets/dns.* (nixsecrets.toml:")
    assert "actual recipients (from the lock: written):" in lines
    assert f"  alice  {alice}" in lines
    assert f"  stein  {stein}" in lines
    assert lines[-1] == f"  {ready.keys / 'alice'}: opens it"


def test_why_marks_who_may_read_and_cannot_yet(ready: Fleet) -> None:
    path = ready.root / "nixsecrets.toml"
    path.write_text(path.read_text().replace('["brunnen"]', '["brunnen", "stein"]'))
    marked = [
        line
        for line in ready.ok("why", "secrets/wifi.age").splitlines()
        if line.endswith("  (not an actual recipient: nixsecrets rekey)")
    ]
    assert [line.split()[0] for line in marked] == ["stein"]


def test_rekey_of_one_path_leaves_the_others(ready: Fleet) -> None:
    for path in ("secrets/wifi.age", "secrets/dns.age"):
        ready.age_encrypt(path, "x", "alice")
    before = ready.snapshot()
    ready.ok("rekey", "secrets/wifi.age", "--yes")
    assert changed(ready, before) == {"secrets/wifi.age", "nixsecrets.lock"}


def test_rekey_of_one_host_takes_that_hosts_files(ready: Fleet) -> None:
    for path in ("secrets/wifi.age", "secrets/dns.age"):
        ready.age_encrypt(path, "x", "alice")
    before = ready.snapshot()
    ready.ok("rekey", "--host", "stein", "--yes")
    assert changed(ready, before) == {"secrets/dns.age", "nixsecrets.lock"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(ready: Fleet, shell: str) -> None:
    assert "_NIXSECRETS_COMPLETE" in ready.ok("completion", shell)


def test_completion_completes_commands(ready: Fleet) -> None:
    env = {
        "_NIXSECRETS_COMPLETE": "bash_complete",
        "COMP_WORDS": "nixsecrets re",
        "COMP_CWORD": "1",
    }
    answer = ready.run(env=env).stdout
    assert {"plain,rekey", "plain,remove-host"} <= set(answer.split())


@pytest.mark.parametrize(
    ("arguments", "code", "first"),
    [
        (("rekye",), 2, "no such command: 'rekye'; did you mean rekey?"),
        (("rekey", "--fast"), 2, "no such option '--fast'"),
        (("add-host", "neu"), 1, None),
        (("add-host", "neu", "--key", "x", "--local"), 2, "give one of --key"),
        (("add-host", "bad name", "--key", "KEY"), 1, None),
        (
            ("add-host", "brunnen", "--key", "KEY"),
            1,
            "brunnen is in the map with another",
        ),
        (("add-host", "neu", "--key", "AGE-SECRET-KEY-1QQ"), 1, None),
        (("add-user", "bob"), 2, "give at least one --key or --key-file"),
        (("add-user", "bob", "--key-file", "none"), 2, '"none": no such file'),
        (("remove-host", "nobody"), 2, "the map has no host 'nobody'"),
        (("rekey", "nowhere"), 2, '"nowhere" names no secret'),
        (("rekey", "--host", "nobody"), 2, "the map has no host or user 'nobody'"),
        (("rekey", "/etc/passwd"), 2, '"/etc/passwd" is not below'),
        (("accept", "secrets/app.yaml"), 0, None),
        (("-C", "/nowhere", "check"), 2, None),
        (("completion", "tcsh"), 2, None),
    ],
)
def test_bad_input_gets_an_error_and_a_hint_and_changes_nothing(
    ready: Fleet, arguments: tuple[str, ...], code: int, first: str | None
) -> None:
    key = kit.ssh_key("new").public
    before = ready.snapshot()
    done = ready.run(*(key if a == "KEY" else a for a in arguments))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert "nixsecrets: error: " + (first or "") in done.stderr
        assert "nixsecrets: hint: " in done.stderr
    assert "AGE-SECRET" not in done.stderr
    assert changed(ready, before) == set()


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("add-user", "bob"), "add-user"),
        (("add-host", "neu", "--key", "x", "--local"), "add-host"),
        (("set", "secrets/wifi.age", "--trim"), "set"),
        (("cat",), "cat"),
        (("hook", "run", "--what"), "hook run"),
    ],
)
def test_a_usage_error_names_the_help_of_its_command(
    ready: Fleet, arguments: tuple[str, ...], command: str
) -> None:
    done = ready.run(*arguments)
    assert done.returncode == 2
    assert done.stderr.endswith(f"nixsecrets: hint: nixsecrets {command} --help\n")


def test_an_identity_that_is_named_and_unusable_is_not_skipped(
    ready: Fleet,
) -> None:
    private = (ready.keys / "alice").read_bytes()
    (ready.home / ".config/sops/age").mkdir(parents=True)
    (ready.home / ".config/sops/age/keys.txt").write_bytes(private)
    ready.env["NIXSECRETS_IDENTITY"] = "/nope"
    done = ready.run("cat", "secrets/wifi.age")
    assert (done.returncode, done.stdout) == (1, "")
    assert 'nixsecrets: error: no identity in "/nope": no such file' in done.stderr
    del ready.env["NIXSECRETS_IDENTITY"]
    assert ready.ok("cat", "secrets/wifi.age") == "wifi-canary"


def test_outside_of_a_fleet_the_hint_is_init(tmp_path: Path) -> None:
    done = kit.run_cli("status", cwd=tmp_path, env=kit.clean_env(tmp_path))
    assert done.returncode == 1
    assert "make one with `nixsecrets init`" in done.stderr


NAMES = [
    "with space.age",
    "quote'\".age",
    "${HOME}.age",
    "new\nline.age",
    "-leading.age",
    "ünïcödé.age",
    "#hash.age",
    "with space.yaml",
    "-leading.yaml",
    "${HOME}.json",
]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_file_names_are_ordinary_names(ready: Fleet, name: str) -> None:
    path = f"secrets/{name}"
    content = '{"a": "canary"}\n'
    editor = set_editor(ready, content)
    done = ready.run("edit", "--", path, env={"EDITOR": editor})
    assert done.returncode == 0, done.stderr
    key = ready.add_host("neu")
    ready.ok("add-host", "neu", "--key", key.public, "--group", "server", "--yes")
    ready.git("rm", "-q", "secrets/hosts/brunnen/tls.json")
    ready.ok("remove-host", "brunnen", "--yes")
    ready.ok("check")
    if name.endswith(".age"):
        assert ready.age_decrypt(path, "neu") == content.encode()


def test_a_secret_behind_a_link_out_of_the_tree_is_not_followed(
    ready: Fleet, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.age"
    outside.write_bytes(ready.read("secrets/wifi.age"))
    (ready.root / "secrets/link.age").symlink_to(outside)
    key = ready.add_host("neu")
    before = outside.read_bytes()
    ready.ok("add-host", "neu", "--key", key.public, "--group", "server", "--yes")
    assert outside.read_bytes() == before
    done = ready.run("edit", "secrets/link.age", env={"EDITOR": "true"})
    assert done.returncode == 1
    assert outside.read_bytes() == before


def test_set_names_the_new_readers_of_a_file_with_unknown_recipients(
    ready: Fleet,
) -> None:
    mallory = kit.age_key().public
    ready.age_encrypt("secrets/wifi.age", "from elsewhere", "alice", mallory)
    (ready.home / "value").write_text("new")
    done = ready.run(
        "set", "secrets/wifi.age", "--from-file", ready.home / "value", "--yes"
    )
    assert "its recipients are unknown; the map's will be" in done.stderr
    ready.ok("check")
