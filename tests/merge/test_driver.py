"""git merges secrets with the driver that `git-setup` installs.

Real git, age and sops; two clones.  What the driver cannot decide it leaves to
`resolve`, with our version on the disk.
"""

import dataclasses
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import copied
from tests.edit.helpers import git_setup
from tests.fleet import Fleet, program, run_program
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
    opens,
    parted,
    put,
    remove,
    resolve,
    rotate,
    several,
    void,
)

DNS, DNS_AGE = "secrets/dns.yaml", "secrets/dns.age"
WAYS = ("merge", "rebase", "stash")
ALL_WAYS = (*WAYS, "cherry-pick")


@pytest.fixture(scope="session")
def driven(larger: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A fleet in which git merges with our driver."""
    fleet = copied(larger, tmp_path_factory.mktemp("driven") / "fleet")
    git_setup(fleet)
    fleet.commit("attributes")
    return fleet


@pytest.fixture
def base(driven: Fleet, tmp_path: Path) -> Fleet:
    """A copy of it."""
    return copied(driven, tmp_path / "fleet")


def merged(fleet: Fleet, ours: Act, theirs: Act, way: str = "merge") -> Fleet:
    """Bring both together; git must not stop."""
    found = parted(fleet, ours, theirs, way)
    assert not found.stopped, fleet.git("status")
    return fleet


@pytest.mark.parametrize("way", ALL_WAYS)
def test_two_values_of_one_file_merge_without_a_command(base: Fleet, way: str) -> None:
    merged(base, key(DB, "db/password", "two"), key(DB, "last", "done"), way)
    wanted = DB_TEXT.replace("one\n", "two\n").replace("end", "done")
    assert base.ok("cat", DB) == wanted
    in_order(base)


@pytest.mark.parametrize("way", WAYS)
def test_whoever_a_side_removed_opens_nothing_that_the_other_edited(
    base: Fleet, way: str
) -> None:
    edit = several(key(DNS, "dns", "new"), put(DNS_AGE, "newer"))
    merged(base, remove("schere"), edit, way)
    assert base.ok("cat", DNS) == "dns: new\n"
    assert base.ok("cat", DNS_AGE) == "newer"
    base.hosts.pop("schere")
    in_order(base, removed=("schere",))


@pytest.mark.parametrize("way", WAYS)
def test_the_lock_knows_the_files_that_later_starts_of_the_driver_write(
    base: Fleet, way: str
) -> None:
    ours = put(AGE, LINES.replace("one", "1"))
    theirs = put(AGE, LINES.replace("four", "4"))
    merged(base, ours, theirs, way)
    assert base.ok("cat", AGE) == LINES.replace("one", "1").replace("four", "4")
    assert base.ok("check") == ""
    in_order(base)


@pytest.mark.parametrize("way", WAYS)
def test_removals_on_both_sides_win_over_values_of_both(base: Fleet, way: str) -> None:
    ours = several(remove("schere"), key(DNS, "dns", "new"))
    theirs = several(remove("stein"), key(DNS, "more", "text"))
    merged(base, ours, theirs, way)
    for name in ("schere", "stein"):
        base.hosts.pop(name)
    in_order(base, removed=("schere", "stein"))


def test_a_key_that_this_clone_has_not_approved_gets_no_file(base: Fleet) -> None:
    found = parted(base, add("oak", "server"), add("elm", "server"))
    assert found.stopped
    for path in (DB, AGE):
        assert base.read(path) == shown(base, f"HEAD:{path}")
    assert resolve(found).returncode == 0
    in_order(base)


def shown(fleet: Fleet, what: str) -> bytes:
    """Return a blob; an age file is not text."""
    return run_program(
        program("git"), "cat-file", "blob", what, cwd=fleet.root, env=fleet.env
    )


# --- what it declines ---------------------------------------------------------------

VALUES = (key(DB, "db/password", "two"), key(DB, "last", "done"))


def declined(fleet: Fleet, ours: Act, theirs: Act, *paths: str) -> Parted:
    """Let git stop at `paths`, each with our version on the disk."""
    found = parted(fleet, ours, theirs)
    assert found.stopped
    assert unmerged(fleet) == set(paths)
    for path in paths:
        assert fleet.read(path) == shown(fleet, f"HEAD:{path}")
    return found


def unmerged(fleet: Fleet) -> set[str]:
    """Return the paths that git left unmerged."""
    listed = fleet.git("ls-files", "-u", "-z").split("\0")[:-1]
    return {line.split("\t")[1] for line in listed}


def test_without_a_key_ours_stays_and_somebody_with_one_finishes(base: Fleet) -> None:
    alice = dict(base.env)
    stranger = kit.age_key().write(base.home / "stranger")

    def forget(fleet: Fleet) -> None:
        VALUES[0](fleet)
        fleet.env["NIXSECRETS_IDENTITY"] = str(stranger)

    found = declined(base, forget, VALUES[1], DB)
    assert resolve(found).returncode == 1
    base.env.update(alice)
    assert resolve(found).returncode == 0
    in_order(base)


def test_a_key_with_a_passphrase_is_not_asked_for(base: Fleet) -> None:
    locked = kit.ssh_key("locked alice", passphrase="correct horse")
    name = "alice2"
    base.ok("add-user", name, "--key", locked.public, "--group", "server", "--yes")
    base.commit("alice2")

    def forget(fleet: Fleet) -> None:
        VALUES[0](fleet)
        locked.write(fleet.home / ".ssh/id_ed25519")
        del fleet.env["NIXSECRETS_IDENTITY"]

    declined(base, forget, VALUES[1], DB)


def test_what_both_sides_changed_stays_and_resolve_names_it(base: Fleet) -> None:
    ours = several(VALUES[0], put(AGE, "\x00\x01ours"))
    theirs = several(key(DB, "db/password", "their"), put(AGE, "\x00\x01theirs"))
    found = declined(base, ours, theirs, DB, AGE)
    done = resolve(found, "--theirs", f"{DB}#db/password", "--ours", AGE)
    assert done.returncode == 0, done.stderr
    assert base.ok("cat", DB) == DB_TEXT.replace("one\n", "their\n")
    assert base.ok("cat", AGE) == "\x00\x01ours"
    in_order(base)


def test_git_says_why_it_stopped_once_for_each_reason(base: Fleet) -> None:
    found = parted(base, add("oak", "server"), add("elm", "server"))
    git(base, "merge", "--abort")
    said = git(base, "merge", "side").stderr.splitlines()
    assert found.stopped
    assert said == [
        "nixsecrets: secrets/wifi.age: not approved in this clone: the key of elm;"
        " run nixsecrets resolve"
    ]


def test_two_new_keys_for_one_host_stop_git_at_every_file(base: Fleet) -> None:
    other = kit.ssh_key("another")

    def rotated(fleet: Fleet) -> None:
        fleet.ok("rotate-host", "schere", "--key", other.public, "--yes")

    public = ("nixsecrets.toml", "nixsecrets.lock", ".sops.yaml", "secrets/secrets.nix")
    found = declined(base, rotate("schere"), rotated, DNS, DNS_AGE, *public)
    done = resolve(found, "--ours", "nixsecrets.toml#hosts.schere.keys")
    assert done.returncode == 0, done.stderr
    in_order(base)


# --- somebody else's branch ---------------------------------------------------------


def test_a_branch_adds_no_reader_unseen(base: Fleet) -> None:
    mallory = kit.age_key()

    def evil(fleet: Fleet) -> None:
        words = ("--key", mallory.public, "--group", "dns", "--yes", "--allow-revoke")
        fleet.ok("add-user", "mallory", *words)

    ours = several(key(DNS, "dns", "secret"), put(DNS_AGE, "secret"))
    declined(base, ours, evil, DNS, DNS_AGE)
    assert not base.sops_opens(DNS, mallory.private)


def test_a_branch_brings_no_reader_back(base: Fleet) -> None:
    ours = edited('dns = ["schere", "stein"]', 'dns = ["stein"]')
    rule = 'path = "secrets/dns.*"\nreaders = ["dns"'
    found = parted(base, ours, edited(rule, rule + ', "schere"'))
    assert found.stopped
    for path in (DNS, DNS_AGE):
        assert not opens(base, path, "schere")
    assert base.read("nixsecrets.toml") == shown(base, "HEAD:nixsecrets.toml")


def test_a_side_that_git_does_not_merge_is_not_believed(base: Fleet) -> None:
    """A variable of the environment, or an old stash, name another commit."""
    other = edited('dns = ["schere", "stein"]', 'dns = ["schere", "stein", "brunnen"]')
    base.git("checkout", "-q", "-b", "evil")
    other(base)
    base.commit("evil")
    evil = base.git("rev-parse", "HEAD").strip()
    base.git("checkout", "-q", "main")
    base.env[f"GITHEAD_{evil}"] = "evil"
    ours, theirs = key(DNS, "dns", "new"), key(DNS, "more", "text")
    merged(base, ours, theirs, "cherry-pick")
    assert not opens(base, DNS, "brunnen")
    assert base.ok("cat", DNS) == "dns: new\nmore: text\n"


# --- git's own ways -----------------------------------------------------------------


def test_a_revert_takes_back_one_value_and_keeps_the_later_one(base: Fleet) -> None:
    for act in VALUES:
        act(base)
        base.commit("a value")
    assert git(base, "revert", "--no-edit", "HEAD~1").returncode == 0
    assert base.ok("cat", DB) == DB_TEXT.replace("end", "done")
    in_order(base)


def test_every_commit_of_a_rebase_is_merged_under_its_own_map(base: Fleet) -> None:
    def three(fleet: Fleet) -> None:
        for act in (remove("schere"), key(DNS, "dns", "new"), put(DNS_AGE, "new")):
            act(fleet)
            fleet.commit("step")

    merged(base, three, several(key(DNS, "more", "text"), VALUES[0]), "rebase")
    assert base.ok("cat", DNS) == "dns: new\nmore: text\n"
    base.hosts.pop("schere")
    in_order(base, removed=("schere",))


def crossed(fleet: Fleet, ours: Act, theirs: Act) -> None:
    """Two branches that merge each other: `main` and `side` have two merge bases."""
    fleet.git("checkout", "-q", "-b", "side")
    theirs(fleet)
    fleet.commit("theirs")
    fleet.git("checkout", "-q", "main")
    ours(fleet)
    fleet.commit("ours")
    fleet.git("tag", "first")
    fleet.git("merge", "-q", "--no-edit", "side")
    fleet.git("checkout", "-q", "side")
    fleet.git("merge", "-q", "--no-edit", "first")


def test_several_merge_bases_are_left_to_resolve(base: Fleet) -> None:
    crossed(base, *VALUES)
    key(DB, "db/user", "their")(base)
    base.commit("theirs again")
    base.git("checkout", "-q", "main")
    key(DB, "db/user", "our")(base)
    base.commit("ours again")
    done = git(base, "merge", "--no-edit", "side")
    assert done.returncode != 0
    assert f"{DB}: the branches have several merge bases; run" in done.stderr
    assert base.read(DB) == shown(base, f"HEAD:{DB}")


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_whom_a_side_removed_since_any_merge_base_stays_out(
    base: Fleet, which: str
) -> None:
    grant = several(add("elm", "dns"), key(DNS, "more", "text"))
    acts = (grant, VALUES[0]) if which == "ours" else (VALUES[0], grant)
    crossed(base, *acts)
    put(DNS_AGE, "after")(base)
    key(DNS, "dns", "after")(base)
    base.commit("theirs again")
    base.git("checkout", "-q", "main")
    several(remove("elm"), key(DNS, "dns", "our"))(base)
    base.commit("ours again")
    assert git(base, "merge", "--no-edit", "side").returncode != 0
    done = base.run("resolve", "--yes", "--ours", f"{DNS}#dns")
    if done.returncode != 0:
        message = "the merged map gives readers back whom one side removed"
        assert message in done.stderr
        theirs = base.git("show", "HEAD:nixsecrets.toml")
        base.write("nixsecrets.toml", theirs)
        words = ("resolve", "--yes", "--keep-map", "--ours", f"{DNS}#dns")
        base.ok(*words)
    base.hosts.pop("elm")
    in_order(base, removed=("elm",))


def test_files_that_are_no_secrets_merge_as_without_a_driver(base: Fleet) -> None:
    text = base.read("nixsecrets.toml").decode()
    rule = 'path = "secrets/**"\nreaders = ["server"]\n'
    base.write("nixsecrets.toml", text.replace(rule, rule + 'plaintext = "allowed"\n'))
    base.write("secrets/notes.txt", LINES)
    base.commit("notes")

    def line(old: str, new: str) -> Act:
        return lambda fleet: void(
            fleet.write("secrets/notes.txt", LINES.replace(old, new))
        )

    merged(base, line("one", "1"), line("four", "4"))
    wanted = LINES.replace("one", "1").replace("four", "4")
    assert base.read("secrets/notes.txt").decode() == wanted
    line("two", "2")(base)
    base.commit("ours")
    base.git("checkout", "-q", "-b", "more", "HEAD~1")
    line("two", "II")(base)
    base.commit("theirs")
    assert git(base, "merge", "main").returncode != 0
    assert b"\n<<<<<<< " in base.read("secrets/notes.txt")


ODD = ("a b", "-x", "$(touch x)'", "a\nb", '${HOME}"q', "%P %A", "ä", "\\", ";x", "--")


@pytest.mark.parametrize("name", ODD)
def test_a_file_may_have_any_name(base: Fleet, name: str) -> None:
    sops, age = f"secrets/{name}.yaml", f"secrets/{name}.age"
    put(sops, "one: 1\ntwo: 2\n")(base)
    put(age, LINES)(base)
    base.commit("odd")
    ours = several(key(sops, "one", "I"), put(age, LINES.replace("one", "1")))
    theirs = several(key(sops, "two", "II"), put(age, LINES.replace("four", "4")))
    merged(base, ours, theirs)
    assert base.ok("cat", sops) == "one: I\ntwo: II\n"
    assert base.ok("cat", age) == LINES.replace("one", "1").replace("four", "4")
    in_order(base)


def test_a_map_in_a_folder_merges_as_one_at_the_top(base: Fleet) -> None:
    names = base.git("ls-files").splitlines()
    (base.root / "a fleet").mkdir()
    for top in {name.split("/")[0] for name in names}:
        (base.root / top).rename(base.root / "a fleet" / top)
    base.ok("-C", str(base.root / "a fleet"), "git-setup")
    base.commit("moved")
    inner = dataclasses.replace(base, root=base.root / "a fleet")
    base.git("checkout", "-q", "-b", "side")
    several(VALUES[1], put(AGE, LINES.replace("four", "4")))(inner)
    base.commit("theirs")
    base.git("checkout", "-q", "main")
    several(VALUES[0], put(AGE, LINES.replace("one", "1")), remove("schere"))(inner)
    base.commit("ours")
    assert git(base, "merge", "--no-edit", "side").returncode == 0
    assert inner.ok("check") == ""
    assert inner.ok("cat", AGE) == LINES.replace("one", "1").replace("four", "4")


@pytest.mark.parametrize("call", [1, 3, 4, 6])
def test_killed_in_its_middle_it_leaves_no_plaintext(
    base: Fleet, tmp_path: Path, call: int
) -> None:
    """Real sops, whose caller is killed after it has answered."""
    count = tmp_path / "count"
    count.mkdir()
    sops = tmp_path / "bin" / "sops"
    sops.parent.mkdir()
    real = tmp_path / "real"
    real.symlink_to(kit.sops_path())
    sops.write_text(
        f'#!/bin/sh\n"{real}" "$@"; code=$?\nmktemp -p "{count}" >/dev/null\n'
        f'[ "$(ls "{count}" | wc -l)" = {call} ] && kill -9 $PPID\nexit $code\n'
    )
    sops.chmod(0o755)
    path = base.env["PATH"]

    def armed(fleet: Fleet) -> None:
        key(DB, "db/password", "canary-of-ours")(fleet)
        fleet.env["PATH"] = f"{sops.parent}:{path}"

    found = parted(base, armed, key(DB, "last", "canary-of-theirs"))
    base.env["PATH"] = path
    assert found.stopped
    assert len(list(count.iterdir())) >= call
    for place in base.root.parent.rglob("*"):
        if place.is_file() and not place.is_relative_to(base.home):
            assert b"canary-of" not in place.read_bytes(), place
    git(base, "merge", "--abort")
    assert git(base, "merge", "--no-edit", "side").returncode == 0
    assert "canary-of-theirs" in base.ok("cat", DB)
    in_order(base)


@pytest.mark.parametrize("way", WAYS)
def test_an_operator_with_an_ssh_key_merges_alike(base: Fleet, way: str) -> None:
    bob = kit.ssh_key("bob")
    base.add_user("bob", bob)
    base.ok("add-user", "bob", "--key", bob.public, "--yes")
    edited('always = ["alice"]', 'always = ["alice", "bob"]')(base)
    base.operate_as("bob")
    base.commit("bob")
    ours = several(remove("schere"), put(AGE, LINES.replace("one", "1")))
    edits = several(key(DNS, "dns", "new"), put(DNS_AGE, "newer"))
    theirs = several(edits, put(AGE, LINES.replace("four", "4")))
    found = parted(base, ours, theirs, way, colleague="bob")
    assert not found.stopped
    assert base.ok("cat", DNS_AGE) == "newer"
    assert base.ok("cat", AGE) == LINES.replace("one", "1").replace("four", "4")
    base.hosts.pop("schere")
    in_order(base, removed=("schere",))


def test_a_key_in_a_file_cannot_control_the_terminal(base: Fleet) -> None:
    path = "secrets/odd.json"

    def value(text: str) -> Act:
        return put(path, '{"\\u001b]0;owned\\u0007\\nx": "' + text + '"}')

    value("one")(base)
    base.commit("odd")
    declined(base, value("two"), value("three"), path)
    git(base, "merge", "--abort")
    said = git(base, "merge", "side").stderr
    assert said == (
        "nixsecrets: secrets/odd.json: \\x1b]0;owned\\x07\\nx: both sides changed it;"
        " run nixsecrets resolve\n"
    )


def test_the_first_start_alone_loads_the_program(base: Fleet) -> None:
    ours = several(VALUES[0], put(AGE, LINES.replace("one", "1")), remove("schere"))
    edits = several(key(DNS, "dns", "new"), put(DNS_AGE, "newer"))
    merged(base, ours, several(VALUES[1], edits, put(AGE, LINES.replace("four", "4"))))
    git(base, "reset", "-q", "--hard", "HEAD~1")
    base.env["PYTHONPROFILEIMPORTTIME"] = "1"
    said = git(base, "merge", "-q", "--no-edit", "side").stderr
    loaded = [line.rpartition("|")[2].strip() for line in said.splitlines()]
    files = (DB, AGE, DNS, DNS_AGE, "nixsecrets.lock")
    assert loaded.count("nixsecrets.repo.gitunlock.client") == len(files)
    assert loaded.count("nixsecrets.cli.main") == 1
    assert loaded.count("pathlib") == 1


def test_a_cherry_pick_stops_at_what_its_files_alone_do_not_say(base: Fleet) -> None:
    found = parted(base, add("oak", "server"), add("elm", "server"), "cherry-pick")
    assert found.stopped
    git(base, "cherry-pick", "--abort")
    said = git(base, "cherry-pick", "side").stderr.splitlines()
    reasons = {line.split(": ", 2)[2] for line in said if line.startswith("nixsecrets")}
    assert reasons == {
        "its versions alone do not say who reads them; run nixsecrets resolve",
        "it is written from the merged map; run nixsecrets resolve",
        "it has a reader whom nixsecrets.toml of this side does not name;"
        " run nixsecrets resolve",
    }
    for path in (DB, AGE, ".sops.yaml"):
        assert base.read(path) == shown(base, f"HEAD:{path}")
    assert resolve(found).returncode == 0
    in_order(base)
