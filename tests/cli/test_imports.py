"""A command loads what it uses."""

import pytest

from tests.cli.import_table import COMMANDS, loaded, table
from tests.fleet import Fleet

_POOLS = ("multiprocessing", "concurrent")
# on a busy machine, reading the git history takes so long that the clone keeps the
# result (`plan.recall`), which loads what writes
_WHEN_SLOW = {
    name: {"nixsecrets.repo.journal", "nixsecrets.repo.locking"}
    for name in ("check", "status", "ls", "why")
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_everyday_command_loads_no_module_but_those_of_its_table(
    ready: Fleet, name: str
) -> None:
    """For one that has to be there: `python -m tests.cli.import_table --write`."""
    command = COMMANDS[name]
    command.prepare(ready)
    allowed = table()[name] | _WHEN_SLOW.get(name, set())
    assert sorted(loaded(ready, command.words) - allowed) == []


@pytest.mark.parametrize(
    "words", [("--version",), ("check",), ("status",), ("hook", "run")], ids=" ".join
)
def test_a_small_command_loads_no_pool_of_the_standard_library(
    ready: Fleet, words: tuple[str, ...]
) -> None:
    assert loaded(ready, words).isdisjoint(_POOLS)


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
    assert [one for one in loaded(ready, words) if one.startswith(prefixes)] == []
