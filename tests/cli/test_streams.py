"""Streams that are closed, full or no text: an error of the person's, never a bug."""

import os
import subprocess
import sys

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed
from tests.cli.test_terminal import ended, spawn
from tests.fleet import Fleet


def in_shell(fleet: Fleet, line: str) -> "subprocess.CompletedProcess[str]":
    """Run `nixsecrets LINE` in a shell, which closes and redirects streams."""
    return subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m nixsecrets {line}"],
        env={**fleet.env, "PYTHONPATH": str(kit.PROJECT)},
        cwd=fleet.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_closed_stdin_is_not_an_empty_value(ready: Fleet) -> None:
    before = ready.snapshot()
    done = in_shell(ready, "set secrets/wifi.age --allow-empty --yes <&-")
    assert done.returncode == 1
    assert done.stderr == (
        'nixsecrets: error: cannot read "stdin": bad file descriptor\n'
    )
    assert changed(ready, before) == set()


@pytest.mark.parametrize(
    ("to", "why"), [(">&-", "bad file descriptor"), (">/dev/full", "no space left")]
)
@pytest.mark.parametrize("args", ["ls", "cat secrets/wifi.age", "--help", "status"])
def test_an_answer_that_cannot_be_written_is_a_failure(
    ready: Fleet, args: str, to: str, why: str
) -> None:
    done = in_shell(ready, f"{args} {to}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"nixsecrets: error: cannot write to stdout: {why}")


def test_a_large_answer_that_cannot_be_written_is_a_failure(ready: Fleet) -> None:
    ready.ok("set", "secrets/wifi.age", "--yes", stdin="x" * 100_000)
    done = in_shell(ready, "cat secrets/wifi.age >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "nixsecrets: error: cannot write to stdout: no space left" + (
        " on device\n"
    )


@pytest.mark.parametrize("args", ["check", "ls", "cat secrets/wifi.age"])
def test_without_stdin_and_stderr_a_command_works(ready: Fleet, args: str) -> None:
    done = in_shell(ready, f"{args} <&- 2>&-")
    assert done.returncode == 0
    assert done.stdout == in_shell(ready, args).stdout


@pytest.mark.parametrize("args", [("remove-host", "stein"), ("edit", "new.age")])
def test_bytes_that_are_no_text_are_no_answer(
    ready: Fleet, args: tuple[str, ...]
) -> None:
    before = ready.snapshot()
    child = spawn(ready, *args, EDITOR="true")
    child.expect(r"\[y/N\] |: $")
    child.setecho(False)  # what comes back would be no text either
    os.write(child.child_fd, b"\xff\xfey\xc3\n")
    said, code = ended(child)
    assert code == 1, said
    assert "bug" not in said
    assert changed(ready, before) == set()
