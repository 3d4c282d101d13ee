"""A forked run is the run that a start of Python makes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nixsecrets.cli.main import COMMANDS
from tests.fleet import PROJECT, Fleet
from tests.forkserver import Server

SECONDS = 60.0
_EACH = """
import importlib, os, sys, nixsecrets.cli.main
for name in sys.argv[1:]:
    if not (child := os.fork()):
        importlib.import_module(name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name)
"""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def mapped(fleet: Fleet) -> Fleet:
    """A map and a secret."""
    fleet.add_host("web")
    fleet.write_map('[[secrets]]\npath = "secrets/**"\nreaders = ["web"]')
    fleet.age_encrypt("secrets/wifi.age", "wifi", "alice", "web")
    return fleet


def environment(fleet: Fleet) -> dict[str, str]:
    return fleet.env | {"PYTHONPATH": str(PROJECT)}


def script(fleet: Fleet, body: str) -> str:
    """Make a program that is found before all others as git; return the new PATH."""
    program = fleet.home / "bin/git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return f"{program.parent}:{fleet.env['PATH']}"


def test_it_answers_and_ends_as_a_run_from_the_start(
    mapped: Fleet, server: Server
) -> None:
    env = environment(mapped)
    for argv, stdin in [
        (["--version"], b""),
        (["no-such-command"], b""),
        (["cat", "--no-such-option"], b""),
        (["cat", "secrets/wifi.age"], b""),
        (["check"], b""),
        (["why", "secrets/wifi.age"], b""),
        (["set", "secrets/new.age"], b"from stdin \xff\r\n"),
        (["set", "secrets/new.age"], b""),
        (["cat", "secrets/new.age"], b""),
    ]:
        assert server.serves(argv, env, stdin)
        before = mapped.snapshot()
        forked = server.run(argv, mapped.root, env, stdin, SECONDS)
        for path in mapped.snapshot().keys() - before.keys():
            (mapped.root / path).unlink()
        fresh = subprocess.run(
            [sys.executable, "-m", "nixsecrets", *argv],
            cwd=mapped.root,
            env=env,
            input=stdin,
            capture_output=True,
            check=False,
        )
        found = forked.returncode, forked.stdout, forked.stderr
        assert found == (fresh.returncode, fresh.stdout, fresh.stderr), argv


def test_environment_folder_umask_and_streams_are_its_own(
    mapped: Fleet, server: Server
) -> None:
    said = mapped.home / "said"
    body = f'exec > "{said}"; env; pwd; umask; ls -l /proc/$PPID/fd; exit 1'
    env = environment(mapped) | {"PATH": script(mapped, body), "ONLY_HERE": "yes"}
    before = os.umask(0o027)
    try:
        server.run(["ls"], mapped.root, env, b"", SECONDS)
    finally:
        os.umask(before)
    lines = said.read_text().splitlines()
    assert "ONLY_HERE=yes" in lines
    assert {str(mapped.root), "0027"} <= {*lines}
    assert not [line for line in lines if "socket:" in line]


def test_a_run_that_is_killed_has_the_number_of_the_signal(
    mapped: Fleet, server: Server
) -> None:
    env = environment(mapped) | {"PATH": script(mapped, "kill -9 $PPID")}
    assert server.run(["ls"], mapped.root, env, b"", SECONDS).returncode == -9


def test_a_run_that_takes_too_long_is_killed(mapped: Fleet, server: Server) -> None:
    env = environment(mapped) | {"PATH": script(mapped, "echo $PPID > pid; sleep 1")}
    with pytest.raises(subprocess.TimeoutExpired):
        server.run(["ls"], mapped.root, env, b"", 0.5)
    pid = (mapped.root / "pid").read_text().strip()
    assert not Path("/proc", pid).exists()
    env = environment(mapped)
    assert server.run(["--version"], mapped.root, env, b"", SECONDS).returncode == 0


def test_what_python_reads_at_its_start_is_left_to_a_start(
    mapped: Fleet, server: Server
) -> None:
    env = environment(mapped)
    assert server.serves(["ls"], env, b"")
    for name in ("LC_ALL", "PYTHONIOENCODING", "LD_PRELOAD", "COVERAGE_PROCESS_START"):
        assert not server.serves(["ls"], env | {name: "other"}, b"")
    assert not server.serves(["ls"], env, b"a" * 100_000)
    assert not server.serves(["a" * 100_000], env, b"")


def test_every_command_is_imported_before_all_others() -> None:
    """Forked runs, which have all modules, could not show that one needs another."""
    modules = [f"nixsecrets.cli.commands.{name.replace('-', '_')}" for name in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", _EACH, *modules],
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [], done.stderr
