"""Git: found, run with a clean environment, and file names taken literally."""

import os
from pathlib import Path

import pytest

from nixsecrets.errors import ProgramError
from nixsecrets.repo.differing import committed
from nixsecrets.repo.git import Git
from nixsecrets.repo.gitrun import clean_environment
from nixsecrets.repo.worktree import Repo
from tests import gate
from tests.fleet import git, git_repo, run_program

ODD_NAMES = [
    "new\nline.age",
    "tab\there.age",
    'quo"te.age',
    "-n.age",
    "ö.age",
    "glob*[a].age",
    ":(top)x.age",
    "back\\slash.age",
    " blank .age",
    os.fsdecode(b"latin-\xe9.age"),
]


def test_what_git_exports_to_hooks_is_dropped_and_a_persons_settings_stay() -> None:
    env = {
        "PATH": "/bin",
        "GIT_DIR": "/elsewhere/.git",
        "GIT_INDEX_FILE": "index.lock",
        "GIT_WORK_TREE": "/elsewhere",
        "GIT_CONFIG_PARAMETERS": "'core.bare=true'",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    cleaned = clean_environment(env)
    assert not {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"} & cleaned.keys()
    assert "GIT_CONFIG_PARAMETERS" not in cleaned
    assert cleaned.items() >= {"PATH": "/bin", "GIT_CONFIG_VALUE_0": "*"}.items()


def test_the_environment_of_a_hook_does_not_redirect_us(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = git_repo(tmp_path / "other", os.environ)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    found = Git.find(repo.root)
    assert found is not None
    assert found.top == repo.root


def test_a_folder_outside_of_git_has_none(tmp_path: Path) -> None:
    assert Git.find(tmp_path) is None


def test_a_folder_outside_of_git_needs_no_git_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Git.find(tmp_path) is None


def test_a_missing_git_program_is_an_error_where_there_is_a_repository(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramError, match="git cannot be started"):
        Git.find(repo.root / "secrets")


def test_a_damaged_repository_is_an_error_not_none(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(ProgramError, match="rev-parse failed"):
        Git.find(tmp_path)


def test_inside_of_the_git_folder_is_an_error(repo: Repo) -> None:
    with pytest.raises(ProgramError, match=r"\.git folder"):
        Git.find(repo.root / ".git" / "hooks")


@pytest.mark.skipif(
    os.geteuid() != 0, reason=gate.reason("root", "files of another owner")
)
def test_a_repository_of_another_owner_is_an_error_with_gits_remedy(
    repo: Repo,
) -> None:
    for place in (repo.root, repo.root / ".git"):
        os.chown(place, 12345, 12345)
    with pytest.raises(ProgramError, match="dubious ownership") as caught:
        Git.find(repo.root)
    assert "safe.directory" in (caught.value.hint or "")


def test_a_linked_work_tree_has_its_own_staging_folder(
    repo: Repo, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    git(repo.root, "worktree", "add", "-q", str(linked), env=os.environ)
    found = Repo.at(linked)
    assert repo.staging == repo.root / ".git/nixsecrets"
    assert found.staging == repo.root / ".git/worktrees/linked/nixsecrets"
    assert found.top == linked


def test_a_folder_name_with_a_newline_is_no_trouble(tmp_path: Path) -> None:
    root = git_repo(tmp_path / "new\nline", os.environ)
    (root / "sub").mkdir()
    found = Git.find(root / "sub")
    assert found is not None
    assert (found.top, found.staging) == (root, root / ".git/nixsecrets")
    assert found.git_path("hooks") == root / ".git/hooks"


def listed(git: Git, folder: Path) -> list[str]:
    with git.listing(folder) as listing:
        return listing().names


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_listed_and_added_as_they_are(repo: Repo, name: str) -> None:
    assert repo.git is not None
    (repo.root / "secrets" / name).write_bytes(b"x")
    assert f"secrets/{name}" in listed(repo.git, repo.root)
    assert f"secrets/{name}" not in repo.git.tracked(repo.root)
    repo.git.add(repo.root, [f"secrets/{name}"])
    assert f"secrets/{name}" in repo.git.tracked(repo.root)
    assert name in repo.git.tracked(repo.root / "secrets")


@pytest.mark.parametrize("ids", ["sha1", "sha256"])
def test_the_last_commit_is_compared_by_content(tmp_path: Path, ids: str) -> None:
    git(tmp_path, "init", "-q", f"--object-format={ids}", env=os.environ)
    with committed(tmp_path) as there:
        assert not there().has("a", b"")
    for name in ("a", *ODD_NAMES):
        (tmp_path / name).write_bytes(b"one\ntwo\n")
    git(tmp_path, "add", "-A", env=os.environ)
    git(tmp_path, "commit", "-qm", "all", env=os.environ)
    (tmp_path / "a").unlink()
    with committed(tmp_path) as found:
        head = found()
    for name in ("a", *ODD_NAMES):
        assert head.has(name, b"one\ntwo\n")
        assert head.has(name, b"one\r\ntwo\r\n")
        assert not head.has(name, b"one\ntwo")
        assert not head.has(f"{name}2", b"one\ntwo\n")


def test_unmerged_names_are_listed_once(repo: Repo) -> None:
    assert repo.git is not None
    blob = git(repo.root, "rev-parse", "HEAD:nixsecrets.toml", env=os.environ).strip()
    (repo.root / "M fresh\nM .age").write_bytes(b"x")
    with repo.git.listing(repo.root) as listed:
        names, unmerged = listed()
    assert "M fresh\nM .age" in names
    assert not unmerged
    stages = "".join(f"100644 {blob} {stage}\tboth.age\n" for stage in (1, 2, 3))
    info = ("update-index", "--index-info")
    run_program("git", *info, cwd=repo.root, env=os.environ, stdin=stages.encode())
    with repo.git.listing(repo.root) as listed:
        names, unmerged = listed()
    assert names.count("both.age") == 1
    assert unmerged


def test_adding_an_ignored_file_is_gits_error(repo: Repo) -> None:
    assert repo.git is not None
    (repo.root / ".gitignore").write_text("*.age\n")
    (repo.root / "x.age").write_bytes(b"x")
    with pytest.raises(ProgramError, match="git add failed"):
        repo.git.add(repo.root, ["x.age"])


def test_another_index_is_used_where_it_is_handed_in(repo: Repo) -> None:
    empty = repo.root.parent / "empty-index"
    found = Git.find(repo.root, index_file=empty)
    assert found is not None
    assert found.tracked(repo.root) == frozenset()
    assert "secrets/wifi.age" in listed(found, repo.root)  # would be added


def test_a_file_system_monitor_of_the_repository_is_not_started(repo: Repo) -> None:
    assert repo.git is not None
    flag = repo.root.parent / "started"
    git(repo.root, "config", "core.fsmonitor", f"touch {flag}; true", env=os.environ)
    listed(repo.git, repo.root)
    assert not flag.exists()
