"""docs/merging.md is run, every block.

Alice has her own clone; her colleague Bob works on the branch `hosts`.
"""

import dataclasses
import re
import time
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import copied
from tests.edit.helpers import git_setup
from tests.fleet import PROJECT, Fleet, ssh_key
from tests.merge.branches import (
    AGE,
    DB,
    DB_TEXT,
    LINES,
    Act,
    add,
    git,
    key,
    put,
    several,
)
from tests.nix.reader import Reader

TEXT = (PROJECT / "docs/merging.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
MERGE, LAST, CONFLICT, CHOICES, SETUP, DECLINED, REQUEST = (text for _, text in BLOCKS)
VALUE = key(DB, "db/password", "two")
MERGED = DB_TEXT.replace("one\n", "two\n")


def other_key(name: str, seed: str) -> Act:
    def rotated(fleet: Fleet) -> None:
        new = ssh_key(seed).public
        fleet.ok("rotate-host", name, "--key", new, "--yes")

    return rotated


def author(name: str, day: int) -> dict[str, str]:
    """Return what makes git write that somebody committed in November 2026."""
    date = f"2026-11-{day}T12:00:00Z"
    dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    return {**dates, "GIT_AUTHOR_NAME": name}


class Team:
    """Alice's clone and Bob's, of one repository on a server."""

    def __init__(self, template: Fleet, folder: Path) -> None:
        self.alice = copied(template, folder / "fleet")
        hub = folder / "hub.git"
        self.alice.git("clone", "-q", "--bare", str(self.alice.root), str(hub))
        self.alice.git("remote", "add", "origin", str(hub))
        bob = folder / "bob"
        self.alice.git("clone", "-q", str(hub), str(bob))
        kit.approve_keys(bob, self.alice.env)
        theirs = self.alice.env | author("Bob", 28)
        self.alice.env |= author("Alice", 30)
        self.bob = dataclasses.replace(self.alice, root=bob, env=theirs)
        self.alice.env["GIT_EDITOR"] = "true"
        self.reader = Reader(self.alice.root, self.alice.env, folder, folder)

    def parted(self, alice: Act, bob: Act) -> None:
        """Let Bob push to `hosts`, and Alice commit."""
        self.bob.git("checkout", "-q", "-b", "hosts")
        bob(self.bob)
        self.bob.commit("bob")
        self.bob.git("push", "-q", "origin", "hosts")
        self.alice.git("fetch", "-q", "origin", "hosts:hosts")
        # written in the same second, `lastmodified` stays, and git merges by itself
        time.sleep(1.1)
        alice(self.alice)
        self.alice.commit("alice")

    def sh(self, block: str) -> str:
        """Run a block; git may stop at a merge."""
        return self.reader.sh(
            re.sub("^(git merge .*)$", r"\1 || true", block, flags=re.M)
        )

    def in_order(self) -> None:
        assert self.alice.git("status", "--porcelain") == ""
        self.alice.ok("check")


@pytest.fixture
def team(larger: Fleet, tmp_path: Path) -> Team:
    return Team(larger, tmp_path)


def test_every_block_says_what_it_is() -> None:
    assert [kind for kind, _ in BLOCKS] == [
        "sh",
        "sh",
        "text",
        "sh",
        "sh",
        "text",
        "sh",
    ]


def test_a_value_and_a_host_are_merged(team: Team) -> None:
    team.parted(VALUE, add("elm", "server"))
    team.sh(MERGE)
    assert team.alice.ok("cat", DB) == MERGED
    assert team.alice.sops_opens(
        DB, kit.age_secret((team.alice.keys / "elm").read_bytes())
    )
    team.in_order()


def test_a_dry_run_and_a_merge_that_git_finished(team: Team) -> None:
    team.parted(VALUE, add("elm", "server"))
    dry, last = LAST.splitlines()
    git(team.alice, "merge", "hosts")
    assert f"re-encrypt  {DB}" in (said := team.sh(dry)) or f"grant       {DB}" in said
    team.sh(MERGE.splitlines()[1])
    team.alice.commit("merged")
    assert "nothing to do" in team.sh(last)
    team.in_order()


def test_both_changed_one_value(team: Team) -> None:
    team.parted(VALUE, key(DB, "db/password", "three"))
    git(team.alice, "merge", "hosts")
    done = team.alice.run("resolve", "--yes")
    assert done.returncode == 1
    assert done.stderr.endswith(CONFLICT)
    (ours,) = [line for line in CONFLICT.splitlines() if "--ours" in line]
    team.sh(ours.removeprefix("nixsecrets: hint: "))
    assert team.alice.ok("cat", DB) == MERGED
    team.alice.commit("merged")
    team.in_order()


@pytest.mark.parametrize("line", CHOICES.splitlines())
def test_both_gave_a_host_a_key(team: Team, line: str) -> None:
    team.parted(other_key("brunnen", "one"), other_key("brunnen", "two"))
    git(team.alice, "merge", "hosts")
    if "--keep-map" in line:
        ours = team.alice.git("show", "HEAD:nixsecrets.toml")
        team.alice.write("nixsecrets.toml", ours)
    team.sh(line)
    team.alice.commit("merged")
    team.in_order()


def test_git_merges_by_itself_and_says_where_it_does_not(team: Team) -> None:
    git_setup(team.alice)
    team.alice.commit("attributes")
    change = several(key(DB, "last", "done"), put(AGE, LINES + "five\n"))
    team.parted(VALUE, change)
    team.sh(SETUP)
    assert team.alice.ok("cat", DB) == MERGED.replace("end", "done")
    assert team.alice.ok("cat", AGE) == LINES + "five\n"
    team.in_order()


def test_the_driver_names_what_both_changed(team: Team) -> None:
    git_setup(team.alice)
    team.alice.commit("attributes")
    team.parted(VALUE, key(DB, "db/password", "three"))
    done = git(team.alice, "merge", "hosts")
    assert done.returncode == 1
    assert DECLINED in done.stderr


def test_a_pull_request_with_a_conflict_is_finished_in_a_clone(team: Team) -> None:
    add("elm", "server")(team.bob)
    team.bob.commit("bob")
    team.bob.git("push", "-q", "origin", "main")
    team.alice.git("checkout", "-q", "-b", "value")
    team.alice.git("config", "push.autoSetupRemote", "true")
    VALUE(team.alice)
    team.alice.commit("alice")
    team.sh(REQUEST)
    team.in_order()
    team.bob.git("pull", "-q", "--ff-only", "origin", "value")
    assert team.bob.ok("cat", DB) == MERGED
