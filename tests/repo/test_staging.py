"""A batch: nothing is replaced before `commit`, everything after it."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nixsecrets.errors import NixsecretsError, SecretFileError
from nixsecrets.repo.files import sha256
from nixsecrets.repo.journal import unfinished
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.staging import Batch
from nixsecrets.repo.worktree import Repo
from tests import gate
from tests.fleet import PROJECT, git
from tests.repo.helpers import (
    OLD,
    REMOVED,
    after,
    fill,
    in_child,
    run_batch,
    staging_names,
    tree,
)

WIFI = "secrets/wifi.age"
NOBODY = 65534


@contextmanager
def batch_of(repo: Repo) -> Iterator[Batch]:
    """A batch under the lock."""
    with exclusive(repo), Batch(repo) as batch:
        yield batch


def put(repo: Repo, path: str, data: bytes = b"new") -> Batch:
    """Replace or make one file; return the batch."""
    with batch_of(repo) as batch:
        old = repo.read_if_there(path)
        batch.stage(path, data, before=None if old is None else sha256(old))
        batch.commit()
    return batch


def test_a_commit_replaces_makes_and_removes_and_leaves_nothing_behind(
    any_repo: Repo,
) -> None:
    run_batch(any_repo)
    assert tree(any_repo) == after()
    assert staging_names(any_repo) == set()
    assert unfinished(any_repo) is None


def test_nothing_is_replaced_before_the_commit(any_repo: Repo) -> None:
    def look(batch: Batch) -> None:
        there = {path: any_repo.read(path) for path in OLD}
        assert there == OLD
        assert any_repo.list_files() == sorted(OLD)
        assert Path(batch.staged_place(WIFI)).read_bytes() == b"new wifi"

    run_batch(any_repo, look)


def test_a_block_that_fails_leaves_no_trace(any_repo: Repo) -> None:
    def fail(_batch: Batch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(any_repo, fail)
    assert tree(any_repo) == OLD
    assert staging_names(any_repo) == set()


def test_a_block_without_commit_leaves_no_trace(any_repo: Repo) -> None:
    with batch_of(any_repo) as batch:
        batch.stage(WIFI, b"new", before=sha256(OLD[WIFI]))
    assert tree(any_repo) == OLD
    assert staging_names(any_repo) == set()


def test_an_unchanged_file_is_not_touched(any_repo: Repo) -> None:
    seen = (any_repo.root / WIFI).stat()
    put(any_repo, WIFI, OLD[WIFI])
    found = (any_repo.root / WIFI).stat()
    assert (found.st_ino, found.st_ctime_ns) == (seen.st_ino, seen.st_ctime_ns)
    assert staging_names(any_repo) == set()


def test_an_empty_batch_is_no_trouble(any_repo: Repo) -> None:
    with batch_of(any_repo) as batch:
        batch.flush()
        batch.commit()
    assert tree(any_repo) == OLD


def test_staged_files_are_out_of_others_sight(repo: Repo) -> None:
    with batch_of(repo) as batch:
        batch.stage(WIFI, b"new", before=sha256(OLD[WIFI]))
        assert stat.S_IMODE(repo.staging.stat().st_mode) == 0o700
        assert Path(batch.staged_place(WIFI)).parent == repo.staging


def test_on_another_disk_files_are_staged_in_place_under_a_random_name(
    spread: Repo,
) -> None:
    with batch_of(spread) as batch:
        batch.stage(WIFI, b"new", before=sha256(OLD[WIFI]))
        batch.stage("new/deep/x.age", b"new", before=None)
        batch.stage("top.age", b"new", before=None)
        assert Path(batch.staged_place(WIFI)).parent == spread.root / "secrets"
        assert Path(batch.staged_place("new/deep/x.age")).parent == spread.root
        assert Path(batch.staged_place("top.age")).parent == spread.root
        names = {Path(batch.staged_place(p)).name for p in (WIFI, "top.age")}
        assert len(names) == 2
        assert all(len(name) == len(".nixsecrets-") + 32 for name in names)
        batch.commit()
    assert spread.read("new/deep/x.age") == spread.read("top.age") == b"new"


# --- what is read back, what changed meanwhile --------------------------------------


def test_what_reads_back_other_than_staged_is_an_error(any_repo: Repo) -> None:
    with batch_of(any_repo) as batch:
        batch.stage(WIFI, b"new", before=sha256(OLD[WIFI]))
        Path(batch.staged_place(WIFI)).write_bytes(b"rotten")
        with pytest.raises(SecretFileError, match="does not read back"):
            batch.read_staged(WIFI)


def edited(root: Path) -> None:
    (root / WIFI).write_bytes(b"somebody else's")


def gone(root: Path) -> None:
    (root / WIFI).unlink()


def became_a_link(root: Path) -> None:
    (root / WIFI).rename(root / "elsewhere.age")
    (root / WIFI).symlink_to("../elsewhere.age")


def became_a_folder(root: Path) -> None:
    (root / WIFI).unlink()
    (root / WIFI).mkdir()


def new_one_appeared(root: Path) -> None:
    (root / "secrets/new/deep").mkdir(parents=True)
    (root / "secrets/new/deep/moved.age").write_bytes(b"somebody else's")


def removed_one_changed(root: Path) -> None:
    (root / REMOVED).write_bytes(b"somebody else's")


@pytest.mark.parametrize(
    "change",
    [
        edited,
        gone,
        became_a_link,
        became_a_folder,
        new_one_appeared,
        removed_one_changed,
    ],
)
def test_a_change_between_plan_and_commit_stops_the_run(
    any_repo: Repo, change: Callable[[Path], None]
) -> None:
    with pytest.raises(NixsecretsError, match="nothing was replaced"):
        run_batch(any_repo, lambda _: change(any_repo.root))
    assert any_repo.read("secrets/dns/key.yaml") == b"old key"
    assert (any_repo.root / REMOVED).exists()
    assert unfinished(any_repo) is None
    assert staging_names(any_repo) == set()


# --- links, hard links, names -------------------------------------------------------


def test_a_link_inside_of_the_tree_is_replaced_at_its_real_place(
    any_repo: Repo,
) -> None:
    (any_repo.root / "link.age").symlink_to(WIFI)
    put(any_repo, "link.age")
    assert (any_repo.root / "link.age").is_symlink()
    assert not (any_repo.root / WIFI).is_symlink()
    assert any_repo.read(WIFI) == b"new"


def test_a_link_out_of_the_tree_is_refused(any_repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "outside.age").write_bytes(b"not ours")
    (any_repo.root / "link.age").symlink_to(tmp_path / "outside.age")
    with batch_of(any_repo) as batch, pytest.raises(SecretFileError, match="outside"):
        batch.stage("link.age", b"new", before=sha256(b"not ours"))
    assert (tmp_path / "outside.age").read_bytes() == b"not ours"


def test_a_link_is_not_removed(any_repo: Repo) -> None:
    (any_repo.root / "link.age").symlink_to(WIFI)
    with batch_of(any_repo) as batch, pytest.raises(SecretFileError, match="symbolic"):
        batch.delete("link.age", sha256(OLD[WIFI]))


def test_two_names_of_one_file_are_refused(any_repo: Repo) -> None:
    (any_repo.root / "link.age").symlink_to(WIFI)
    with batch_of(any_repo) as batch:
        batch.stage(WIFI, b"new", before=sha256(OLD[WIFI]))
        with pytest.raises(NixsecretsError, match="are one file"):
            batch.stage("link.age", b"newer", before=sha256(OLD[WIFI]))


def test_names_that_differ_in_case_are_two_files_where_the_disk_says_so(
    any_repo: Repo,
) -> None:
    put(any_repo, "secrets/WIFI.age", b"another")
    with batch_of(any_repo) as batch:
        batch.stage(WIFI, b"1", before=sha256(OLD[WIFI]))
        batch.stage("secrets/WIFI.age", b"2", before=sha256(b"another"))
        batch.commit()
    assert (any_repo.read(WIFI), any_repo.read("secrets/WIFI.age")) == (b"1", b"2")


def test_names_that_differ_in_case_are_refused_where_the_disk_takes_them_for_one(
    repo: Repo,
) -> None:
    # what such a disk looks like to us: .GIT is .git
    (repo.root / ".GIT").symlink_to(".git")
    with batch_of(repo) as batch:
        batch.stage("secrets/a.age", b"1", before=None)
        batch.stage("secrets/A.age", b"2", before=None)
        with pytest.raises(NixsecretsError, match="one file on this file system"):
            batch.commit()
    assert tree(repo) == OLD


def test_hard_links_are_reported_and_the_other_name_keeps_the_old_content(
    any_repo: Repo,
) -> None:
    os.link(any_repo.root / WIFI, any_repo.root / "other.age")
    assert put(any_repo, WIFI).hard_links == (WIFI,)
    assert any_repo.read("other.age") == OLD[WIFI]


@pytest.mark.parametrize(
    "name", ["new\nline.age", '"q".age', "-x.age", os.fsdecode(b"\xff.age")]
)
def test_odd_names_are_replaced_and_removed(any_repo: Repo, name: str) -> None:
    put(any_repo, name, b"1")
    put(any_repo, name, b"2")
    assert any_repo.read(name) == b"2"
    with batch_of(any_repo) as batch:
        batch.delete(name, sha256(b"2"))
        batch.commit()
    assert tree(any_repo) == OLD


def test_the_git_folder_is_no_place_for_a_secret(repo: Repo) -> None:
    with batch_of(repo) as batch, pytest.raises(SecretFileError):
        batch.stage(".git/hooks/pre-commit", b"x", before=None)


def test_a_file_of_a_map_below_the_top_may_be_written_above_it(repo: Repo) -> None:
    (repo.root / "infra").mkdir()
    below = Repo.at(repo.root / "infra")
    put(below, "../.sops.yaml", b"rules")
    assert repo.read(".sops.yaml") == b"rules"


def test_linked_work_trees_do_not_wait_for_each_other(
    repo: Repo, tmp_path: Path
) -> None:
    git(repo.root, "worktree", "add", "-q", str(tmp_path / "linked"), env=os.environ)
    linked = Repo.at(tmp_path / "linked")

    def other(_batch: Batch) -> None:
        put(linked, WIFI, b"linked")

    run_batch(repo, other)
    assert tree(repo) == after()
    assert linked.read(WIFI) == b"linked"


# --- mode, owner, group -------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444, 0o755, 0o666])
def test_the_mode_is_kept(any_repo: Repo, mode: int) -> None:
    place = any_repo.root / WIFI
    place.chmod(mode)
    put(any_repo, WIFI)
    assert stat.S_IMODE(place.stat().st_mode) == mode


@pytest.mark.parametrize(
    ("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o644)]
)
def test_a_new_file_has_0644_less_the_umask(
    any_repo: Repo, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        put(any_repo, "new/folder/x.age")
    finally:
        os.umask(before)
    assert stat.S_IMODE((any_repo.root / "new/folder/x.age").stat().st_mode) == mode


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason=gate.reason("root", "files of another owner")
)


@needs_root
def test_root_keeps_owner_and_group(any_repo: Repo) -> None:
    os.chown(any_repo.root / WIFI, 12345, 23456)
    put(any_repo, WIFI)
    found = (any_repo.root / WIFI).stat()
    assert (found.st_uid, found.st_gid) == (12345, 23456)


@needs_root
def test_what_root_makes_in_somebodys_repository_is_theirs(bare: Repo) -> None:
    for place in (bare.root, *bare.root.rglob("*")):
        os.chown(place, NOBODY, NOBODY)
    put(bare, "new/folder/x.age")
    owners = {place.stat().st_uid for place in bare.root.rglob("*")}
    assert (bare.staging / "lock").exists()
    assert owners == {NOBODY}


@pytest.fixture
def nobodys(tmp_path: Path) -> Iterator[Repo]:
    """A tree without git that an unprivileged person owns and can reach."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        fill(root)
        if os.geteuid() == 0:
            for place in (root, *root.rglob("*")):
                os.chown(place, NOBODY, NOBODY)
        yield Repo(root, None)


