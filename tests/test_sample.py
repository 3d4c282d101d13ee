"""The sample fleet is what the program writes."""

import shutil
from pathlib import Path

import pytest

from tests import fleet as kit
from tests import sample
from tests.fleet import Fleet


@pytest.fixture
def copy(tmp_path: Path) -> Fleet:
    """The committed sample in a repository of its own, operated by alice."""
    fleet = kit.make_fleet(tmp_path, users=())
    fleet.add_user("alice", sample.key("alice"))
    fleet.operate_as("alice")
    for name in sample.HOSTS:
        fleet.add_host(name, sample.key(name))
    shutil.copytree(sample.FOLDER, fleet.root, dirs_exist_ok=True)
    fleet.ok("approve", "--yes")
    return fleet


def test_the_sample_map_is_the_one_it_was_made_from() -> None:
    text = (sample.FOLDER / "nixsecrets.toml").read_text()
    assert text == sample.map_text(), "run: python -m tests.sample --write"


def test_rendering_the_sample_anew_gives_the_same_bytes(copy: Fleet) -> None:
    before = copy.snapshot()
    (copy.root / ".sops.yaml").unlink()
    (copy.root / "secrets.nix").unlink()
    copy.ok("sync")
    assert copy.snapshot() == before, "run: python -m tests.sample --write"
    assert sample.EXAMPLE.read_bytes() == before[".sops.yaml"]


def test_nothing_in_the_sample_differs_from_its_map(copy: Fleet) -> None:
    assert copy.ok("check") == ""
    assert copy.ok("status") == "the repository matches the map\n"


def test_the_samples_hosts_open_exactly_their_files(copy: Fleet) -> None:
    opens = [name for name in sample.HOSTS if copy.age_opens("wifi.age", name)]
    assert opens == ["brunnen", "laptop"]


def test_the_sample_is_a_fleet_and_the_project_is_none(tmp_path: Path) -> None:
    home = sample.FOLDER.parent
    assert not (home / "nixsecrets.toml").exists()
    done = kit.run_cli("-C", "secrets", "check", cwd=home, env=kit.clean_env(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")
