"""`resolve` at what a merge leaves open, and what it says.

Real git, real age, real sops: every file is opened with every host's own key.
"""

from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import copied
from tests.fleet import Fleet, ssh_key
from tests.merge.branches import (
    AGE,
    DB,
    DB_TEXT,
    LINES,
    add,
    edited,
    in_order,
    key,
    larger_fleet,
    parted,
    put,
    remove,
    resolve,
    rotate,
    several,
)


@pytest.fixture(scope="session")
def larger(template: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """More files: each format of sops, several values in one."""
    return larger_fleet(template, tmp_path_factory.mktemp("larger") / "fleet")


@pytest.fixture
def base(larger: Fleet, tmp_path: Path) -> Fleet:
    """A copy of it."""
    return copied(larger, tmp_path / "fleet")


BOTH = several(key(DB, "db/password", "our"), put(AGE, LINES.replace("one", "1")))
OTHER = several(key(DB, "db/password", "their"), put(AGE, LINES.replace("one", "I")))


def test_what_both_sides_changed_stays_open_and_three_commands_settle_each(
    base: Fleet,
) -> None:
    found = parted(base, BOTH, several(OTHER, key(DB, "last", "done")))
    done = resolve(found)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line[:4] != "    "][-8:]
    assert errors == [
        f"nixsecrets: error: {DB}: db/password: both sides changed it",
        f"nixsecrets: hint: nixsecrets resolve --ours {DB}#db/password",
        f"nixsecrets: hint: nixsecrets resolve --theirs {DB}#db/password",
        f"nixsecrets: hint: nixsecrets edit {DB}  (both versions in the editor)",
        f"nixsecrets: error: {AGE}: both sides changed it",
        f"nixsecrets: hint: nixsecrets resolve --ours {AGE}",
        f"nixsecrets: hint: nixsecrets resolve --theirs {AGE}",
        f"nixsecrets: hint: nixsecrets edit {AGE}  (both versions in the editor)",
    ]
    unmerged = {line.split("\t")[1] for line in base.git("ls-files", "-u").splitlines()}
    assert unmerged == {DB, AGE}
    assert base.read(DB) == base.git("show", f"HEAD:{DB}").encode()
    assert base.age_decrypt(AGE, "alice") == LINES.replace("one", "1").encode()
    words = ("--ours", f"{DB}#db/password", "--theirs", AGE)
    done = resolve(found, *words)
    assert done.returncode == 0, done.stderr
    wanted = DB_TEXT.replace("one\n", "our\n").replace("end", "done")
    assert base.ok("cat", DB) == wanted
    assert base.ok("cat", AGE) == LINES.replace("one", "I")
    in_order(base)


@pytest.mark.parametrize("way", ["rebase", "cherry-pick", "stash"])
def test_a_rebase_a_cherry_pick_and_a_stash_are_resolved_alike(
    base: Fleet, way: str
) -> None:
    ours = several(key(DB, "db/password", "two"), add("oak", "server"))
    theirs = several(key(DB, "last", "done"), remove("schere"))
    found = parted(base, ours, theirs, way)
    assert found.stopped
    done = resolve(found)
    assert done.returncode == 0, done.stderr
    wanted = DB_TEXT.replace("one\n", "two\n").replace("end", "done")
    assert base.ok("cat", DB) == wanted
    base.hosts.pop("schere")
    in_order(base, removed=("schere",))


def test_a_second_resolve_changes_no_byte(base: Fleet) -> None:
    ours = several(key(DB, "db/password", "two"), remove("schere"))
    found = parted(base, ours, several(key(DB, "last", "done"), add("elm", "dns")))
    assert resolve(found).returncode == 0
    before = base.snapshot()
    done = resolve(found)
    assert done.returncode == 0, done.stderr
    assert base.snapshot() == before


def test_a_dry_run_shows_the_plan_and_changes_nothing(base: Fleet) -> None:
    found = parted(base, add("oak", "server"), add("elm", "server"))
    before, index = base.snapshot(), base.git("ls-files", "-s")
    done = base.run("resolve", "--dry-run")
    assert done.returncode == 0
    assert "  grant       secrets/app.yaml" in done.stdout
    assert found.stopped
    assert base.snapshot() == before
    assert base.git("ls-files", "-s") == index


