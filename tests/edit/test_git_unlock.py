"""git shows secrets of a key with a passphrase: asked once, kept by nobody after."""

import os
import re
import time
from pathlib import Path

import pexpect
import pytest

from nixsecrets.repo.gitunlock import client, keeper, proctable
from tests.cli.conftest import copied
from tests.edit.helpers import (
    CANARY,
    git,
    git_setup,
    keepers,
    nothing_is_left,
    put,
    rest,
)
from tests.files.agekeys import passphrase_file
from tests.fleet import Fleet, program, run_program

WIFI, DNS = "secrets/wifi.age", "secrets/dns.yaml"
PASSPHRASE = "pass w0rd-91f2"
ASKS = "passphrase for "


@pytest.fixture(scope="module", params=["ssh", "age"])
def history(
    request: pytest.FixtureRequest,
    template: Fleet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Fleet:
    """A fleet whose history has four versions of secrets; alice's key is locked."""
    fleet = copied(template, tmp_path_factory.mktemp("history") / "fleet")
    if request.param == "ssh":
        key = fleet.home / ".ssh" / "id_ed25519"
        key.parent.mkdir(mode=0o700, exist_ok=True)
        quick = ("-a", "1")  # rounds of the passphrase's hash
        args = ("-q", "-t", "ed25519", *quick, "-N", PASSPHRASE, "-f", str(key))
        run_program(program("ssh-keygen"), *args, env=fleet.env)
        public = key.with_suffix(".pub").read_text().rsplit(" ", 1)[0]
        agree = ("--yes", "--allow-revoke", "--allow-lockout")
        fleet.ok("rotate-user", "alice", "--key", public, *agree)
    else:
        key = fleet.home / "locked.txt"
        open_key = Path(fleet.env["NIXSECRETS_IDENTITY"]).read_bytes()
        key.write_bytes(passphrase_file(open_key, PASSPHRASE))
        key.chmod(0o600)
    git_setup(fleet)
    for number in range(4):
        put(fleet, WIFI, value=f"{CANARY} wifi {number}\n".encode())
        if request.param == "age":
            put(fleet, DNS, value=f"dns: {CANARY} dns {number}\n".encode())
        fleet.commit(f"version {number}")
    fleet.env["NIXSECRETS_IDENTITY"] = str(key)
    return fleet


@pytest.fixture
def locked(history: Fleet, tmp_path: Path, memory: Path) -> Fleet:
    """A copy of that fleet; its private folders are made in `memory`."""
    fleet = copied(history, tmp_path / "fleet")
    fleet.env["XDG_RUNTIME_DIR"] = str(memory)
    fleet.env["TMPDIR"] = str(tmp_path)  # a git that is killed leaves files there
    return fleet


def answered(child: "pexpect.spawn[str]", *answers: str) -> None:
    """Wait for each question; answer it."""
    for answer in answers:
        child.expect_exact(ASKS)
        child.expect_exact(": ")
        time.sleep(0.2)
        child.sendline(answer)


def test_one_unlock_for_a_whole_history(locked: Fleet, memory: Path) -> None:
    with git(locked, "--no-pager", "log", "-p", "-3") as child:
        answered(child, PASSPHRASE)
        text = rest(child)
    assert ASKS not in text
    assert PASSPHRASE not in text
    for number in (1, 2, 3):
        assert f"+{CANARY} wifi {number}" in text
    if "locked.txt" in locked.env["NIXSECRETS_IDENTITY"]:
        assert f"+dns: {CANARY} dns 3" in text
    assert "cannot be shown" not in text
    assert nothing_is_left(memory)


def test_the_next_git_asks_again(locked: Fleet) -> None:
    for _ in range(2):
        with git(locked, "--no-pager", "show", "HEAD", "--", WIFI) as child:
            answered(child, PASSPHRASE)
            assert f"+{CANARY} wifi 3" in rest(child)


def test_a_wrong_passphrase_is_asked_for_again_and_then_no_more(locked: Fleet) -> None:
    with git(locked, "--no-pager", "log", "-p", "--", WIFI) as child:
        answered(child, "wrong", "also wrong", "wrong")
        text = rest(child)
    assert ASKS not in text
    assert CANARY not in text
    assert text.count("(cannot be shown: ") >= 4


@pytest.mark.parametrize("answer", ["\r", "\x03", "\x04"], ids=["enter", "^C", "^D"])
def test_who_will_not_say_it_sees_the_history_without(
    locked: Fleet, memory: Path, answer: str
) -> None:
    with git(locked, "--no-pager", "log", "-p", "--", WIFI) as child:
        child.expect_exact(ASKS)
        time.sleep(0.5)
        child.send(answer)
        text = rest(child)
    assert ASKS not in text
    assert text.count("(cannot be shown: ") >= 4
    assert nothing_is_left(memory)


def test_a_pager_waits_while_the_passphrase_is_typed(
    locked: Fleet, memory: Path
) -> None:
    program("less")
    locked.write("long.txt", "\n".join(map(str, range(100))))
    locked.commit("what fills the screen and is read first")
    with git(locked, "-c", "core.pager=less", "log", "-p", "-4") as child:
        child.expect_exact("long.txt")
        child.expect_exact(ASKS)
        child.expect_exact(": ")
        time.sleep(0.3)
        child.sendline(PASSPHRASE)
        child.expect_exact("long.txt")  # less draws its screen anew, and reads again
        time.sleep(0.3)
        child.send("G")
        child.expect_exact(f"{CANARY} wifi 1")
        child.send("q")
        text = rest(child)
    assert ASKS not in text
    assert nothing_is_left(memory)


@pytest.mark.parametrize("how", ["no terminal", "GIT_TERMINAL_PROMPT", "stdin"])
def test_without_a_person_nobody_is_asked(locked: Fleet, how: str) -> None:
    if how == "no terminal":
        text = locked.git("log", "-p", "--", WIFI)
    else:
        if how == "GIT_TERMINAL_PROMPT":
            locked.env["GIT_TERMINAL_PROMPT"] = "0"
        end = " < /dev/null" if how == "stdin" else ""
        alias = f"alias.quiet=!git --no-pager log -p -- {WIFI}{end}"
        with git(locked, "-c", alias, "quiet") as child:
            text = rest(child)
    assert ASKS not in text
    assert "(cannot be shown: no identity opens" in text


def test_a_file_of_others_asks_only_for_unknown_values(locked: Fleet) -> None:
    locked.age_encrypt("secrets/odd.age", "one", "brunnen")
    locked.commit()
    with git(locked, "--no-pager", "show", "HEAD", "--", "secrets/odd.age") as child:
        if "locked.txt" in locked.env["NIXSECRETS_IDENTITY"]:  # an encrypted file
            child.expect_exact(ASKS)
            time.sleep(0.5)
            child.send("\r")
        text = rest(child)
    assert ASKS not in text
    assert "(cannot be shown: no identity opens" in text


def test_the_keeper_shows_nothing_and_goes_when_git_is_killed(
    locked: Fleet, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = f"{PASSPHRASE}|AGE-SECRET-KEY-1|OPENSSH PRIVATE|{CANARY}".encode()
    before = set(keepers(memory))
    with git(locked, "-c", "core.pager=sleep 60; true", "log", "-p", WIFI) as child:
        answered(child, PASSPHRASE)
        deadline = time.monotonic() + 30
        mine, doors = set[int](), list[Path]()
        while not (mine and doors) and time.monotonic() < deadline:
            time.sleep(0.05)
            mine = set(keepers(memory)) - before
            doors = list(memory.glob("*/keeper-*"))
        (pid,) = mine
        proc = Path(f"/proc/{pid}")
        limits = (proc / "limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        for what in ("cmdline", "environ"):
            seen = (proc / what).read_bytes() if os.geteuid() == 0 else b""
            assert not re.search(secret, seen)
        (door,) = doors
        assert door.parent.stat().st_mode & 0o777 == 0o700
        assert list(door.parent.iterdir()) == [door]
        assert door.stat().st_mode & 0o777 == 0o600
        number, started = door.name.split("-")[1:]
        git_itself = keeper.Owner(int(number), started)
        assert git_itself.alive
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(memory))
        assert client.asked(b"T") is None, "it answers only what git started"
        os.kill(git_itself.pid, 9)
    assert nothing_is_left(memory)
    assert not proc.exists() or pid not in keepers(memory)


def test_ps_reports_the_same_as_proc() -> None:
    program("ps")
    pid = os.getppid()
    here, there = proctable.look_in_proc(pid), proctable.look_with_ps(pid)
    assert here is not None
    assert there is not None
    assert (here.pid, here.parent, here.group) == (there.pid, there.parent, there.group)
    assert there.started
    assert proctable.look_with_ps(2**22 - 3) is None
