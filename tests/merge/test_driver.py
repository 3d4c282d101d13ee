"""git merges secrets with the driver that `git-setup` installs.

Real git, age and sops; two clones.  What the driver cannot decide it leaves to
`resolve`, with our version on the disk.
"""

from pathlib import Path

import pytest

from tests.cli.conftest import copied, template
from tests.edit.helpers import git_setup
from tests.fleet import Fleet, program, run_program
from tests.merge.branches import (
    AGE,
    DB,
    DB_TEXT,
    LINES,
    Act,
    add,
    in_order,
    key,
    larger_fleet,
    parted,
    put,
    remove,
    resolve,
    several,
)

__all__ = ["template"]
DNS, DNS_AGE = "secrets/dns.yaml", "secrets/dns.age"
WAYS = ("merge", "rebase", "stash")
ALL_WAYS = (*WAYS, "cherry-pick")


@pytest.fixture(scope="session")
def driven(template: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A fleet in which git merges with our driver."""
    fleet = larger_fleet(template, tmp_path_factory.mktemp("driven") / "fleet")
    git_setup(fleet)
    fleet.commit("attributes")
    return fleet


@pytest.fixture
def base(driven: Fleet, tmp_path: Path) -> Fleet:
    """A copy of it."""
    return copied(driven, tmp_path / "fleet")


def merged(fleet: Fleet, ours: Act, theirs: Act, way: str = "merge") -> Fleet:
    """Bring both together; git must not stop."""
    found = parted(fleet, ours, theirs, way)
    assert not found.stopped, fleet.git("status")
    return fleet


@pytest.mark.parametrize("way", ALL_WAYS)
def test_two_values_of_one_file_merge_without_a_command(base: Fleet, way: str) -> None:
    merged(base, key(DB, "db/password", "two"), key(DB, "last", "done"), way)
    wanted = DB_TEXT.replace("one\n", "two\n").replace("end", "done")
    assert base.ok("cat", DB) == wanted
    in_order(base)


@pytest.mark.parametrize("way", WAYS)
def test_whoever_a_side_removed_opens_nothing_that_the_other_edited(
    base: Fleet, way: str
) -> None:
    edit = several(key(DNS, "dns", "new"), put(DNS_AGE, "newer"))
    merged(base, remove("schere"), edit, way)
    assert base.ok("cat", DNS) == "dns: new\n"
    assert base.ok("cat", DNS_AGE) == "newer"
    base.hosts.pop("schere")
    in_order(base, removed=("schere",))


@pytest.mark.parametrize("way", WAYS)
def test_the_lock_knows_the_files_that_later_starts_of_the_driver_write(
    base: Fleet, way: str
) -> None:
    ours = put(AGE, LINES.replace("one", "1"))
    theirs = put(AGE, LINES.replace("four", "4"))
    merged(base, ours, theirs, way)
    assert base.ok("cat", AGE) == LINES.replace("one", "1").replace("four", "4")
    assert base.ok("check") == ""
    in_order(base)


@pytest.mark.parametrize("way", WAYS)
def test_removals_on_both_sides_win_over_values_of_both(base: Fleet, way: str) -> None:
    ours = several(remove("schere"), key(DNS, "dns", "new"))
    theirs = several(remove("stein"), key(DNS, "more", "text"))
    merged(base, ours, theirs, way)
    for name in ("schere", "stein"):
        base.hosts.pop(name)
    in_order(base, removed=("schere", "stein"))


def test_a_key_that_this_clone_has_not_approved_gets_no_file(base: Fleet) -> None:
    found = parted(base, add("oak", "server"), add("elm", "server"))
    assert found.stopped
    for path in (DB, AGE):
        assert base.read(path) == shown(base, f"HEAD:{path}")
    assert resolve(found).returncode == 0
    in_order(base)


def shown(fleet: Fleet, what: str) -> bytes:
    """Return a blob; an age file is not text."""
    return run_program(
        program("git"), "cat-file", "blob", what, cwd=fleet.root, env=fleet.env
    )
