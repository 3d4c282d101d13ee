"""Real Nix for tests: evaluation without a daemon, and flakes made of the fixtures.

Every store is a folder of the test's own, so nothing of the machine is read or kept.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests import fleet as kit
from tests.fleet import PROJECT, Fleet

HERE = Path(__file__).parent
# a folder with REAL_SOURCES, see real.py; read before a test clears the environment
REAL = os.environ.get("NIXSECRETS_REAL_MODULES", "")
REAL_SOURCES = {
    "agenix": "https://github.com/ryantm/agenix",
    "nixpkgs.lib": "https://github.com/nix-community/nixpkgs.lib",
    "sops-nix": "https://github.com/Mic92/sops-nix",
}
FLAKES = ("--extra-experimental-features", "nix-command flakes")


def nix_env(folder: Path, env: dict[str, str]) -> dict[str, str]:
    """Return an environment whose Nix has its store and its state below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {
        "NIX_STORE_DIR": "store",
        "NIX_STATE_DIR": "state",
        "NIX_LOG_DIR": "log",
        "NIX_CONF_DIR": "conf",
        "XDG_CACHE_HOME": "cache",
    }
    return {
        **env,
        **{name: str(folder / place) for name, place in places.items()},
        "NIX_REMOTE": "local",
        "NIX_CONFIG": "build-users-group =",
    }


def nix_program(name: str) -> str:
    """Return the absolute path of a program of the Nix that the test is run with."""
    return shutil.which(name) or kit.program(name)


def run_nix(
    *arguments: str, cwd: Path, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the real `nix`."""
    return subprocess.run(
        [nix_program("nix"), *FLAKES, *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=kit.TIMEOUT_SECONDS,
        check=False,
    )


def evaluate(expression: str, cwd: Path) -> Any:
    """Evaluate an expression to JSON; it may read files and write nothing."""
    done = evaluated(expression, cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def evaluated(expression: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Evaluate an expression, whatever comes of it."""
    return subprocess.run(
        [
            *(nix_program("nix-instantiate"), "--store", "dummy://"),
            *("--eval", "--strict", "--json", "--readonly-mode", "-E", expression),
        ],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=kit.TIMEOUT_SECONDS,
        check=False,
    )


def lib(fleet: Fleet, expression: str) -> Any:
    """Evaluate an expression over `fleet`, the library's view of a repository."""
    opened = f"(import {PROJECT}/nix/lib.nix).fleet {fleet.root}"
    return evaluate(f"let fleet = {opened}; in {expression}", fleet.root)


def put_real_modules(vendor: Path, sources: Path) -> None:
    """Put the real library and modules below `sources` where the stand-ins are."""
    shutil.copytree(HERE / "real", vendor / "stub", dirs_exist_ok=True)
    for name in ("agenix.nix", "sops.nix"):
        shutil.move(vendor / "stub" / name, vendor / "fixtures" / name)
    for name in REAL_SOURCES:
        shutil.copytree(
            sources / name,
            vendor / "stub/sources" / name,
            ignore=shutil.ignore_patterns(".git"),
            dirs_exist_ok=True,
        )


def write_flake(fleet: Fleet, outputs: str, **inputs: Path) -> None:
    """Give the repository a flake; `outputs` sees the fixtures' names.

    These are `lib` (the stub's), `pkgs`, `agenix`, `agenixHome`, `sops`, `sopsHome`
    (modules), `nixsecrets` (the project's modules), and its inputs.
    """
    vendor = fleet.root / "vendor"
    for name in ("stub", "fixtures"):
        shutil.copytree(HERE / name, vendor / name, dirs_exist_ok=True)
    if REAL:
        put_real_modules(vendor, Path(REAL))
    shutil.copytree(PROJECT / "nix", vendor / "nixsecrets", dirs_exist_ok=True)
    urls = "".join(f'inputs.{n}.url = "path:{p}"; ' for n, p in inputs.items())
    fleet.write(
        "flake.nix",
        f"{{ {urls}outputs = {{ {', '.join(['self', *inputs])} }}: let\n"
        "  inherit (import ./vendor/stub) lib;\n"
        "  pkgs = (import ./vendor/stub).legacyPackages.x86_64-linux;\n"
        "  agenix = import ./vendor/fixtures/agenix.nix { };\n"
        "  agenixHome = import ./vendor/fixtures/agenix.nix { home = true; };\n"
        "  sops = import ./vendor/fixtures/sops.nix { };\n"
        "  sopsHome = import ./vendor/fixtures/sops.nix { home = true; };\n"
        "  nixsecrets = import ./vendor/nixsecrets/modules.nix;\n"
        f"in {{\n{outputs}\n}}; }}\n",
    )
