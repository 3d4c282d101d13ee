"""What a clone remembers: where it is, whom it trusts, and that it is never torn."""

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo.clone import Clone
from nixsecrets.repo.remembered import (
    Approved,
    Remembered,
    Removed,
    parse,
    render,
    split_head,
    with_head,
)
from nixsecrets.repo.worktree import Repo
from tests.fleet import git, git_repo
from tests.repo.helpers import Counting, die, failing, in_child, installed

ALICE = Approved("alice", "age1alice", "age1alice", "2026-11-30")
BOB = Approved("bob", "ssh-ed25519 AAAA", "SHA256:bob", "2026-11-30")
GONE = Removed("brunnen", "ssh-ed25519 BBBB", "2026-11-30", "c0ffee")


def clone(repo: Repo, state: Path | None = None) -> Clone:
    return Clone.of(repo, {"XDG_STATE_HOME": str(state)} if state else os.environ)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give these tests their own state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own-state"))


def approve(*keys: Approved) -> Callable[[Remembered], Remembered]:
    return lambda now: now._replace(approved=(*now.approved, *keys))


# --- the text -----------------------------------------------------------------------

names = st.text(max_size=20)
approvals = st.builds(Approved, names, names, names, names)
removals = st.builds(Removed, names, names, names, names)


@given(st.sets(approvals), st.sets(removals), names, names)
def test_what_was_rendered_is_read_back_and_other_maps_are_kept(
    approved: set[Approved], removed: set[Removed], mine: str, other: str
) -> None:
    facts = render(Remembered(tuple(approved), tuple(removed)), mine)
    text = with_head(facts, "mac")
    assert split_head(text) == ("mac", facts)
    found = parse(text, mine)
    assert set(found.approved) == approved
    assert set(found.removed) == removed
    assert found.damage is None
    if other != mine:
        seen = parse(text, other)
        assert not seen.approved
        assert not seen.removed
        assert render(seen, other) == facts


def test_lines_of_kinds_that_a_newer_version_writes_are_kept() -> None:
    line = '{"kind":"agreed-command","map":"nixsecrets.toml","argv":["true"]}'
    facts = render(Remembered((ALICE,)), "nixsecrets.toml") + line.encode() + b"\n"
    text = with_head(facts, None)
    found = parse(text, "nixsecrets.toml")
    assert found.damage is None
    assert found.approved == (ALICE,)
    assert line in render(found, "nixsecrets.toml").decode().splitlines()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"kind":3,"map":"m"}',
        b'{"kind":"approved","map":"m"}',
        b'{"kind":"approved","map":"m","name":1,"key":"","fingerprint":"","date":""}',
        b"[" * 100_000,
    ],
)
def test_after_a_damaged_line_nothing_counts_as_approved_but_removals_do(
    line: bytes,
) -> None:
    text = with_head(render(Remembered((ALICE,), (GONE,)), "m") + line + b"\n", None)
    found = parse(text, "m")
    assert found.damage == "line 4 is corrupt"
    assert found.approved == ()
    assert found.removed == (GONE,)


@given(st.binary())
def test_any_bytes_at_all_are_read_without_an_error(text: bytes) -> None:
    parse(text, "m")
    parse(b'{"nixsecrets-clone":1}\n' + text, "m")


# --- the file -----------------------------------------------------------------------


def test_what_is_remembered_is_there_for_the_next_run(
    any_repo: Repo, tmp_path: Path
) -> None:
    memory = clone(any_repo, tmp_path / "state")
    assert memory.read() == Remembered()
    memory.change(approve(ALICE))
    memory.change(approve(BOB))
    memory.change(lambda now: now._replace(removed=(GONE,)))
    found = clone(any_repo, tmp_path / "state").read()
    assert found.approved == (ALICE, BOB)
    assert found.removed == (GONE,)
    assert stat.S_IMODE(memory.place.lstat().st_mode) == 0o600
    assert stat.S_IMODE(memory.place.parent.lstat().st_mode) == 0o700


def test_to_change_nothing_writes_nothing(repo: Repo) -> None:
    memory = clone(repo)
    memory.change(approve(ALICE))
    before = memory.place.stat()
    memory.change(lambda now: now)
    assert memory.place.stat().st_ino == before.st_ino


def test_work_trees_share_a_memory_and_nothing_of_it_is_in_the_tree(
    repo: Repo, tmp_path: Path
) -> None:
    place = str(tmp_path / "li\nnked")
    git(repo.root, "worktree", "add", "-q", "-b", "new", place, env=os.environ)
    linked = Repo.at(tmp_path / "li\nnked")
    clone(linked).change(approve(ALICE))
    assert clone(repo).read().approved == (ALICE,)
    assert clone(repo).place == repo.root / ".git/nixsecrets/clone/remembered"
    for one in (repo, linked):
        assert git(one.root, "status", "--porcelain", env=os.environ) == ""
    assert linked.staging != repo.staging


