"""A command changes what was asked for and nothing else; and it asks first."""

import json
from collections.abc import Callable

import pytest

from nixsecrets.keys.recipients import parse_recipient
from tests import fleet as kit
from tests.cli.conftest import CONTENTS, changed, set_editor
from tests.fleet import Fleet

MISSING, EXTRA, UNKNOWN = (
    "secrets/drift-missing.yaml",
    "secrets/drift-extra.yaml",
    "secrets/drift-unknown.age",
)
GENERATED = {".sops.yaml", "nixsecrets.lock", "nixsecrets.toml", "secrets/secrets.nix"}


@pytest.fixture
def drifted(ready: Fleet) -> Fleet:
    """Files that lack a reader, have one too many, or whose readers are unknown."""
    alice, brunnen, stein = (
        ready.public("alice"),
        converted(ready, "brunnen"),
        converted(ready, "stein"),
    )
    ready.sops_encrypt(MISSING, "a: b\n", [alice])
    ready.sops_encrypt(EXTRA, "a: b\n", [alice, brunnen, stein])
    ready.age_encrypt(UNKNOWN, "u", "alice", kit.age_key().public)
    ready.commit("drift")
    return ready


def converted(fleet: Fleet, name: str) -> str:
    return parse_recipient(fleet.public(name)).converted().text


def add_host(fleet: Fleet) -> tuple[str, ...]:
    key = fleet.add_host("neu")
    return ("add-host", "neu", "--key", key.public, "--group", "server", "--yes")


def add_user(fleet: Fleet) -> tuple[str, ...]:
    fleet.add_user("bob")
    return ("add-user", "bob", "--key", fleet.public("bob"), "--group", "dns", "--yes")


def remove_host(fleet: Fleet) -> tuple[str, ...]:
    return ("remove-host", "stein", "--yes")


def edit(fleet: Fleet) -> tuple[str, ...]:
    fleet.env["EDITOR"] = set_editor(fleet, "new")
    return ("edit", "secrets/wifi.age")


def edit_new(fleet: Fleet) -> tuple[str, ...]:
    fleet.env["EDITOR"] = set_editor(fleet, "new")
    return ("edit", "secrets/new.age")


def rekey_path(fleet: Fleet) -> tuple[str, ...]:
    fleet.age_encrypt("secrets/wifi.age", "w", kit.age_key().public, "alice")
    return ("rekey", "secrets/wifi.age", "--yes", "--allow-revoke")


def accept(fleet: Fleet) -> tuple[str, ...]:
    fleet.age_encrypt("secrets/wifi.age", "w", "alice", "brunnen")
    return ("accept", "secrets/wifi.age", "--yes")


def sync(fleet: Fleet) -> tuple[str, ...]:
    (fleet.root / ".sops.yaml").unlink()
    return ("sync",)


@pytest.mark.parametrize(
    ("prepare", "touched"),
    [
        (
            add_host,
            {"secrets/wifi.age", "secrets/app.yaml", MISSING, EXTRA, UNKNOWN},
        ),
        (add_user, {"secrets/dns.age", "secrets/dns.yaml"}),
        (remove_host, {"secrets/dns.age", "secrets/dns.yaml", EXTRA}),
        (edit, {"secrets/wifi.age"}),
        (edit_new, {"secrets/new.age"}),
        (rekey_path, {"secrets/wifi.age"}),
        (accept, set()),
        (sync, set()),
    ],
)
def test_a_command_touches_what_it_is_about_and_leaves_other_drift(
    drifted: Fleet,
    prepare: Callable[[Fleet], tuple[str, ...]],
    touched: set[str],
) -> None:
    arguments = prepare(drifted)
    before = drifted.snapshot()
    drifted.ok(*arguments)
    assert changed(drifted, before) - GENERATED == touched
    plan = json.loads(drifted.ok("status", "--json"))
    left = {step["path"]: step for step in plan["steps"]}
    if EXTRA in touched and prepare is remove_host:
        assert EXTRA not in left  # it held the key that was to go everywhere
    else:
        assert "stein" in left[EXTRA]["remove"]


def test_a_grant_to_drifted_files_repairs_nothing_else_in_them(drifted: Fleet) -> None:
    drifted.ok(*add_host(drifted))
    assert drifted.age_opens("secrets/wifi.age", "neu")
    plan = json.loads(drifted.ok("status", "--json"))
    left = {s["path"]: (s["add"], s["remove"]) for s in plan["steps"] if s["backend"]}
    assert left == {EXTRA: ([], ["stein"]), MISSING: (["brunnen"], [])}


