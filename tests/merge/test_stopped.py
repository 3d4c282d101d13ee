"""What every command says while git has stopped at a merge."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import copied
from tests.fleet import Fleet
from tests.merge.branches import (
    AGE,
    DB,
    Act,
    Parted,
    edited,
    key,
    parted,
    put,
    several,
    void,
)


@pytest.fixture
def base(larger: Fleet, tmp_path: Path) -> Fleet:
    """A copy of it."""
    fleet = copied(larger, tmp_path / "fleet")
    fleet.write("README.md", "a\n")
    fleet.commit("readme")
    return fleet


def readme(text: str) -> Act:
    return lambda fleet: void(fleet.write("README.md", text))


def stopped(fleet: Fleet, way: str = "merge") -> Parted:
    """Let both sides change two secrets, and a file that is not ours."""
    return parted(
        fleet,
        several(key(DB, "last", "1"), put(AGE, "x"), readme("b\n")),
        several(key(DB, "last", "2"), put(AGE, "y"), readme("c\n")),
        way,
    )


WHAT = {
    "merge": "merge of side into main",
    "rebase": "rebase of main onto side",
    "cherry-pick": "cherry-pick of side onto main",
    "stash": "what was applied (a stash or a patch) onto main",
}


@pytest.mark.parametrize("way", WHAT)
def test_status_says_first_what_git_has_stopped_at(base: Fleet, way: str) -> None:
    assert stopped(base, way).stopped
    done = base.run("status")
    assert done.returncode == 0
    first = done.stdout.splitlines()[0]
    paths = [p for p in (DB, "nixsecrets.lock", AGE) if f"NS018  {p}:" in done.stdout]
    number = f"{len(paths)} files not merged yet"
    assert first == f"git has stopped: {WHAT[way]}; {number}; nixsecrets resolve"
    assert {DB, AGE} <= set(paths)
    assert "README" not in done.stdout
    assert done.stderr.endswith("run nixsecrets resolve to go on\n")
    found = json.loads(base.ok("status", "--json"))["merge"]
    ours, theirs = ("side", "main") if way == "rebase" else ("main", "side")
    if way == "stash":
        theirs = "what was applied (a stash or a patch)"
    assert found == {
        "activity": way,
        "ours": ours,
        "theirs": theirs,
        "unmerged": len(paths),
        "paths": sorted(paths),
        "command": "nixsecrets resolve",
    }


def test_what_goes_on_after_resolve_is_gits_own_command(base: Fleet) -> None:
    stopped(base)
    base.ok("resolve", "--yes", "--ours", AGE, "--theirs", f"{DB}#last")
    line = base.ok("status").splitlines()[0]
    what = (
        "git has stopped: merge of side into main; 0 files not merged yet; git commit"
    )
    assert line == what
    base.git("checkout", "--ours", "README.md")
    base.git("add", "README.md")
    base.git("commit", "-qm", "merged")
    assert base.ok("status") == "the repository matches the map\n"
    assert json.loads(base.ok("status", "--json"))["merge"] is None


COMMANDS = (
    *(("status",), ("check",), ("ls",), ("lint",), ("hosts",), ("exposed",)),
    *(("cat", AGE), ("why", AGE), ("edit", AGE), ("set", AGE), ("generate", AGE)),
    *(("rekey",), ("sync",), ("known-hosts",), ("approve", "--list"), ("accept", AGE)),
    *(("rm", AGE), ("mv", AGE, "secrets/other.age"), ("remove-host", "stein")),
    *(("rename-host", "stein", "rock"), ("rotate-host", "stein"), ("git-setup",)),
)


def test_every_command_says_how_a_map_in_conflict_is_merged(base: Fleet) -> None:
    groups = 'dns = ["schere", "stein"]'
    ours, theirs = (edited(groups, f'dns = ["{n}"]') for n in ("schere", "stein"))
    found = parted(base, ours, theirs)
    assert found.stopped
    text = base.read("nixsecrets.toml")
    line = text[: text.index(b"<<<<<<<")].count(b"\n") + 1
    said = (
        f"nixsecrets: error: nixsecrets.toml:{line}: git's conflict markers are in it"
        " (NS018)\nnixsecrets: hint: nixsecrets resolve\nnixsecrets: hint: if that"
        " merge is committed already: nixsecrets resolve --last\n"
    )
    before = base.snapshot()
    for command in COMMANDS:
        done = base.run(*command, stdin="")
        assert done.stderr == said, command
        assert done.returncode == 1
    first = base.run("status").stdout.splitlines()[0]
    assert first.startswith("git has stopped: merge of side into main; ")
    assert first.endswith("; nixsecrets resolve")
    assert base.snapshot() == before


def test_no_command_advises_another_way_while_files_are_unmerged(base: Fleet) -> None:
    stopped(base)
    for command in (("check",), ("lint",), ("cat", AGE), ("rekey", "--yes"), ("ls",)):
        done = base.run(*command)
        text = done.stdout + done.stderr
        assert "nixsecrets resolve" in text, command
        for other in ("nixsecrets sync", "nixsecrets rekey", "by hand", "checkout"):
            assert other not in text, command
