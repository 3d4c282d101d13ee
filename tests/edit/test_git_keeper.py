"""The keeper that the first textconv of a git leaves: it decrypts for the others."""

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nixsecrets.files.age import operations
from nixsecrets.files.kind import backend_of
from nixsecrets.keys.identities import parse_identities
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.repo.gitunlock import client, texts
from tests.edit.helpers import (
    CANARY,
    all_processes,
    cmdline,
    git,
    git_setup,
    keepers,
    nothing_is_left,
    rest,
    run_bytes,
)
from tests.files.agekeys import install_toy_plugin, toy_reader
from tests.fleet import PROJECT, AgeKey, Fleet, program

WIFI, DNS = "secrets/wifi.age", "secrets/dns.yaml"
CLIENT = str(PROJECT / "bin/nixsecrets-textconv")


# Prints the process that was left behind here; tests run side by side.
KEEPER = f"""
keeper() {{
  for pid in $(pgrep -f -- '-textconv {WIFI}'); do
    if grep -qz "$XDG_RUNTIME_DIR" /proc/$pid/environ; then echo $pid; fi
  done
}}
"""


def under_git(fleet: Fleet, script: str) -> str:
    """Run a shell script as a child of one git; return what it prints."""
    path = fleet.home / "script"
    path.write_text(script)
    return fleet.git("-c", f"alias.go=!sh -eu '{path}'", "go")


@pytest.fixture
def shown(fleet: Fleet) -> Fleet:
    """A fleet whose git shows secrets as text."""
    git_setup(fleet)
    fleet.commit("attributes")
    return fleet


# --- one keeper for all of a git's files


def test_the_second_file_is_opened_by_the_keeper_of_the_first(shown: Fleet) -> None:
    key = shown.env["NIXSECRETS_IDENTITY"]
    script = f"""
      nixsecrets-textconv {WIFI}
      mv '{key}' '{key}.away'
      nixsecrets-textconv {WIFI}; nixsecrets-textconv secrets/dns.age
      nixsecrets-textconv {DNS}; nixsecrets textconv {DNS}
    """
    said = under_git(shown, script)
    assert said == f"{'wifi-canary' * 2}dns-canary{'dns: dns-canary' + chr(10)}" + (
        "dns: dns-canary\n"
    )


def test_without_git_there_is_no_keeper(shown: Fleet, memory: Path) -> None:
    done = subprocess.run(
        [sys.executable, CLIENT, WIFI],
        cwd=shown.root,
        env=shown.env | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"wifi-canary", b"")
    assert list(memory.iterdir()) == []


def test_one_process_and_no_file_is_left_while_the_pager_shows_and_none_after_q(
    shown: Fleet, memory: Path
) -> None:
    program("less")
    before = set(keepers(memory))
    with git(shown, "-c", "core.pager=less -+F", "log", "-p", WIFI) as child:
        child.expect_exact("wifi-canary")
        assert len(set(keepers(memory)) - before) == 1
        (door,) = memory.glob("*/*")
        assert stat.S_ISSOCK(door.stat().st_mode)
        child.send("q")
        rest(child)
    assert nothing_is_left(memory)
    assert set(keepers(memory)) <= before


@pytest.mark.parametrize("key", ["\x03", "\x1c"], ids=["^C", "^\\"])
def test_nothing_is_left_of_a_git_that_is_interrupted(
    shown: Fleet, memory: Path, key: str
) -> None:
    before = set(keepers(memory))
    waits = "core.pager=cat; sleep 60"
    with git(shown, "-c", waits, "log", "-p") as child:
        child.expect_exact("wifi-canary")
        child.send(key)
        child.expect(pexpect.EOF)
    assert nothing_is_left(memory)
    assert set(keepers(memory)) <= before
    assert not list(shown.root.rglob("core*"))


def test_a_keeper_that_was_killed_is_replaced(shown: Fleet, memory: Path) -> None:
    script = f"""{KEEPER}
      nixsecrets-textconv {WIFI} > '{shown.home}/first'
      kill -9 "$(keeper)"
      nixsecrets-textconv {WIFI}; ls -d "$XDG_RUNTIME_DIR"/*/keeper-* | wc -l
    """
    program("pgrep")
    assert under_git(shown, script).split() == ["wifi-canary1"]


def test_two_at_once_print_their_texts_and_leave_nothing(
    shown: Fleet, memory: Path
) -> None:
    one = "nixsecrets-textconv secrets/"
    script = f"{one}wifi.age & {one}dns.age; wait; {one}dns.yaml"
    said = under_git(shown, script)
    assert sorted(re.findall("wifi-canary|dns-canary|dns: dns-canary", said)) == [
        *("dns-canary", "dns: dns-canary", "wifi-canary")
    ]
    assert nothing_is_left(memory)


