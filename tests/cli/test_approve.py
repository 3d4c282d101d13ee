"""A key that came by `git pull` is used by no command before the operator saw it."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nixsecrets.keys.recipients import parse_recipient
from tests import fleet as kit
from tests.cli.conftest import changed, set_editor
from tests.cli.test_terminal import ended, spawn
from tests.fleet import Fleet, SshKey, git

HINT = "nixsecrets: hint: review and approve the keys: nixsecrets approve (or --yes)\n"
SUBJECT = "routine update"


def mallory_pushes(fleet: Fleet, *changes: tuple[str, str]) -> None:
    """Let a colleague change the map in a clone of their own and push; pull it."""
    base = fleet.root.parent
    origin = base / "origin.git"
    if not origin.exists():
        git(base, "clone", "-q", "--bare", str(fleet.root), str(origin), env=fleet.env)
        fleet.git("remote", "add", "origin", str(origin))
        fleet.git("fetch", "-q", "origin")
        fleet.git("branch", "-q", "--set-upstream-to=origin/main", "main")
    second = base / "mallory"
    git(base, "clone", "-q", str(origin), str(second), env=fleet.env)
    place = second / "nixsecrets.toml"
    text = place.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    place.write_text(text)
    who = {"GIT_AUTHOR_NAME": "Mallory", "GIT_AUTHOR_DATE": "2026-11-29T12:00:00Z"}
    git(second, "commit", "-qam", SUBJECT, env=fleet.env | who)
    git(second, "push", "-q", env=fleet.env)
    shutil.rmtree(second)
    fleet.git("pull", "-q", "--ff-only")


@pytest.fixture
def evil() -> SshKey:
    return kit.ssh_key("mallory")


@pytest.fixture
def swapped(ready: Fleet, evil: SshKey) -> Fleet:
    """The fleet after a pull that gives stein the key of somebody else."""
    mallory_pushes(ready, (ready.public("stein"), evil.public))
    evil.write(ready.keys / "evil")
    return ready


def opens_anything(fleet: Fleet) -> bool:
    """Whether the pushed key stands in, or opens, any file but the map."""
    evil = parse_recipient((fleet.keys / "evil.pub").read_text())
    forms = {evil.text.encode(), evil.converted().text.encode()}
    tag = b"ssh-ed25519 " + (evil.tag or "").encode() + b" "
    return any(
        any(word in data for word in (*forms, tag))
        for path, data in fleet.snapshot().items()
        if path != "nixsecrets.toml"
    )


def set_new(fleet: Fleet) -> tuple[str, ...]:
    return ("set", "secrets/dns.new.age")


def set_new_sops(fleet: Fleet) -> tuple[str, ...]:
    return ("set", "secrets/dns.new.yaml", "--key", "a")


def set_in_plaintext(fleet: Fleet) -> tuple[str, ...]:
    fleet.write("secrets/dns.plain.yaml", "a: b\n")
    return ("set", "secrets/dns.plain.yaml", "--from-file", "secrets/dns.plain.yaml")


def set_a_file_with_a_reader_of_theirs(fleet: Fleet) -> tuple[str, ...]:
    evil = (fleet.keys / "evil.pub").read_text().strip()
    fleet.age_encrypt("secrets/wifi.age", "w", fleet.public("brunnen"), evil)
    return ("set", "secrets/wifi.age")


def edit_new(fleet: Fleet) -> tuple[str, ...]:
    fleet.env["EDITOR"] = set_editor(fleet, "new")
    return ("edit", "secrets/dns.new.age")


def edit_for_the_map(fleet: Fleet) -> tuple[str, ...]:
    fleet.env["EDITOR"] = set_editor(fleet, "dns: new\n")
    return ("edit", "secrets/dns.yaml", "--rekey", "--allow-revoke")


def generate(fleet: Fleet) -> tuple[str, ...]:
    return ("generate", "secrets/dns.new.age")


def rekey(fleet: Fleet) -> tuple[str, ...]:
    return ("rekey", "--allow-revoke")


def mv(fleet: Fleet) -> tuple[str, ...]:
    return ("mv", "secrets/wifi.age", "secrets/dns.wifi.age", "--allow-revoke")


def rm(fleet: Fleet) -> tuple[str, ...]:
    return ("rm", "secrets/wifi.age")


def sync(fleet: Fleet) -> tuple[str, ...]:
    return ("sync",)


def add_host(fleet: Fleet) -> tuple[str, ...]:
    key = fleet.add_host("neu").public
    return ("add-host", "neu", "--key", key, "--group", "server")


def add_host_with_a_key_made_here(fleet: Fleet) -> tuple[str, ...]:
    return ("add-host", "neu", "--generate", "--group", "server")


def add_host_to_their_group(fleet: Fleet) -> tuple[str, ...]:
    key = fleet.add_host("neu").public
    return ("add-host", "neu", "--key", key, "--group", "dns", "--no-rekey")


def add_user(fleet: Fleet) -> tuple[str, ...]:
    fleet.add_user("bob")
    # stein's old key is in these files still, and has left the map
    key = fleet.public("bob")
    return ("add-user", "bob", "--key", key, "--group", "dns", "--allow-retired")


def rotate_host(fleet: Fleet) -> tuple[str, ...]:
    key = fleet.add_host("brunnen", kit.ssh_key("again")).public
    return ("rotate-host", "brunnen", "--key", key)


def rotate_user(fleet: Fleet) -> tuple[str, ...]:
    key = kit.age_key().public
    allowed = ("--allow-lockout", "--allow-retired")
    return ("rotate-user", "alice", "--key", key, *allowed)


def remove_host(fleet: Fleet) -> tuple[str, ...]:
    return ("remove-host", "schere", "--allow-retired")


def rename_host(fleet: Fleet) -> tuple[str, ...]:
    return ("rename-host", "brunnen", "quelle")


COMMANDS = (
    *(set_new, set_new_sops, set_in_plaintext, set_a_file_with_a_reader_of_theirs),
    *(edit_new, edit_for_the_map, generate, rekey, mv, rm, sync),
    *(add_host, add_host_with_a_key_made_here, add_host_to_their_group, add_user),
    *(rotate_host, rotate_user, remove_host, rename_host),
)


def name_of(prepare: Callable[[Fleet], tuple[str, ...]]) -> str:
    return prepare.__name__


@pytest.mark.parametrize("prepare", COMMANDS, ids=name_of)
def test_no_command_uses_a_pulled_key_before_somebody_agreed_to_it(
    swapped: Fleet, evil: SshKey, prepare: Callable[[Fleet], tuple[str, ...]]
) -> None:
    arguments = prepare(swapped)
    commit = swapped.git("rev-parse", "HEAD").strip()
    before = swapped.snapshot()
    for _ in range(2):  # a rerun asks again
        done = swapped.run(*arguments, stdin="fresh")
        assert done.returncode == 1
        assert evil.fingerprint in done.stderr
        assert "nixsecrets approve (or --yes)" in done.stderr
        assert "nothing was changed" in done.stderr
        assert changed(swapped, before) == set()
    if prepare is not set_a_file_with_a_reader_of_theirs:
        stein = kit.ssh_key("host stein").fingerprint
        assert f"stein: was {stein}, now {evil.fingerprint}\n" in done.stderr
        assert f"commit {commit[:12]} (Mallory, 2026-11-29: {SUBJECT})" in done.stderr
    agreed = swapped.run(*arguments, "--yes", stdin="fresh")
    assert agreed.returncode == 0, agreed.stderr
    assert "approved in this clone by --yes:\n" in agreed.stderr
    assert evil.fingerprint in agreed.stderr
    assert opens_anything(swapped)
    assert changed(swapped, before) != set()


@pytest.mark.parametrize(
    "prepare",
    # the file of the one left out names a key that the map does not give to that name
    [one for one in COMMANDS if one is not set_a_file_with_a_reader_of_theirs],
    ids=name_of,
)
def test_once_approved_a_key_is_asked_about_by_no_command(
    swapped: Fleet, evil: SshKey, prepare: Callable[[Fleet], tuple[str, ...]]
) -> None:
    swapped.ok("approve", "--yes")
    done = swapped.run(*prepare(swapped), "--yes", stdin="fresh")
    assert done.returncode == 0, done.stderr
    assert "stein  host" not in done.stderr
    assert "now SHA256:" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("status",),
        ("ls",),
        ("why", "secrets/dns.age"),
        ("cat", "secrets/dns.age"),
        ("hosts",),
        ("lint",),
    ],
)
def test_commands_that_read_never_ask(
    swapped: Fleet, arguments: tuple[str, ...]
) -> None:
    done = swapped.run(*arguments)
    assert "[y/N]" not in done.stderr
    assert "no terminal" not in done.stderr
    assert "approve (or" not in done.stderr


def test_a_key_that_a_plan_does_not_need_is_not_asked_about(swapped: Fleet) -> None:
    done = swapped.run("set", "secrets/wifi.age", stdin="fresh")
    assert done.returncode == 0, done.stderr
    done = swapped.run("rekey", "secrets/app.yaml", "--yes")
    assert done.returncode == 0
    assert done.stderr.endswith("nothing to do\n")


# --- where a clone remembers --------------------------------------------------------


def refused(fleet: Fleet, root: Path, path: str = "secrets/dns.new.age") -> None:
    """Insist that a new secret for stein is refused in `root`."""
    done = fleet.run("set", path, cwd=root, stdin="fresh")
    assert done.returncode == 1
    assert "now SHA256:" in done.stderr
    assert not (root / path).exists()


def test_a_linked_work_tree_shares_what_was_approved_and_what_was_not(
    swapped: Fleet, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    swapped.git("worktree", "add", "-q", "-b", "other", str(linked))
    refused(swapped, linked)
    done = swapped.run("approve", "stein", "--yes", cwd=linked)
    assert done.returncode == 0, done.stderr
    swapped.ok("set", "secrets/dns.new.age", stdin="fresh")


def test_a_submodule_asks_for_itself(ready: Fleet, evil: SshKey) -> None:
    outer = kit.git_repo(ready.root.parent / "outer", ready.env)
    allow = ("-c", "protocol.file.allow=always")
    add = ("submodule", "--quiet", "add", str(ready.root), "fleet")
    git(outer, *allow, *add, env=ready.env)
    inner = outer / "fleet"
    done = ready.run("set", "secrets/dns.new.age", cwd=inner, stdin="fresh")
    assert done.returncode == 1
    assert "no key is approved in this clone yet:\n" in done.stderr
    assert ready.run("approve", "--yes", cwd=inner).returncode == 0
    place = inner / "nixsecrets.toml"
    place.write_text(place.read_text().replace(ready.public("stein"), evil.public))
    refused(ready, inner)


def test_without_git_it_is_remembered_in_the_users_state_folder(
    ready: Fleet, evil: SshKey
) -> None:
    shutil.rmtree(ready.root / ".git")
    done = ready.run("set", "secrets/dns.new.age", stdin="fresh")
    assert done.returncode == 1
    assert "no key is approved in this clone yet:\n" in done.stderr
    ready.ok("approve", "--yes")
    place = ready.root / "nixsecrets.toml"
    place.write_text(place.read_text().replace(ready.public("stein"), evil.public))
    refused(ready, ready.root)
    assert list((ready.home / ".local/state/nixsecrets").glob("*/remembered"))
    done = ready.run("set", "secrets/dns.new.age", stdin="fresh")
    assert re.search(r"\n    nixsecrets\.toml:\d+\n", done.stderr)


def test_a_clone_of_ones_own_clone_asks_again(ready: Fleet) -> None:
    base = ready.root.parent
    git(base, "clone", "-q", str(ready.root), "second", env=ready.env)
    done = ready.run("set", "secrets/new.age", cwd=base / "second", stdin="x")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "secrets/new.age is new; its readers will be: alice, brunnen\n"
    )


def test_a_damaged_memory_is_said_to_be_and_asks_again(ready: Fleet) -> None:
    place = ready.root / ".git/nixsecrets/clone/remembered"
    place.write_bytes(place.read_bytes()[:-5])
    done = ready.run("set", "secrets/wifi.age", stdin="x")
    assert done.returncode == 1
    assert (
        f"nixsecrets: warning: the records of this clone cannot be used: {place}: "
        "line 5 is corrupt\n"
        "nixsecrets: hint: every key must be approved again\n"
        "no key is approved in this clone yet:\n"
    ) in done.stderr
    ready.ok("approve", "--yes")
    ready.ok("set", "secrets/wifi.age", stdin="x")


def test_a_memory_that_another_user_may_write_approves_nothing(ready: Fleet) -> None:
    place = ready.root / ".git/nixsecrets/clone/remembered"
    place.chmod(0o666)
    done = ready.run("set", "secrets/wifi.age", stdin="x")
    assert done.returncode == 1
    assert "others may write it (mode 0666)" in done.stderr
    done = ready.run("set", "secrets/wifi.age", "--yes", stdin="x")
    assert done.returncode == 0  # the person said yes; it is only not remembered
    assert "this clone cannot remember anything" in done.stderr
    assert place.stat().st_mode & 0o777 == 0o666


# --- what is shown ------------------------------------------------------------------


def row(fleet: Fleet, name: str, kind: str) -> str:
    key = fleet.public(name)
    shown = parse_recipient(key)
    return f"  {name:<7}  {kind}  {shown.kind:<11}  {shown.fingerprint}\n"


def test_the_first_run_in_a_clone_asks_once_for_all_keys(ready: Fleet) -> None:
    base = ready.root.parent
    git(base, "clone", "-q", str(ready.root), "second", env=ready.env)
    table = row(ready, "alice", "user") + "".join(
        row(ready, name, "host") for name in ("brunnen", "schere", "stein")
    )
    second = replace(ready, root=base / "second")
    plan = "  write       nixsecrets.lock\n  re-encrypt  secrets/wifi.age  (content)\n"
    done = second.run("set", "secrets/wifi.age", stdin="x")
    assert (done.returncode, done.stderr) == (
        1,
        f"{plan}no key is approved in this clone yet:\n"
        f"{table}"
        "nixsecrets: error: nothing was changed: cannot prompt without a terminal\n"
        f"{HINT}",
    )
    done = second.run("set", "secrets/wifi.age", "--yes", stdin="x")
    assert (done.returncode, done.stderr) == (
        0,
        f"{plan}approved in this clone by --yes:\n{table}",
    )
    done = second.run("set", "secrets/dns.age", stdin="x")
    assert (done.returncode, done.stderr) == (0, plan.replace("wifi", "dns"))


def test_on_a_terminal_the_table_is_asked_about_before_anything_is_typed(
    ready: Fleet,
) -> None:
    base = ready.root.parent
    git(base, "clone", "-q", str(ready.root), "second", env=ready.env)
    second = replace(ready, root=base / "second")
    child = spawn(second, "edit", "secrets/wifi.age", EDITOR="false")
    child.expect_exact("no key is approved in this clone yet:")
    child.expect_exact(kit.ssh_key("host stein").fingerprint)
    child.expect_exact("approve these 4 keys in this clone? [y/N] ")
    child.sendline("n")
    said, code = ended(child)
    assert code == 1
    assert "nothing was changed: declined" in said
    child = spawn(second, "set", "secrets/wifi.age")
    child.expect_exact("approve these 4 keys in this clone? [y/N] ")
    child.sendline("y")
    child.expect_exact("value of secrets/wifi.age")
    child.sendline("new")
    child.expect("again|twice|repeat|once more")
    child.sendline("new")
    assert ended(child)[1] == 0


def test_keys_of_a_plan_that_is_declined_are_not_approved_by_the_way(
    swapped: Fleet,
) -> None:
    child = spawn(swapped, "rekey")
    child.expect_exact("approve this key in this clone? [y/N] ")
    child.sendline("y")
    child.expect_exact("[y/N] ")
    child.sendline("n")
    assert ended(child)[1] == 1
    assert "1 key of the map is not approved" in swapped.ok("status")


def test_names_and_subjects_that_would_move_the_cursor_are_escaped(
    ready: Fleet, evil: SshKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.SUBJECT", "fine\x1b[2J\u202e")
    mallory_pushes(ready, (ready.public("stein"), evil.public))
    done = ready.run("sync")
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
    assert "fine\\x1b[2J\\u202e" in done.stderr


def test_two_names_that_changed_their_keys_are_an_alarm(ready: Fleet) -> None:
    stein, schere = ready.public("stein"), ready.public("schere")
    swap = ((stein, "X"), (schere, stein), ("X", schere))
    mallory_pushes(ready, *swap)
    done = ready.run("sync")
    assert done.returncode == 1
    of = {n: kit.ssh_key(f"host {n}").fingerprint for n in ("stein", "schere")}
    for name, other in (("stein", "schere"), ("schere", "stein")):
        assert f"warning: {name}: was {of[name]}, now {of[other]}\n" in done.stderr
        known = f"warning: {name}: {of[other]} was approved as the key of {other}\n"
        assert known in done.stderr


def test_a_new_name_is_shown_with_the_commit_that_brought_it(ready: Fleet) -> None:
    carol = kit.age_key().public
    table = f'[users.carol]\nkeys = ["{carol}"]\n\n[hosts."brunnen"]'
    mallory_pushes(
        ready, ('[hosts."brunnen"]', table), ('["alice"]', '["alice", "carol"]')
    )
    commit = ready.git("rev-parse", "HEAD").strip()
    done = ready.run("rekey")
    line = (ready.root / "nixsecrets.toml").read_text().splitlines()
    number = next(n for n, text in enumerate(line, 1) if carol in text)
    assert (
        "not approved in this clone:\n"
        f"  carol  user  X25519  {carol}\n"
        f"    nixsecrets.toml:{number}, commit {commit[:12]} "
        f"(Mallory, 2026-11-29: {SUBJECT})\n"
        "nixsecrets: error: nothing was changed: cannot prompt without a terminal\n"
        f"{HINT}"
    ) in done.stderr
    assert done.returncode == 1


def test_a_key_that_is_only_in_the_work_tree_has_no_commit(
    ready: Fleet, evil: SshKey
) -> None:
    place = ready.root / "nixsecrets.toml"
    place.write_text(place.read_text().replace(ready.public("stein"), evil.public))
    assert "in no commit yet\n" in ready.run("sync").stderr


def test_a_dry_run_lists_what_would_have_to_be_approved(
    swapped: Fleet, evil: SshKey
) -> None:
    done = swapped.run("rekey", "--dry-run")
    assert done.returncode == 0
    assert done.stdout.endswith(
        "keys to approve in this clone first:\n"
        f"  stein  host  ssh-ed25519  {evil.fingerprint}\n"
    )
    plan = json.loads(swapped.ok("rekey", "--dry-run", "--json"))
    assert [(k["name"], k["fingerprint"]) for k in plan["unapproved"]] == [
        ("stein", evil.fingerprint)
    ]
    swapped.ok("approve", "--yes")
    assert "approve" not in swapped.ok("rekey", "--dry-run")


def test_status_counts_the_keys_that_are_not_approved(swapped: Fleet) -> None:
    line = "1 key of the map is not approved in this clone: nixsecrets approve\n"
    assert swapped.ok("status").endswith(line)
    found = json.loads(swapped.ok("status", "--json"))["unapproved"]
    assert [one["name"] for one in found] == ["stein"]
    swapped.ok("approve", "--yes")
    assert "approve" not in swapped.ok("status")
    swapped.ok("approve", "--revoke", "stein", "schere")
    assert "2 keys of the map are not approved in this clone" in swapped.ok("status")


# --- the command --------------------------------------------------------------------


def test_approve_shows_asks_and_remembers(swapped: Fleet, evil: SshKey) -> None:
    done = swapped.run("approve")
    assert done.returncode == 1
    assert "hint: agree to the keys above: nixsecrets approve --yes\n" in done.stderr
    child = spawn(swapped, "approve")
    child.expect_exact(evil.fingerprint)
    child.expect_exact("approve this key in this clone? [y/N] ")
    child.sendline("y")
    said, code = ended(child)
    assert code == 0
    assert "1 key approved in this clone" in said
    done = swapped.run("approve")
    assert (done.returncode, done.stderr) == (
        0,
        "these keys are approved in this clone; nothing to do\n",
    )


def test_approve_takes_names_lists_and_forgets(swapped: Fleet, evil: SshKey) -> None:
    swapped.ok("approve", "schere", "--yes")  # which says nothing of stein
    listed = swapped.ok("approve", "--list")
    assert f"not approved  stein    host  ssh-ed25519  {evil.fingerprint}\n" in listed
    assert listed.count("\napproved    ") == 2
    assert listed.startswith("approved      alice    user  X25519       age1")
    found = json.loads(swapped.ok("approve", "--list", "--json", "stein", "alice"))
    assert [(one["name"], one["kind"], one["approved"]) for one in found] == [
        ("alice", "user", True),
        ("stein", "host", False),
    ]
    assert found[1]["was"] == [kit.ssh_key("host stein").fingerprint]
    done = swapped.run("approve", "--revoke", "alice")
    assert (done.returncode, done.stderr) == (
        0,
        "withdrew the approval of 1 key; nixsecrets approve asks again\n",
    )
    assert swapped.run("set", "secrets/wifi.age", stdin="x").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody",), "the map has no key of nobody"),
        (("--list", "no\x1bbody"), "the map has no key of no\\x1bbody"),
        (("--revoke",), "name the keys whose approval to withdraw"),
        (("--revoke", "nobody"), "no key of nobody is approved in this clone"),
        (("--list", "--revoke", "stein"), "--list and --revoke do not go together"),
        (("--json",), "--json goes with --list"),
    ],
)
def test_approve_refuses_what_it_cannot_do(
    ready: Fleet, arguments: tuple[str, ...], message: str
) -> None:
    done = ready.run("approve", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"nixsecrets: error: {message}\n")


# --- commands that approve ----------------------------------------------------------


def test_a_fleet_started_here_asks_about_no_key_that_its_operator_gave(
    tmp_path: Path,
) -> None:
    fleet = kit.make_fleet(tmp_path)
    fleet.ok("init", "--user", "alice")
    fleet.ok("add-user", "bob", "--key", fleet.add_user("bob").public)
    fleet.ok("add-host", "web", "--key", fleet.add_host("web").public)
    again = fleet.add_host("web", kit.ssh_key("again")).public
    fleet.ok("rotate-host", "web", "--key", again)
    fleet.ok("rotate-user", "bob", "--key", fleet.add_user("bob").public)
    fleet.ok("rename-host", "web", "www")
    found = json.loads(fleet.ok("approve", "--list", "--json"))
    assert {one["name"] for one in found if one["approved"]} == {"alice", "bob", "www"}
    assert len(found) == 3
    done = fleet.run("set", "secrets/new.age", "--yes", stdin="x")
    assert "approve" not in done.stderr


def test_a_key_that_was_replaced_or_removed_is_forgotten(ready: Fleet) -> None:
    first = ready.git("rev-parse", "HEAD").strip()
    ready.ok("remove-host", "stein", "--yes")
    ready.ok("rotate-host", "schere", "--key", kit.ssh_key("b").public, "--yes")
    ready.git("checkout", "-q", first, "--", ".")
    found = json.loads(ready.ok("approve", "--list", "--json"))
    assert [one["name"] for one in found if not one["approved"]] == ["schere", "stein"]


def test_a_renamed_host_takes_no_unapproved_key_along(
    swapped: Fleet, evil: SshKey
) -> None:
    done = swapped.run("rename-host", "stein", "kiesel")
    assert done.returncode == 1
    assert evil.fingerprint in done.stderr
    assert not opens_anything(swapped)


def test_an_adopted_fleet_has_approved_the_keys_it_was_shown(tmp_path: Path) -> None:
    fleet = kit.make_fleet(tmp_path, hosts=["web"])
    web = parse_recipient(fleet.public("web"))
    alice = fleet.public("alice")
    fleet.write(
        ".sops.yaml",
        f"keys:\n  - &user_alice {alice}\n  - &host_web {web.converted().text}\n"
        "creation_rules:\n  - path_regex: ^secrets/.*\\.yaml$\n    key_groups:\n"
        "      - age: [*user_alice, *host_web]\n",
    )
    fleet.sops_encrypt("secrets/a.yaml", "a: b\n", [alice, web.converted().text])
    fleet.commit()
    done = fleet.run("init", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"X25519 {alice}\n" in done.stderr
    assert f"X25519 {web.converted().text}\n" in done.stderr
    found = json.loads(fleet.ok("approve", "--list", "--json"))
    assert [one["approved"] for one in found] == [True, True]


def test_with_nothing_approved_add_host_asks_about_the_others_only(
    ready: Fleet,
) -> None:
    shutil.rmtree(ready.root / ".git/nixsecrets")
    key = ready.add_host("neu")
    arguments = ("add-host", "neu", "--key", key.public, "--group", "dns")
    done = ready.run(*arguments)
    assert done.returncode == 1
    table = done.stderr.partition("no key is approved in this clone yet:\n")[2]
    assert table.startswith("  alice ")
    assert "  neu " not in table
    done = ready.run(*arguments, "--yes")
    assert done.returncode == 0, done.stderr
    assert "not approved" not in ready.ok("status")


def test_what_else_a_command_writes_is_said_before_it_and_counted_after(
    swapped: Fleet,
) -> None:
    swapped.ok("approve", "--yes")
    swapped.ok("approve", "--revoke", "schere")
    done = swapped.run(*add_host(swapped), "--yes")
    assert done.returncode == 0, done.stderr
    written = "also written, because it already differed from the map: "
    assert f"{written}.sops.yaml, secrets/secrets.nix\n" in done.stderr
    assert done.stderr.endswith(
        "also differs from the map: 4 files, 2 of them written by this command;"
        " nixsecrets rekey\n"
        "1 key of the map is not approved in this clone: nixsecrets approve\n"
    )


def test_ci_approves_a_fresh_clone_with_yes(ready: Fleet) -> None:
    base = ready.root.parent
    git(base, "clone", "-q", str(ready.root), "ci", env=ready.env)
    done = ready.run("set", "secrets/wifi.age", "--yes", cwd=base / "ci", stdin="x")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("SHA256:") == 3
