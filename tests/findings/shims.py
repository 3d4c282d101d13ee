"""Programs that tests put on PATH, and git run against the guard."""

import subprocess
import sys
from pathlib import Path

from tests.fleet import PROJECT, Fleet, program


def put_on_path(fleet: Fleet, folder: Path, **scripts: str) -> None:
    """Offer nixsecrets as an installed program would be, and some shell scripts."""
    folder.mkdir(exist_ok=True)
    for name, text in {
        "nixsecrets": f'exec "{sys.executable}" -m nixsecrets "$@"',
        **scripts,
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    fleet.env |= {
        "PATH": f"{folder}:{fleet.env['PATH']}",
        "PYTHONPATH": str(PROJECT),
    }


def attempt(
    fleet: Fleet, *args: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run git, whatever its exit code, as a person whose PATH has no nixsecrets."""
    done = subprocess.run(
        [program("git"), *args],
        cwd=cwd or fleet.root,
        env=fleet.env | env,
        capture_output=True,
        check=False,
        timeout=60,
    )
    texts = (done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def stopped(done: subprocess.CompletedProcess[str], *expected: str) -> bool:
    """Return whether the guard blocked a command for the expected reason."""
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    return done.returncode == 1 and all(text in output for text in expected)
