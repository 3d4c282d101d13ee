"""Cached looks at complete files count for the same bytes, and for no others."""

import os
from pathlib import Path

import pytest

from nixsecrets.files import looks
from nixsecrets.files.state import Damaged
from nixsecrets.repo.clone import Clone
from nixsecrets.repo.worktree import Repo
from nixsecrets.world import lookcache, survey
from nixsecrets.world.lookcache import LookCache, cacheable, rendered
from nixsecrets.world.world import Found, mapped_world, with_files
from tests.fleet import Fleet, make_fleet

WHOLE = {
    *("s/recorded.age", "s/armored.age", "s/usual.age", "s/copy.age"),
    *("s/odd \udcff\n name.age", "s/values.yaml", "s/other.yaml", "elsewhere.yaml"),
    *("notes.md", "unnamed.md"),
}


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give these tests their own state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own-state"))


@pytest.fixture(name="few")
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cache the looks at a handful of files."""
    monkeypatch.setattr(survey, "_WORTH_A_CACHE", 1)


def found(fleet: Fleet) -> dict[str, Found]:
    repo = Repo.at(fleet.root)
    with survey.start(repo) as begun:
        files = dict(with_files(mapped_world(repo, begun), begun).files)
        begun.cache()
    return files


def cached(fleet: Fleet) -> bytes:
    return Clone.of(Repo.at(fleet.root), os.environ).cached("looks")


def every_look(fleet: Fleet) -> dict[str, looks.Look]:
    paths = Repo.at(fleet.root).list_files()
    return {path: looks.look(path, fleet.read(path)) for path in paths}


def only_cached(fleet: Fleet) -> LookCache:
    kept = [one for path, one in every_look(fleet).items() if cacheable(path, one)]
    return LookCache(rendered(kept))


# --- what is cached -----------------------------------------------------------------


def test_only_looks_at_complete_files_are_cached(fleet: Fleet) -> None:
    worth = {path for path, one in every_look(fleet).items() if cacheable(path, one)}
    assert worth == WHOLE | {"s/large.age"}


def test_a_cached_look_is_what_looking_again_would_find(fleet: Fleet) -> None:
    cache = only_cached(fleet)
    for path, one in every_look(fleet).items():
        assert cache.look(path, fleet.read(path)) == one
        assert (one[0] in cache) is cacheable(path, one)


@pytest.mark.usefixtures("few")
def test_a_second_run_finds_the_same(fleet: Fleet) -> None:
    first = found(fleet)
    assert every_look(fleet)["s/usual.age"][0] in LookCache(cached(fleet))
    second = found(fleet)
    assert [*second.items()] == [*first.items()]


@pytest.mark.usefixtures("few")
def test_files_that_are_gone_leave_the_cache(fleet: Fleet) -> None:
    found(fleet)
    sha256, _, _ = every_look(fleet)["s/armored.age"]
    assert sha256 in LookCache(cached(fleet))
    (fleet.root / "s/armored.age").unlink()
    fleet.age_encrypt("s/new.age", "x", "web")
    found(fleet)
    assert sha256 not in LookCache(cached(fleet))


def test_a_few_files_are_worth_no_cache(fleet: Fleet) -> None:
    found(fleet)
    assert cached(fleet) == b""


# --- what it does not answer for ------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_a_changed_byte_is_seen_whatever_the_times_of_the_file(fleet: Fleet) -> None:
    found(fleet)
    for name in ("s/usual.age", "s/values.yaml"):
        place = fleet.root / name
        before = place.stat()
        old, new = (
            (b"-> ssh", b"->-ssh") if name.endswith("age") else (b"YWdl", b"YW-l")
        )
        place.write_bytes(place.read_bytes().replace(old, new, 1))
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = found(fleet)
    assert isinstance(again["s/values.yaml"], Damaged)
    assert isinstance(again["s/usual.age"], Damaged)


def test_the_same_bytes_under_a_name_of_another_format_are_looked_at(
    fleet: Fleet,
) -> None:
    cache = only_cached(fleet)
    data = fleet.read("s/values.yaml")
    for name in ("s/values.json", "s/values.env", "s/values"):
        assert cache.look(name, data) == looks.look(name, data)
    assert cache.look("s/values.json", data) != cache.look("s/values.yml", data)


def test_what_other_code_saw_is_ignored(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = [one for p, one in every_look(fleet).items() if cacheable(p, one)]
    data = rendered(looked)
    assert looked[0][0] in LookCache(data)
    monkeypatch.setattr(lookcache, "code_id", lambda: b"another")
    assert looked[0][0] not in LookCache(data)


def test_a_touched_module_makes_other_code(tmp_path: Path) -> None:
    before = lookcache.id_of(make_package(tmp_path))
    assert lookcache.id_of(tmp_path) == before
    os.utime(tmp_path / "files/sops/state.py", ns=(1, 1))
    assert lookcache.id_of(tmp_path) != before


def make_package(root: Path) -> Path:
    for folder in ("files/age", "files/sops", "keys", "untrusted", "world"):
        (root / folder).mkdir(parents=True)
    (root / "files/sops/state.py").write_text("")
    return root


@pytest.mark.usefixtures("few")
def test_a_cache_that_somebody_else_wrote_is_ignored(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(fleet)
    (place,) = (fleet.root / ".git/nixsecrets/clone").glob("looks-*")
    whole = place.read_bytes()
    assert cached(fleet)
    place.write_bytes(whole.replace(b"X25519", b"x25519", 1))
    assert cached(fleet) == b""
    place.write_bytes(b"\xff" + whole)
    assert cached(fleet) == b""
    place.write_bytes(whole[:-1])
    assert cached(fleet) == b""
    place.write_bytes(whole)
    assert cached(fleet)
    place.chmod(0o666)
    assert cached(fleet) == b""
    place.chmod(0o600)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-person"))
    assert cached(fleet) == b""


@pytest.mark.usefixtures("few")
def test_a_cache_of_one_map_is_not_used_for_another(fleet: Fleet) -> None:
    found(fleet)
    (place,) = (fleet.root / ".git/nixsecrets/clone").glob("looks-*")
    inner = fleet.root / "inner"
    inner.mkdir()
    (inner / "nixsecrets.toml").write_bytes(fleet.read("nixsecrets.toml"))
    other = Clone.of(Repo.at(inner), os.environ)
    assert other.cached("looks") == b""
    other.cache("looks", b"theirs")
    (theirs,) = {*place.parent.glob("looks-*")} - {place}
    theirs.write_bytes(place.read_bytes())
    assert other.cached("looks") == b""


def test_what_could_not_be_read_again_is_not_cached(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = Clone.of(Repo.at(fleet.root), os.environ)
    monkeypatch.setattr("nixsecrets.repo.clone._LARGEST_CACHE", 100)
    clone.cache("looks", b"x" * 36)
    assert clone.cached("looks") == b""
    clone.cache("looks", b"x" * 35)
    assert clone.cached("looks") == b"x" * 35


# --- as people run it -----------------------------------------------------------------


def test_check_over_many_files_says_the_same_twice_and_sees_what_changed(
    tmp_path: Path,
) -> None:
    fleet = make_fleet(tmp_path, hosts=["web"])
    fleet.write_map('[[secrets]]\npath = "s/**"\nreaders = ["web"]\n')
    fleet.age_encrypt("s/0.age", "x" * 100, "alice", "web")
    for number in range(1, 1100):
        fleet.write(f"s/{number}.age", fleet.read("s/0.age"))
    fleet.sops_encrypt("s/a.yaml", '{"a": "b"}', [fleet.public("alice")])
    first = fleet.run("check", "--json")
    assert cached_by(fleet)
    second = fleet.run("check", "--json")
    assert (second.stdout, second.stderr) == (first.stdout, first.stderr)
    data = fleet.read("s/a.yaml")
    fleet.write("s/a.yaml", data.replace(b"YWdl", b"YW-l", 1))
    assert "NS002  s/a.yaml: " in fleet.run("check").stdout


def cached_by(fleet: Fleet) -> bytes:
    return Clone.of(Repo.at(fleet.root), fleet.env).cached("looks")
