"""A merge that git finished by itself and that gives access back: what finds it.

Real git, real age, real sops.
"""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import copied
from tests.fleet import Fleet
from tests.merge.branches import (
    Act,
    edited,
    in_order,
    key,
    parted,
    put,
    remove,
    rotate,
    several,
)


@pytest.fixture
def base(larger: Fleet, tmp_path: Path) -> Fleet:
    """A copy of it."""
    return copied(larger, tmp_path / "fleet")


def file_line(path: str, names: str) -> str:
    return f"NS009  {path}: the merge lets {names} read it, whom one side removed\n"


def map_line(name: str, paths: str) -> str:
    return (
        f"NS009  nixsecrets.toml: the merge lets {name} read {paths},"
        " whom one side removed\n"
    )


DNS = 'path = "secrets/dns.*"\nreaders = ["dns"'
OUT = edited('dns = ["schere", "stein"]', 'dns = ["stein"]')
FILES = ("secrets/dns.age", "secrets/dns.yaml")
BOTH = map_line("schere", ", ".join(FILES))
CASES: dict[str, tuple[Act, Act, list[str]]] = {
    "a new age file": (
        remove("schere"),
        put("secrets/dns.txt.age", "new"),
        [file_line("secrets/dns.txt.age", "schere")],
    ),
    "a new sops file": (
        put("secrets/dns.ini", "[a]\nb = c\n"),
        remove("schere"),
        [file_line("secrets/dns.ini", "schere")],
    ),
    "a value": (
        key(FILES[1], "dns", "new"),
        OUT,
        [file_line(FILES[1], "schere")],
    ),
    "a rotated key": (
        several(rotate("schere"), put(FILES[0], "two"), key(FILES[1], "dns", "two")),
        OUT,
        [file_line(path, "schere") for path in FILES],
    ),
    "named directly": (OUT, edited(DNS, DNS + ', "schere"'), [BOTH]),
    "in a new group": (
        edited(
            DNS,
            DNS + ', "more"',
            '[hosts."schere"]',
            '[hosts."schere"]\ngroups = ["more"]',
        ),
        OUT,
        [BOTH],
    ),
    "in always": (
        edited('always = ["alice"]', 'always = ["alice", "schere"]'),
        OUT,
        [BOTH],
    ),
}


def committed(fleet: Fleet, side: str) -> None:
    """Finish a merge as people did it: one side's file, wherever git stopped."""
    for path in sorted(
        set(fleet.git("diff", "--name-only", "--diff-filter=U").split())
    ):
        fleet.git("checkout", f"--{side}", "--", path)
        fleet.git("add", path)
    fleet.git("commit", "-qm", "merged by hand")


def findings(fleet: Fleet, *command: str) -> tuple[list[str], list[str]]:
    """Return the lines of NS009, and the commands that are advised."""
    lines = fleet.run(*command).stdout.splitlines(keepends=True)
    found = [line for line in lines if line.startswith("NS009")]
    return found, [line.strip() for line in lines if line.startswith("    ")]


@pytest.mark.parametrize("name", CASES)
def test_what_a_merge_gave_back_is_found_until_it_is_resolved(
    base: Fleet, name: str
) -> None:
    ours, theirs, lines = CASES[name]
    found = parted(base, ours, theirs)
    if found.stopped:
        back, advised = findings(base, "check")
        assert set(advised) == {"nixsecrets resolve"}
        committed(base, "theirs" if ours is OUT else "ours")
    back, advised = findings(base, "check")
    assert back == lines
    assert "nixsecrets resolve --last" in advised
    assert not [one for one in advised if "rekey" in one]
    shown = base.run("status")
    for line in lines:
        assert f"  {line}" in shown.stdout
    assert "rekey" not in shown.stdout + shown.stderr
    assert shown.stderr.endswith("run nixsecrets resolve --last to resolve this\n")
    assert json.loads(base.ok("status", "--json"))["problems"][0]["code"] == "NS009"
    done = base.run("resolve", "--last", "--yes")
    if BOTH in lines:
        assert done.returncode == 1
        text = base.read("nixsecrets.toml").decode()
        base.write(
            "nixsecrets.toml", text.replace(', "schere"', "").replace(', "more"', "")
        )
        done = base.run("resolve", "--last", "--keep-map", "--yes")
        base.ok("rekey", "--yes", "--allow-revoke")
    assert done.returncode == 0, done.stderr
    assert findings(base, "check")[0] == []
    base.git("commit", "-q", "--amend", "--no-edit")
    assert findings(base, "check")[0] == []
    in_order(base, removed=("schere",) if "schere" not in base.hosts else ())


def as_given(fleet: Fleet) -> None:
    """Grant one file that nobody else touches, and no map."""
    fleet.sops_encrypt("secrets/dns.ini", "[a]\nb = c\n", own(fleet))


def own(fleet: Fleet) -> list[str]:
    """Return the recipients of the sops file of dns."""
    return re.findall(r"recipient: (\S+)", fleet.read(FILES[1]).decode())


def test_the_hook_stops_a_merge_that_git_would_finish_by_itself(base: Fleet) -> None:
    base.ok("hook", "install", "--pre-push")
    found = parted(base, as_given, remove("schere"))
    assert found.stopped
    assert base.git("ls-files", "-u") == ""
    done = base.run("hook", "run")
    line = file_line("secrets/dns.ini", "schere")
    assert done.stdout == line + "    nixsecrets resolve\n"
    assert done.returncode == 1
    assert findings(base, "check") == ([line], ["nixsecrets resolve"])
    base.ok("resolve", "--yes")
    assert base.run("hook", "run").stdout == ""
    base.git("commit", "-qm", "merged")
    in_order(base, removed=("schere",))


def test_the_hook_looks_at_the_last_commit_of_a_range(base: Fleet) -> None:
    before = base.git("rev-parse", "HEAD").strip()
    assert not parted(base, as_given, remove("schere")).stopped
    done = base.run("hook", "run", "--from", before)
    head = base.git("rev-parse", "HEAD")[:12]
    assert done.stdout == f"{head} {file_line('secrets/dns.ini', 'schere')}"
    base.ok("resolve", "--last", "--yes")
    base.git("commit", "-qam", "merged well")
    assert base.run("hook", "run", "--from", before).stdout == ""


def test_who_is_removed_after_a_merge_is_no_matter_of_the_merge(base: Fleet) -> None:
    assert not parted(base, as_given, remove("schere")).stopped
    base.ok("resolve", "--last", "--yes")
    base.git("commit", "-q", "--amend", "--no-edit")
    text = base.read("nixsecrets.toml").decode()
    base.write("nixsecrets.toml", text.replace('dns = ["stein"]', "dns = []"))
    back, advised = findings(base, "check")
    assert back == []
    assert "nixsecrets rekey secrets/dns.ini" in advised
