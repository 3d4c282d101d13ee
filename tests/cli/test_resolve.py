"""A merge of two branches: values and readers of both, and whoever was removed is out.

Real git, real age, real sops: every file is opened with every host's own key.
"""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import fleet as kit
from tests.cli.conftest import copied
from tests.fleet import Fleet, age_secret, program, ssh_key

YAML, AGE = "secrets/app.yaml", "secrets/wifi.age"
DB = "secrets/db.yaml"
LINES = "line one\nline two\nline three\nline four\n"
DB_TEXT = """\
db:
    # the one of the website
    password: one
    user: web
list:
    - a
    - b
last: end
"""
ENV, INI, JSON = (
    "secrets/mail.env",
    "secrets/mail.ini",
    "secrets/hosts/brunnen/tls.json",
)
Act = Callable[[Fleet], None]


def git(fleet: Fleet, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run git, which stops at conflicts."""
    return subprocess.run(
        [program("git"), *args],
        cwd=fleet.root,
        env=fleet.env | {"GIT_EDITOR": "true"},
        check=False,
        capture_output=True,
        text=True,
    )


def put(path: str, value: str) -> Act:
    return lambda fleet: void(fleet.ok("set", path, "--yes", stdin=value))


def key(path: str, key: str, value: str) -> Act:
    return lambda fleet: void(fleet.ok("set", path, "--key", key, "--yes", stdin=value))


def void(_: object) -> None:
    """Take a result that nobody needs."""


def add(name: str, *groups: str) -> Act:
    def added(fleet: Fleet) -> None:
        fleet.add_host(name)
        options = [word for group in groups for word in ("--group", group)]
        fleet.ok("add-host", name, "--key", fleet.public(name), "--yes", *options)

    return added


def remove(name: str) -> Act:
    words = ("remove-host", name, "--yes", "--allow-revoke")
    return lambda fleet: void(fleet.ok(*words))


def rotate(name: str) -> Act:
    def rotated(fleet: Fleet) -> None:
        fleet.add_host(name, ssh_key(f"{name} anew"))
        fleet.ok("rotate-host", name, "--key", fleet.public(name), "--yes")

    return rotated


def rename(old: str, new: str) -> Act:
    def renamed(fleet: Fleet) -> None:
        fleet.ok("rename-host", old, new, "--yes")
        fleet.add_host(new, fleet.hosts.pop(old))

    return renamed


def edited(old: str, new: str) -> Act:
    """Change the map by hand, and the files as it says."""

    def edit(fleet: Fleet) -> None:
        text = fleet.read("nixsecrets.toml").decode()
        assert old in text
        fleet.write("nixsecrets.toml", text.replace(old, new))
        fleet.ok("rekey", "--yes", "--allow-revoke")

    return edit


def several(*acts: Act) -> Act:
    def every(fleet: Fleet) -> None:
        for act in acts:
            act(fleet)

    return every


class Parted(NamedTuple):
    """A repository in which git has merged, or stopped at it."""

    fleet: Fleet
    stopped: bool


@pytest.fixture(scope="session")
def larger(template: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """More files: each format of sops, several values in one."""
    fleet = copied(template, tmp_path_factory.mktemp("larger") / "fleet")
    put(DB, DB_TEXT)(fleet)
    put(ENV, "MAIL=one\nUSER=web\n")(fleet)
    put(INI, "[mail]\nkey = one\nuser = web\n")(fleet)
    put(AGE, LINES)(fleet)
    fleet.commit("base")
    return fleet


@pytest.fixture
def base(larger: Fleet, tmp_path: Path) -> Fleet:
    """A copy of it."""
    return copied(larger, tmp_path / "fleet")


def parted(fleet: Fleet, ours: Act, theirs: Act, way: str = "merge") -> Parted:
    """Do something in each of two clones, then bring them together by git."""
    other = fleet.root.parent / "other"
    fleet.git("clone", "-q", str(fleet.root), str(other))
    kit.approve_keys(other, fleet.env)
    colleague = dataclasses.replace(fleet, root=other)
    theirs(colleague)
    colleague.commit("theirs")
    fleet.git("fetch", "-q", str(other), "main:side")
    ours(fleet)
    if way == "stash":
        fleet.git("stash", "-q", "-u")
        fleet.git("merge", "-q", "--ff-only", "side")
        return Parted(fleet, git(fleet, "stash", "pop").returncode != 0)
    fleet.commit("ours")
    words = {"merge": ["merge", "--no-edit", "side"], "rebase": ["rebase", "side"]}
    words["cherry-pick"] = ["cherry-pick", "side"]
    return Parted(fleet, git(fleet, *words[way]).returncode != 0)


def resolve(found: Parted, *more: str) -> "subprocess.CompletedProcess[str]":
    last = [] if found.stopped else ["--last"]
    return found.fleet.run("resolve", *last, "--yes", *more)


def in_order(fleet: Fleet, *, removed: tuple[str, ...] = ()) -> None:
    """Nothing is unmerged, `check` is content, and the right keys open every file."""
    assert fleet.git("ls-files", "-u") == ""
    fleet.commit("merged")
    done = fleet.run("check")
    assert done.returncode == 0, done.stdout
    for secret in json.loads(fleet.ok("ls", "--json")):
        path = secret["path"]
        for host in (*fleet.hosts, *removed):
            assert opens(fleet, path, host) == (host in secret["readers"]), (path, host)


def opens(fleet: Fleet, path: str, host: str) -> bool:
    if path.endswith(".age"):
        return fleet.age_opens(path, host)
    secret = age_secret((fleet.keys / host).read_bytes())
    return fleet.sops_opens(path, secret)


class Case(NamedTuple):
    """What each side does, and what must come of it."""

    ours: Act
    theirs: Act
    values: dict[str, str]
    removed: tuple[str, ...] = ()


CASES = {
    "add ‖ add host": Case(add("oak", "server"), add("elm", "server"), {DB: DB_TEXT}),
    "value ‖ value in one file": Case(
        key(DB, "db/password", "two"),
        key(DB, "last", "done"),
        {DB: DB_TEXT.replace("one\n", "two\n").replace("end", "done")},
    ),
    "a key at the end ‖ another one": Case(
        key(DB, "new", "ours"),
        key(DB, "newer", "theirs"),
        {DB: DB_TEXT + "new: ours\nnewer: theirs\n"},
    ),
    "the same value on both sides": Case(
        key(DB, "db/password", "two"),
        key(DB, "db/password", "two"),
        {DB: DB_TEXT.replace("one\n", "two\n")},
    ),
    "remove ‖ add host": Case(
        remove("schere"), add("elm", "dns"), {DB: DB_TEXT}, ("schere",)
    ),
    "remove ‖ edit of sops": Case(
        remove("schere"),
        key("secrets/dns.yaml", "dns", "new"),
        {"secrets/dns.yaml": "dns: new\n"},
        ("schere",),
    ),
    "edit of age ‖ remove": Case(
        put("secrets/dns.age", "new"),
        remove("schere"),
        {"secrets/dns.age": "new"},
        ("schere",),
    ),
    "remove and value ‖ remove and value": Case(
        several(remove("schere"), key("secrets/dns.yaml", "dns", "new")),
        several(remove("stein"), key("secrets/dns.yaml", "more", "yes")),
        {"secrets/dns.yaml": 'dns: new\nmore: "yes"\n'},
        ("schere", "stein"),
    ),
    "grant ‖ edit": Case(
        add("oak", "server"),
        several(key(DB, "last", "done"), put(AGE, LINES + "five\n")),
        {DB: DB_TEXT.replace("end", "done"), AGE: LINES + "five\n"},
    ),
    "lines of an age file": Case(
        put(AGE, LINES.replace("one", "1")),
        put(AGE, LINES.replace("four", "4")),
        {AGE: LINES.replace("one", "1").replace("four", "4")},
    ),
    "every format": Case(
        several(
            key(ENV, "MAIL", "two"), key(INI, "mail/key", "two"), key(JSON, "key", "a")
        ),
        several(
            key(ENV, "USER", "me"), key(INI, "mail/user", "me"), key(JSON, "new", "b")
        ),
        {
            ENV: "MAIL=two\nUSER=me\n",
            INI: "[mail]\nkey  = two\nuser = me\n",
            JSON: '{\n\t"key": "a",\n\t"new": "b"\n}\n',
        },
    ),
    "rename-host ‖ set": Case(
        rename("brunnen", "quelle"),
        key(JSON, "key", "new"),
        {"secrets/hosts/quelle/tls.json": '{\n\t"key": "new"\n}\n'},
    ),
    "remove ‖ new file": Case(
        remove("schere"), put("secrets/dns.new.age", "v"), {}, ("schere",)
    ),
    "grant of a file ‖ remove": Case(
        edited('dns = ["schere", "stein"]', 'dns = ["schere", "stein", "brunnen"]'),
        remove("schere"),
        {},
        ("schere",),
    ),
    "rotate ‖ edit": Case(
        rotate("schere"),
        key("secrets/dns.yaml", "dns", "new"),
        {"secrets/dns.yaml": "dns: new\n"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_merge_of_ordinary_work_is_resolved(base: Fleet, case: Case) -> None:
    found = parted(base, case.ours, case.theirs)
    done = resolve(found)
    assert done.returncode == 0, done.stderr
    for path, value in case.values.items():
        assert base.ok("cat", path) == value
    for name in case.removed:
        base.hosts.pop(name)
    in_order(base, removed=case.removed)


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
        "nixsecrets: error: HEAD is not a merge of two commits\n"
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
