"""After an interrupted run: discarded or completed, by the files on the disk."""

import json
from pathlib import Path

import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo import journal, recovery
from nixsecrets.repo.files import sha256
from nixsecrets.repo.journal import unfinished
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.recovery import Recovered
from nixsecrets.repo.staging import Batch
from nixsecrets.repo.worktree import Repo
from tests.repo.helpers import (
    NEW,
    OLD,
    REMOVED,
    Counting,
    after,
    die,
    in_child,
    installed,
    run_batch,
    staging_names,
    tree,
)

WIFI = "secrets/wifi.age"


def die_staging(repo: Repo) -> None:
    """Let a run die when all is staged and nothing is journaled."""
    assert in_child(lambda: run_batch(repo, lambda _: die())) == -9


def recovered(repo: Repo) -> Recovered | None:
    with exclusive(repo):
        return recovery.recover(repo)


def test_without_an_interrupted_run_there_is_nothing_to_recover(any_repo: Repo) -> None:
    run_batch(any_repo)
    assert recovered(any_repo) is None


def test_what_was_only_staged_is_dropped_with_a_message(any_repo: Repo) -> None:
    die_staging(any_repo)
    assert unfinished(any_repo) is None
    found = recovered(any_repo)
    assert found is not None
    assert found.message == "discarded the staged files of an interrupted run (3 files)"
    assert tree(any_repo) == OLD
    assert staging_names(any_repo) == set()


@pytest.mark.parametrize("replaced", [0, 1, 2, 3])
def test_what_was_journaled_is_completed_with_a_message(
    any_repo: Repo, replaced: int
) -> None:
    if replaced < 3:
        die_at_replacement(any_repo, replaced)
    else:
        die_before_removal(any_repo)
    assert unfinished(any_repo) is not None
    found = recovered(any_repo)
    assert found is not None
    number = {0: "4 files", 1: "3 files", 2: "2 files", 3: "1 file"}[replaced]
    assert found.message == f"completed an interrupted run: {number} put in place"
    assert tree(any_repo) == after()
    assert staging_names(any_repo) == set()
    assert recovered(any_repo) is None


def die_at_replacement(repo: Repo, replaced: int) -> None:
    """Let a run die when `replaced` files have been replaced."""
    die_before(repo, "replace", [*NEW][replaced])


def die_before_removal(repo: Repo) -> None:
    """Let a run die when all but the removal is done."""
    die_before(repo, "unlink", REMOVED)


def die_before(repo: Repo, operation: str, target: str) -> None:
    """Let a run die before `operation` on the file `target`."""

    class Dying(Counting):
        def step(self, name: str, path: str | int) -> None:
            if name == operation and path == str(repo.root / target):
                die()

    def body() -> None:
        with installed(Dying()):
            run_batch(repo)

    assert in_child(body) == -9


def test_a_new_batch_does_not_start_over_an_unfinished_one(any_repo: Repo) -> None:
    die_at_replacement(any_repo, 1)
    with pytest.raises(NixsecretsError, match="not completed yet"):
        run_batch(any_repo)
    assert recovered(any_repo) is not None
    assert tree(any_repo) == after()


# --- neither before nor after -------------------------------------------------------


def conflict(repo: Repo) -> None:
    """A run that died after one file; then somebody changed the second."""
    die_at_replacement(repo, 1)
    (repo.root / "secrets/dns/key.yaml").write_bytes(b"somebody's")


def test_a_path_that_is_neither_stops_and_nothing_changes(any_repo: Repo) -> None:
    conflict(any_repo)
    before = tree(any_repo)
    with pytest.raises(
        NixsecretsError, match=r'"secrets/dns/key\.yaml" changed'
    ) as caught:
        recovered(any_repo)
    assert "nixsecrets recover --finish" in (caught.value.hint or "")
    assert "--discard" in (caught.value.hint or "")
    assert tree(any_repo) == before
    assert unfinished(any_repo) is not None


def test_finish_puts_the_runs_files_in_place_and_keeps_what_it_overwrites(
    any_repo: Repo,
) -> None:
    conflict(any_repo)
    with exclusive(any_repo):
        found = recovery.finish(any_repo)
    assert found is not None
    [(path, place)] = found.kept
    assert path == "secrets/dns/key.yaml"
    assert str(place) in found.message
    assert place.read_bytes() == b"somebody's"
    assert place.parent == any_repo.staging
    place.unlink()
    assert tree(any_repo) == after()
    assert recovered(any_repo) is None


def test_finish_leaves_what_was_put_in_place_and_then_changed(any_repo: Repo) -> None:
    die_at_replacement(any_repo, 1)
    (any_repo.root / WIFI).write_bytes(b"newer still")
    with exclusive(any_repo):
        found = recovery.finish(any_repo)
    assert found is not None
    assert found.kept == ()
    assert tree(any_repo) == after() | {WIFI: b"newer still"}


def test_finish_without_a_conflict_is_recover(any_repo: Repo) -> None:
    die_staging(any_repo)
    with exclusive(any_repo):
        found = recovery.finish(any_repo)
    assert found is not None
    assert found.dropped
    assert not found.completed