def test_a_submodule_has_a_memory_of_its_own(repo: Repo, tmp_path: Path) -> None:
    outer = git_repo(tmp_path / "outer", os.environ)
    allow = ("-c", "protocol.file.allow=always")
    add = ("submodule", "--quiet", "add", str(repo.root), "fleet")
    git(outer, *allow, *add, env=os.environ)
    inner = Repo.at(outer / "fleet")
    clone(inner).change(approve(ALICE))
    assert clone(inner).place.is_relative_to(outer / ".git/modules/fleet")
    assert clone(repo).read() == Remembered()


def test_another_clone_remembers_nothing_of_it(repo: Repo, tmp_path: Path) -> None:
    clone(repo).change(approve(ALICE))
    git(tmp_path, "clone", "-q", str(repo.root), "second", env=os.environ)
    assert clone(Repo.at(tmp_path / "second")).read() == Remembered()


def test_every_map_of_a_repository_is_remembered_by_its_path(repo: Repo) -> None:
    second = repo.root / "other"
    second.mkdir()
    (second / "nixsecrets.toml").write_text("version = 1\n")
    inner = Repo.at(second)
    clone(repo).change(approve(ALICE))
    clone(inner).change(approve(BOB))
    assert clone(repo).read().approved == (ALICE,)
    assert clone(inner).read().approved == (BOB,)
    assert clone(inner).map_path == "other/nixsecrets.toml"


