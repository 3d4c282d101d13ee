"""`mv`, `rm`, `ls`, and git that shows what changed inside of secrets."""

import json

import pytest

from tests.cli.conftest import changed
from tests.edit.helpers import CANARY, git_setup, put, run_bytes
from tests.fleet import Fleet, program, run_program, ssh_key

WIFI, DNS, APP = "secrets/wifi.age", "secrets/dns.yaml", "secrets/app.yaml"
RULES, LOCK = "secrets/secrets.nix", "nixsecrets.lock"


@pytest.mark.parametrize(
    ("old", "new"),
    [(WIFI, "secrets/wlan.age"), (APP, "secrets/deep/er/app.yaml")],
)
def test_a_rename_for_the_same_readers_changes_no_byte(
    fleet: Fleet, old: str, new: str
) -> None:
    data, before = fleet.read(old), fleet.snapshot()
    done = fleet.run("mv", old, new)
    assert done.returncode == 0, done.stderr
    assert fleet.read(new) == data
    assert not (fleet.root / old).exists()
    assert done.stderr.splitlines()[-1] == f"git add -- {new}"
    generated = {RULES, LOCK} if old.endswith(".age") else set()
    assert changed(fleet, before) == {old, new} | generated
    if generated:
        assert '"wlan.age"' in fleet.read(RULES).decode()
        assert old not in fleet.read(LOCK).decode()
    fleet.commit()
    assert fleet.run("check").returncode == 0, fleet.run("check").stdout


def test_a_rename_needs_no_private_key(fleet: Fleet) -> None:
    del fleet.env["NIXSECRETS_IDENTITY"]
    fleet.ok("mv", WIFI, "secrets/wlan.age")
    assert fleet.age_opens("secrets/wlan.age", "brunnen")


@pytest.mark.parametrize("old", ["secrets/dns.age", DNS])
def test_readers_follow_the_rule_of_the_new_path(fleet: Fleet, old: str) -> None:
    new = old.replace("dns", "moved")
    before = fleet.snapshot()
    done = fleet.run("mv", old, new, "--yes")
    assert done.returncode == 1
    assert "schere will lose 1 file" in done.stderr
    assert changed(fleet, before) == set()
    done = fleet.run("mv", old, new, "--yes", "--allow-revoke")
    assert done.returncode == 0, done.stderr
    assert "brunnen (ssh-ed25519 SHA256:" in done.stderr
    assert f"{new}  (known to schere, stein)" in done.stderr
    found = json.loads(fleet.ok("ls", new, "--json"))
    assert found[0]["readers"] == ["alice", "brunnen"]
    if old.endswith(".age"):
        assert fleet.age_opens(new, "brunnen")
        assert not fleet.age_opens(new, "stein")
    fleet.commit()
    assert fleet.run("check").returncode == 0


def test_a_move_into_a_folder_keeps_the_name(fleet: Fleet) -> None:
    (fleet.root / "secrets/sub").mkdir()
    fleet.ok("mv", WIFI, "secrets/sub", "--git-add")
    assert fleet.git("status", "--porcelain", "secrets/sub", WIFI) == (
        f"R  {WIFI} -> secrets/sub/wifi.age\n"
    )


def test_moves_that_would_lose_something_are_refused(fleet: Fleet) -> None:
    before = fleet.snapshot()
    for old, new, said in (
        (WIFI, "secrets/dns.age", "a file already exists there"),
        (WIFI, RULES, "a file already exists there"),
        (WIFI, "elsewhere/wifi.age", "no rule of the map matches elsewhere/wifi.age"),
        (WIFI, "secrets/wifi.yaml", "is an age file; of that name are sops files"),
        (APP, "secrets/app.age", "is a sops file; of that name are age files"),
        (APP, "secrets/app.json", "stands for another sops format"),
        (WIFI, "secrets/wifi.nix", "no rule of the map matches"),
        ("secrets/none.age", "secrets/x.age", "no such secret"),
    ):
        done = fleet.run("mv", old, new, "--yes", "--allow-revoke")
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert changed(fleet, before) == set()


def test_rm_asks_and_takes_the_file_out_of_configs_and_lock(fleet: Fleet) -> None:
    before = fleet.snapshot()
    done = fleet.run("rm", WIFI, APP)
    assert done.returncode == 1
    assert changed(fleet, before) == set()
    done = fleet.run("rm", WIFI, APP, "--yes")
    assert done.returncode == 0, done.stderr
    assert "the git history keeps committed versions" in done.stderr
    assert changed(fleet, before) == {WIFI, APP, RULES, LOCK}
    assert "wifi.age" not in fleet.read(RULES).decode() + fleet.read(LOCK).decode()
    fleet.commit()
    assert fleet.run("check").returncode == 0


def test_rm_says_what_exists_nowhere_else(fleet: Fleet) -> None:
    put(fleet, "secrets/new.age", value=b"x")
    done = fleet.run("rm", "secrets/new.age", "--yes", "--git-add")
    assert done.returncode == 0, done.stderr
    assert "secrets/new.age: git has no copy; it cannot be restored" in done.stderr


def test_a_damaged_secret_can_be_removed(fleet: Fleet) -> None:
    fleet.write(WIFI, fleet.read(WIFI)[:80])
    fleet.ok("rm", WIFI, "--yes")
    assert not (fleet.root / WIFI).exists()