def test_what_cannot_be_opened_is_said_as_without_a_keeper(shown: Fleet) -> None:
    shown.age_encrypt("secrets/odd.age", "one", "brunnen")
    broken = shown.read(DNS).replace(b"data:", b"data:AAAA", 1)
    shown.write("secrets/broken.yaml", broken)
    for name in ("secrets/odd.age", "secrets/broken.yaml"):
        alone = run_bytes(shown, "textconv", name).stdout.decode()
        assert alone.startswith("(cannot be shown: ")
        script = f"nixsecrets-textconv {WIFI}; nixsecrets-textconv {name}"
        assert under_git(shown, script) == f"wifi-canary{alone}"


def test_a_token_is_asked_in_the_process_of_the_person(
    shown: Fleet, tmp_path: Path
) -> None:
    reader = toy_reader()
    plugins = install_toy_plugin(tmp_path / "plugins")
    shown.env["PATH"] = f"{plugins}:{shown.env['PATH']}"
    key = reader.recipient.text
    shown.ok("add-user", "carol", "--key", key, "--group", "dns", "--yes")
    (shown.home / "carol").write_text(reader.private + "\n")
    shown.env["NIXSECRETS_IDENTITY"] = str(shown.home / "carol")
    script = f"nixsecrets-textconv secrets/dns.age; nixsecrets-textconv {DNS}"
    assert under_git(shown, script) == "dns-canarydns: dns-canary\n"


def test_the_keys_of_an_option_have_a_keeper_of_their_own(shown: Fleet) -> None:
    shown.age_encrypt("secrets/odd.age", "for brunnen", "brunnen")
    key = shown.home / "brunnen"
    key.write_text(shown.hosts["brunnen"].private)
    key.chmod(0o600)
    odd = f"nixsecrets textconv -i '{key}' secrets/odd.age"
    script = f"nixsecrets-textconv secrets/odd.age; {odd}; rm '{key}'; {odd}"
    said = under_git(shown, script)
    first, rest = said.split("\n")
    assert first.startswith("(cannot be shown: no identity opens")
    assert rest == "for brunnen" * 2


# --- what is no secret


