"""What a command loads and starts: little, because hooks and CI run it all the time."""

import subprocess
from pathlib import Path

from tests.fleet import Fleet, program


def loaded(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The modules that a run under PYTHONPROFILEIMPORTTIME imported."""
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    return {ln.split("|")[2].strip() for ln in lines if ln.startswith("import time:")}


def stage_a_module(fleet: Fleet) -> None:
    fleet.commit("all")
    fleet.write("module.nix", "{ }\n")
    fleet.git("add", "-A")


def test_the_hook_loads_nothing_for_an_ordinary_file_but_what_reads_the_map(
    ready: Fleet,
) -> None:
    stage_a_module(ready)
    found = loaded(ready.run("hook", "run", env={"PYTHONPROFILEIMPORTTIME": "1"}))
    assert "nixsecrets.map.load" in found
    assert not found & {"json", "hashlib", "nixsecrets.repo.files", "pyrage"}


def test_the_hook_asks_git_four_times_about_an_ordinary_file(
    ready: Fleet, tmp_path: Path
) -> None:
    stage_a_module(ready)
    shim, log = tmp_path / "shim/git", tmp_path / "log"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\necho >> {log}\nexec {program("git")} "$@"\n')
    shim.chmod(0o755)
    path = f"{shim.parent}:{ready.env['PATH']}"
    assert ready.run("hook", "run", env={"PATH": path}).returncode == 0
    assert log.read_text().count("\n") == 4


def test_check_without_a_key_loads_nothing_that_reads_one(ready: Fleet) -> None:
    ready.commit("all")
    del ready.env["NIXSECRETS_IDENTITY"]
    found = loaded(ready.run("check", env={"PYTHONPROFILEIMPORTTIME": "1"}))
    assert "nixsecrets.plan.problems" in found
    assert not found & {"nixsecrets.keys.identities", "pyrage", "cryptography"}