def as_nobody(body: Callable[[], object]) -> int:
    """Run `body` without privileges; return the exit code."""
    return in_child(body, user=NOBODY if os.geteuid() == 0 else None)


def test_a_read_only_folder_is_an_error_before_anything_is_replaced(
    nobodys: Repo,
) -> None:
    (nobodys.root / "secrets/dns").chmod(0o555)

    def body() -> None:
        with pytest.raises(NixsecretsError, match="nothing was changed") as caught:
            run_batch(nobodys)
        assert '"secrets/dns/key.yaml": permission denied' in caught.value.message

    assert as_nobody(body) == 0
    assert tree(nobodys) == OLD
    assert staging_names(nobodys) == set()


@needs_root
def test_an_owner_that_cannot_be_kept_is_an_error(nobodys: Repo) -> None:
    os.chown(nobodys.root / WIFI, 12345, NOBODY)

    def body() -> None:
        with pytest.raises(NixsecretsError, match="owner") as caught:
            put(nobodys, WIFI)
        assert "sudo" in (caught.value.hint or "")

    assert as_nobody(body) == 0
    assert (nobodys.root / WIFI).read_bytes() == OLD[WIFI]


def test_a_read_only_file_in_a_writable_folder_is_replaced(nobodys: Repo) -> None:
    (nobodys.root / WIFI).chmod(0o444)
    assert as_nobody(lambda: put(nobodys, WIFI)) == 0
    assert (nobodys.root / WIFI).read_bytes() == b"new"


