"""docs/ci.md is run: its hooks stop commits, its shell lines judge a clone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.findings.conftest import without_nixsecrets
from tests.findings.shims import attempt, put_on_path, stopped
from tests.fleet import PROJECT, Fleet, git, git_repo, program, run_program

TEXT = (PROJECT / "docs/ci.md").read_text(encoding="utf-8")
MAP = '[sops]\nconfig = ".sops.yaml"\n[[secrets]]\npath = "secrets/**"\nreaders = []\n'


def snippet(heading: str) -> str:
    """The first snippet under a heading."""
    section = TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(r"```\w+\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def ordered(fleet: Fleet, tmp_path: Path) -> Fleet:
    """A repository in order; on PATH are nixsecrets, and installers that do nothing."""
    fleet.env["PATH"] = without_nixsecrets(fleet.env["PATH"])
    said = f'echo "$0 $*" >> {tmp_path}/installed'
    lefthook = f'exec "{sys.executable}" -m lefthook "$@"'
    scripts = {"pip": said, "pipx": said, "lefthook": lefthook}
    put_on_path(fleet, tmp_path / "bin", **scripts)
    # the snippets may write to it; it must not be /dev/null, which git would replace
    fleet.env["GIT_CONFIG_GLOBAL"] = str(tmp_path / "gitconfig")
    (tmp_path / "gitconfig").touch()
    fleet.write_map(MAP)
    fleet.sops_encrypt("secrets/a.yaml", "a: b\n", [fleet.public("alice")])
    fleet.ok("sync")
    fleet.write("README", "hello\n")
    fleet.commit("start")
    return fleet


def spoil(fleet: Fleet) -> None:
    """Commit a plaintext, and take it out again in the next commit."""
    fleet.write("secrets/new.yaml", "a: hunter2\n")
    fleet.commit("oops")
    (fleet.root / "secrets/new.yaml").unlink()
    fleet.commit("gone")


# --- hooks of others


def commits_are_guarded(fleet: Fleet) -> None:
    """Commit what is fine and what is not, by commit and by merge."""
    fleet.write("README", "more\n")
    done = attempt(fleet, "commit", "-am", "fine")
    assert done.returncode == 0, done.stdout + done.stderr
    fleet.write("secrets/new file.yaml", "a: hunter2\n")
    fleet.git("add", "-A")
    done = attempt(fleet, "commit", "-m", "x")
    assert stopped(done, 'NS001  "secrets/new file.yaml"'), done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def merges_are_guarded(fleet: Fleet) -> None:
    fleet.git("checkout", "-q", "-b", "side")
    fleet.git("commit", "-q", "--no-verify", "-am", "past the hook")
    fleet.git("checkout", "-q", "main")
    fleet.write("other", "x\n")
    fleet.git("add", "-A")
    fleet.git("commit", "-q", "-m", "other")
    assert stopped(attempt(fleet, "merge", "--no-edit", "side"), "NS001")


def test_the_shell_lines_for_git_alone_work(ordered: Fleet) -> None:
    for line in snippet("git, without anything else").splitlines():
        assert run(ordered, ordered.root, line).returncode == 0
    commits_are_guarded(ordered)
    merges_are_guarded(ordered)


def test_lefthook_runs_its_snippet(ordered: Fleet) -> None:
    pytest.importorskip("lefthook")
    ordered.write("lefthook.yml", snippet("lefthook"))
    ordered.commit("lefthook")
    assert run(ordered, ordered.root, "lefthook install").returncode == 0
    commits_are_guarded(ordered)
    merges_are_guarded(ordered)


def test_the_framework_runs_its_snippet(ordered: Fleet, tmp_path: Path) -> None:
    """With `language: system` in place of pip, which would ask an index."""
    source = git_repo(tmp_path / "nixsecrets", ordered.env)
    hooks = (PROJECT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    text = hooks.replace("language: python", "language: system")
    (source / ".pre-commit-hooks.yaml").write_text(text)
    git(source, "add", "-A", env=ordered.env)
    git(source, "commit", "-qm", "hooks", env=ordered.env)
    rev = git(source, "rev-parse", "HEAD", env=ordered.env).strip()
    config = snippet("pre-commit").replace("<this repository>", str(source))
    framework(ordered, config.replace("<a tag or commit>", rev), tmp_path)
    commits_are_guarded(ordered)


def test_the_framework_runs_what_git_hooks_nix_makes_of_its_snippet(
    ordered: Fleet, tmp_path: Path
) -> None:
    """git-hooks.nix writes its options as a local hook, `language: system`."""
    package = tmp_path / "package"
    (package / "bin").mkdir(parents=True)
    (package / "bin/nixsecrets").symlink_to(tmp_path / "bin/nixsecrets")
    code = f"nixsecrets: {snippet('git-hooks.nix')}"
    expression = f'({code}) "{package}"'
    argv = ("--eval", "--json", "--strict", "-E", expression)
    value = json.loads(run_program(program("nix-instantiate"), *argv, env=ordered.env))
    (hook,) = value["pre-commit"]["settings"]["hooks"].items()
    local = {"id": hook[0], "language": "system", **hook[1]}
    assert local.pop("enable") is True
    repos = [{"repo": "local", "hooks": [local]}]
    framework(ordered, json.dumps({"repos": repos}), tmp_path)
    commits_are_guarded(ordered)


def framework(fleet: Fleet, config: str, tmp_path: Path) -> None:
    fleet.env["PRE_COMMIT_HOME"] = str(tmp_path / "cache")
    fleet.write(".pre-commit-config.yaml", config)
    fleet.commit("configured")
    argv = ("-m", "pre_commit", "install", "--install-hooks")
    run_program(sys.executable, *argv, cwd=fleet.root, env=fleet.env)


# --- services


def run(fleet: Fleet, folder: Path, line: str, **env: str) -> Any:
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=fleet.env | env,
        capture_output=True,
        text=True,
        check=False,
    )


def of_actions(heading: str) -> list[str]:
    """The shell lines of a workflow on a pull request, in order."""
    workflow = YAML(typ="safe").load(snippet(heading))
    (job,) = workflow["jobs"].values()
    lines = [step["run"] for step in job["steps"] if "run" in step]
    return [re.sub(r"\$\{\{ github\.base_ref \}\}", "main", line) for line in lines]


def of_gitlab() -> list[str]:
    (job,) = YAML(typ="safe").load(snippet("GitLab CI")).values()
    return [*job["before_script"], *job["script"]]


SERVICES: dict[str, Callable[[], list[str]]] = {
    "GitHub Actions": lambda: of_actions("GitHub Actions"),
    "Gitea and Forgejo Actions": lambda: of_actions("Gitea and Forgejo Actions"),
    "GitLab CI": of_gitlab,
}


def in_a_clone(fleet: Fleet, service: str, folder: Path) -> list[tuple[str, Any]]:
    """Run the lines in a clone of a branch, as the service does: until one fails."""
    git(folder.parent, "clone", "-q", str(fleet.root), str(folder), env=fleet.env)
    git(folder, "checkout", "-q", "--detach", "origin/topic", env=fleet.env)
    base = git(folder, "merge-base", "origin/main", "HEAD", env=fleet.env).strip()
    done: list[tuple[str, Any]] = []
    for line in SERVICES[service]():
        assert "${{" not in line, line
        result = run(fleet, folder, line, CI_MERGE_REQUEST_DIFF_BASE_SHA=base)
        done.append((line, result))
        if result.returncode:
            break
    return done


@pytest.mark.parametrize("service", SERVICES)
def test_the_lines_of_a_service_pass_where_all_is_well(
    ordered: Fleet, service: str, tmp_path: Path
) -> None:
    ordered.git("checkout", "-q", "-b", "topic")
    ordered.write("README", "topic\n")
    ordered.commit("topic")
    done = in_a_clone(ordered, service, tmp_path / "clone")
    for line, result in done:
        assert result.returncode == 0, (line, result.stdout, result.stderr)
    assert [line for line, _ in done] == SERVICES[service]()
    assert "nixsecrets" in (tmp_path / "installed").read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_the_lines_of_a_service_find_what_a_later_commit_took_out(
    ordered: Fleet, service: str, tmp_path: Path
) -> None:
    ordered.git("checkout", "-q", "-b", "topic")
    spoil(ordered)
    line, result = in_a_clone(ordered, service, tmp_path / "clone")[-1]
    assert (result.returncode, "--from" in line) == (1, True), result.stderr
    assert "NS001  secrets/new.yaml" in result.stdout
    assert "hunter2" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("service", "report"),
    [
        ("GitHub Actions", "nixsecrets.sarif"),
        ("GitLab CI", "gl-code-quality-report.json"),
    ],
)
def test_the_report_of_a_service_is_written_where_it_is_looked_for(
    ordered: Fleet, service: str, report: str, tmp_path: Path
) -> None:
    ordered.git("checkout", "-q", "-b", "topic")
    ordered.write(".sops.yaml", "")
    ordered.commit("by hand")
    line, result = in_a_clone(ordered, service, tmp_path / "clone")[-1]
    assert (result.returncode, line.endswith(report)) == (1, True)
    assert "NS040" in (tmp_path / "clone" / report).read_text()
    assert snippet(service).count(report) == 2
