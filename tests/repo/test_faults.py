"""Each operation of a run in turn is its last one, or fails.

The usual batch (two secrets change, a third moves) runs over and over; each time the
fault comes one operation later, until a run gets through.
"""

import errno
import itertools
import os
import signal

import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo import recovery
from nixsecrets.repo.journal import unfinished
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.staging import Batch
from nixsecrets.repo.worktree import Repo
from tests.repo.helpers import (
    NEW,
    OLD,
    Counting,
    after,
    die,
    failing,
    fill,
    in_child,
    installed,
    run_batch,
    staging_names,
    tree,
)

AT_LEAST = 30  # operations of the usual batch; fewer would mean that the seam is passed


def assert_each_file_is_old_or_new(repo: Repo) -> None:
    """No file is torn, and the moved one is somewhere."""
    secrets = ["secrets/wifi.age", "secrets/dns/key.yaml"]
    for path in secrets:
        assert repo.read(path) in {OLD[path], NEW[path]}
    moved = ["secrets/moved.age", "secrets/new/deep/moved.age"]
    found = {repo.read_if_there(path) for path in moved}
    assert found <= {b"to be moved", None}
    assert b"to be moved" in found


def recover_and_check(repo: Repo) -> bool:
    """Recover; return whether the tree is the new one (else it is the old one)."""
    journaled = unfinished(repo) is not None
    with exclusive(repo):
        found = recovery.recover(repo)
        assert recovery.recover(repo) is None
    assert staging_names(repo) == set()
    files = tree(repo)
    assert files in (OLD, after())
    if journaled:
        assert found is not None
        assert found.completed
        assert files == after()
    return files == after()


def test_killed_at_any_point_the_next_run_drops_or_completes(any_repo: Repo) -> None:
    was_new = False
    for n in itertools.count(1):
        fill(any_repo.root)

        def body(n: int = n) -> None:
            with installed(Counting(n, die)):
                run_batch(any_repo)

        code = in_child(body)
        assert_each_file_is_old_or_new(any_repo)
        is_new = recover_and_check(any_repo)
        assert is_new >= was_new, "once the run goes forward it never goes back"
        was_new = is_new
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert was_new
    assert n > AT_LEAST


def test_killed_while_recovering_the_next_run_completes(repo: Repo) -> None:
    targets = str(repo.root / "secrets/dns/key.yaml")

    class HalfWay(Counting):
        def step(self, operation: str, path: str | int) -> None:
            if operation == "replace" and path == targets:
                die()

    def half() -> None:
        with installed(HalfWay()):
            run_batch(repo)

    for n in itertools.count(1):
        fill(repo.root)
        assert in_child(half) == -signal.SIGKILL

        def body(n: int = n) -> None:
            with exclusive(repo), installed(Counting(n, die)):
                recovery.recover(repo)

        code = in_child(body)
        assert_each_file_is_old_or_new(repo)
        recover_and_check(repo)
        assert tree(repo) == after()
        if code == 0:
            break
    assert n > 8


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EACCES, errno.EIO], ids=errno.errorcode.get
)
def test_an_operation_that_fails_is_a_clear_error_and_nothing_is_half_done(
    any_repo: Repo, number: int
) -> None:
    for n in itertools.count(1):
        fill(any_repo.root)
        error = run_with(any_repo, Counting(n, failing(number)))
        assert_each_file_is_old_or_new(any_repo)
        if error is not None:
            assert os.strerror(number).lower() in error.message
            assert error.hint
            if "nothing was changed" in error.message:
                assert tree(any_repo).items() >= OLD.items()
        is_new = recover_and_check(any_repo)
        assert is_new or error is not None
        if error is None and n > AT_LEAST:
            break


def run_with(repo: Repo, ops: Counting) -> NixsecretsError | None:
    """Run the usual batch; return the error it ended with."""
    with installed(ops):
        try:
            run_batch(repo)
        except NixsecretsError as error:
            return error
    return None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_while_staging_leaves_the_tree_unchanged(
    any_repo: Repo, name: str
) -> None:
    number = signal.Signals[name]

    def end(_batch: Batch) -> None:
        os.kill(os.getpid(), number)

    def body() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            run_batch(any_repo, end)
        except KeyboardInterrupt:
            raise SystemExit(130) from None

    assert in_child(body) == 128 + number
    assert tree(any_repo) == OLD
    assert staging_names(any_repo) == set()


def test_a_signal_while_replacing_takes_effect_after_the_run(any_repo: Repo) -> None:
    class Told(Counting):
        def step(self, operation: str, path: str | int) -> None:
            if operation == "replace" and str(path).endswith("wifi.age"):
                os.kill(os.getpid(), signal.SIGTERM)

    def body() -> None:
        with installed(Told()):
            run_batch(any_repo)

    assert in_child(body) == 128 + signal.SIGTERM
    assert tree(any_repo) == after()
    assert staging_names(any_repo) == set()