def test_a_file_where_a_folder_must_be_is_an_error(any_repo: Repo) -> None:
    with batch_of(any_repo) as batch, pytest.raises(NixsecretsError, match="directory"):
        batch.stage(f"{WIFI}/below.age", b"new", before=None)


def test_a_link_in_the_place_of_the_staging_folder_is_refused(
    bare: Repo, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    bare.staging.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NixsecretsError, match="cannot be trusted: it is a link"):
        put(bare, WIFI)


# --- disks that only a namespace of our own can mount -------------------------------

FULL_DISK = """
mount -t tmpfs -o size=256k none "$1" && exec "$2" -c '
import sys
from pathlib import Path
from nixsecrets.errors import NixsecretsError
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.staging import Batch
from nixsecrets.repo.worktree import Repo
root = Path(sys.argv[1])
(root / "x.age").write_bytes(b"old")
repo = Repo.at(root)
try:
    with exclusive(repo), Batch(repo) as batch:
        batch.stage("y.age", b"y", before=None)
        batch.stage("x.age", bytes(1 << 20), before=None)
except NixsecretsError as error:
    print(error.message)
    print(error.hint)
assert (root / "x.age").read_bytes() == b"old"
assert {p.name for p in root.rglob("*")} == {"x.age", ".nixsecrets", "lock"}
' "$1"
"""

