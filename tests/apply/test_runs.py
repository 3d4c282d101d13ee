"""Runs that meet: a second command, a signal, somebody's edit, a damaged file."""

import errno
import fcntl
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from nixsecrets.apply import workers
from nixsecrets.errors import NixsecretsError
from nixsecrets.repo.fsops import FileOps
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.pool import (
    WorkerBugError,
    answers,
    cores,
    fork,
    readable,
    received,
    send,
    spread,
    spreading,
    started,
)
from nixsecrets.repo.worktree import Repo
from tests.apply.helpers import COMMANDS, NEW_HOST, SECRETS, Sample
from tests.fleet import git
from tests.repo.helpers import die


class At(FileOps):
    """Calls `act` before the first operation of a name, on a path that ends so."""

    def __init__(self, operation: str, end: str, act: Callable[[], object]) -> None:
        self.wanted, self.end, self.act, self.done = operation, end, act, False

    def step(self, operation: str, path: str | int) -> None:
        """Act once."""
        if operation == self.wanted and str(path).endswith(self.end) and not self.done:
            self.done = True
            self.act()


class Flushing(FileOps):
    """Do something at the first flush, of one file or of all."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def step(self, operation: str, _path: str | int) -> None:
        """Act before the operation."""
        if operation in {"fsync", "syncfs"}:
            self.act()


@pytest.fixture(params=["alone", "workers"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run in one process, or with workers."""
    if request.param == "workers":
        monkeypatch.setattr(workers, "_WORTH_FORKING", 0)
        monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 2)
    return str(request.param)


def first_staged(act: Callable[[], object]) -> At:
    """Act when the first secret has been staged: workers are busy with others."""
    return At("chmod", "", act)


def assert_nothing_left(sample: Sample) -> None:
    """The tree is as it was, and nobody and nothing of the run is there."""
    assert sample.snapshot() == sample.start
    staging = sample.fleet.root / ".git/nixsecrets"
    assert {place.name for place in staging.iterdir()} - {"clone"} == {"lock"}
    assert list(sample.private.glob("nixsecrets-private-*")) == []


# --- one after the other --------------------------------------------------------------


def test_the_second_command_says_that_it_waits_and_then_does_its_work(
    sample: Sample,
) -> None:
    repo = Repo.at(sample.fleet.root)
    with exclusive(repo):
        pid = os.fork()
        if pid == 0:
            code, said = sample.run(*sample.command("add-host"))
            waited = "another run is active here" in said and "waiting for it" in said
            os._exit(0 if code == 0 and waited else 1)
        time.sleep(0.5)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        assert sample.snapshot() == sample.start
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    sample.assert_readers(sample.expected("add-host")["after"])


@pytest.mark.parametrize(
    "command", [("check",), ("status",), ("why", "secrets/wifi.age"), ("rekey", "-n")]
)
def test_who_only_reads_never_waits(sample: Sample, command: tuple[str, ...]) -> None:
    with exclusive(Repo.at(sample.fleet.root)):
        code, said = sample.run(*command)
    assert code == 0
    assert "waiting" not in said


@pytest.mark.parametrize("command", ["check", "status"])
def test_who_only_reads_reports_an_unfinished_run(sample: Sample, command: str) -> None:
    at = At("replace", "secrets/wifi.age", die)
    code, _ = sample.run(*sample.command("add-host"), ops=at)
    assert code == -signal.SIGKILL
    before = sample.snapshot()
    _, said = sample.run(command)
    assert "or was interrupted" in said
    assert sample.snapshot() == before


def test_a_lock_is_gone_with_the_process_that_held_it(sample: Sample) -> None:
    at = first_staged(die)
    code, _ = sample.run(*sample.command("remove-host"), ops=at)
    assert code == -signal.SIGKILL
    assert "waiting" not in sample.ok("sync")


