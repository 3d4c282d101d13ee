"""`resolve` at what a merge leaves open, and what it says.

Real git, real age, real sops: every file is opened with every host's own key.
"""

import datetime
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
    Act,
    Parted,
    add,
    edited,
    git,
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
    ours, theirs = (changed_by(base, side) for side in ("main", "side"))
    assert done.stderr.splitlines()[-12:] == [
        f"nixsecrets: error: {DB}: db/password: both sides changed it",
        *(ours, theirs),
        f"nixsecrets: hint: nixsecrets resolve --ours {DB}#db/password",
        f"nixsecrets: hint: nixsecrets resolve --theirs {DB}#db/password",
        f"nixsecrets: hint: nixsecrets resolve --edit {DB}  (both versions in the"
        " editor)",
        f"nixsecrets: error: {AGE}: both sides changed it",
        *(ours, theirs),
        f"nixsecrets: hint: nixsecrets resolve --ours {AGE}",
        f"nixsecrets: hint: nixsecrets resolve --theirs {AGE}",
        f"nixsecrets: hint: nixsecrets resolve --edit {AGE}  (both versions in the"
        " editor)",
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


def changed_by(fleet: Fleet, side: str) -> str:
    """Return the line on who changed something on a side of one commit."""
    name, seconds = fleet.git("log", "-1", "--format=%an %at", side).split()
    day = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).date()
    return f"  {side}: {name}, {day.isoformat()}"


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


def test_who_changed_a_value_is_named_not_who_changed_the_file_last(
    base: Fleet,
) -> None:
    def by(name: str, act: Act) -> Act:
        def acted(fleet: Fleet) -> None:
            act(fleet)
            fleet.env["GIT_AUTHOR_NAME"] = name
            fleet.commit(name)

        return acted

    ours = several(
        by("Ada", key(DB, "db/password", "ours")),
        by("Bob\x1b[31m", key(DB, "last", "done")),
        add("oak", "server"),
    )
    found = parted(base, ours, key(DB, "db/password", "theirs"))
    done = resolve(found)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    at = lines.index(f"nixsecrets: error: {DB}: db/password: both sides changed it")
    assert lines[at + 1].startswith("  main: Ada, ")
    assert lines[at + 2].startswith("  side: Test, ")


def test_a_value_that_one_side_deleted_is_a_conflict_that_says_so(base: Fleet) -> None:
    gone = put(DB, DB_TEXT.replace("    password: one\n", ""))
    found = parted(base, gone, key(DB, "db/password", "two"))
    done = resolve(found)
    what = f"nixsecrets: error: {DB}: db/password: main deleted it, side changed it\n"
    assert what in done.stderr
    done = resolve(found, "--theirs", f"{DB}#db/password")
    assert done.returncode == 0, done.stderr
    assert base.ok("cat", DB, "--key", "db/password") == "two"


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_renamed_key_is_named_by_its_new_name(base: Fleet, side: str) -> None:
    renamed = put(DB, DB_TEXT.replace("password: one", "passphrase: one"))
    found = parted(base, renamed, key(DB, "db/password", "two"))
    done = resolve(found)
    what = "main renamed db/password to it, side changed it"
    assert f"nixsecrets: error: {DB}: db/passphrase: {what}\n" in done.stderr
    before = base.snapshot()
    done = resolve(found, "--ours", f"{DB}#db/password")
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"nixsecrets: error: {DB}: db/password is not in conflict\n"
        "nixsecrets: hint: in conflict: db/passphrase\n"
    )
    assert base.snapshot() == before
    done = resolve(found, f"--{side}", f"{DB}#db/passphrase")
    assert done.returncode == 0, done.stderr
    value = "one" if side == "ours" else "two"
    assert base.ok("cat", DB) == DB_TEXT.replace(
        "password: one", f"passphrase: {value}"
    )


USERS = "users:\n    - name: ann\n      pw: one\n    - name: ben\n      pw: two\n"


def test_a_map_in_a_list_is_merged_by_field(base: Fleet) -> None:
    put(DB, USERS)(base)
    base.commit("users")
    found = parted(
        base,
        put(DB, USERS.replace("one", "our").replace("ben", "bea")),
        put(
            DB, USERS.replace("one", "their").replace("two", "2") + "    - name: cid\n"
        ),
    )
    done = resolve(found)
    assert (
        f"nixsecrets: error: {DB}: users/0/pw: both sides changed it\n" in done.stderr
    )
    assert done.stderr.count("error:") == 1
    done = resolve(found, "--ours", f"{DB}#users/0/pw")
    assert done.returncode == 0, done.stderr
    made = USERS.replace("one", "our").replace("two", "2").replace("ben", "bea")
    assert base.ok("cat", DB) == made + "    - name: cid\n"