@pytest.mark.parametrize(
    "prepare", [add_host, add_user, remove_host, rekey_path, accept, sync, edit]
)
def test_a_second_run_changes_no_byte(
    ready: Fleet, prepare: Callable[[Fleet], tuple[str, ...]]
) -> None:
    arguments = prepare(ready)
    ready.ok(*arguments)
    before = ready.snapshot()
    again = ready.run(*arguments)
    assert changed(ready, before) == set()
    known = {"add-host", "add-user", "remove-host"}
    assert again.returncode == (0 if arguments[0] not in known else again.returncode)


@pytest.mark.parametrize("prepare", [add_host, add_user, remove_host, rekey_path])
@pytest.mark.parametrize("flags", [("--dry-run",), ("--dry-run", "--json")])
def test_a_dry_run_shows_the_plan_and_changes_nothing(
    ready: Fleet,
    prepare: Callable[[Fleet], tuple[str, ...]],
    flags: tuple[str, ...],
) -> None:
    arguments = prepare(ready)
    before = ready.snapshot()
    answer = ready.ok(*arguments, *flags)
    assert changed(ready, before) == set()
    assert "secrets/" in answer
    if "--json" in flags:
        assert json.loads(answer)["version"] == 1


@pytest.mark.parametrize("prepare", [add_host, add_user, remove_host, rekey_path])
def test_without_a_terminal_and_without_yes_nothing_happens(
    ready: Fleet, prepare: Callable[[Fleet], tuple[str, ...]]
) -> None:
    arguments = [a for a in prepare(ready) if a not in {"--yes", "--allow-revoke"}]
    before = ready.snapshot()
    done = ready.run(*arguments, stdin="y\ny\ny\n")
    assert done.returncode == 1
    assert "nothing was changed: cannot prompt without a terminal" in done.stderr
    assert "nixsecrets: hint: agree" in done.stderr
    assert changed(ready, before) == set()


def test_no_rekey_changes_the_map_and_the_configs_only(ready: Fleet) -> None:
    before = ready.snapshot()
    ready.ok(*add_host(ready), "--no-rekey")
    assert changed(ready, before) == GENERATED - {"nixsecrets.lock"}
    assert not ready.age_opens("secrets/wifi.age", "neu")


def test_taking_access_that_was_not_named_needs_its_own_flag(ready: Fleet) -> None:
    path = ready.root / "nixsecrets.toml"
    path.write_text(path.read_text().replace('"schere", "stein"', '"schere"'))
    before = ready.snapshot()
    done = ready.run("rekey", "--yes")
    assert done.returncode == 1
    assert "stein will lose 2 files" in done.stderr
    assert "agree with --allow-revoke" in done.stderr
    assert changed(ready, before) == set()
    ready.ok("rekey", "--yes", "--allow-revoke")
    assert not ready.age_opens("secrets/dns.age", "stein")


def test_locking_oneself_out_needs_its_own_flag(ready: Fleet) -> None:
    ready.add_user("bob")
    ready.ok("add-user", "bob", "--key", ready.public("bob"), "--yes")
    path = ready.root / "nixsecrets.toml"
    path.write_text(path.read_text().replace('always = ["alice"]', 'always = ["bob"]'))
    before = ready.snapshot()
    done = ready.run("rekey", "--yes", "--allow-revoke")
    assert done.returncode == 1
    assert "you will no longer be able to open 5 files" in done.stderr
    assert "agree with --allow-lockout" in done.stderr
    assert changed(ready, before) == set()
    ready.ok("rekey", "--yes", "--allow-revoke", "--allow-lockout")
    assert ready.age_opens("secrets/wifi.age", "bob")
    assert not ready.age_opens("secrets/wifi.age", "alice")


def test_taking_the_last_reader_of_always_needs_its_own_flag(ready: Fleet) -> None:
    path = ready.root / "nixsecrets.toml"
    text = path.read_text().replace('always = ["alice"]', 'always = ["admins"]')
    path.write_text(text.replace("[groups]\n", '[groups]\nadmins = ["alice"]\n'))
    ready.add_user("bob")
    ready.ok("add-user", "bob", "--key", ready.public("bob"), "--group", "dns", "--yes")
    before = ready.snapshot()
    done = ready.run("remove-user", "alice", "--yes")
    assert done.returncode == 1
    assert "nobody is left in `always`" in done.stderr
    assert "agree with --allow-lockout" in done.stderr
    assert changed(ready, before) == set()
    ready.ok("remove-user", "alice", "--yes", "--allow-lockout")
    assert not ready.age_opens("secrets/dns.age", "alice")