def test_linked_work_trees_do_not_wait_for_each_other(
    sample: Sample, tmp_path: Path
) -> None:
    fleet, linked = sample.fleet, tmp_path / "linked"
    git(fleet.root, "worktree", "add", "-q", str(linked), env=fleet.env)
    try:
        with exclusive(Repo.at(fleet.root)), exclusive(Repo.at(linked), wait=False):
            assert Repo.at(linked).staging != Repo.at(fleet.root).staging
    finally:
        git(fleet.root, "worktree", "remove", "--force", str(linked), env=fleet.env)


# --- told to end ----------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_a_signal_while_staging_leaves_everything_unchanged(
    sample: Sample, processes: str, name: str, number: int, code: int
) -> None:
    def tell() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), number)

    found, _ = sample.run(*sample.command(name), ops=first_staged(tell))
    assert found == code
    assert_nothing_left(sample)


def test_a_signal_while_replacing_lets_the_run_complete(sample: Sample) -> None:
    def tell() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    at = At("replace", "secrets/dns.yaml", tell)
    code, _ = sample.run(*sample.command("add-host"), ops=at)
    assert code == 143
    sample.assert_readers(sample.expected("add-host")["after"])


def test_a_worker_that_is_killed_fails_the_run_and_changes_nothing(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_WORTH_FORKING", 0)
    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 2)
    monkeypatch.setattr(workers, "carry_out", lambda *_: die())
    code, said = sample.run(*sample.command("add-host"))
    assert code == 1
    assert "a worker process ended without an answer; nothing was changed" in said
    assert_nothing_left(sample)


def test_a_bug_in_a_worker_is_reported_with_the_lines_of_the_worker(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("canary-secret")

    monkeypatch.setattr(workers, "_WORTH_FORKING", 0)
    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 2)
    monkeypatch.setattr(workers, "carry_out", broken)
    code, said = sample.run(*sample.command("add-host"))
    assert code == 3
    assert "this is a bug in nixsecrets" in said
    assert "in broken" in said
    assert "canary-secret" not in said
    assert_nothing_left(sample)


@pytest.mark.usefixtures("processes")
def test_waves_of_few_files_come_to_the_same(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_WAVE_FILES", 1)
    code, said = sample.run(*sample.command("add-host"))
    assert code == 0, said
    sample.assert_readers(sample.expected("add-host")["after"])


@pytest.mark.usefixtures("processes")
def test_a_disk_that_fails_while_files_are_verified_leaves_everything_as_it_was(
    sample: Sample,
) -> None:
    """With workers, files are flushed and verified at the same time."""

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    code, said = sample.run(*sample.command("add-host"), ops=Flushing(fail))
    assert code == 1
    assert "input/output error; nothing was changed" in said
    assert_nothing_left(sample)


def test_messages_of_any_size_arrive_whole_and_in_order() -> None:
    sent = [b"", b"x" * 70_000, None, {"n": 1}, b"y" * (3 << 20)]
    reading, writing = os.pipe()

    def tell(_: int) -> None:
        os.close(reading)
        for message in sent:
            send(writing, message)

    child = fork(tell)
    os.close(writing)
    assert [received(reading) for _ in sent] == sent
    with pytest.raises(EOFError):
        received(reading)
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)


@pytest.mark.parametrize("length", [1, 8, 9, 40])
def test_a_truncated_message_is_reported(length: int) -> None:
    reading, writing = os.pipe()
    send(writing, list(range(100)))
    start = os.read(reading, length)
    os.close(reading)
    os.close(writing)
    reading, writing = os.pipe()
    os.write(writing, start)
    os.close(writing)
    with pytest.raises(NixsecretsError, match="ended without an answer"):
        received(reading)
    os.close(reading)