def test_ls_lists_path_backend_date_and_readers(fleet: Fleet) -> None:
    fleet.age_encrypt("secrets/odd.age", "x", "alice", "brunnen")
    lines = fleet.ok("ls").splitlines()
    date = fleet.git("log", "-1", "--format=%cs").strip()
    assert lines == [
        "path                            backend  changed      readers",
        f"secrets/app.yaml                sops     {date}   alice brunnen",
        f"secrets/dns.age                 age      {date}   alice schere stein",
        f"secrets/dns.yaml                sops     {date}   alice schere stein",
        f"secrets/hosts/brunnen/tls.json  sops     {date}   alice brunnen",
        "secrets/odd.age                 age      uncommitted  unknown",
        f"secrets/wifi.age                age      {date}   alice brunnen",
    ]


def test_ls_filters_by_folder_host_and_user(fleet: Fleet) -> None:
    def paths(*args: str) -> list[str]:
        found = json.loads(fleet.ok("ls", "--json", *args))
        return [one["path"] for one in found]

    assert paths("--host", "stein") == ["secrets/dns.age", DNS]
    assert paths("secrets/hosts") == ["secrets/hosts/brunnen/tls.json"]
    assert paths("--user", "alice", "--host", "brunnen", WIFI, DNS) == [WIFI]
    assert fleet.run("ls", "--host", "nobody").returncode == 2
    assert fleet.ok("ls", "secrets/hosts", "--host", "stein") == ""


def test_git_shows_what_changed_inside_of_both_backends(fleet: Fleet) -> None:
    git_setup(fleet)
    fleet.commit("attributes")
    put(fleet, WIFI, value=b"first\nsecond\n")
    fleet.commit("one")
    put(fleet, WIFI, value=b"first\n" + CANARY.encode() + b"\n")
    put(fleet, DNS, "--key", "dns", value=CANARY.encode())
    text = fleet.git("diff")
    for line in ("-second", f"+{CANARY}", "-dns: dns-canary", f"+dns: {CANARY}"):
        assert line in text.splitlines()
    assert "AGE ENCRYPTED" not in text
    assert "ENC[" not in text
    log = fleet.git("log", "-p", "--", WIFI)
    assert "-wifi-canary" in log
    assert "+second" in log
    assert CANARY.encode() not in raw_diff(fleet, "--no-textconv")
    assert fleet.git("for-each-ref", "refs/notes") == "", "nothing is cached"
    before = fleet.snapshot()
    fleet.ok("git-setup")
    assert changed(fleet, before) == set(), "a second run changes nothing"
    fleet.ok("git-setup", "--undo")
    assert CANARY.encode() not in raw_diff(fleet)


def test_git_setup_replaces_the_setting_of_an_older_version(fleet: Fleet) -> None:
    git_setup(fleet)
    fleet.commit("attributes")
    fleet.git("config", "diff.nixsecrets.textconv", "nixsecrets textconv")
    assert f"+{CANARY}" not in fleet.git("log", "-p", "--", WIFI)
    assert "+wifi-canary" in fleet.git("log", "-p", "--", WIFI), "it still works"
    what = "`nixsecrets-textconv` instead of `nixsecrets textconv`"
    asked = fleet.run("git-setup", "--dry-run")
    assert f"git would run {what}\n" in asked.stderr
    assert "git now" not in asked.stderr
    assert f"git now runs {what}\n" in fleet.run("git-setup").stderr
    again = fleet.run("git-setup")
    assert "instead of" not in again.stderr
    setting = fleet.git("config", "diff.nixsecrets.textconv")
    assert setting == "nixsecrets-textconv\n"


def raw_diff(fleet: Fleet, *args: str) -> bytes:
    """Return what `git diff` prints; of an age file that may be any bytes."""
    argv = (program("git"), "diff", *args)
    return run_program(*argv, env=fleet.env, cwd=fleet.root)


def test_the_attributes_are_those_of_the_rules(fleet: Fleet) -> None:
    fleet.write(".gitattributes", "*.png binary")
    git_setup(fleet)
    assert fleet.read(".gitattributes").decode() == (
        "*.png binary\nnixsecrets.lock merge=union\n*.age -text -merge\n*.env -text\n"
        "*.age diff=nixsecrets\n/secrets/** diff=nixsecrets\n"
        "/secrets/dns.* diff=nixsecrets\n/secrets/hosts/*/** diff=nixsecrets\n"
    )


def test_what_cannot_be_opened_is_one_line_that_changes_with_the_file(
    fleet: Fleet,
) -> None:
    git_setup(fleet)
    fleet.age_encrypt("secrets/odd.age", "one", ssh_key("other").public)
    fleet.commit()
    fleet.age_encrypt("secrets/odd.age", "two", ssh_key("other").public)
    lines = fleet.git("diff", "--", "secrets/odd.age").splitlines()
    shown = [line for line in lines if "(cannot be shown: no identity opens" in line]
    assert [line[0] for line in shown] == ["-", "+"]
    assert shown[0][1:] != shown[1][1:]


def test_textconv_leaves_ordinary_files_as_they_are(fleet: Fleet) -> None:
    data = bytes(range(256))
    fleet.write("secrets.bin", data)
    assert run_bytes(fleet, "textconv", "secrets.bin").stdout == data
    assert run_bytes(fleet, "textconv", "missing").returncode == 1
