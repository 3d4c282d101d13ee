"""A changed type of a value is reported with both types, even if it is committed."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.fleet import Fleet, reference_program, run_program, sops_path

CONTENT = {
    "secrets/t.yaml": "number: 5432\nyes: true\ntext: canary\ndigits: '7'\n",
    "secrets/t.json": '{"number": 5432, "yes": true, "text": "canary", "digits": "7"}',
    "secrets/t.env": "text=canary\ndigits=7\n",
    "secrets/t.ini": "[a]\ntext = canary\ndigits = 7\n",
}
TO = {"number": "str", "yes": "int", "text": "int", "digits": "int"}
UNSEEN = "not verified: the types of values in "


@pytest.fixture(params=["3.11", "3.13"])
def typed(ready: Fleet, tmp_path: Path, request: pytest.FixtureRequest) -> Fleet:
    """Files of all formats that have types, committed as one of two sops wrote them."""
    sops = reference_program("sops") if request.param == "3.13" else sops_path()
    brunnen = kit.age_secret((ready.keys / "brunnen").read_bytes())
    readers = f"{ready.public('alice')},{kit.age_public(brunnen)}"
    for path, content in CONTENT.items():
        (tmp_path / Path(path).name).write_text(content)
        argv = (sops, "encrypt", "--age", readers, Path(path).name)
        ready.write(path, run_program(*argv, env=ready.env, cwd=tmp_path))
    ready.commit("typed")
    return ready


def retype(fleet: Fleet, path: str, changes: Mapping[str, str]) -> dict[str, str]:
    """Change the types of values in a file; return what they were."""
    text, was = fleet.read(path).decode(), {}
    for key, to in changes.items():
        token = re.compile(rf'({key}["=: ]+ENC\[[^\]]*type:)(\w+)\]')
        if found := token.search(text):
            was[key] = found[2]
            text = token.sub(rf"\g<1>{to}]", text)
    assert was
    fleet.write(path, text)
    return was


def named(fleet: Fleet, *command: str) -> dict[str, list[str]]:
    """Return what is said of types, by file."""
    found: dict[str, list[str]] = {}
    for one in json.loads(fleet.run(*command, "--json").stdout)["problems"]:
        if one["code"] == "NS025":
            found.setdefault(one["path"], []).append(one["message"])
    return found


def keyless(fleet: Fleet) -> None:
    del fleet.env["NIXSECRETS_IDENTITY"]


def test_what_sops_wrote_is_clean(typed: Fleet) -> None:
    identity = typed.env.pop("NIXSECRETS_IDENTITY")
    assert f"{UNSEEN}2 sops files (no identity" in typed.run("check").stderr
    typed.env["NIXSECRETS_IDENTITY"] = identity
    for _ in "12":
        done = typed.run("check")
        assert (done.returncode, done.stdout) == (0, "")
        assert "not verified" not in done.stderr


def test_a_few_files_whose_types_fit_are_not_opened_again(typed: Fleet) -> None:
    assert "not verified" not in typed.run("check").stderr
    keyless(typed)
    assert "not verified" not in typed.run("check").stderr


def test_a_change_that_was_committed_is_named_with_both_types(typed: Fleet) -> None:
    """Where the history has the file as it was, without a key, too."""
    expected: dict[str, list[str]] = {}
    for path in CONTENT:
        was = retype(typed, path, TO)
        keys = {key: f"a.{key}" if path.endswith(".ini") else key for key in was}
        expected[path] = sorted(
            f"{keys[key]} is marked as {TO[key]}, and was of type {old} before"
            for key, old in was.items()
        )
    typed.commit("colleague")
    assert named(typed, "check") == expected
    assert typed.run("check").returncode == 1
    keyless(typed)
    assert named(typed, "check") == expected
    assert named(typed, "status") == expected


def test_a_key_names_those_that_no_history_shows(typed: Fleet) -> None:
    expected: dict[str, list[str]] = {}
    for path in CONTENT:
        was = retype(typed, path, {"yes": "int", "text": "bool"})
        keys = {key: f"a.{key}" if path.endswith(".ini") else key for key in was}
        expected[path] = sorted(
            f"{keys[key]} is marked as {'int' if key == 'yes' else 'bool'},"
            f" but its content is of type {old}"
            for key, old in was.items()
        )
    typed.git("checkout", "-q", "--orphan", "fresh")
    typed.commit("all that there is")
    assert named(typed, "check") == expected
    keyless(typed)
    shown = named(typed, "check")
    assert shown.keys() <= expected.keys()
    assert not any(
        " but its content " in one for said in shown.values() for one in said
    )
    assert UNSEEN in typed.run("check").stderr


def test_a_number_that_becomes_true_or_false_is_named_once(typed: Fleet) -> None:
    """By its length it is suspect without a key: the better word replaces that one."""
    path = "secrets/t.yaml"
    retype(typed, path, {"text": "bool"})
    once = [f"{path}:3: text is marked as bool, but its content is of type str"]
    typed.git("checkout", "-q", "--orphan", "fresh")
    typed.git("add", "-A")
    for command in (("check",), ("hook", "run")):
        said = typed.run(*command).stdout.splitlines()
        lines = [line for line in said if "text is marked" in line]
        assert [line.removeprefix("NS025  ") for line in lines] == once


def test_the_hook_names_it_once_with_both_types(typed: Fleet) -> None:
    path = "secrets/t.yaml"
    retype(typed, path, {"number": "bool", "digits": "int"})
    typed.git("add", "-A")
    done = typed.run("hook", "run")
    assert done.returncode == 1
    lines = [one for one in done.stdout.splitlines() if one.startswith("NS025")]
    lines.sort(key=lambda line: line.split(":")[1])
    assert lines == [
        f"NS025  {path}:1: number is marked as bool, and was of type int before",
        f"NS025  {path}:4: digits is marked as int, and was of type str before",
    ]


def test_a_type_that_was_put_right_is_clean_again(typed: Fleet) -> None:
    was = {path: retype(typed, path, TO) for path in CONTENT}
    typed.commit("colleague")
    for path, right in was.items():
        retype(typed, path, right)
    typed.commit("right")
    assert named(typed, "check") == {}


def test_rekey_and_why_name_both_types(typed: Fleet) -> None:
    path = "secrets/t.yaml"
    retype(typed, path, {"text": "int"})
    typed.commit("colleague")
    words = "text is marked as int, but its content is of type str"
    assert f": has its data key, but {words}\n" in typed.ok("why", path)
    remove = ("remove-host", "brunnen", "--own-files", "delete", "--yes")
    assert words in typed.run(*remove, "--allow-revoke").stderr


def test_what_was_found_right_is_not_opened_again(ready: Fleet) -> None:
    paths = [f"secrets/n{number}.yaml" for number in range(9)]
    for path in paths:
        ready.sops_encrypt(path, "number: 5\n", [ready.public("alice")])
    ready.commit("many")
    ready.run("check")
    key = ready.env.pop("NIXSECRETS_IDENTITY")
    assert UNSEEN not in ready.run("check").stderr
    retype(ready, paths[0], {"number": "bool"})
    ready.git("checkout", "-q", "--orphan", "fresh")
    ready.commit("another")
    assert f"{UNSEEN}1 sops file (no " in ready.run("check").stderr
    ready.env["NIXSECRETS_IDENTITY"] = key
    words = "number is marked as bool, but its content is of type int"
    assert named(ready, "check") == {paths[0]: [words]}


def test_without_git_types_are_verified(ready: Fleet) -> None:
    path = "secrets/app.yaml"
    ready.sops_encrypt(path, "number: 5\n", [ready.public("alice")])
    retype(ready, path, {"number": "bool"})
    (ready.root / ".git").rename(ready.home / "git")
    words = "number is marked as bool, but its content is of type int"
    assert named(ready, "check") == {path: [words]}
