"""After an ordinary merge every command works, whatever git left in the lock."""

import json
import subprocess

import pytest

from nixsecrets.generated.lock import Lock
from nixsecrets.repo.files import sha256
from tests.cli.conftest import changed, set_editor, write_secret
from tests.fleet import Fleet, program
from tests.generated.test_lock import version_1

LOCK = "nixsecrets.lock"
READING = (
    ("status",),
    ("ls",),
    ("lint",),
    ("hosts",),
    ("exposed",),
    ("cat", "secrets/wifi.age"),
    ("why", "secrets/wifi.age"),
)


@pytest.fixture
def merged(ready: Fleet) -> Fleet:
    """A fleet whose lock git merges line by line, as `init` sets it up."""
    ready.write(".gitattributes", f"{LOCK} merge=union\n*.age -text -merge\n")
    ready.commit("attributes")
    ready.git("branch", "side")
    return ready


def merge(fleet: Fleet, *, ours: tuple[str, ...], new: str = "", value: str) -> None:
    """Give a file a value on the side; run a command on main; merge the side."""
    fleet.git("checkout", "-q", "side")
    write_secret(fleet, new, value)
    fleet.commit("theirs")
    fleet.git("checkout", "-q", "main")
    fleet.ok(*ours)
    fleet.commit("ours")
    subprocess.run(
        [program("git"), "merge", "-q", "side", "-m", "merge"],
        cwd=fleet.root,
        env=fleet.env,
        check=False,
        capture_output=True,
    )


def left_by_older(fleet: Fleet) -> None:
    """Write the lock as a nixsecrets of version 1 did."""
    lock = Lock.parse(fleet.read(LOCK).decode())
    digests = {p: sha256(d) for p, d in fleet.snapshot().items()}
    records = {path: lock.record(path, digests[path]) for path in lock.paths()}
    whole = {path: one for path, one in records.items() if one is not None}
    fleet.write(LOCK, version_1(whole, lock.named_recipients()))
    fleet.commit("older")


def test_every_command_works_after_a_removal_met_a_new_file(merged: Fleet) -> None:
    remove = ("remove-host", "brunnen", "--yes", "--allow-revoke")
    merge(merged, ours=remove, new="secrets/new.age", value="new")
    for command in READING:
        done = merged.run(*command)
        assert done.returncode == (1 if command[0] in {"lint", "exposed"} else 0)
        assert "error" not in done.stderr
    done = merged.run("check")
    assert done.returncode == 1
    assert "NS009  secrets/new.age: " in done.stdout
    assert "nixsecrets resolve" in done.stdout
    assert "rekey" not in done.stdout  # which could grant again what a side took away
    assert LOCK not in done.stdout + done.stderr
    assert merged.ok("cat", "secrets/new.age") == "new"
    merged.ok("rekey", "--yes", "--allow-revoke")
    assert not merged.age_opens("secrets/new.age", "brunnen")
    merged.ok("rm", "secrets/hosts/brunnen/tls.json", "--yes")
    merged.git("add", "-A")  # what git could not merge was written anew
    assert merged.run("check").returncode == 0
    before = merged.snapshot()
    merged.ok("rekey", "--yes")
    merged.ok("sync", "--yes")
    assert changed(merged, before) == set()


def test_every_command_works_after_a_grant_met_a_new_value(merged: Fleet) -> None:
    key = merged.add_host("neu")
    grant = ("add-host", "neu", "--key", key.public, "--group", "dns", "--yes")
    merge(merged, ours=grant, new="secrets/wifi.age", value="changed")
    assert merged.git("status", "--porcelain") == ""
    assert (merged.run("check").stdout, merged.run("check").returncode) == ("", 0)
    for command in READING:
        merged.ok(*command)
    assert merged.ok("cat", "secrets/wifi.age") == "changed"
    assert merged.age_decrypt("secrets/dns.age", "neu") == b"dns-canary"
    merged.ok("set", "secrets/wifi.age", "--yes", stdin="again")
    assert merged.ok("cat", "secrets/wifi.age") == "again"