def test_discard_leaves_every_path_as_it_is(any_repo: Repo) -> None:
    conflict(any_repo)
    with exclusive(any_repo):
        found = recovery.discard(any_repo)
    assert found is not None
    assert tree(any_repo) == OLD | {
        WIFI: NEW[WIFI],
        "secrets/dns/key.yaml": b"somebody's",
    }
    assert staging_names(any_repo) == set()
    assert recovered(any_repo) is None


def test_a_removed_file_that_came_back_changed_is_a_conflict(any_repo: Repo) -> None:
    die_before_removal(any_repo)
    (any_repo.root / REMOVED).write_bytes(b"changed")
    with pytest.raises(NixsecretsError, match=r"moved\.age"):
        recovered(any_repo)


def test_a_lost_staged_file_is_an_error_and_discard_helps(any_repo: Repo) -> None:
    die_at_replacement(any_repo, 1)
    found = unfinished(any_repo)
    assert found is not None
    waiting = found.entries[1].waiting(any_repo)
    assert waiting is not None
    Path(waiting).write_bytes(b"rotten")
    with pytest.raises(NixsecretsError, match="missing or corrupt"):
        recovered(any_repo)
    with exclusive(any_repo):
        assert recovery.discard(any_repo) is not None
    assert recovered(any_repo) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0",
        b"{}",
        b"[]\n",
        b'{"nixsecrets-journal": 2, "entries": 0}\n',
        b'{"nixsecrets-journal": 1, "entries": 1}\n',
        b'{"nixsecrets-journal": 1, "entries": 1}\n{"path": "x"}\n',
    ],
)
def test_a_damaged_journal_is_an_error_and_discard_helps(
    any_repo: Repo, text: bytes
) -> None:
    run_batch(any_repo)
    (any_repo.staging / "journal").write_bytes(text)
    with pytest.raises(NixsecretsError, match="corrupt"):
        unfinished(any_repo)
    with pytest.raises(NixsecretsError, match="corrupt"):
        recovered(any_repo)
    with exclusive(any_repo):
        assert recovery.discard(any_repo) is not None
    assert unfinished(any_repo) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../x"},
        {"path": "/etc/x"},
        {"path": ".git/config"},
        {"path": "x/.GIT/config"},
        {"path": "a//b"},
        {"path": ""},
        {"path": 3},
        {"staged": "../../x"},
        {"beside": "../elsewhere"},
        {"unknown": 1},
    ],
)
def test_a_journal_cannot_lead_out_of_the_tree(changes: dict[str, object]) -> None:
    entry: dict[str, object] = {
        "path": "a/b",
        "before": None,
        "after": sha256(b""),
        "staged": ".nixsecrets-" + "0" * 32,
        "beside": None,
    }
    head = '{"nixsecrets-journal": 1, "entries": 1}\n'
    journal.Journal.parse((head + json.dumps(entry)).encode())
    with pytest.raises(NixsecretsError, match="corrupt"):
        journal.Journal.parse((head + json.dumps(entry | changes)).encode())


def test_a_folder_that_became_a_link_is_not_followed(
    any_repo: Repo, tmp_path: Path
) -> None:
    die_at_replacement(any_repo, 1)
    outside = tmp_path / "outside"
    (any_repo.root / "secrets/dns").rename(outside)
    (any_repo.root / "secrets/dns").symlink_to(outside)
    with pytest.raises(NixsecretsError):
        recovered(any_repo)
    assert (outside / "key.yaml").read_bytes() == b"old key"


def test_a_batch_of_another_map_in_the_same_work_tree_is_completed_too(
    repo: Repo,
) -> None:
    (repo.root / "infra").mkdir()
    (repo.root / "infra/nixsecrets.toml").touch()
    die_at_replacement(repo, 1)
    below = Repo.at(repo.root / "infra")
    assert unfinished(below) is not None
    found = recovered(below)
    assert found is not None
    assert "../secrets/dns/key.yaml" in found.replaced


def test_readers_see_an_unfinished_run_without_a_lock(any_repo: Repo) -> None:
    die_at_replacement(any_repo, 1)
    with exclusive(any_repo):
        found = unfinished(any_repo)
    assert found is not None
    assert [entry.path for entry in found.entries] == [*NEW, REMOVED]


def test_moving_puts_the_new_file_there_before_the_old_one_goes(any_repo: Repo) -> None:
    order: list[str] = []

    class Watching(Counting):
        def step(self, name: str, path: str | int) -> None:
            if path == str(any_repo.root / REMOVED) and name == "unlink":
                order.append("removed")
            if path == str(any_repo.root / "secrets/new/deep/moved.age"):
                order.append(name)

    with exclusive(any_repo), Batch(any_repo) as batch:
        batch.delete(REMOVED, sha256(OLD[REMOVED]))
        batch.stage("secrets/new/deep/moved.age", OLD[REMOVED], before=None)
        with installed(Watching()):
            batch.commit()
    assert [name for name in order if name != "open"] == ["replace", "removed"]