def test_a_file_that_cannot_be_opened_stops_the_run_and_is_named(ready: Fleet) -> None:
    for path in ("secrets/foreign-a.age", "secrets/foreign-b.age"):
        ready.age_encrypt(path, "x", "brunnen")
    key = ready.add_host("neu")
    before = ready.snapshot()
    arguments = ("add-host", "neu", "--key", key.public, "--group", "server", "--yes")
    done = ready.run(*arguments)
    assert done.returncode == 1
    assert "nothing was changed: 2 files cannot be processed" in done.stderr
    assert "secrets/foreign-a.age can be opened by brunnen" in done.stderr
    assert "secrets/foreign-b.age can be opened by brunnen" in done.stderr
    assert changed(ready, before) == set()
    done = ready.run(*arguments, "--keep-going")
    assert done.returncode == 1
    assert "skipped secrets/foreign-a.age" in done.stderr
    assert ready.age_opens("secrets/wifi.age", "neu")
    assert ready.read("secrets/foreign-a.age") == before["secrets/foreign-a.age"]


def test_removing_a_host_says_what_it_still_knows(ready: Fleet) -> None:
    done = ready.run("remove-host", "stein", "--yes")
    assert done.returncode == 0
    assert "change these values; those who lost access still know them" in done.stderr
    assert "secrets/dns.yaml  (known to stein)" in done.stderr
    assert not ready.age_opens("secrets/dns.age", "stein")
    assert ready.age_opens("secrets/dns.age", "schere")
    text = ready.read("nixsecrets.toml").decode()
    assert "[[retired]]" in text
    assert ready.public("stein").split()[1] in text


def test_no_command_lets_a_canary_out(ready: Fleet) -> None:
    canaries = ("dns-canary", "wifi-canary", "app-canary", "tls-canary")
    for arguments in (
        ("status",),
        ("check",),
        ("why", "secrets/dns.yaml"),
        ("rekey", "--dry-run", "--json"),
        ("remove-host", "stein", "--yes"),
        add_host(ready),
    ):
        done = ready.run(*arguments)
        for canary in canaries:
            assert canary not in done.stdout + done.stderr
            assert any(canary in content for content in CONTENTS.values())


def test_a_removed_name_is_taken_out_of_files_the_map_never_gave_it(
    ready: Fleet,
) -> None:
    ready.ok(*add_user(ready))
    readers = [ready.public("alice"), converted(ready, "brunnen"), ready.public("bob")]
    ready.sops_encrypt("secrets/app.yaml", "app: canary\n", readers)
    ready.age_encrypt("secrets/wifi.age", "w", "alice", "brunnen", "bob")
    ready.ok("remove-user", "bob", "--yes")
    identity = (ready.keys / "bob").read_text().splitlines()[-1]
    assert not ready.sops_opens("secrets/app.yaml", identity)
    assert not ready.age_opens("secrets/wifi.age", "bob")
    ready.ok("check")


def test_a_secret_in_the_clear_is_not_skipped_silently(ready: Fleet) -> None:
    ready.write("secrets/wifi.age", "")
    for arguments in (("rekey", "--yes"), ("remove-host", "stein", "--yes")):
        done = ready.run(*arguments)
        assert "also needs attention: secrets/wifi.age" in done.stderr
    assert b'"wifi.age"' in ready.read("secrets/secrets.nix")


def test_a_key_its_backend_cannot_use_is_reported_before_anything_is_entered(
    ready: Fleet,
) -> None:
    before = ready.snapshot()
    key = kit.rsa_key().public
    done = ready.run("add-host", "alt", "--key", key, "--group", "server")
    assert done.returncode == 1
    assert "secrets/app.yaml: alt cannot read it" in done.stderr
    assert changed(ready, before) == set()


def test_a_secret_behind_a_link_in_the_tree_is_the_file_it_leads_to(
    ready: Fleet,
) -> None:
    (ready.root / "secrets/link.age").symlink_to("wifi.age")
    ready.env["EDITOR"] = set_editor(ready, "through the link")
    ready.ok("edit", "secrets/link.age")
    assert ready.age_decrypt("secrets/wifi.age", "brunnen") == b"through the link"
    assert (ready.root / "secrets/link.age").is_symlink()
    ready.ok("check")
