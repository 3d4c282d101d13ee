"""The working tree: finding it, listing its files, and what may not be read."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nixsecrets.errors import NixsecretsError, SecretFileError
from nixsecrets.repo.files import staged_name
from nixsecrets.repo.worktree import Repo, find_root
from tests.fleet import git, git_repo
from tests.repo.helpers import OLD, in_child
from tests.repo.test_git import ODD_NAMES


def test_the_nearest_map_above_is_found(repo: Repo) -> None:
    inner = repo.root / "secrets" / "dns"
    assert find_root(inner) == repo.root
    (inner / "nixsecrets.toml").write_text("version = 1\n")
    assert find_root(inner) == inner


def test_no_map_is_an_error_that_names_init(tmp_path: Path) -> None:
    with pytest.raises(NixsecretsError, match=r"no nixsecrets\.toml") as caught:
        find_root(tmp_path)
    assert "nixsecrets init" in (caught.value.hint or "")


def test_a_removed_current_folder_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        with pytest.raises(NixsecretsError, match="cannot look for the map"):
            find_root(Path())
    finally:
        os.chdir(tmp_path)


def test_every_file_is_listed_once_and_sorted(any_repo: Repo) -> None:
    assert any_repo.list_files() == sorted(OLD)


def own_map(root: Path) -> None:
    (root / "inner").mkdir()
    (root / "inner/nixsecrets.toml").touch()
    (root / "inner/deep").mkdir()
    (root / "inner/deep/x.age").touch()


def linked_folder(root: Path) -> None:
    (root / "link").symlink_to("secrets")


def linked_file(root: Path) -> None:
    (root / "link.age").symlink_to("secrets/wifi.age")


def dangling_link(root: Path) -> None:
    (root / "gone.age").symlink_to("nowhere")


def endless_link(root: Path) -> None:
    (root / "secrets/up").symlink_to("..")


def fifo(root: Path) -> None:
    os.mkfifo(root / "fifo.age")


def staged_beside(root: Path) -> None:
    (root / "secrets" / staged_name()).touch()


def staging_of_no_git(root: Path) -> None:
    (root / ".nixsecrets").mkdir(exist_ok=True)
    (root / ".nixsecrets/lock").touch()


def inner_repository(root: Path) -> None:
    git_repo(root / "inner", os.environ)
    (root / "inner/nixsecrets.toml").touch()


@pytest.mark.parametrize(
    "make",
    [
        own_map,
        linked_folder,
        linked_file,
        dangling_link,
        endless_link,
        fifo,
        staged_beside,
        staging_of_no_git,
        inner_repository,
    ],
)
def test_what_is_no_file_of_this_map_is_left_out(
    any_repo: Repo, make: Callable[[Path], None]
) -> None:
    make(any_repo.root)
    assert any_repo.list_files() == sorted(OLD)


def test_an_ignored_file_is_left_out_and_an_ignored_tracked_one_is_not(
    repo: Repo,
) -> None:
    (repo.root / ".gitignore").write_text("*.age\n")
    (repo.root / "secrets/new.age").touch()
    assert repo.list_files() == sorted([*OLD, ".gitignore"])


def test_a_tracked_file_that_is_gone_is_left_out(repo: Repo) -> None:
    (repo.root / "secrets/dns/key.yaml").unlink()
    (repo.root / "secrets/dns").rmdir()
    assert "secrets/dns/key.yaml" not in repo.list_files()


def test_a_tracked_folder_that_became_a_link_is_left_out(repo: Repo) -> None:
    (repo.root / "secrets/dns").rename(repo.root.parent / "dns")
    (repo.root / "secrets/dns").symlink_to(repo.root.parent / "dns")
    assert "secrets/dns/key.yaml" not in repo.list_files()


def test_submodules_are_left_out(repo: Repo, tmp_path: Path) -> None:
    other = git_repo(tmp_path / "other", os.environ)
    (other / "x.age").touch()
    git(other, "add", ".", env=os.environ)
    git(other, "commit", "-qm", "x", env=os.environ)
    allow = ("-c", "protocol.file.allow=always")
    git(repo.root, *allow, "submodule", "add", "-q", str(other), "sub", env=os.environ)
    assert repo.list_files() == sorted([*OLD, ".gitmodules"])


def test_a_conflicted_file_is_listed_once(repo: Repo) -> None:
    root, env = repo.root, os.environ
    git(root, "checkout", "-qb", "other", env=env)
    (root / "secrets/wifi.age").write_bytes(b"theirs")
    git(root, "commit", "-qam", "theirs", env=env)
    git(root, "checkout", "-q", "main", env=env)
    (root / "secrets/wifi.age").write_bytes(b"ours")
    git(root, "commit", "-qam", "ours", env=env)
    with pytest.raises(AssertionError):
        git(root, "merge", "-q", "other", env=env)
    assert repo.list_files() == sorted(OLD)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_listed_and_read(any_repo: Repo, name: str) -> None:
    (any_repo.root / "secrets" / name).write_bytes(b"odd")
    assert f"secrets/{name}" in any_repo.list_files()
    assert any_repo.read(f"secrets/{name}") == b"odd"


def test_a_map_below_the_top_sees_its_own_folder_only(repo: Repo) -> None:
    infra = repo.root / "infra"
    (infra / "secrets").mkdir(parents=True)
    (infra / "nixsecrets.toml").touch()
    (infra / "secrets/x.age").write_bytes(b"x")
    below = Repo.find(infra / "secrets")
    assert below.list_files() == ["nixsecrets.toml", "secrets/x.age"]
    assert below.read("../secrets/wifi.age") == b"old wifi"
    assert below.shown("infra/secrets/x.age") == "secrets/x.age"
    assert below.shown(".sops.yaml") == "../.sops.yaml"
    assert (below.top, below.staging) == (repo.top, repo.staging)


def test_a_link_inside_of_the_tree_is_read_at_its_real_place(any_repo: Repo) -> None:
    linked_file(any_repo.root)
    linked_folder(any_repo.root)
    assert any_repo.read("link.age") == b"old wifi"
    assert any_repo.read("link/wifi.age") == b"old wifi"
    assert any_repo.locate("link/wifi.age") == str(any_repo.root / "secrets/wifi.age")


@pytest.mark.parametrize(
    "path", ["file.age", "folder/x.age", "../outside/x.age", "chain.age", "", ".", ".."]
)
def test_what_lies_outside_of_the_tree_is_refused(any_repo: Repo, path: str) -> None:
    outside = any_repo.root.parent / "outside"
    outside.mkdir()
    (outside / "x.age").write_bytes(b"not ours")
    (any_repo.root / "file.age").symlink_to(outside / "x.age")
    (any_repo.root / "folder").symlink_to(outside)
    (any_repo.root / "chain.age").symlink_to("file.age")
    with pytest.raises(SecretFileError):
        any_repo.read(path)
    with pytest.raises(SecretFileError):
        any_repo.locate(path)


def test_a_folder_whose_name_only_starts_like_ours_is_outside(any_repo: Repo) -> None:
    twin = any_repo.root.with_name(any_repo.root.name + "2")
    twin.mkdir()
    (twin / "x.age").touch()
    with pytest.raises(SecretFileError, match="outside"):
        any_repo.read(f"../{twin.name}/x.age")


@pytest.mark.parametrize(
    "path", [".git", ".git/config", "secrets/../.git/config", ".GIT"]
)
def test_the_git_folder_is_refused(repo: Repo, path: str) -> None:
    with pytest.raises(SecretFileError):
        repo.read(path)


def test_a_fifo_is_an_error_and_not_a_wait(any_repo: Repo) -> None:
    fifo(any_repo.root)
    with pytest.raises(NixsecretsError, match="cannot read"):
        any_repo.read("fifo.age")


def test_a_missing_file_is_an_error_or_none(any_repo: Repo) -> None:
    with pytest.raises(NixsecretsError, match="no such file"):
        any_repo.read("secrets/gone.age")
    assert any_repo.read_if_there("secrets/gone.age") is None
    assert any_repo.read_if_there("no/such/folder.age") is None
    assert any_repo.read_if_there("secrets/wifi.age") == b"old wifi"


def test_messages_quote_odd_names_on_one_line(any_repo: Repo) -> None:
    with pytest.raises(NixsecretsError) as caught:
        any_repo.read("secrets/new\nline.age")
    assert caught.value.message == (
        'cannot read "secrets/new\\nline.age": no such file or directory'
    )


def test_a_folder_that_cannot_be_listed_is_an_error() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "shut").mkdir(mode=0o000)

        def body() -> None:
            with pytest.raises(NixsecretsError, match="cannot list"):
                Repo(Path(folder), None).list_files()

        assert in_child(body, user=65534 if os.geteuid() == 0 else None) == 0
