"""Values of 100 MB go in and out of age files in the memory of a small one."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import changed
from tests.edit.helpers import left_in, run_bytes
from tests.fleet import PROJECT, Fleet, program

WIFI = "secrets/wifi.age"
SIZE = 100_000_000
LARGE = 5_000_000
MEGABYTES = 80
_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:], timeout=120).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(str(peak // 1024))
sys.exit(code)
"""


def measured(fleet: Fleet, *args: str, given: Path) -> tuple[bytes, int]:
    """Run nixsecrets; return stdout's SHA-256 and the most memory it took, in MB."""
    peak = fleet.home / "peak"
    command = [sys.executable, "-m", "nixsecrets", *args]
    with given.open("rb") as stdin:
        child = subprocess.Popen(
            [sys.executable, "-c", _MEASURE, str(peak), *command],
            env={**fleet.env, "PYTHONPATH": str(PROJECT)},
            cwd=fleet.root,
            stdin=stdin,
            stdout=subprocess.PIPE,
        )
        digest = hashlib.sha256()
        assert child.stdout is not None
        with child.stdout as out:
            while part := out.read(1 << 16):
                digest.update(part)
    assert child.wait() == 0
    return digest.digest(), int(peak.read_text())


@pytest.fixture
def value(fleet: Fleet) -> Path:
    """A file of 100 MB, which takes no place on the disk."""
    path = fleet.home / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def test_a_value_of_100_mb_takes_no_more_memory_than_a_small_one(
    fleet: Fleet, memory: Path, value: Path
) -> None:
    with value.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    _, peak = measured(fleet, "set", WIFI, given=value)
    assert peak <= MEGABYTES
    before = fleet.snapshot()
    _, peak = measured(fleet, "set", WIFI, "--from-file", str(value), given=value)
    assert peak <= MEGABYTES
    assert changed(fleet, before) == set(), "the same value again changes no byte"
    nothing = Path("/dev/null")
    assert measured(fleet, "cat", WIFI, given=nothing)[0] == digest
    assert measured(fleet, "cat", WIFI, given=nothing)[1] <= MEGABYTES
    out = fleet.home / "out"
    assert measured(fleet, "cat", WIFI, "-o", str(out), given=nothing)[1] <= MEGABYTES
    with out.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest
    assert fleet.age_decrypt(WIFI, "brunnen") == bytes(SIZE)
    assert left_in(memory) == []
    assert staging(fleet) == {"lock"}


def staging(fleet: Fleet) -> set[str]:
    """Return the names in the staging folder but for what the clone remembers."""
    folder = fleet.root / ".git" / "nixsecrets"
    return {path.name for path in folder.iterdir()} - {"clone"}


@pytest.fixture
def large(fleet: Fleet) -> Fleet:
    """A fleet whose wifi.age is just large enough to be streamed."""
    done = run_bytes(fleet, "set", WIFI, stdin=bytes(LARGE))
    assert done.returncode == 0, done.stderr
    fleet.commit("large")
    return fleet


def test_one_line_end_is_dropped_from_a_large_value_too(fleet: Fleet) -> None:
    value = bytes(LARGE)
    for end, kept in ((b"\n\n", b"\n"), (b"\r\n", b""), (b"\r", b"\r")):
        done = run_bytes(fleet, "set", WIFI, "--strip-newline", stdin=value + end)
        assert done.returncode == 0, done.stderr
        assert fleet.age_decrypt(WIFI, "alice") == value + kept


def test_a_large_value_is_written_by_who_cannot_read_it(fleet: Fleet) -> None:
    del fleet.env["NIXSECRETS_IDENTITY"]
    for path in (WIFI, "secrets/new.age"):
        done = run_bytes(fleet, "set", path, stdin=bytes(LARGE))
        assert done.returncode == 0, done.stderr
        assert fleet.age_decrypt(path, "brunnen") == bytes(LARGE)
    fleet.commit()
    assert fleet.run("check").returncode == 0


@pytest.mark.parametrize("size", [-20_000, -1])
def test_of_a_file_that_was_cut_only_what_is_authentic_is_printed(
    large: Fleet, size: int
) -> None:
    data = large.read(WIFI)
    large.write(WIFI, data[:size])
    done = run_bytes(large, "cat", WIFI)
    assert done.returncode == 1
    assert b"was tampered with; the printed output is incomplete" in done.stderr
    assert done.stdout == bytes(len(done.stdout))
    assert 0 < len(done.stdout) < LARGE
    out = large.home / "out"
    done = run_bytes(large, "cat", WIFI, "--output", str(out))
    assert done.returncode == 1
    assert b"was tampered with\n" in done.stderr
    assert not out.exists()
    assert not [p for p in large.home.iterdir() if "nixsecrets" in p.name]


def test_a_reader_that_goes_away_is_no_error_message(large: Fleet) -> None:
    command = f'"{sys.executable}" -m nixsecrets cat {WIFI} | head -c 10'
    done = subprocess.run(
        [program("sh"), "-c", command],
        env={**large.env, "PYTHONPATH": str(PROJECT)},
        cwd=large.root,
        capture_output=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (bytes(10), b"")


def test_a_large_value_for_a_sops_file_is_stored_whole(fleet: Fleet) -> None:
    done = run_bytes(fleet, "set", "secrets/new.bin", stdin=b"x" * LARGE)
    assert done.returncode == 0, done.stderr
    assert run_bytes(fleet, "cat", "secrets/new.bin").stdout == b"x" * LARGE
