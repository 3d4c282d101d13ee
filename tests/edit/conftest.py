"""The fleet of the command line's tests, with memory folders of its own."""

import dataclasses
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import ready as ready
from tests.cli.conftest import template as template
from tests.fleet import Fleet


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory for one test, so that what is left there can be seen."""
    folder = Path("/dev/shm") / f"nixsecrets-test-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def fleet(ready: Fleet, memory: Path) -> Fleet:
    """alice's fleet; its private folders are made in `memory`."""
    return dataclasses.replace(ready, env=ready.env | {"XDG_RUNTIME_DIR": str(memory)})
