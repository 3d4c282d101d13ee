"""The first look at all files finds what reading each of them with care does."""

from pathlib import Path

import pytest

from nixsecrets.files.state import Actual, Damaged, NotSecret, Recorded, Stated
from nixsecrets.repo.worktree import Repo
from nixsecrets.world import survey
from nixsecrets.world.world import Found, mapped_world, with_files
from tests.fleet import Fleet, make_fleet

RULES = """
[[secrets]]
path = "notes.md"
readers = ["web"]

[[secrets]]
path = "s/**"
readers = ["web"]
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A fleet with files of every kind: whole, damaged, large, odd."""
    fleet = make_fleet(tmp_path, hosts=["web"])
    fleet.write_map(RULES)
    fleet.ok("set", "s/recorded.age", stdin="x")
    fleet.age_encrypt("s/armored.age", "x", "web", armor=True)
    usual = fleet.age_encrypt("s/usual.age", "x" * 100, "alice", "web").read_bytes()
    payload = usual.index(b"\n---") + 49
    fleet.write("s/copy.age", usual)
    fleet.write("s/cut.age", usual[: payload + 20])
    fleet.write("s/header.age", usual.replace(b"\n-> ssh", b"\n->  ssh"))
    fleet.write("s/text.age", usual[:payload] + b"plain text " * 9)
    fleet.write("s/large.age", usual + bytes(3 << 20))
    fleet.write("s/odd \udcff\n name.age", usual)
    fleet.write("notes.md", usual)  # no secret by its name, but for its rule
    fleet.write("unnamed.md", usual)
    keys = [fleet.public("alice")]
    for name in ("s/values.yaml", "s/values.json", "elsewhere.yaml"):
        fleet.sops_encrypt(name, '{"a": "b"}', keys)
    values = fleet.read("s/values.yaml")
    fleet.write("s/cut.yaml", values[: values.index(b"    mac")])
    fleet.write("s/spoilt.yaml", values.replace(b"YWdl", b"YW-l", 1))
    fleet.write("s/other.yaml", values.replace(keys[0].encode(), b"age1none"))
    fleet.write("s/open.yaml", "a: b\n")
    fleet.write("s/empty", b"")
    (fleet.root / "s/link.age").symlink_to("usual.age")
    (fleet.root / "s/away").symlink_to("/etc")
    return fleet


def found(fleet: Fleet) -> dict[str, Found]:
    repo = Repo.at(fleet.root)
    with survey.begun(repo) as begun:
        return dict(with_files(mapped_world(repo, begun), begun).files)


def test_everything_is_told_as_what_it_is(fleet: Fleet) -> None:
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
        with survey.begun(repo, only=path) as begun:
            assert with_files(mapped_world(repo, begun), begun).files == {path: one}
    for path in ("s", ".", "s/*.age", ":(top)s", "s/no.age", "s/link.age"):
        with survey.begun(repo, only=path) as begun:
            assert with_files(mapped_world(repo, begun), begun).files == {}
