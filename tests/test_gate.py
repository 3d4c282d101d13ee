"""The gate: in CI a skipped test is a failure, unless the machine excuses it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import gate
from tests.fleet import PROJECT

SKIPS = """
import pytest
from tests import gate, fleet

def test_runs(): ...

def test_needs_what_is_nowhere():
    gate.absent("ssh-to-age", "a program that is nowhere")

def test_is_switched_off():
    pytest.skip("some day")

def test_needs_a_program_of_the_gate():
    fleet._PACKAGES["no-such-program"] = "no-such-package"
    fleet.program("no-such-program")
"""


def run(folder: Path, **env: str) -> tuple[int, str]:
    """Run SKIPS with the project's own hooks; return the exit code and what is said."""
    (folder / "conftest.py").write_text((PROJECT / "tests/conftest.py").read_text())
    (folder / "test_skips.py").write_text(SKIPS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **env},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_on_a_persons_machine_what_is_missing_is_skipped_by_name(
    tmp_path: Path,
) -> None:
    code, said = run(tmp_path)
    assert code == 0
    assert "1 passed, 3 skipped" in said
    assert (
        "skipped test_skips.py::test_needs_what_is_nowhere:"
        " Skipped: this machine has no ssh-to-age: a program that is nowhere" in said
    )


def test_in_ci_a_skipped_test_is_a_failure(tmp_path: Path) -> None:
    code, said = run(tmp_path, CI="true")
    assert code == 1
    assert "3 failed, 1 passed" in said
    assert "no-such-program is missing: install no-such-package" in said


def test_in_ci_only_what_the_machine_cannot_have_is_excused(tmp_path: Path) -> None:
    code, said = run(
        tmp_path, CI="true", NIXSECRETS_REFERENCE_ABSENT="ssh-to-age sops-new"
    )
    assert code == 1
    assert "2 failed, 1 passed, 1 skipped" in said


@pytest.mark.parametrize(
    ("reasons", "lines"),
    [
        ([], []),
        (["this machine has no ipv6: x"] * 1, []),
        (
            ["Skipped: this machine has no ipv6: x"] * 2,
            ["without ipv6 2 tests are skipped, 1 are counted"],
        ),
        (["this machine has no shared: x"] * 7, []),
    ],
)
def test_the_skips_of_a_whole_run_are_counted(
    reasons: list[str], lines: list[str]
) -> None:
    assert gate.miscounted(reasons) == lines
