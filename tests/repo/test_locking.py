"""One writer at a time; the lock of a dead process is released; readers take none."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.worktree import Repo
from tests.fleet import PROJECT
from tests.repo.helpers import Counting, installed

HOLDER = """
import sys, time
from pathlib import Path
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.worktree import Repo
with exclusive(Repo.at(Path(sys.argv[1]))):
    {body}
    print("held", flush=True)
    time.sleep(60)
"""
WORKER = "import os\n    if os.fork() == 0: time.sleep(60); os._exit(0)"


def holder(repo: Repo, body: str = "pass") -> "subprocess.Popen[str]":
    """Start a process that holds the lock; return when it does."""
    code = HOLDER.format(body=body)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(repo.root)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    """Kill the process and what it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_second_run_reports_the_process_that_holds_the_lock(any_repo: Repo) -> None:
    process = holder(any_repo)
    try:
        with (
            pytest.raises(NixsecretsError, match=f"process {process.pid}"),
            exclusive(any_repo, wait=False),
        ):
            pass
    finally:
        end(process)


def test_a_second_run_waits_with_one_message(any_repo: Repo) -> None:
    process = holder(any_repo)
    said: list[str] = []

    def on_wait(message: str) -> None:
        said.append(message)
        end(process)

    with exclusive(any_repo, on_wait):
        pass
    assert said == [
        f"another run is active here (process {process.pid}), waiting for it"
    ]


def test_death_releases_the_lock(any_repo: Repo) -> None:
    end(holder(any_repo))
    with exclusive(any_repo, wait=False):
        pass


def test_a_worker_that_outlives_the_run_does_not_hold_the_lock(any_repo: Repo) -> None:
    process = holder(any_repo, WORKER)
    try:
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while True:
            try:
                with exclusive(any_repo, wait=False):
                    break
            except NixsecretsError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        end(process)


def test_the_lock_file_stays_the_same_file(any_repo: Repo) -> None:
    with exclusive(any_repo):
        first = (any_repo.staging / "lock").stat().st_ino
    with exclusive(any_repo):
        assert (any_repo.staging / "lock").stat().st_ino == first


def test_a_lock_that_is_a_link_is_refused(any_repo: Repo, tmp_path: Path) -> None:
    any_repo.staging.mkdir()
    (any_repo.staging / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NixsecretsError, match="cannot lock"), exclusive(any_repo):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_does_not_keep_the_lock_from_us(any_repo: Repo) -> None:
    class Full(Counting):
        def step(self, operation: str, path: str | int) -> None:
            if operation == "overwrite":
                raise OSError(errno.ENOSPC, f"full: {path}")

    with installed(Full()), exclusive(any_repo):
        pass
