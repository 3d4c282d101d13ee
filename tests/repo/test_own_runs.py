"""An interrupted run is completed without asking only if this user began it here."""

import os
from pathlib import Path

import pytest

from nixsecrets.repo.worktree import Repo
from tests.fleet import run_cli
from tests.repo.test_recovery import die_at_replacement


def test_a_run_of_ones_own_is_completed_and_every_file_named(repo: Repo) -> None:
    die_at_replacement(repo, 1)
    done = run_cli("recover", cwd=repo.root, env=os.environ)
    assert done.stderr == (
        "completed an interrupted run: 3 files put in place\n"
        '  replaced    "secrets/dns/key.yaml"\n'
        '  replaced    "secrets/new/deep/moved.age"\n'
        '  removed     "secrets/moved.age"\n'
    )


@pytest.mark.parametrize("how", ["moved", "another user", "no key"])
def test_where_a_run_cannot_be_shown_to_be_ones_own_it_asks(
    repo: Repo, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "no key":  # no folder can be made there
        monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    die_at_replacement(repo, 1)
    root, env = repo.root, dict(os.environ)
    if how == "moved":
        root = root.rename(tmp_path / "moved")
    if how == "another user":
        env["XDG_STATE_HOME"] = str(tmp_path / "state")
    done = run_cli("recover", cwd=root, env=env)
    assert "you did not start this run on this machine" in done.stderr
    assert done.returncode == 1
    assert run_cli("recover", "--finish", cwd=root, env=env).returncode == 0
