"""The plug is pulled, or the disk refuses, at every operation of a real command.

A forked process runs the program itself over a mixed repository (age, armored age,
sops YAML and JSON, map, `.sops.yaml`, `secrets.nix`, lock); the n-th operation on the
disk ends or fails it, for every n, until a run gets through.  The quick form tries one
error at each operation of a grant; `NIXSECRETS_FAULTS=all` tries each at each, over a
re-encryption too, and all of it once more with worker processes.
"""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nixsecrets.apply import workers
from tests import gate
from tests.apply.helpers import CANARY, COMMANDS, SECRETS, Sample
from tests.fleet import PROJECT
from tests.repo.helpers import Counting, die, failing

ALL = os.environ.get("NIXSECRETS_FAULTS") == "all"
SLICES = 4  # so that several cores share the points
AT_LEAST = 90  # operations of a run; fewer would mean that the seam is passed by
ERRORS = (errno.ENOSPC, errno.EACCES, errno.EIO)
DROPPED = "discarded the staged files of an interrupted run"
COMPLETED = "completed an interrupted run"


@pytest.fixture(params=["alone", "workers"] if ALL else ["alone"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with and without worker processes."""
    if request.param == "workers":
        monkeypatch.setattr(workers, "_WORTH_FORKING", 0)


def points(number: int) -> Iterator[int]:
    """Yield the operations of one slice, from 1."""
    return itertools.count(1 + number, SLICES)


def left_private_folders(sample: Sample) -> list[Path]:
    """Return the folders for plaintext that are still in memory."""
    return list(sample.private.glob("nixsecrets-private-*"))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("part", range(SLICES))
def test_killed_at_any_point_no_secret_is_lost_and_the_next_command_clears_up(
    sample: Sample, name: str, part: int
) -> None:
    command = sample.command(name)
    for n in points(part):
        sample.reset()
        code, _ = sample.run(*command, ops=Counting(n, die))
        sample.assert_nobody_lost(name)
        sample.assert_no_plaintext()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert_next_command_clears_up(sample, name)
    assert n > AT_LEAST


def assert_next_command_clears_up(sample: Sample, name: str) -> None:
    """The next command drops or completes, says so, and leaves all old or all new."""
    staging = sample.fleet.root / ".git/nixsecrets"
    journaled = (staging / "journal").exists()
    staged = any(staging.glob(".nixsecrets-*"))
    said = sample.ok("sync")
    assert (COMPLETED in said) == journaled
    assert (DROPPED in said) == (staged and not journaled)
    assert {place.name for place in staging.iterdir()} - {"clone"} == {"lock"}
    assert left_private_folders(sample) == []
    readers = sample.expected(name)
    if journaled or sample.snapshot() != sample.start:
        assert all(sample.fleet.read(p) != sample.start[p] for p in SECRETS)
        sample.assert_readers(readers["after"])
    assert CANARY.decode() not in said


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", COMMANDS if ALL else ["add-host"])
@pytest.mark.parametrize("part", range(SLICES))
def test_refused_by_the_disk_at_any_point_a_command_says_so_and_nothing_is_half_done(
    sample: Sample, name: str, part: int
) -> None:
    for n in points(part):
        tried = ERRORS if ALL else (ERRORS[n // SLICES % len(ERRORS)],)
        codes = [assert_survives(sample, name, n, number) for number in tried]
        if n > AT_LEAST and not any(codes):
            break


def assert_survives(sample: Sample, name: str, n: int, number: int) -> int:
    """Let the `n`-th operation fail with `number`; return the exit code."""
    sample.reset()
    code, said = sample.run(*sample.command(name), ops=Counting(n, failing(number)))
    assert code in {0, 1}, said
    sample.assert_nobody_lost(name)
    sample.assert_no_plaintext()
    if code == 1:
        assert os.strerror(number).lower() in said
        assert "nixsecrets: hint: " in said
    if "nothing was changed" in said:
        assert sample.snapshot() == sample.start
    sample.ok("sync")
    if sample.snapshot() != sample.start:
        sample.assert_readers(sample.expected(name)["after"])
    assert left_private_folders(sample) == []
    return code


def test_a_path_that_is_neither_before_nor_after_stops_the_next_command(
    sample: Sample,
) -> None:
    sample.reset()
    last = str(sample.fleet.root / "secrets/wifi.age")
    interrupted_at(sample, last)
    sample.fleet.write("secrets/wifi.age", b"somebody's own")
    code, said = sample.run("rekey", "--yes")
    assert code == 1
    assert '"secrets/wifi.age" changed since' in said
    assert "nixsecrets recover --finish" in said
    code, said = sample.run("check")
    assert "or was interrupted" in said
    assert sample.ok("recover", "--discard")
    assert sample.fleet.read("secrets/wifi.age") == b"somebody's own"


def test_recover_finish_keeps_what_it_overwrites(sample: Sample) -> None:
    sample.reset()
    interrupted_at(sample, str(sample.fleet.root / "secrets/wifi.age"))
    sample.fleet.write("secrets/wifi.age", b"somebody's own")
    said = sample.ok("recover", "--finish")
    assert "was kept in" in said
    sample.assert_readers(sample.expected("add-host")["after"])
    (kept,) = (sample.fleet.root / ".git/nixsecrets").glob("kept-*")
    assert kept.read_bytes() == b"somebody's own"


def interrupted_at(sample: Sample, place: str) -> None:
    """Run add-host and kill it before it replaces `place`."""

    class There(Counting):
        def step(self, operation: str, path: str | int) -> None:
            if (operation, path) == ("replace", place):
                die()

    code, _ = sample.run(*sample.command("add-host"), ops=There())
    assert code == -signal.SIGKILL


FULL_DISK = """
set -e
mount -t tmpfs -o size={size} tmpfs {disk}
cp -a {root}/. {disk}/
cd {disk}
dd if=/dev/zero of=filler bs=1k count={fill} status=none || true
set +e
{python} -m nixsecrets {command}
echo "exit $?" >&2
rm filler
{python} -m nixsecrets sync
set -e
tar -cf {tar} --exclude=.git .
"""


def can_mount(folder: Path) -> bool:
    """Return whether a tmpfs can be mounted in a new namespace."""
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("free", [0, 4, 12, 16, 24, 40])
def test_on_a_disk_that_is_really_full_nothing_is_half_done(
    sample: Sample, tmp_path: Path, free: int
) -> None:
    """`free` are the kB left before the run."""
    if not can_mount(tmp_path):
        gate.absent("namespaces", "no tmpfs can be mounted")
    sample.reset()
    size = 2 * disk_usage(sample.fleet.root) + 256
    disk = tmp_path / "disk"
    disk.mkdir()
    script = FULL_DISK.format(
        size=f"{size}k",
        disk=disk,
        root=sample.fleet.root,
        fill=size,
        python=sys.executable,
        command=" ".join(f"'{word}'" for word in sample.command("add-host")),
        tar=tmp_path / "after.tar",
    )
    script = script.replace("|| true\n", f"|| true\ntruncate -s -{free}k filler\n")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        env=sample.fleet.env | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    after = tmp_path / "after"
    after.mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "after.tar", "-C", after], check=True)
    files = {p: (after / p).read_bytes() for p in sample.start}
    if "exit 0" in done.stderr:
        assert all(files[path] != sample.start[path] for path in SECRETS)
    else:
        assert "no space left on device" in done.stderr
        assert "free some space" in done.stderr
        assert files == sample.start


def disk_usage(folder: Path) -> int:
    """Return the kB that a folder takes."""
    done = subprocess.run(["du", "-sk", folder], capture_output=True, check=True)
    return int(done.stdout.split()[0])
