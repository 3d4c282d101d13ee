"""Editors that are scripts, a terminal to type on, and a look at what is left."""

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pexpect

from tests.fleet import PROJECT, AgeKey, Fleet

CANARY = "c4n4ry-7f3e"


def script(fleet: Fleet, body: str, name: str = "editor") -> str:
    """Make a shell script, give its file as $EDITOR; return its name."""
    path = fleet.home / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    fleet.env["EDITOR"] = str(path)
    return str(path)


def left_in(memory: Path) -> list[str]:
    """Return the files below a folder."""
    return sorted(
        path.relative_to(memory).as_posix()
        for path in memory.rglob("*")
        if path.is_file()
    )


def kept(fleet: Fleet) -> list[Path]:
    """Return the files of texts that were kept."""
    return sorted((fleet.root / ".git" / "nixsecrets" / "kept").glob("*"))


def plaintext_below(folder: Path, canary: str = CANARY) -> list[Path]:
    """Return the files below a folder that hold the canary, `.git` included."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and canary.encode() in path.read_bytes()
    ]


def terminal(fleet: Fleet, *args: str) -> "AbstractContextManager[pexpect.spawn[str]]":
    """Run nixsecrets on a pseudo-terminal of its own."""
    command = (sys.executable, "-m", "nixsecrets", *args)
    return on_terminal(fleet, *command, PYTHONPATH=str(PROJECT))


@contextmanager
def on_terminal(
    fleet: Fleet, command: str, *args: str, **env: str
) -> Iterator["pexpect.spawn[str]"]:
    """Run a program on a pseudo-terminal of its own."""
    child = pexpect.spawn(
        command,
        list(args),
        cwd=str(fleet.root),
        env={**fleet.env, "TERM": "xterm", **env},
        encoding="utf-8",
        timeout=60,
        dimensions=(24, 100),
    )
    try:
        yield child
    finally:
        child.close(force=True)


def ended(child: "pexpect.spawn[str]") -> int:
    """Wait for the end; return the exit code."""
    child.expect(pexpect.EOF)
    child.wait()
    return int(
        child.exitstatus if child.exitstatus is not None else -child.signalstatus
    )


def run_bytes(
    fleet: Fleet, *args: str, stdin: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    """Run nixsecrets with bytes in and out."""
    return subprocess.run(
        [sys.executable, "-m", "nixsecrets", *args],
        input=stdin,
        env={**fleet.env, "PYTHONPATH": str(PROJECT)},
        cwd=fleet.root,
        capture_output=True,
        timeout=120,
        check=False,
    )


def put(fleet: Fleet, *args: str, value: bytes) -> None:
    """Run `nixsecrets set` to success."""
    done = run_bytes(fleet, "set", *args, stdin=value)
    assert done.returncode == 0, done.stderr.decode()


def sops_text(fleet: Fleet, path: str) -> bytes:
    """Return what the real sops decrypts with alice's key."""
    key = fleet.users["alice"]
    assert isinstance(key, AgeKey)
    return fleet.sops_decrypt(path, key.private)


def git_setup(fleet: Fleet) -> None:
    """Run git-setup; git finds our program by name."""
    folder = fleet.home / "bin"
    folder.mkdir()
    starter = folder / "nixsecrets"
    python = f'PYTHONPATH="{PROJECT}" exec "{sys.executable}" -m nixsecrets "$@"'
    starter.write_text(f"#!/bin/sh\n{python}\n")
    starter.chmod(starter.stat().st_mode | stat.S_IXUSR)
    fleet.env["PATH"] = f"{folder}:{fleet.env['PATH']}"
    fleet.ok("git-setup")
