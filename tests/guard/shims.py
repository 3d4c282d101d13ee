"""Programs that tests put on PATH: nixsecrets itself, and stand-ins for installers."""

import sys
from pathlib import Path

from tests.fleet import PROJECT, Fleet


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
