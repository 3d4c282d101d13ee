"""With a person at the terminal: questions, passphrases, colours."""

import os
from pathlib import Path

import pexpect
import pytest

from tests import fleet as kit
from tests.cli.conftest import changed, set_editor
from tests.fleet import Fleet


def spawn(fleet: Fleet, *args: str, **env: str) -> "pexpect.spawn[str]":
    """Start the program on a terminal of its own."""
    import sys

    merged = {**fleet.env, "PYTHONPATH": str(kit.PROJECT), "TERM": "xterm", **env}
    return pexpect.spawn(
        sys.executable,
        ["-m", "nixsecrets", *args],
        env=merged,
        cwd=str(fleet.root),
        timeout=60,
        encoding="utf-8",
    )


def ended(child: "pexpect.spawn[str]") -> tuple[str, int]:
    """Return the rest of the output and the exit code."""
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None
    return str(child.before), child.exitstatus


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("n", 1), ("", 1)])
def test_a_grant_is_asked_about_and_no_is_the_default(
    ready: Fleet, answer: str, code: int
) -> None:
    key = ready.add_host("neu").public
    before = ready.snapshot()
    child = spawn(ready, "add-host", "neu", "--key", key, "--group", "dns")
    child.expect_exact("neu (ssh-ed25519 SHA256:")
    child.expect_exact("will be able to read 2 more files")
    child.expect_exact("go on? [y/N] ")
    child.sendline(answer)
    assert ended(child)[1] == code
    assert (changed(ready, before) != set()) is (code == 0)


def test_where_nothing_is_disclosed_nothing_is_asked(fleet: Fleet) -> None:
    """A fleet without secrets: joining `always` grants nothing yet, and is reported."""
    fleet.write_map('[groups]\nadmins = ["alice"]\n', always=["admins"])
    key = fleet.add_user("bob").public
    done = fleet.run("add-user", "bob", "--key", key, "--group", "admins")
    assert done.returncode == 0, done.stderr
    assert "bob joins `always`: the readers of every secret\n" in done.stderr
    fleet.env["EDITOR"] = set_editor(fleet, "first")
    rule = '\n[[secrets]]\npath = "*.age"\nreaders = []\n'
    path = fleet.root / "nixsecrets.toml"
    path.write_text(path.read_text() + rule)
    done = fleet.run("edit", "wifi.age")  # a new secret shows who will read it
    assert "its readers will be: alice, bob" in done.stderr, done.stderr
    assert fleet.age_opens("wifi.age", "bob")


def test_the_fingerprint_is_shown_and_asked_about(ready: Fleet, tmp_path: Path) -> None:
    key = ready.add_host("neu")
    with kit.start_sshd(tmp_path / "sshd", key) as port:
        child = spawn(ready, "add-host", "neu", "--address", f"127.0.0.1:{port}")
        child.expect_exact(f"neu shows ssh-ed25519 {key.fingerprint}")
        child.expect_exact("is this the key of neu? [y/N] ")
        child.sendline("y")
        assert ended(child)[1] == 0
    assert 'verified = "asked 20' in ready.read("nixsecrets.toml").decode()


def test_ctrl_c_at_a_question_changes_nothing(ready: Fleet) -> None:
    before = ready.snapshot()
    child = spawn(ready, "remove-host", "stein")
    child.expect_exact("go on? [y/N] ")
    child.sendintr()
    assert ended(child)[1] == 130
    assert changed(ready, before) == set()


def locked_key(fleet: Fleet) -> None:
    """Make alice's only key an ssh key with a passphrase."""
    key = kit.ssh_key("locked alice", passphrase="correct horse")
    key.write(fleet.home / ".ssh/id_ed25519")
    del fleet.env["NIXSECRETS_IDENTITY"]
    identity = ("--identity", str(fleet.keys / "alice"))
    fleet.ok("add-user", "alice2", "--key", key.public, "--yes", *identity)
    path = fleet.root / "nixsecrets.toml"
    text = path.read_text().replace('always = ["alice"]', 'always = ["alice2"]')
    path.write_text(text)
    flags = ("--yes", "--allow-revoke", "--allow-lockout")
    fleet.ok("rekey", *flags, *identity)


def test_a_passphrase_is_asked_for_once_and_only_where_a_file_needs_it(
    ready: Fleet,
) -> None:
    locked_key(ready)
    key = ready.add_host("neu").public
    child = spawn(ready, "add-host", "neu", "--key", key)
    assert "passphrase for" not in ended(child)[0]
    ready.ok("remove-host", "neu", "--yes")
    key = ready.add_host("papier").public
    child = spawn(ready, "add-host", "papier", "--key", key, "--group", "dns", "--yes")
    child.expect_exact("passphrase for ")
    child.sendline("wrong")
    child.expect_exact("passphrase for ")
    child.sendline("correct horse")
    rest, code = ended(child)
    assert code == 0
    assert "passphrase for" not in rest
    assert "correct horse" not in rest
    assert ready.age_opens("secrets/dns.age", "papier")


def test_without_a_terminal_a_locked_key_is_named(ready: Fleet) -> None:
    locked_key(ready)
    key = ready.add_host("papier").public
    before = ready.snapshot()
    done = ready.run("add-host", "papier", "--key", key, "--group", "dns", "--yes")
    assert done.returncode == 1
    assert "needs a passphrase, but there is no terminal" in done.stderr
    assert changed(ready, before) == set()


def test_colours_only_on_a_terminal_and_never_with_no_color(ready: Fleet) -> None:
    coloured, code = ended(spawn(ready, "remove-host", "nobody"))
    assert (code, "\x1b[" in coloured) == (2, True)
    plain, code = ended(spawn(ready, "remove-host", "nobody", NO_COLOR="1"))
    assert (code, "\x1b[" in plain) == (2, False)
    assert "\x1b[" not in ready.run("remove-host", "nobody").stderr


def test_a_closed_pipe_ends_it_quietly(ready: Fleet) -> None:
    command = f"{os.path.realpath('/proc/self/exe')} -m nixsecrets status --json | true"
    env = {**ready.env, "PYTHONPATH": str(kit.PROJECT)}
    done = kit.run_program("sh", "-c", f"{command}; echo done", env=env, cwd=ready.root)
    assert done == b"done\n"