def test_a_pipe_of_any_number_is_waited_for() -> None:
    """As many files may be open as the system allows."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, allowed[1]))
    reading, writing = os.pipe()
    high = fcntl.fcntl(reading, fcntl.F_DUPFD_CLOEXEC, 1500)
    try:
        assert readable([high], wait=False) == []
        send(writing, "told")
        assert readable([high], wait=True) == [high]
        assert received(high) == "told"
        os.close(writing)
        assert readable([high], wait=True) == [high]  # its end
    finally:
        os.close(high)
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)


def test_no_more_processes_are_started_than_there_are_descriptors_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(520), raising=False)
    assert cores() == 64
    items = [str(number) for number in range(1000)]
    assert spread(lambda share: [*share], items, each=1) == items


def test_shares_of_a_spread_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 3)
    items = [str(number) for number in range(100)]
    for each in (1, 7, 33, 1000):
        assert spread(lambda share: [*share], items, each=each) == items
    assert spread(lambda share: [*share], [], each=5) == []


def test_of_several_errors_of_a_spread_that_of_the_first_item_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(share: Sequence[str]) -> list[str]:
        if int(share[-1]) >= 50:
            raise NixsecretsError(f"from {share[0]}")
        return [*share]

    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 3)
    items = [str(number) for number in range(100)]
    with pytest.raises(NixsecretsError, match="from 50"):
        spread(work, items, each=30)


def test_a_process_that_dies_in_a_spread_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parent = os.getpid()

    def work(share: Sequence[str]) -> list[str]:
        if os.getpid() == parent:
            time.sleep(0.05)  # leave something for the other
            return [*share]
        os._exit(1)

    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 2)
    with pytest.raises(NixsecretsError, match="ended without an answer"):
        spread(work, [str(number) for number in range(100)], each=30)


def test_a_bug_in_a_process_of_a_spread_is_reported_with_its_own_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parent = os.getpid()

    def broken(share: Sequence[str]) -> list[str]:
        if os.getpid() == parent:
            time.sleep(0.05)  # leave something for the other
            return [*share]
        raise ZeroDivisionError("canary-secret")

    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 2)
    with pytest.raises(WorkerBugError) as error:
        spread(broken, [str(number) for number in range(100)], each=30)
    assert str(error.value) == "ZeroDivisionError"
    assert any(name == "broken" for _, _, name in error.value.frames)


def test_a_worker_does_its_tasks_in_order_and_none_is_left() -> None:
    def work(task: int) -> Iterator[int]:
        yield from range(task)

    with started(work, 2) as workers:
        for worker in workers:
            for task in (2, 0, 3):
                worker.assign(task)
        found = [(worker.pid, answer) for worker, answer in answers(workers)]
        for worker in workers:
            assert [a for pid, a in found if pid == worker.pid] == [0, 1, 0, 1, 2]
            assert worker.waiting == 0
    for worker in workers:
        with pytest.raises(ChildProcessError):
            os.waitpid(worker.pid, os.WNOHANG)


def test_who_is_not_waited_for_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 3)
    ours, began = os.getpid(), time.monotonic()
    children: list[int] = []

    def forked(body: Callable[[int], object]) -> int:
        children.append(fork(body))
        return children[-1]

    monkeypatch.setattr("nixsecrets.repo.pool.fork", forked)

    def work(share: Sequence[str]) -> list[str]:
        time.sleep(0 if os.getpid() == ours else 60)
        return [*share]

    with (
        pytest.raises(NixsecretsError, match="the map is damaged"),
        spreading(work, ["a"] * 100, each=1),
    ):
        raise NixsecretsError("the map is damaged")
    assert time.monotonic() - began < 30
    assert len(children) == 2
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


# --- changed meanwhile ----------------------------------------------------------------


def test_a_secret_changed_after_the_plan_stops_the_run(
    sample: Sample, processes: str
) -> None:
    def change() -> None:
        sample.fleet.write("secrets/wifi.age", b"somebody's own")

    class AfterPlan(FileOps):
        """Changes the file when the first of the others is staged."""

        changed = False

        def step(self, operation: str, path: str | int) -> None:
            if operation == "create" and path and not self.changed:
                self.changed = True
                change()

    code, said = sample.run(*sample.command("add-host"), ops=AfterPlan())
    assert code == 1
    assert "changed" in said
    assert "nothing was" in said
    after = sample.snapshot()
    assert after.pop("secrets/wifi.age") == b"somebody's own"
    assert after.items() <= sample.start.items()


def test_a_secret_changed_while_others_were_staged_stops_the_run(
    sample: Sample,
) -> None:
    """The last look comes when the journal is there and nothing is replaced."""

    def change() -> None:
        sample.fleet.write("secrets/armored.age", b"somebody's own")

    at = At("replace", "nixsecrets/journal", change)
    code, said = sample.run(*sample.command("add-host"), ops=at)
    assert code == 1
    assert "changed while the run was at work; nothing was replaced" in said
    after = sample.snapshot()
    assert after.pop("secrets/armored.age") == b"somebody's own"
    assert after.items() <= sample.start.items()


@pytest.mark.parametrize(
    "path", ["nixsecrets.lock", "nixsecrets.toml", ".sops.yaml", "secrets/secrets.nix"]
)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_new_file_does_not_overwrite_one_that_appeared_meanwhile(
    sample: Sample, name: str, path: str
) -> None:
    """Somebody pulls while the secrets are read, before there is a plan."""
    pulled = sample.start[path] + b"\n"

    def pull() -> None:
        sample.fleet.write(path, pulled)

    code, said = sample.run(
        *sample.command(name), ops=At("open", "secrets/wifi.age", pull)
    )
    assert code == 1
    assert f'"{path}" changed while the run was at work' in said
    assert "nothing was replaced" in said
    after = sample.snapshot()
    assert after.pop(path) == pulled
    assert after.items() <= sample.start.items()


# --- damaged --------------------------------------------------------------------------


def truncated(data: bytes) -> bytes:
    """Cut a file in its header or metadata."""
    return data[: len(data) // 3]


def cut_payload(data: bytes) -> bytes:
    """Cut the last bytes."""
    return data[:-20]


def tampered_value(data: bytes) -> bytes:
    """Change a byte of the first encrypted value."""
    at = data.index(b"data:") + 6
    return data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]


def tampered_header(data: bytes) -> bytes:
    """Change a byte of the header's MAC."""
    at = data.index(b"--- ") + 6
    return data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]


