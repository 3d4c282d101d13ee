"""The repository in working order that the command line's tests use, and real Nix.

Nix is the one on PATH and each one in the folders of NIXSECRETS_REFERENCE_NIX.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests import gate
from tests.cli.conftest import ready as ready
from tests.cli.conftest import template as template
from tests.nix.nixkit import nix_env
from tests.nix.reader import reader as reader

_FOLDERS = [
    folder
    for folder in os.environ.get("NIXSECRETS_REFERENCE_NIX", "").split(":")
    if folder
]
_NAMES = ["nix", *(Path(folder).parent.name for folder in _FOLDERS)]


@pytest.fixture(params=[None, *_FOLDERS], ids=_NAMES)
def each_nix(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    clean_environment: None,
) -> None:
    """Run the test once with each version of Nix that is at hand."""
    if request.param is None:
        return
    if not _has_nix(request.param):
        gate.absent(Path(request.param).parent.name, "`.ci/newer-nix` can fetch it")
    monkeypatch.setenv("PATH", f"{request.param}:{os.environ['PATH']}")


@pytest.fixture
def newest_nix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_environment: None
) -> dict[str, str]:
    """An environment as `nix`, with the last version that is at hand."""
    folders = [folder for folder in _FOLDERS if _has_nix(folder)]
    monkeypatch.setenv("PATH", ":".join([*folders[-1:], os.environ["PATH"]]))
    return nix_env(tmp_path / "nix", dict(os.environ))


def _has_nix(folder: str) -> bool:
    return shutil.which("nix", path=folder) is not None


@pytest.fixture
def nix(tmp_path: Path, each_nix: None) -> dict[str, str]:
    """An environment with a Nix store of the test's own."""
    return nix_env(tmp_path / "nix", dict(os.environ))
