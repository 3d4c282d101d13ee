"""The plug is pulled, or the disk refuses, at every operation of a `resolve`.

The merge is as it was, or as it shall be, or the next command completes it; git's own
state (MERGE_HEAD, the index) stays as it was until everything is written.  The quick
form tries every seventh operation; `NIXSECRETS_FAULTS=all` tries each.
"""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apply.helpers import Sample
from tests.cli.conftest import copied
from tests.fleet import PROJECT, Fleet
from tests.merge.branches import (
    AGE,
    DB,
    DB_TEXT,
    LINES,
    add,
    key,
    parted,
    put,
    remove,
    several,
)
from tests.repo.helpers import Counting, die, failing

ALL = os.environ.get("NIXSECRETS_FAULTS") == "all"
SLICES = 7
AT_LEAST = 60
STATE = ("MERGE_HEAD", "MERGE_MSG", "HEAD")
VALUES = {
    DB: DB_TEXT.replace("one\n", "two\n").replace("end", "done"),
    AGE: LINES.replace("one", "1").replace("four", "4"),
}


@pytest.fixture(scope="module")
def stopped(larger: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A repository in which git has stopped: values, readers, a new file."""
    fleet = copied(larger, tmp_path_factory.mktemp("stopped") / "fleet")
    ours = several(
        key(DB, "db/password", "two"),
        put(AGE, LINES.replace("one", "1")),
        remove("schere"),
    )
    theirs = several(
        key(DB, "last", "done"),
        put(AGE, LINES.replace("four", "4")),
        put("secrets/dns.new.age", "new"),
        add("elm", "dns"),
    )
    assert parted(fleet, ours, theirs).stopped
    return fleet


@pytest.fixture
def private() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


class Stopped:
    """A copy of the repository, with what git and the disk had before."""

    def __init__(self, template: Fleet, folder: Path, private: Path) -> None:
        self.fleet = copied(template, folder)
        self.fleet.env |= {"XDG_RUNTIME_DIR": str(private), "TMPDIR": str(folder)}
        self.sample = Sample(self.fleet, {}, {}, private)
        self.before, self.git = self.fleet.snapshot(), self.git_state()

    def git_state(self) -> list[str]:
        names = [self.fleet.root / ".git" / name for name in STATE]
        texts = [name.read_text() if name.exists() else "" for name in names]
        return [self.fleet.git("ls-files", "-s"), *texts]

    def assert_before_or_complete(self) -> None:
        """What was interrupted is finished by the next resolve, whole."""
        if self.git_state() != self.git:  # the last step had begun
            assert self.git_state()[1:] == self.git[1:]
        for path, data in self.fleet.snapshot().items():
            assert data == self.before.get(path) or b"<<<<<<<" not in data, path
        code, said = self.sample.run("resolve", "--yes")
        assert code == 0, said
        assert self.git_state()[1:] == self.git[1:]
        assert self.fleet.git("ls-files", "-u") == ""
        assert self.fleet.git("diff", "--name-only") == ""
        staging = self.fleet.root / ".git/nixsecrets"
        assert {place.name for place in staging.iterdir()} - {"clone"} == {"lock"}
        assert not list(self.sample.private.glob("nixsecrets-private-*"))
        for path, value in VALUES.items():
            assert self.fleet.ok("cat", path) == value

    def in_order(self) -> None:
        self.fleet.git("commit", "-q", "--no-edit")
        self.sample.ok("check")


@pytest.mark.parametrize("part", range(SLICES) if ALL else [0])
def test_killed_at_any_point_a_merge_is_as_before_or_the_next_resolve_ends_it(
    stopped: Fleet, tmp_path: Path, private: Path, part: int
) -> None:
    for n in range(1 + part, 10_000, SLICES):
        found = Stopped(stopped, tmp_path / str(n), private)
        code, _ = found.sample.run("resolve", "--yes", ops=Counting(n, die))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        found.assert_before_or_complete()
        found.in_order()
    assert n > AT_LEAST


def interrupt() -> None:
    """Press Ctrl-C; where the tests run in the background, it is ignored at first."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)


REFUSALS = {
    "full": (failing(errno.ENOSPC), 1, "free some space"),
    "denied": (failing(errno.EACCES), 1, "nixsecrets: hint: "),
    "broken": (failing(errno.EIO), 1, "nixsecrets: hint: "),
    "ctrl-c": (interrupt, 130, "interrupted"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_or_interrupted_at_any_point_a_merge_is_ended_by_the_next_resolve(
    stopped: Fleet, tmp_path: Path, private: Path, name: str
) -> None:
    act, ends, words = REFUSALS[name]
    ended = set[int]()
    for n in range(3, AT_LEAST + 30, 2 if ALL else 4 * SLICES):
        found = Stopped(stopped, tmp_path / str(n), private)
        code, said = found.sample.run("resolve", "--yes", ops=Counting(n, act))
        assert code in {0, ends}, said
        assert "Traceback" not in said
        if code == ends:
            assert words in said
        ended.add(code)
        found.assert_before_or_complete()
        found.in_order()
    assert ends in ended


def test_two_at_once_merge_once(stopped: Fleet, tmp_path: Path, private: Path) -> None:
    found = Stopped(stopped, tmp_path / "two", private)
    own = found.fleet.env | {"PYTHONPATH": str(PROJECT)}
    words = [sys.executable, "-m", "nixsecrets", "resolve", "--yes"]
    both = [
        subprocess.Popen(
            words, cwd=found.fleet.root, env=own, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [one.communicate()[1] for one in both]
    codes = [one.returncode for one in both]
    assert 0 in codes
    assert {*codes} <= {0, 1}
    for code, text in zip(codes, told, strict=True):
        assert code == 0 or "nixsecrets: hint: " in text
    found.assert_before_or_complete()
    found.in_order()