def test_a_choice_of_what_is_not_in_conflict_is_an_error(base: Fleet) -> None:
    base.write("README.md", "a\n")
    found = parted(base, BOTH, several(OTHER, key(DB, "last", "done")))
    for choice, said in (
        (
            f"{DB}#db/passwort",
            f"{DB}: db/passwort is not in conflict\nin conflict: db/password",
        ),
        (f"{DB}#last", f"{DB}: last is not in conflict\nin conflict: db/password"),
        (
            "nixsecrets.toml#hosts.oak.keys",
            "neither side changed nixsecrets.toml#hosts.oak.keys\nname a file as"
            " `nixsecrets resolve` lists it, from the map's folder",
        ),
        (
            "secrets/secrets.nix",
            "neither side changed secrets/secrets.nix\nname a file as"
            " `nixsecrets resolve` lists it, from the map's folder",
        ),
        (
            "nixsecrets.lock",
            "nixsecrets.lock is no secret\nnixsecrets writes it from the map",
        ),
    ):
        done = resolve(found, "--theirs", choice)
        error, hint = said.split("\n")
        assert done.stderr.endswith(
            f"nixsecrets: error: {error}\nnixsecrets: hint: {hint}\n"
        ), done.stderr
        assert done.returncode == 2


def test_a_version_in_plaintext_is_encrypted_when_it_is_chosen(base: Fleet) -> None:
    def plain(fleet: Fleet) -> None:
        fleet.write(DB, DB_TEXT.replace("one", "plain"))

    found = parted(base, key(DB, "db/password", "two"), plain)
    done = resolve(found)
    what = "main changed it, side has it in plaintext"
    assert f"nixsecrets: error: {DB}: {what}\n" in done.stderr
    done = resolve(found, "--theirs", DB)
    assert done.returncode == 0, done.stderr
    assert base.ok("cat", DB) == DB_TEXT.replace("one", "plain")
    assert b"plain" not in base.read(DB)
    in_order(base)


def test_a_damaged_version_cannot_be_chosen(base: Fleet) -> None:
    def damage(fleet: Fleet) -> None:
        fleet.write(AGE, fleet.read(AGE)[:60])

    found = parted(base, put(AGE, "new"), damage)
    done = resolve(found)
    assert (
        f"nixsecrets: error: {AGE}: main changed it, side has it damaged\n"
        in done.stderr
    )
    assert f"--theirs {AGE}" not in done.stderr
    done = resolve(found, "--ours", AGE)
    assert done.returncode == 0, done.stderr
    assert base.ok("cat", AGE) == "new"


def test_branches_without_a_common_commit_say_what_to_do(base: Fleet) -> None:
    base.git("checkout", "-q", "--orphan", "side")
    put(DB, DB_TEXT.replace("one", "two"))(base)
    put(AGE, "other\n")(base)
    base.commit("again")
    base.git("checkout", "-q", "main")
    git(base, "merge", "--allow-unrelated-histories", "side")
    found = Parted(base, stopped=True)
    done = resolve(found)
    what = "main created it, side created it"
    assert f"nixsecrets: error: {AGE}: {what}\n" in done.stderr
    assert (
        f"nixsecrets: error: {DB}: db/password: both sides changed it\n" in done.stderr
    )
    done = resolve(found, "--ours", AGE, "--theirs", f"{DB}#db/password")
    assert done.returncode == 0, done.stderr
    assert base.ok("cat", DB) == DB_TEXT.replace("one", "two")
    in_order(base)


def test_what_somebody_wrote_into_the_map_after_the_merge_is_kept(base: Fleet) -> None:
    found = parted(base, key(DB, "last", "done"), remove("schere"))
    assert not found.stopped
    add("oak", "server")(base)
    before = base.snapshot()
    done = resolve(found)
    assert done.stderr.endswith(
        "nixsecrets: error: nixsecrets.toml: it was changed after the merge, and the"
        " merge would undo that\nnixsecrets: hint: nixsecrets resolve --last"
        " --keep-map\n"
    )
    assert base.snapshot() == before
    base.ok("resolve", "--last", "--keep-map", "--yes")
    assert "oak" in base.read("nixsecrets.toml").decode()
