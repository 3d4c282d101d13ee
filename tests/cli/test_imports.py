"""A command loads what it uses."""

import json
import subprocess
import sys

import pytest

from tests.fleet import Fleet

_RUN = """
import json, sys
from nixsecrets.cli.main import cli
code = cli.main(sys.argv[1:], standalone_mode=False)
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
_POOLS = ("multiprocessing", "concurrent.futures.process")


def loaded(fleet: Fleet, *words: str) -> set[str]:
    """Return the modules that a command has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *words],
        cwd=fleet.root,
        env=fleet.env,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "words", [("--version",), ("check",), ("status",), ("hook", "run")], ids=" ".join
)
def test_a_small_command_loads_no_pool_of_the_standard_library(
    ready: Fleet, words: tuple[str, ...]
) -> None:
    assert loaded(ready, *words).isdisjoint(_POOLS)


@pytest.mark.parametrize(
    "words",
    [
        ("cat", "secrets/wifi.age"),
        ("cat", "secrets/dns.yaml"),
        ("cat", "--key", "dns", "secrets/dns.yaml"),
        ("why", "secrets/wifi.age"),
        ("textconv", "secrets/wifi.age"),
        ("exposed",),
    ],
    ids=" ".join,
)
def test_reading_a_secret_loads_nothing_that_writes(
    ready: Fleet, words: tuple[str, ...]
) -> None:
    writers = ("apply", "cli.road", "cli.save", "repo.staging")
    prefixes = tuple(f"nixsecrets.{writer}" for writer in writers)
    assert [one for one in loaded(ready, *words) if one.startswith(prefixes)] == []
