"""Editors that are scripts, a terminal to type on, and a look at what is left."""

import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pexpect

from nixsecrets.repo.gitunlock import proctable
from tests.fleet import PROJECT, AgeKey, Fleet, program, run_cli_bytes

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
    return run_cli_bytes(*args, cwd=fleet.root, env=fleet.env, stdin=stdin)


def put(fleet: Fleet, *args: str, value: bytes) -> None:
    """Run `nixsecrets set` to success."""
    done = run_bytes(fleet, "set", *args, stdin=value)
    assert done.returncode == 0, done.stderr.decode()


def sops_text(fleet: Fleet, path: str) -> bytes:
    """Return what the real sops decrypts with alice's key."""
    key = fleet.users["alice"]
    assert isinstance(key, AgeKey)
    return fleet.sops_decrypt(path, key.private)


def git_setup(fleet: Fleet, *options: str) -> None:
    """Run git-setup; git finds our program by name."""
    folder = fleet.home / "bin"
    folder.mkdir()
    python = f'PYTHONPATH="{PROJECT}" exec "{sys.executable}"'
    for name, what in (
        ("nixsecrets", "-m nixsecrets"),
        *(
            (name, f'"{PROJECT}/bin/{name}"')
            for name in ("nixsecrets-textconv", "nixsecrets-merge-driver")
        ),
    ):
        starter = folder / name
        starter.write_text(f'#!/bin/sh\n{python} {what} "$@"\n')
        starter.chmod(starter.stat().st_mode | stat.S_IXUSR)
    fleet.env["PATH"] = f"{folder}:{fleet.env['PATH']}"
    fleet.ok(*options, "git-setup")


# --- git, and the keeper of its texts


def git(fleet: Fleet, *args: str) -> "AbstractContextManager[pexpect.spawn[str]]":
    """Run git on a terminal of its own, by a shell as a person's is."""
    command = (program("git"), "-c", "color.ui=never", *args)
    return on_terminal(fleet, *command, LESS="-R")


def rest(child: "pexpect.spawn[str]") -> str:
    """Return what comes until the end."""
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0, child.before
    return child.before or ""


def nothing_is_left(memory: Path) -> bool:
    """Return whether the keeper's folder disappears within some time."""
    deadline = time.monotonic() + 20
    while list(memory.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return list(memory.iterdir()) == []


def keepers(memory: Path) -> list[int]:
    """Return the processes that run textconv here and that nobody waits for."""
    found = []
    for pid in all_processes():
        process = proctable.look_at(pid)
        orphan = process is not None and process.parent == 1
        if orphan and b"textconv" in cmdline(pid) and works_in(memory, pid):
            found.append(pid)
    return found


def works_in(memory: Path, pid: int) -> bool:
    """Identify it by its environment: tests run in parallel; needs root."""
    try:
        return bytes(memory) in Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return True
    except OSError:
        return False


def all_processes() -> list[int]:
    """Return the numbers of all processes."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def cmdline(pid: int) -> bytes:
    """Return a process's command line, nothing where it ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
