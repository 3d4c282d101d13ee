"""The mixed repository, built once for each test process."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apply.helpers import Sample, make_sample


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """The repository; its private folders are made below /dev/shm."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as private:
        yield make_sample(tmp_path_factory.mktemp("apply"), Path(private))


@pytest.fixture
def sample(built: Sample) -> Sample:
    """The repository as it was built."""
    built.reset()
    return built
