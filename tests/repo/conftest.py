"""Repositories to write to: one with git, one without, one spread over two disks."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nixsecrets.repo.worktree import Repo
from tests.fleet import git, git_repo
from tests.repo.helpers import fill


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git work tree to copy."""
    root = git_repo(tmp_path_factory.mktemp("committed"), os.environ)
    fill(root)
    git(root, "add", ".", env=os.environ)
    git(root, "commit", "-qm", "start", env=os.environ)
    return root


@pytest.fixture
def repo(tmp_path: Path, committed: Path) -> Repo:
    """A git work tree with a map and three committed secrets."""
    return Repo.at(shutil.copytree(committed, tmp_path / "fleet", symlinks=True))


@pytest.fixture
def bare(tmp_path: Path) -> Repo:
    """A folder with a map and three secrets, without git."""
    fill(tmp_path / "bare")
    return Repo.at(tmp_path / "bare")


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A folder that is on another file system than `tmp_path`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def spread(tmp_path: Path, other_disk: Path) -> Repo:
    """A git work tree whose git folder is on another file system."""
    assert tmp_path.stat().st_dev != other_disk.stat().st_dev
    root = tmp_path / "spread"
    root.mkdir()
    separate = f"--separate-git-dir={other_disk / 'git'}"
    git(root, "init", "-q", "-b", "main", separate, env=os.environ)
    fill(root)
    return Repo.at(root)


@pytest.fixture(params=["repo", "bare", "spread"])
def any_repo(request: pytest.FixtureRequest) -> Repo:
    """Each of the three in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Repo)
    return found
