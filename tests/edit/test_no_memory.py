"""No memory for plaintext, no place on a disk: real mounts, in a namespace.

Each command runs in a mount namespace of its own, in which `/dev/shm`, the repository
or the memory folder is another file system.
"""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import gate
from tests.cli.conftest import changed
from tests.edit.helpers import CANARY, kept, plaintext_below, script
from tests.fleet import PROJECT, Fleet, program

WIFI, DNS = "secrets/wifi.age", "secrets/dns.yaml"


def namespace(
    fleet: Fleet, mounts: str, *args: str, stdin: bytes = b"", after: str = ""
) -> "subprocess.CompletedProcess[bytes]":
    """Run nixsecrets where `mounts` (shell) was done before, `after` done then."""
    unshare = program("unshare")
    if subprocess.run([unshare, "-rm", "true"], check=False).returncode != 0:
        gate.absent("namespaces", "nobody may mount")
    command = shlex.join([sys.executable, "-m", "nixsecrets", *args])
    steps = f"set -e; {mounts}; set +e\n{command}; code=$?; {after or ':'}; exit $code"
    return subprocess.run(
        [unshare, "-rm", program("sh"), "-c", steps],
        input=stdin,
        env={**fleet.env, "PYTHONPATH": str(PROJECT)},
        cwd=fleet.root,
        capture_output=True,
        timeout=120,
        check=False,
    )


def small_disk(fleet: Fleet, size: str) -> str:
    """Return what puts the repository on a disk of its own of that size."""
    root, copy = shlex.quote(str(fleet.root)), shlex.quote(f"{fleet.root}-copy")
    return (
        f"cp -a {root} {copy}; mount -t tmpfs -o size={size} none {root}; "
        f"cp -a {copy}/. {root}; cd {root}"
    )


Diskless = tuple[Fleet, str, Path]


@pytest.fixture
def diskless(fleet: Fleet, tmp_path: Path) -> Diskless:
    """A fleet, what makes /dev/shm a disk, and the folder for temporary files."""
    disk, temporary = tmp_path / "disk", tmp_path / "tmp"
    disk.mkdir()
    temporary.mkdir()
    stat = [program("stat"), "-f", "-c", "%T", str(disk)]
    if subprocess.run(stat, capture_output=True, check=True).stdout == b"tmpfs\n":
        gate.absent("namespaces", "the temporary folder is no disk")
    del fleet.env["XDG_RUNTIME_DIR"]
    fleet.env["TMPDIR"] = str(temporary)
    return fleet, f"mount --bind {shlex.quote(str(disk))} /dev/shm", temporary


def test_without_memory_nothing_is_opened_and_the_risk_is_named(
    diskless: Diskless,
) -> None:
    fleet, mounts, temporary = diskless
    script(fleet, f'printf {CANARY} > "$1"')
    before = fleet.snapshot()
    for args in (("edit", WIFI), ("edit", DNS)):
        done = namespace(fleet, mounts, *args)
        assert done.returncode == 1
        assert b"no memory file system for plaintext" in done.stderr
        assert b"or allow plaintext on disk" in done.stderr
        assert b"nixsecrets --allow-disk COMMAND" in done.stderr
    assert changed(fleet, before) == set()
    assert list(temporary.iterdir()) == []


def test_what_needs_no_file_is_printed_without_memory(diskless: Diskless) -> None:
    fleet, mounts, temporary = diskless
    for args in (("cat", WIFI), ("cat", DNS), ("cat", DNS, "--key", "dns")):
        assert namespace(fleet, mounts, *args).returncode == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("path", [WIFI, DNS])