def test_without_git_it_lies_in_the_users_state_folder_by_the_real_path(
    bare: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    clone(bare, state).change(approve(ALICE))
    (tmp_path / "link").symlink_to(bare.root)
    assert clone(Repo.at(tmp_path / "link"), state).read().approved == (ALICE,)
    assert not list(bare.root.rglob("*remembered*"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given_state in ({}, {"XDG_STATE_HOME": "relative"}):
        place = Clone.of(bare, given_state).place
        assert place.is_relative_to(tmp_path / "home/.local/state/nixsecrets")


# --- whom it trusts -----------------------------------------------------------------


def planted(memory: Clone, how: str) -> str:
    """Make the memory of a clone untrustworthy; return the complaint."""
    place = memory.place
    match how:
        case "a file that others may write":
            place.chmod(0o622)
            return "others may write it (mode 0622)"
        case "a folder that others may write":
            place.parent.chmod(0o770)
            return "others may write it (mode 0770)"
        case "another user's file":
            os.chown(place, 12345, -1)
            return "it belongs to another user (uid 12345)"
        case "another user's folder":
            os.chown(place.parent, 12345, -1)
            os.chown(place, 12345, -1)
            return "it belongs to another user (uid 12345)"
        case "the folder around is a link":
            around = place.parent.parent
            around.rename(memory.base / "moved")
            shutil.rmtree(memory.base / "moved/clone")
            around.symlink_to(memory.base / "moved")
            (memory.base / "moved/clone").mkdir(mode=0o700)
            (memory.base / "moved/clone/remembered").touch()
            return "it is a link, not a folder"
        case "a link out":
            shutil.copy(place, memory.base / "copy")
            place.unlink()
            place.symlink_to(memory.base / "copy")
            return "it is a link, not a regular file"
        case "a folder that is a link":
            shutil.move(place.parent, memory.base / "moved")
            place.parent.symlink_to(memory.base / "moved")
            return "it is a link, not a folder"
        case _:
            place.unlink()
            os.mkfifo(place, 0o600)
            return "it is something else, not a regular file"


@pytest.mark.parametrize(
    "how",
    [
        "a file that others may write",
        "a folder that others may write",
        "another user's file",
        "another user's folder",
        "a link out",
        "a folder that is a link",
        "the folder around is a link",
        "a pipe",
    ],
)
def test_a_memory_that_is_not_ours_alone_says_nothing_and_is_not_written(
    repo: Repo, how: str
) -> None:
    memory = clone(repo)
    memory.change(approve(ALICE))
    complaint = planted(memory, how)
    found = memory.read()
    assert found.approved == ()
    assert found.damage is not None
    assert complaint in found.damage
    there = sorted(memory.base.rglob("*"))
    with pytest.raises(NixsecretsError) as error:
        memory.change(approve(BOB))
    assert complaint in error.value.message
    assert str(memory.place) in error.value.message
    assert error.value.hint is not None
    assert sorted(memory.base.rglob("*")) == there


def test_root_shares_the_memory_of_the_owner_of_the_repository(repo: Repo) -> None:
    assert os.geteuid() == 0
    for place in (repo.root, *repo.root.rglob("*")):
        os.chown(place, 12345, 12345, follow_symlinks=False)
    config = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory"}
    os.environ.update(config | {"GIT_CONFIG_VALUE_0": "*"})
    try:
        memory = clone(Repo.at(repo.root))
        memory.change(approve(ALICE))
        assert memory.read().approved == (ALICE,)
        assert memory.place.stat().st_uid == 12345
        assert memory.place.parent.stat().st_uid == 12345
    finally:
        for name in ("COUNT", "KEY_0", "VALUE_0"):
            os.environ.pop(f"GIT_CONFIG_{name}", None)


def test_a_newer_versions_memory_is_neither_trusted_nor_overwritten(
    repo: Repo,
) -> None:
    memory = clone(repo)
    memory.change(approve(ALICE))
    memory.place.write_text('{"nixsecrets-clone":2}\n{"x":1}\n')
    assert memory.read().damage == "a newer nixsecrets wrote it"
    with pytest.raises(NixsecretsError, match="newer"):
        memory.change(approve(BOB))
    assert memory.place.read_text() == '{"nixsecrets-clone":2}\n{"x":1}\n'


def test_a_memory_that_came_in_an_archive_approves_nothing(
    repo: Repo, tmp_path: Path
) -> None:
    memory = clone(repo, tmp_path / "mallory")
    memory.change(approve(ALICE))
    memory.change(lambda now: now._replace(removed=(GONE,)))
    mine = clone(repo, tmp_path / "mine")
    said = "you did not write it, or not on this machine"
    assert mine.read() == Remembered(removed=(GONE,), damage=said)
    mine.change(approve(BOB))
    assert mine.read() == Remembered((BOB,), (GONE,))
    forged = mine.place.read_bytes().replace(b"SHA256:bob", b"SHA256:eve")
    mine.place.write_bytes(forged)
    assert mine.read() == Remembered(removed=(GONE,), damage=said)


def test_where_no_key_can_be_kept_nothing_is_remembered(
    repo: Repo, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("no folder")
    with pytest.raises(NixsecretsError, match="state folder"):
        clone(repo, tmp_path / "state").change(approve(ALICE))
    assert clone(repo, tmp_path / "state").read() == Remembered()


def test_a_damaged_memory_is_said_to_be_and_replaced_by_the_next_agreement(
    repo: Repo,
) -> None:
    memory = clone(repo)
    memory.change(approve(ALICE))
    memory.place.write_bytes(memory.place.read_bytes()[:-9])
    assert memory.read() == Remembered(damage="line 2 is corrupt")
    memory.change(approve(BOB))
    assert memory.read() == Remembered((BOB,))


# --- two processes, and a pulled plug -----------------------------------------------


def test_two_processes_lose_nothing_of_each_other(repo: Repo) -> None:
    memory = clone(repo)
    children = []
    for who in range(4):
        child = os.fork()
        if child == 0:
            for number in range(10):
                memory.change(approve(Approved(f"{who}-{number}", "k", "f", "d")))
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert len(memory.read().approved) == 40


def test_killed_anywhere_it_is_as_before_or_as_after_and_goes_on(repo: Repo) -> None:
    memory = clone(repo)
    memory.change(approve(ALICE))
    counter = Counting()
    with installed(counter):
        memory.change(approve(BOB))
    assert counter.steps > 5
    for n in range(1, counter.steps + 1):
        memory.place.unlink(missing_ok=True)
        memory.change(approve(ALICE))

        def body(n: int = n) -> None:
            with installed(Counting(n, die)):
                memory.change(approve(BOB))

        assert in_child(body) == -9
        found = memory.read()
        assert found.damage is None
        assert found.approved in {(ALICE,), (ALICE, BOB)}
        memory.change(approve(BOB))
        assert memory.read().approved == (ALICE, BOB)
        names = {place.name for place in memory.place.parent.iterdir()}
        assert names == {"remembered", "lock"}


def test_a_full_disk_leaves_what_was_remembered(repo: Repo) -> None:
    memory = clone(repo)
    memory.change(approve(ALICE))
    before = memory.place.read_bytes()
    counter = Counting()
    with installed(counter):
        memory.change(approve(BOB))
    refused = 0
    for n in range(1, counter.steps + 1):
        memory.place.write_bytes(before)
        with installed(Counting(n, failing(errno.ENOSPC))):
            try:
                memory.change(approve(BOB))
            except NixsecretsError as error:
                refused += 1
                reasons = ("no space left on device", "no key to sign it")
                assert any(reason in error.message for reason in reasons)
        found = memory.read()
        assert found.damage is None
        # where the key that signs could not be read, what was there counts for nothing
        assert found.approved in {(ALICE,), (ALICE, BOB), (BOB,)}
    assert refused >= counter.steps - 2  # the number for other runs is not needed


def test_the_lines_are_json_that_other_programs_can_read(repo: Repo) -> None:
    memory = clone(repo)
    memory.change(approve(BOB))
    head, line = map(json.loads, memory.place.read_text().splitlines())
    assert head["nixsecrets-clone"] == 1
    assert re.fullmatch("[0-9a-f]{64}", head["mac"])
    assert line == {
        "kind": "approved",
        "map": "nixsecrets.toml",
        "name": "bob",
        "key": "ssh-ed25519 AAAA",
        "fingerprint": "SHA256:bob",
        "date": "2026-11-30",
    }
