"""Man pages say what `--help` says, and are sound roff."""

import subprocess
from pathlib import Path

from nixsecrets.cli.main import COMMANDS
from nixsecrets.cli.manpages import write_pages
from tests.fleet import program


def test_there_is_a_page_for_the_program_and_for_each_command(tmp_path: Path) -> None:
    names = {path.name for path in write_pages(tmp_path / "man")}
    assert names == {"nixsecrets.1", *(f"nixsecrets-{name}.1" for name in COMMANDS)}
    page = (tmp_path / "man/nixsecrets-rekey.1").read_text()
    assert "\\-\\-dry\\-run" in page
    assert "\b" not in page
    assert "NIXSECRETS_IDENTITY" in (tmp_path / "man/nixsecrets.1").read_text()


def test_man_can_set_every_page(tmp_path: Path) -> None:
    man = program("man")
    for path in write_pages(tmp_path):
        done = subprocess.run(
            [man, "--warnings", "-E", "UTF-8", "-l", str(path)],
            capture_output=True,
            env={"MANWIDTH": "80", "PATH": "/usr/bin:/bin", "PAGER": "cat"},
            check=True,
        )
        assert done.stderr == b"", path.name
        assert b"SYNOPSIS" in done.stdout