BIND_MOUNT = """
mount --bind "$1/secrets" "$1/secrets" && exec "$2" -c '
import sys
from pathlib import Path
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.staging import Batch
from nixsecrets.repo.worktree import Repo
repo = Repo.at(Path(sys.argv[1]))
assert (repo.root / "secrets").stat().st_dev == repo.root.stat().st_dev
with exclusive(repo), Batch(repo) as batch:
    batch.stage("secrets/new.age", b"new", before=None)
    print(Path(batch.staged_place("secrets/new.age")).parent.name)
    batch.commit()
print(repo.read("secrets/new.age").decode())
' "$1"
"""


def in_namespace(script: str, root: Path) -> list[str]:
    """Run a shell script that may mount; return the lines it prints."""
    unshare = ("unshare", "--map-root-user", "--mount")
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        gate.absent("namespaces", "nobody may mount")
    result = subprocess.run(
        [*unshare, "sh", "-c", script, "sh", str(root), sys.executable],
        cwd=PROJECT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_full_disk_is_a_clear_error_and_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    assert in_namespace(FULL_DISK, tmp_path / "small") == [
        'cannot stage "x.age": no space left on device; nothing was changed',
        "free some space on that disk and run the command again",
    ]


def test_a_bind_mount_of_the_same_disk_counts_as_another(bare: Repo) -> None:
    assert in_namespace(BIND_MOUNT, bare.root) == ["secrets", "new"]