DAMAGE = {
    "truncated age": ("secrets/wifi.age", truncated, "remove-host"),
    "age without its end": ("secrets/wifi.age", cut_payload, "remove-host"),
    "truncated armor": ("secrets/armored.age", truncated, "add-host"),
    "tampered header": ("secrets/wifi.age", tampered_header, "add-host"),
    "truncated sops": ("secrets/dns.yaml", truncated, "add-host"),
    "tampered sops value": ("secrets/dns.yaml", tampered_value, "remove-host"),
    "tampered sops json": ("secrets/web/app.json", tampered_value, "remove-host"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_named_and_stops_the_run_without_keep_going(
    sample: Sample, case: str
) -> None:
    path, damage, name = DAMAGE[case]
    bad = damage(sample.start[path])
    sample.fleet.write(path, bad)
    before = sample.snapshot()
    code, said = sample.run(*sample.command(name))
    assert code == 1
    assert path in said
    others = [other for other in SECRETS if other != path]
    assert all(other in said for other in others), "the rest of the plan is shown"
    assert "nothing was changed" in said
    assert sample.snapshot() == before
    code, said = sample.run(*sample.command(name), "--keep-going")
    assert code == 1
    assert f"skipped {path}" in said
    assert sample.fleet.read(path) == bad
    readers = sample.expected(name)["after"]
    for other in others:
        assert {n for n in sample.readers if sample.opens(other, n)} == readers
    assert NEW_HOST in sample.readers