def test_a_disk_that_is_allowed_is_used_and_said_and_left_clean(
    diskless: Diskless, path: str
) -> None:
    fleet, mounts, temporary = diskless
    seen = fleet.home / "seen"
    look = f'stat -c \'%a %n\' "$(dirname "$1")" "$1" > {seen}'
    script(fleet, f"{look}; printf 'dns: {CANARY}' > \"$1\"")
    done = namespace(fleet, mounts, "--allow-disk", "edit", path)
    assert done.returncode == 0, done.stderr
    assert f"plaintext is stored in {temporary}".encode() in done.stderr
    lines = seen.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["700", "600"]
    assert lines[0].split()[1].startswith(str(temporary))
    assert list(temporary.iterdir()) == []
    fleet.env["NIXSECRETS_ALLOW_DISK"] = "1"
    assert CANARY.encode() in namespace(fleet, mounts, "cat", path).stdout
    assert list(temporary.iterdir()) == []


def test_where_there_is_memory_the_flag_changes_nothing(fleet: Fleet) -> None:
    place = fleet.home / "place"
    script(fleet, f'dirname "$1" > {place}')
    done = fleet.run("--allow-disk", "edit", WIFI)
    assert done.returncode == 0
    assert "plaintext is stored" not in done.stderr
    assert place.read_text().startswith("/dev/shm/")


def test_a_full_memory_folder_changes_nothing(fleet: Fleet, memory: Path) -> None:
    mounts = f"mount -t tmpfs -o size=64k,mode=700 none {memory}"
    script(fleet, 'head -c 1000000 /dev/zero > "$1" || exit 7')
    before = fleet.snapshot()
    done = namespace(fleet, mounts, "edit", WIFI)
    assert done.returncode == 1
    assert b"ended with exit code 7; nothing was changed" in done.stderr
    assert changed(fleet, before) == set()


@pytest.mark.parametrize("path", [WIFI, DNS])
def test_a_full_disk_keeps_what_was_typed(
    fleet: Fleet, memory: Path, path: str
) -> None:
    before = fleet.read(path)
    fill = f"cat /dev/zero > {shlex.quote(str(fleet.root))}/filler 2>/dev/null"
    script(fleet, f"printf 'dns: {CANARY}\\n' > \"$1\"; {fill}; true")
    done = namespace(fleet, small_disk(fleet, "4m"), "edit", path)
    assert done.returncode == 1, done.stderr
    assert b"no space left on device" in done.stderr
    assert b"your draft is kept, encrypted to you" in done.stderr
    assert fleet.read(path) == before
    assert kept(fleet) == []
    assert plaintext_below(memory) == [], "it is in memory, and encrypted"
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", "--resume", path)
    assert fleet.ok("cat", path) == f"dns: {CANARY}\n"


def test_a_full_disk_leaves_no_part_of_a_large_value(fleet: Fleet) -> None:
    done = namespace(
        fleet,
        small_disk(fleet, "8m"),
        *("set", WIFI),
        stdin=bytes(9_000_000),
        after="ls -A .git/nixsecrets >&2",
    )
    assert done.returncode == 1
    assert b"cannot keep the value in" in done.stderr
    assert b"no space left on device" in done.stderr
    assert done.stderr.split()[-1] == b"lock"


@pytest.mark.parametrize(
    ("args", "stdin"),
    [
        (("edit", DNS), b""),
        (("edit", WIFI), b""),
        (("generate", DNS, "--key", "fresh", "--yes"), b""),
        (("set", DNS, "--key", "dns", "--yes"), b"new"),
        (("set", DNS, "--yes"), b"dns: new\n"),
    ],
)
def test_where_memory_is_full_the_folder_is_named_and_nothing_changes(
    fleet: Fleet, memory: Path, args: tuple[str, ...], stdin: bytes
) -> None:
    script(fleet, "exit 7")
    before = fleet.snapshot()
    fill = f"dd if=/dev/zero of={memory}/fill bs=4k 2>/dev/null || true"
    mounts = f"mount -t tmpfs -o size=16k,mode=700 none {memory}; {fill}"
    done = namespace(fleet, mounts, *args, stdin=stdin)
    assert done.returncode == 1, done.stderr
    assert b"no space left on device" in done.stderr
    assert str(memory).encode() in done.stderr
    assert b"hint: " in done.stderr
    assert changed(fleet, before) == set()