def test_what_stays_open_keeps_its_readers_and_a_dry_run_names_it(base: Fleet) -> None:
    ours, theirs = (key(DB, "db/password", word) for word in ("our", "their"))
    found = parted(base, ours, several(theirs, add("elm", "server")))
    for words in (("--dry-run",), ("--yes",)):
        done = base.run("resolve", *words)
        assert done.returncode == 1
        assert f"nixsecrets: error: {DB}: db/password: both sides" in done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        assert [line for line in lines if DB in line and "+elm" in line] == []
    assert resolve(found, "--ours", f"{DB}#db/password").returncode == 0
    in_order(base)


def test_two_new_keys_for_one_host_are_a_question_of_the_map(base: Fleet) -> None:
    other = ssh_key("another")

    def rotated(fleet: Fleet) -> None:
        fleet.ok("rotate-host", "schere", "--key", other.public, "--yes")

    found = parted(base, rotate("schere"), rotated)
    done = resolve(found)
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: nixsecrets.toml: both sides changed the same parts\n"
        "  hosts.schere.keys: main at line 11, side at line 11\n"
        "nixsecrets: hint: nixsecrets resolve"
        " --ours 'nixsecrets.toml#hosts.schere.keys', or"
        " --theirs 'nixsecrets.toml#hosts.schere.keys'\n"
        "nixsecrets: hint: or write nixsecrets.toml as it shall be: nixsecrets resolve"
        " --keep-map\n"
    )
    done = resolve(found, "--ours", "nixsecrets.toml#hosts.schere.keys")
    assert done.returncode == 0, done.stderr
    in_order(base)


def test_a_reader_that_one_side_removed_comes_back_by_no_other_way(base: Fleet) -> None:
    ours = edited('dns = ["schere", "stein"]', 'dns = ["stein"]')
    rule = 'path = "secrets/dns.*"\nreaders = ["dns"'
    theirs = edited(rule, rule + ', "schere"')
    found = parted(base, ours, theirs)
    assert not found.stopped, "git takes both without a question"
    done = resolve(found)
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: the merged map gives readers back whom one side removed:\n"
        "  schere: secrets/dns.age, secrets/dns.yaml\n"
        "nixsecrets: hint: write nixsecrets.toml as it shall be, then:"
        " nixsecrets resolve --last --keep-map\n"
    )
    text = base.read("nixsecrets.toml").decode()
    base.write("nixsecrets.toml", text.replace(', "schere"]', "]"))
    done = resolve(found, "--keep-map")
    assert done.returncode == 0, done.stderr
    in_order(base)


def test_a_choice_names_a_file_that_a_side_changed_also_one_with_a_hash(
    base: Fleet,
) -> None:
    path = "secrets/a #b.age"
    put(path, "base")(base)
    base.commit("odd name")
    found = parted(base, put(path, "ours"), put(path, "theirs"))
    done = resolve(found, "--ours", "secrets/none.age")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "nixsecrets: error: neither side changed secrets/none.age\n"
    )
    assert resolve(found, "--theirs", path).returncode == 0
    assert base.ok("cat", path) == "theirs"


def test_no_value_that_a_side_has_encrypted_comes_out_in_plaintext(base: Fleet) -> None:
    rule = 'path = "secrets/**"\nreaders = ["server"]\n'
    ours = edited(rule, rule + 'sops = { encrypted_regex = "^(last|app|MAIL|key)$" }\n')
    found = parted(base, ours, key(DB, "db/password", "two"))
    assert found.stopped
    done = resolve(found)
    assert done.returncode == 1
    reason = "one side has it encrypted, the sops options of the other do not"
    assert f"nixsecrets: error: {DB}: db/password: {reason}\n" in done.stderr
    assert b"two" not in base.read(DB)


def test_there_is_nothing_to_resolve_without_a_merge(base: Fleet) -> None:
    done = base.run("resolve", "--yes")
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: git is not merging anything\n"
        "nixsecrets: hint: nixsecrets resolve --last looks at the merge that git just"
        " committed\n"
    )
    assert base.run("resolve", "--last").stderr == (
        "nixsecrets: error: HEAD is not a merge, rebase or cherry-pick that git just"
        " finished\n"
        "nixsecrets: hint: nixsecrets status\n"
    )


def test_without_a_key_the_rest_is_merged_and_who_can_open_it_is_named(
    base: Fleet, tmp_path: Path
) -> None:
    found = parted(
        base,
        several(key(DB, "db/password", "two"), add("oak", "server")),
        key(DB, "last", "done"),
    )
    stranger = kit.age_key().write(tmp_path / "stranger")
    base.env["NIXSECRETS_IDENTITY"] = str(stranger)
    done = resolve(found)
    assert done.returncode == 1
    assert f"{DB}: no identity opens" in done.stderr