def test_what_a_merge_left_over_in_the_lock_is_no_drift_and_goes_with_the_next_write(
    ready: Fleet,
) -> None:
    """Records of other bytes, of files that are gone, and lines twice."""
    lines = ready.read(LOCK).decode().splitlines()
    line = next(one for one in lines if '"secrets/wifi.age"' in one)
    sha = json.loads(line)["sha256"]
    left = [line.replace(sha, "0" * 64), line.replace("wifi", "gone"), lines[1]]
    ready.write(LOCK, "\n".join([*lines, *left, ""]))
    for _ in range(2):
        before = ready.snapshot()
        assert ready.run("check").returncode == 0
        assert ready.run("rekey", "--yes").stderr == "nothing to do\n"
        assert changed(ready, before) == set()
    ready.ok("sync", "--yes")
    assert ready.read(LOCK).decode().splitlines() == lines


def test_a_lock_of_version_1_is_upgraded_by_the_next_write_and_by_sync(
    ready: Fleet,
) -> None:
    new = ready.read(LOCK)
    left_by_older(ready)
    old = ready.read(LOCK)
    assert old.startswith(b'{"nixsecrets":1}')
    assert (ready.run("check").stdout, ready.run("check").returncode) == ("", 0)
    assert ready.run("rekey", "--yes").stderr == "nothing to do\n"
    assert ready.read(LOCK) == old
    write_secret(ready, "secrets/wifi.age", "changed")
    assert ready.read(LOCK).startswith(b'{"nixsecrets":2}')
    assert b'"set"' not in ready.read(LOCK)
    ready.git("checkout", "--", ".")
    ready.ok("sync", "--yes")
    assert ready.read(LOCK) == new
    before = ready.snapshot()
    ready.ok("sync", "--yes")
    assert changed(ready, before) == set()


def test_a_lock_of_a_newer_version_says_upgrade(ready: Fleet) -> None:
    ready.write(LOCK, ready.read(LOCK).replace(b'"nixsecrets":2', b'"nixsecrets":3'))
    for command in ("check", "status", "rekey"):
        done = ready.run(command)
        assert done.returncode == 1
        assert done.stderr == (
            f"nixsecrets: error: {LOCK}:1: written by a newer nixsecrets"
            " (format 3; this one reads 2)\n"
            "nixsecrets: hint: upgrade nixsecrets\n"
        )


def test_lines_of_a_lock_that_cannot_be_read_are_one_warning_and_never_an_error(
    ready: Fleet,
) -> None:
    """The file whose record is unreadable is unknown; all others are as they were."""
    lines = ready.read(LOCK).splitlines()
    at = next(n for n, one in enumerate(lines) if b"secrets/wifi.age" in one)
    whole = lines[at]
    lines[at] = whole[:-4]
    lines[2:2] = [b"\xff\xfe", b"# a note"]
    ready.write(LOCK, b"\n".join([*lines, b""]))
    warning = (
        f"nixsecrets: warning: {LOCK}:3 and below: skipped 3 lines that cannot be"
        " read\n"
        "nixsecrets: hint: nixsecrets sync writes the lock without them\n"
    )
    done = ready.run("check")
    assert done.returncode == 1
    assert done.stdout.startswith("NS011  secrets/wifi.age: ")
    assert done.stdout.count("\n") == 2
    assert done.stderr.startswith(warning)
    assert done.stderr.count("warning") == 1
    assert ready.run("status").stderr.startswith(warning)
    ready.env["EDITOR"] = set_editor(ready, "dns: 2")
    assert ready.run("edit", "secrets/dns.yaml").stderr.count("warning") == 1
    assert ready.run("sync", "--yes").returncode == 0
    assert b"note" not in ready.read(LOCK)
    ready.ok("accept", "secrets/wifi.age", "--yes")
    assert ready.run("check").returncode == 0
