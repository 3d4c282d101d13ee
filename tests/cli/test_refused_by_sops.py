"""One file that sops refuses is named, and holds nobody else up."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed
from tests.fleet import Fleet, reference_program, run_program

REMOVE = ("remove-host", "brunnen", "--own-files", "delete", "--yes")
GOOD = [f"secrets/{name}.yaml" for name in ("a1", "a2", "n1", "z1", "z2")]


@pytest.fixture(params=["3.11", "3.13"])
def many(ready: Fleet, request: pytest.FixtureRequest) -> Fleet:
    """A fleet with more sops files, and one program of two."""
    if request.param == "3.13":
        folder = ready.home / "bin"
        folder.mkdir()
        (folder / "sops").symlink_to(reference_program("sops"))
        ready.env["PATH"] = f"{folder}:{ready.env['PATH']}"
    for path in GOOD:
        ready.sops_encrypt(path, "number: 5\ntext: canary\n", readers(ready))
    return ready


def readers(fleet: Fleet) -> list[str]:
    return [fleet.public("alice"), kit.age_public(secret_of(fleet, "brunnen"))]


def secret_of(fleet: Fleet, name: str) -> str:
    return kit.age_secret((fleet.keys / name).read_bytes())


def edited(fleet: Fleet, old: str, new: str) -> str:
    path = "secrets/bad.yaml"
    fleet.sops_encrypt(path, "number: 5\ntext: canary\n", readers(fleet))
    text = fleet.read(path).decode()
    fleet.write(path, re.sub(old, new, text))
    assert fleet.read(path).decode() != text
    return path


def another_type(fleet: Fleet) -> str:
    return edited(fleet, "type:int", "type:bool")


def no_number(fleet: Fleet) -> str:
    return edited(fleet, r"type:str\](?=\nsops:)", "type:int]")


def no_version(fleet: Fleet) -> str:
    return edited(fleet, "version: .*", "version: zz")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (another_type, "number is marked as bool, but its content is of type int"),
        (no_number, "text is marked as int, but its content is of type str"),
        (no_version, "rejects the version in the file's metadata"),
    ],
)
def test_a_removal_names_it_and_goes_on(
    many: Fleet, spoil: Callable[[Fleet], str], words: str
) -> None:
    bad = spoil(many)
    many.commit("pushed")
    before = many.snapshot()
    stopped = many.run(*REMOVE, "--allow-revoke")
    assert stopped.returncode == 1
    assert f"  {bad}: " in stopped.stderr
    assert words in stopped.stderr
    assert "--keep-going processes the others" in stopped.stderr
    assert changed(many, before) == set()
    done = many.run(*REMOVE, "--allow-revoke", "--keep-going")
    assert done.returncode == 1
    assert f"skipped {bad}: " in done.stderr
    assert words in done.stderr
    assert f": git log -p -- {bad}\n" in done.stderr
    assert many.read(bad) == before[bad]
    for path in (*GOOD, "secrets/app.yaml"):
        assert not many.sops_opens(path, secret_of(many, "brunnen"))
        assert many.sops_opens(path, secret_of(many, "alice"))
    assert list((many.root / ".git/nixsecrets").glob("staged*")) == []


@pytest.mark.parametrize("spoil", [another_type, no_version])
def test_check_names_it_without_a_key(
    ready: Fleet, spoil: Callable[[Fleet], str]
) -> None:
    bad = spoil(ready)
    ready.commit("pushed")
    done = ready.run("check", "--json")
    assert done.returncode == 1
    problems = json.loads(done.stdout)["problems"]
    assert [p["path"] for p in problems if p["code"] == "NS025"] == [bad]


def test_the_hook_names_a_type_that_changed_alone(ready: Fleet) -> None:
    path = "secrets/app.yaml"
    ready.sops_encrypt(path, "number: 5\n", readers(ready))
    ready.commit("number")
    ready.write(path, ready.read(path).replace(b"type:int", b"type:str"))
    ready.git("add", "-A")
    done = ready.run("hook", "run")
    assert done.returncode == 1
    assert f"{path}:1: number is marked as str" in done.stdout + done.stderr


def test_cat_says_which_value_it_is(ready: Fleet) -> None:
    bad = another_type(ready)
    done = ready.run("cat", bad)
    assert done.returncode == 1
    assert "number is marked as bool" in done.stderr
    assert "canary" not in done.stderr


def test_a_key_like_that_of_the_metadata_is_named(many: Fleet, tmp_path: Path) -> None:
    """sops 3.13 writes and reads it; sops before takes it for its metadata."""
    path, new = "secrets/bad.json", reference_program("sops")
    source = tmp_path / "bad.json"
    source.write_text('{"SOPS": "x", "a": "canary"}')
    argv = (new, "encrypt", "--age", ",".join(readers(many)), "bad.json")
    many.write(path, run_program(*argv, env=many.env, cwd=tmp_path))
    many.commit("pushed")
    problems = json.loads(many.run("check", "--json").stdout)["problems"]
    assert [p["path"] for p in problems if p["code"] == "NS025"] == [path]
    done = many.run(*REMOVE, "--allow-revoke", "--keep-going")
    by_3_13 = (
        "bin" in many.env["PATH"].partition(":")[0] and (many.home / "bin").is_dir()
    )
    assert done.returncode == (0 if by_3_13 else 1), done.stderr
    assert (f"skipped {path}: " in done.stderr) != by_3_13
    for good in GOOD:
        assert not many.sops_opens(good, secret_of(many, "brunnen"))
