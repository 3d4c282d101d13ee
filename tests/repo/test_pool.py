"""The pool: errors in a worker are those that the work itself would raise."""

import signal
from collections.abc import Sequence

import pytest

from nixsecrets.repo import pool

ITEMS = [str(number) for number in range(64)]


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: 2)


@pytest.mark.parametrize("kind", [MemoryError, RecursionError])
def test_what_is_too_large_for_a_worker_is_no_bug_of_ours(
    kind: type[Exception],
) -> None:
    def work(_: object) -> list[object]:
        raise kind

    with pool.started(work, 1) as workers:
        workers[0].assign(None)
        with pytest.raises(kind):
            list(pool.answers(workers))


def test_workers_end_if_the_parent_process_ignores_sigchld() -> None:
    def work(share: Sequence[str]) -> list[str]:
        return [*share]

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert pool.spread(work, ITEMS, each=1) == ITEMS
    finally:
        signal.signal(signal.SIGCHLD, before)
