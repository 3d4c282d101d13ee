"""The repository that branches part from."""

import pytest

from tests.cli.conftest import in_order
from tests.fleet import Fleet
from tests.merge.branches import larger_fleet


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Files of both backends and of each format."""
    template = in_order(tmp_path_factory.mktemp("template"))
    return larger_fleet(template, tmp_path_factory.mktemp("larger") / "fleet")