@given(
    st.sampled_from(["a.age", "a.yaml", "a.json", "a.env", "a.ini", "a", "a.nix"]),
    st.lists(
        st.sampled_from(
            [
                *(b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n"),
                *(b"\xef\xbb\xbf", b" \n", b"sops:\n", b'"sops": {', b"[sops]\n"),
                *(b"sops_mac=", b"mac", b"lastmodified", b"ENC[AES256_GCM,data:,iv:"),
                *(b"BEGIN AGE ENC", b"text\n", b"\0\xff"),
            ]
        )
    ),
)
@example("a", [b"\xef\xbb\xbf", b" \n", b"-----BEGIN AGE ENCRYPTED FILE-----\n"])
def test_no_secret_is_taken_for_none(name: str, parts: list[bytes]) -> None:
    data = b"".join(parts)
    if not client.may_be_secret(data):
        assert backend_of(name, data) is None


def test_what_is_no_secret_is_printed_by_the_client_alone(fleet: Fleet) -> None:
    data = bytes(range(256)) * 5000
    for name, content in (
        ("-odd 'name$\n", data),
        ("empty", b""),
        ("a.nix", b"x = 1;"),
    ):
        fleet.write(f"secrets/{name}", content)
        done = subprocess.run(
            [sys.executable, "-X", "importtime", CLIENT, f"secrets/{name}"],
            cwd=fleet.root,
            env=fleet.env | {"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            check=True,
        )
        assert done.stdout == content
        loaded = re.findall(r"\| +(\S+)$", done.stderr.decode(), re.M)
        after = loaded[loaded.index("site") + 1 :]
        assert set(after) == {
            *("_socket", "resource", "nixsecrets", "nixsecrets.repo"),
            *("nixsecrets.repo.gitunlock", "nixsecrets.repo.gitunlock.client"),
        }


@pytest.mark.parametrize("what", ["missing", "secrets", "pipe"])
def test_what_is_no_file_is_refused_as_by_the_command(fleet: Fleet, what: str) -> None:
    os.mkfifo(fleet.root / "pipe")
    ours = subprocess.run(
        [sys.executable, CLIENT, what],
        cwd=fleet.root,
        env=fleet.env | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        check=False,
    )
    command = run_bytes(fleet, "textconv", what)
    assert (ours.returncode, ours.stderr) == (command.returncode, command.stderr)
    assert ours.returncode == 1
    assert b"nixsecrets: error: cannot read " in ours.stderr


# --- who is answered


NO_ANSWER = {"b''", "Broken pipe", "Connection reset by peer"}
LEAVE = """
import os, sys
from nixsecrets.repo.gitunlock import keeper, proctable
pid = int(sys.argv[1])
owner = keeper.Owner(pid, proctable.look_at(pid).started)
answer = sys.argv[2].encode()
assert keeper.leave(os.environ, owner, lambda _: lambda said: answer).ready()
"""
ASK = "from nixsecrets.repo.gitunlock import client; print(client.asked(b'T'))"


def python(memory: Path, *args: str, user: int | None = None) -> str:
    return subprocess.run(
        [sys.executable, "-c", *args],
        env={"PYTHONPATH": str(PROJECT), "XDG_RUNTIME_DIR": str(memory)},
        capture_output=True,
        text=True,
        check=True,
        user=user,
    ).stdout.strip()


def end_keepers(memory: Path) -> None:
    """End the keepers that this test has left: their owner, the test, lives on."""
    for pid in all_processes():
        if str(memory).encode() in environ(pid) and b"keeper.leave" in cmdline(pid):
            os.kill(pid, signal.SIGTERM)


def environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_a_keeper_answers_the_children_of_its_owner_alone(memory: Path) -> None:
    assert python(memory, ASK) == "None"
    python(memory, LEAVE, str(os.getpid()), "ours")
    assert python(memory, ASK) == "b'ours'"
    end_keepers(memory)
    assert nothing_is_left(memory)
    other = subprocess.Popen([program("sleep"), "60"])
    try:
        python(memory, LEAVE, str(other.pid), "theirs")
        assert python(memory, ASK) == "None", "we are no child of it"
    finally:
        other.kill()
        other.wait()
    assert nothing_is_left(memory)


def test_another_user_gets_no_answer_even_with_the_doors_open(memory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    python(memory, LEAVE, str(os.getpid()), "ours")
    (door,) = memory.glob("*/keeper-*")
    other = f"""
import os, socket, sys
os.setuid(65534)
door = socket.socket(socket.AF_UNIX)
try:
    os.chdir({str(door.parent)!r})
    door.connect({door.name!r})
    door.sendall(b"T"); door.shutdown(socket.SHUT_WR)
    print(door.recv(100))
except OSError as error:
    print(error.strerror)
"""
    assert python(memory, other) == "Permission denied"
    for place, mode in ((memory, 0o755), (door.parent, 0o755), (door, 0o777)):
        place.chmod(mode)
    assert python(memory, other) in NO_ANSWER
    assert python(memory, ASK) == "None", "nor is a folder used that is open to others"
    door.parent.chmod(0o700)
    assert python(memory, ASK) == "b'ours'"
    end_keepers(memory)


def test_a_door_of_another_user_is_not_knocked_at(memory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    memory.chmod(0o1777)
    trap = memory / "nixsecrets-private-0"
    heard = f"""
import os, socket
os.setuid(65534); os.mkdir({str(trap)!r}, 0o700); os.chdir({str(trap)!r})
door = socket.socket(socket.AF_UNIX); door.bind("keeper-1-1"); door.listen()
print("ready", flush=True); door.accept()
"""
    with subprocess.Popen(
        [sys.executable, "-c", heard], stdout=subprocess.PIPE
    ) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"ready\n"
        assert python(memory, ASK) == "None"
        assert listener.poll() is None, "nobody called"
        listener.kill()


# --- how much it remembers


MANY = f"""
import os, resource, sys
sys.path.insert(0, {str(PROJECT)!r})
from pathlib import Path
from nixsecrets.repo.gitunlock import client
for number in range(2000):
    data = Path(sys.argv[1], str(number)).read_bytes()
    for again in range(2):
        said = client.asked(client.request(client.SHOW, "x.age", data))
        if said is None:
            assert number == 0, number
            os.system("nixsecrets-textconv secrets/wifi.age")
            said = client.asked(client.request(client.SHOW, "x.age", data))
        assert said == b"=" + b"%d " % number * 10000, number
"""


def test_a_history_of_two_thousand_commits_stays_within_its_memory(
    shown: Fleet, memory: Path, tmp_path: Path
) -> None:
    alice = parse_recipient(shown.public("alice"))
    for number in range(2000):
        text = b"%d " % number * 10000
        (tmp_path / str(number)).write_bytes(operations.seal(text, [alice]).data)
    many = shown.home / "many.py"
    many.write_text(MANY)
    out = under_git(
        shown,
        f"""{KEEPER}
        "{sys.executable}" '{many}' '{tmp_path}'
        sleep 1
        grep -h VmRSS /proc/$(keeper)/status
        """,
    )
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", out)
    assert int(kilobytes) * 1024 < texts.MOST_BYTES + (80 << 20), "100 MB were shown"


def test_texts_are_remembered_up_to_a_bound_the_oldest_forgotten_first(
    fleet: Fleet, memory: Path
) -> None:
    alice = fleet.users["alice"]
    assert isinstance(alice, AgeKey)
    ring = parse_identities(alice.private.encode(), "alice")
    kept = texts.Texts(ring, lambda: contextlib.nullcontext(memory))
    reader = parse_recipient(alice.public)
    size = texts.MOST_BYTES // 4
    files = [operations.seal(bytes([n]) * size, [reader]).data for n in range(5)]
    for number, data in enumerate(files):
        said = kept.answer(client.request(client.SHOW, "a.age", data))
        assert said == client.TEXT + bytes([number]) * size
    assert kept.size <= texts.MOST_BYTES
    assert CANARY.encode() not in repr(kept).encode()
