"""A survey gives the same states as reading each file."""

import pytest

from nixsecrets.files.state import Actual, Damaged, NotSecret, Recorded, Stated
from nixsecrets.repo.worktree import Repo
from nixsecrets.world import survey
from nixsecrets.world.world import Found, mapped_world, with_files
from tests.fleet import Fleet


def found(fleet: Fleet) -> dict[str, Found]:
    repo = Repo.at(fleet.root)
    with survey.start(repo) as begun:
        return dict(with_files(mapped_world(repo, begun), begun).files)


def test_every_file_has_the_state_of_its_content(fleet: Fleet) -> None:
    files = found(fleet)
    states = {p: f.state for p, f in files.items() if isinstance(f, Actual)}
    assert isinstance(states["s/recorded.age"], Recorded)
    assert isinstance(states["s/values.yaml"], Stated)
    assert states["s/copy.age"] == states["s/usual.age"] == states["notes.md"]
    kinds: dict[type[Found], set[str]] = {}
    for path, file in files.items():
        kinds.setdefault(type(file), set()).add(path)
    assert kinds[Damaged] == {
        "s/cut.age",
        "s/header.age",
        "s/cut.yaml",
        "s/spoilt.yaml",
    }
    assert kinds[NotSecret] == {"s/open.yaml", "s/empty"}
    assert {"s/large.age", "s/odd \udcff\n name.age", "elsewhere.yaml"} <= kinds[Actual]
    assert not {"s/link.age", "s/away", "unnamed.md", "nixsecrets.toml"} & {*files}


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_however_many_look_the_same_is_found_in_the_same_order(
    fleet: Fleet, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = found(fleet)
    monkeypatch.setattr("nixsecrets.repo.pool.cores", lambda: cores)
    monkeypatch.setattr("nixsecrets.world.survey.WORTH_A_PROCESS", 1)
    assert [*found(fleet).items()] == [*alone.items()]


def test_what_the_survey_leaves_is_read_to_the_same_end(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed = found(fleet)
    monkeypatch.setattr("nixsecrets.world.survey._SMALL", 0)
    assert [*found(fleet).items()] == [*surveyed.items()]


def test_a_survey_of_one_file_finds_the_same_of_it_and_no_other(fleet: Fleet) -> None:
    every = found(fleet)
    repo = Repo.at(fleet.root)
    for path, one in every.items():
        with survey.start(repo, only=path) as begun:
            assert with_files(mapped_world(repo, begun), begun).files == {path: one}
    for path in ("s", ".", "s/*.age", ":(top)s", "s/no.age", "s/link.age"):
        with survey.start(repo, only=path) as begun:
            assert with_files(mapped_world(repo, begun), begun).files == {}
