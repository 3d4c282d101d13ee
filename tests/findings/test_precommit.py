"""The pre-commit framework, the real one, runs the hooks that we offer it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.findings.shims import put_on_path
from tests.fleet import PROJECT, Fleet, git, git_repo

RULE = '[sops]\nconfig = ".sops.yaml"\n[[secrets]]\npath = "secrets/**"\nreaders = []\n'


@pytest.fixture
def offered(fleet: Fleet, tmp_path: Path) -> Fleet:
    """A fleet whose `.pre-commit-config.yaml` names our hooks.

    They run as `language: system`: what is tested is what we say about them, not that
    the framework can call pip.
    """
    source = git_repo(tmp_path / "nixsecrets", fleet.env)
    shutil.copy(PROJECT / ".pre-commit-hooks.yaml", source)
    git(source, "add", "-A", env=fleet.env)
    git(source, "commit", "-q", "-m", "hooks", env=fleet.env)
    rev = git(source, "rev-parse", "HEAD", env=fleet.env).strip()
    hooks = "".join(
        f"      - id: {name}\n        language: system\n"
        for name in ("nixsecrets-guard", "nixsecrets-check")
    )
    config = f"repos:\n  - repo: {source}\n    rev: {rev}\n    hooks:\n{hooks}"
    fleet.write(".pre-commit-config.yaml", config)
    put_on_path(fleet, tmp_path / "bin")
    fleet.env["PRE_COMMIT_HOME"] = str(tmp_path / "cache")
    fleet.write_map(RULE)
    fleet.sops_encrypt("secrets/a.yaml", "a: b\n", [fleet.public("alice")])
    fleet.ok("sync")
    fleet.commit("start")
    framework(fleet, "install", "--install-hooks")
    return fleet


def framework(fleet: Fleet, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", *args],
        cwd=fleet.root,
        env=fleet.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def commit(fleet: Fleet) -> subprocess.CompletedProcess[str]:
    fleet.git("add", "-A")
    return subprocess.run(
        ["git", "commit", "-q", "-m", "x"],
        cwd=fleet.root,
        env=fleet.env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_framework_stops_a_commit_and_lets_one_pass(offered: Fleet) -> None:
    offered.write("README", "hello\n")
    done = commit(offered)
    assert done.returncode == 0, done.stdout + done.stderr
    offered.write("secrets/new file.yaml", "a: b\n")
    done = commit(offered)
    assert done.returncode == 1
    assert 'NS001  "secrets/new file.yaml"' in done.stdout + done.stderr


def test_the_framework_judges_links_and_every_file(offered: Fleet) -> None:
    (offered.root / "secrets/link.yaml").symlink_to("/etc/passwd")
    assert "NS008  secrets/link.yaml" in commit(offered).stderr
    offered.git("commit", "-q", "--no-verify", "-m", "past it")
    done = framework(offered, "run", "--all-files", "nixsecrets-guard")
    assert (done.returncode, "NS008  secrets/link.yaml" in done.stdout) == (1, True)
    assert framework(offered, "run", "--all-files", "nixsecrets-check").returncode == 0


def test_the_framework_runs_our_check(offered: Fleet) -> None:
    offered.write(".sops.yaml", "")
    done = commit(offered)
    assert (done.returncode, "NS040  .sops.yaml" in done.stderr) == (1, True)


def test_our_hook_and_the_framework_live_together(offered: Fleet) -> None:
    offered.ok("hook", "install")
    offered.write("secrets/new.yaml", "a: b\n")
    assert "NS001" in commit(offered).stderr
    offered.git("rm", "-q", "--cached", "secrets/new.yaml")
    (offered.root / "secrets/new.yaml").unlink()
    offered.write("README", "again\n")
    done = commit(offered)
    assert done.returncode == 0, done.stdout + done.stderr
