"""The repository in working order that the command line's tests use, and real Nix."""

from pathlib import Path

import pytest

from tests.cli.conftest import ready as ready
from tests.cli.conftest import template as template
from tests.nix.nixkit import nix_env


@pytest.fixture
def nix(tmp_path: Path, clean_environment: None) -> dict[str, str]:
    """An environment with a Nix store of the test's own."""
    import os

    return nix_env(tmp_path / "nix", dict(os.environ))
