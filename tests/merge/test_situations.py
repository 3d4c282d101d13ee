"""What two people do at the same time, in two clones, and what comes of it.

Each situation is brought together by `git merge` and by one other way, by the merge
driver and by `resolve` alone (in all ways with NIXSECRETS_SITUATIONS=all), by people
with age keys, whose stanzas are anonymous, and with ssh keys; a machine is removed in
one run, a person in the other.  Every change is made in an age file and in a sops file
of each format.  Then real age and real sops open every file with the key of everybody
who shall, and with no other.
"""

import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests import fleet as kit
from tests.cli.conftest import copied
from tests.edit.helpers import git_setup
from tests.fleet import Fleet, age_key, age_secret, make_fleet, program, ssh_key
from tests.merge.branches import (
    Act,
    Parted,
    add,
    edited,
    git,
    parted,
    put,
    rename,
    resolve,
    rotate,
    several,
)

ALL = os.environ.get("NIXSECRETS_SITUATIONS") == "all"
KEEP_MAP = "--keep-map"
WAYS = ("merge", "rebase", "cherry-pick", "stash")
FORMATS = ("yaml", "json", "env", "ini")
KINDS = (*FORMATS, "txt", "age")
OWN = "secrets/hosts/brunnen/tls.json"
FILLER = "\n".join(f"line {n}" for n in range(4)) + "\n"
RULES = """
[sops]
config = ".sops.yaml"

[agenix]
rules = "secrets/secrets.nix"

[groups]
admins = ["alice", "bob"]
dns = ["schere", "stein", "carol"]
server = ["brunnen"]

[[secrets]]
path = "secrets/dns/**"
readers = ["dns"]

[[secrets]]
path = "secrets/hosts/{host}/**"
readers = ["{host}"]

[[secrets]]
path = "secrets/**"
readers = ["server"]
"""
DNS_RULE = 'path = "secrets/dns/**"\nreaders = ["dns"'


# --- the repository -----------------------------------------------------------------


def where(kind: str) -> str:
    return f"secrets/dns/a.{kind}"


def text(kind: str, values: dict[str, str]) -> str:
    """Return the plaintext of a file as `cat` prints it."""
    match kind:
        case "json":
            return json.dumps(values, indent="\t") + "\n"
        case "env":
            return "".join(f"{key}={value}\n" for key, value in values.items())
        case "ini":
            lines = [f"{key} = {value}\n" for key, value in values.items()]
            return "".join(["[dns]\n", *lines])
        case "yaml":
            return "".join(f"{key}: {value}\n" for key, value in values.items())
        case _:
            return FILLER.join(f"{key}: {value}\n" for key, value in values.items())


START = {"one": "a-canary", "two": "b-canary"}


def make(base: Path, keys: str) -> Fleet:
    """Return a fleet of alice, bob and carol, who have keys of that kind."""
    fleet = make_fleet(base, hosts=("brunnen", "schere", "stein"), users=())
    for name in ("alice", "bob", "carol"):
        fleet.add_user(name, age_key() if keys == "age" else ssh_key(name))
    fleet.operate_as("alice")
    fleet.write_map(RULES, always=("admins",))
    fleet.ok("sync")
    for kind in KINDS:
        put(where(kind), text(kind, START))(fleet)
    put("secrets/wifi.age", "wifi-canary")(fleet)
    put("secrets/app.yaml", "app: app-canary\n")(fleet)
    put(OWN, '{"key": "tls-canary"}')(fleet)
    fleet.commit("base")
    return fleet


@pytest.fixture(scope="session")
def templates(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str], Fleet]:
    """A repository for each kind of keys, without and with the merge driver."""
    found: dict[tuple[str, str], Fleet] = {}
    for keys in ("age", "ssh"):
        fleet = make(tmp_path_factory.mktemp(keys) / "fleet", keys)
        driven = copied(fleet, tmp_path_factory.mktemp(f"{keys}-driven") / "fleet")
        git_setup(driven)
        driven.commit("attributes")
        found |= {(keys, "alone"): fleet, (keys, "driver"): driven}
    return found


# --- what people do -----------------------------------------------------------------


def values(*kinds: str, **changes: str) -> Act:
    """Change values, or append them, in files of these kinds (none: of every kind)."""

    def change(fleet: Fleet) -> None:
        for kind in kinds or KINDS:
            path = where(kind)
            if kind in FORMATS:
                for key, value in changes.items():
                    name = f"dns/{key}" if kind == "ini" else key
                    fleet.ok("set", path, "--key", name, "--yes", stdin=value)
                continue
            found = fleet.ok("cat", path)
            for key, value in changes.items():
                found = re.sub(rf"^{key}: .*$", f"{key}: {value}", found, flags=re.M)
            fleet.ok("set", path, "--yes", stdin=found)

    return change


def leave(name: str) -> Act:
    """Remove a machine or a person."""

    def left(fleet: Fleet) -> None:
        command = "remove-host" if name in fleet.hosts else "remove-user"
        fleet.ok(command, name, "--yes", "--allow-revoke")

    return left


def new_key(name: str) -> Act:
    """Replace the key of a machine or a person."""

    def replaced(fleet: Fleet) -> None:
        if name in fleet.hosts:
            rotate(name)(fleet)
            return
        key = fleet.add_user(name, age_key())
        fleet.ok("rotate-user", name, "--key", key.public, "--yes", "--allow-revoke")

    return replaced


def out_of_group(name: str) -> Act:
    """Take somebody out of the group, by hand."""
    names = ["schere", "stein", "carol"]
    left = [one for one in names if one != name]
    return edited(f"dns = {json.dumps(names)}", f"dns = {json.dumps(left)}")


# --- the situations -----------------------------------------------------------------


class Situation(NamedTuple):
    """What each side does, and what must come of it.

    `values` are those of the merged files (of these `kinds`) that differ from the
    start; `settle`, where there is a conflict, the options that settle it.
    """

    ours: Act
    theirs: Act
    values: Mapping[str, str] = MappingProxyType({})
    removed: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    settle: tuple[str, ...] = ()
    more: Mapping[str, str] = MappingProxyType({})


def situations(who: str) -> dict[str, Situation]:
    """Return them; `who` is removed where somebody is."""
    names = ["schere", "stein", "carol"]
    stays = "stein"
    return {
        "add host ‖ add host": Situation(add("oak", "dns"), add("elm", "dns")),
        "value ‖ another value": Situation(
            values(one="mine"),
            values(two="theirs"),
            values={"one": "mine", "two": "theirs"},
        ),
        "value ‖ the same value": Situation(
            values(one="both"), values(one="both"), values={"one": "both"}
        ),
        "value ‖ that value otherwise": Situation(
            values("yaml", "age", one="mine"),
            values("yaml", "age", one="theirs"),
            values={"one": "mine"},
            kinds=("yaml", "age"),
            settle=(f"{where('yaml')}#one", where("age")),
        ),
        "key at the end ‖ another one": Situation(
            values(*FORMATS, new="mine"),
            values(*FORMATS, ner="theirs"),
            values={"new": "mine", "ner": "theirs"},
            kinds=FORMATS,
        ),
        "remove ‖ add host": Situation(leave(who), add("elm", "dns"), removed=(who,)),
        "remove ‖ edit": Situation(
            leave(who), values(one="new"), values={"one": "new"}, removed=(who,)
        ),
        "edit ‖ remove": Situation(
            values(one="new"), leave(who), values={"one": "new"}, removed=(who,)
        ),
        "remove A, value ‖ remove B, value": Situation(
            several(leave(who), values(one="mine")),
            several(leave(stays), values(two="theirs")),
            values={"one": "mine", "two": "theirs"},
            removed=(who, stays),
        ),
        "grant ‖ edit": Situation(
            add("oak", "dns"), values(two="new"), values={"two": "new"}
        ),
        "edit ‖ grant": Situation(
            values(two="new"), add("oak", "dns"), values={"two": "new"}
        ),
        "rename-host ‖ set": Situation(
            rename("brunnen", "quelle"),
            put(OWN, '{"key": "new"}'),
            more={"secrets/hosts/quelle/tls.json": '{\n\t"key": "new"\n}\n'},
        ),
        "set ‖ rename-host": Situation(
            put(OWN, '{"key": "new"}'),
            rename("brunnen", "quelle"),
            more={"secrets/hosts/quelle/tls.json": '{\n\t"key": "new"\n}\n'},
        ),
        "group split ‖ add-host": Situation(
            edited(
                f"dns = {json.dumps(names)}",
                'dns = ["schere"]\ndns2 = ["stein", "carol"]',
                *(DNS_RULE, DNS_RULE + ', "dns2"'),
            ),
            add("elm", "dns"),
        ),
        "rotate ‖ edit": Situation(
            new_key(who), values(one="new"), values={"one": "new"}
        ),
        "rotate A ‖ rotate B": Situation(new_key(who), new_key(stays)),
        "remove ‖ new file": Situation(
            leave(who),
            several(put("secrets/dns/b.age", "v"), put("secrets/dns/b.env", "K=v\n")),
            more={"secrets/dns/b.age": "v", "secrets/dns/b.env": "K=v\n"},
            removed=(who,),
        ),
        "remove ‖ grant of a file": Situation(
            leave(who),
            edited(
                DNS_RULE,
                f'path = "{where("yaml")}"\nreaders = ["dns", "brunnen"]\n\n'
                f"[[secrets]]\n{DNS_RULE}",
            ),
            removed=(who,),
        ),
        "remove ‖ rotate the same": Situation(leave(who), new_key(who), removed=(who,)),
        "rotate the same ‖ remove": Situation(new_key(who), leave(who), removed=(who,)),
        "out of the group ‖ named directly": Situation(
            out_of_group(who),
            edited(DNS_RULE, f'{DNS_RULE}, "{who}"'),
            removed=(who,),
            settle=(KEEP_MAP,),
        ),
        "out of the group ‖ in a new group": Situation(
            out_of_group(who),
            edited(
                'server = ["brunnen"]',
                f'server = ["brunnen"]\nmore = ["{who}"]',
                *(DNS_RULE, DNS_RULE + ', "more"'),
            ),
            removed=(who,),
            settle=(KEEP_MAP,),
        ),
        "out of the group ‖ in always": Situation(
            out_of_group(who),
            edited('always = ["admins"]', f'always = ["admins", "{who}"]'),
            removed=(who,),
            settle=(KEEP_MAP,),
        ),
    }


UNNOTICED = (
    "out of the group ‖ named directly",
    "out of the group ‖ in a new group",
    "out of the group ‖ in always",
)


class Run(NamedTuple):
    """How a situation is brought together."""

    name: str
    way: str
    keys: str
    who: str
    driver: str

    def __str__(self) -> str:
        return "-".join((self.name, *self[1:]))


def runs() -> Iterator[Run]:
    """Yield each situation in two ways that differ in everything, or in all."""
    every = (WAYS, ("age", "ssh"), ("schere", "carol"), ("alone", "driver"))
    for number, name in enumerate(situations("schere")):
        # a stash that git pops without a conflict leaves no trace of what it was
        ways = WAYS[:3] if name in UNNOTICED else WAYS
        if ALL:
            for way, *rest in itertools.product(*every):
                if way in ways:
                    yield Run(name, way, *rest)
            continue
        two = [("ssh", "schere", "alone"), ("age", "carol", "driver")]
        if number % 2:
            two = [("age", "carol", "alone"), ("ssh", "schere", "driver")]
        if number % 4 > 1:
            two.reverse()
        yield Run(name, "merge", *two[0])
        yield Run(name, ways[1 + number % (len(ways) - 1)], *two[1])


@pytest.mark.parametrize("run", list(runs()), ids=str)
def test_what_two_people_did_is_one_afterwards(
    templates: dict[tuple[str, str], Fleet], tmp_path: Path, run: Run
) -> None:
    fleet = copied(templates[run.keys, run.driver], tmp_path / "fleet")
    case = situations(run.who)[run.name]
    found = parted(fleet, case.ours, case.theirs, run.way, colleague="bob")
    if found.stopped or run.way != "stash":
        settled(found, run, case)
    finish(found, run.way)
    wanted = START | dict(case.values)
    for kind in KINDS:
        shall = wanted if kind in case.kinds else START
        assert fleet.ok("cat", where(kind)) == text(kind, shall)
    for path, value in case.more.items():
        assert fleet.ok("cat", path) == value
    in_order(fleet, case.removed)


def settled(found: Parted, run: Run, case: Situation) -> None:
    """Resolve what git left, and what it finished."""
    done = resolve(found)
    if case.settle:
        assert done.returncode == 1, done.stderr
        words = case.settle
        if words == (KEEP_MAP,):
            without(found.fleet, run.who)
        else:  # what is replayed or popped is theirs, for git
            side = "--ours" if run.way in ("merge", "cherry-pick") else "--theirs"
            assert said(done) == sorted(words)
            words = tuple(word for one in words for word in (side, one))
        done = resolve(found, *words)
    assert done.returncode == 0, done.stderr


def said(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Return what the hints offer to take from ours."""
    return re.findall("resolve --ours (.*)", done.stderr)


def without(fleet: Fleet, who: str) -> None:
    """Write the map as the side has it that took somebody out."""
    text = fleet.read("nixsecrets.toml").decode()
    text = text.replace(f', "{who}"', "").replace(f'["{who}"]', "[]")
    fleet.write("nixsecrets.toml", text)


def finish(found: Parted, way: str) -> None:
    """Let git end what it had stopped at; everything that it takes is staged."""
    fleet = found.fleet
    assert fleet.git("ls-files", "-u") == ""
    if found.stopped and way != "stash":
        words = ["commit", "--no-edit"] if way == "merge" else [way, "--continue"]
        done = git(fleet, *words)
        if "is now empty" in done.stderr:  # what was picked is undone, as was chosen
            done = git(fleet, way, "--skip")
        assert done.returncode == 0, done.stderr
        assert fleet.git("status", "--porcelain") == ""
    else:  # git leaves what it popped unstaged
        left = re.search("^.[^ ]", fleet.git("status", "--porcelain"), re.M)
        assert not left or (way == "stash" and not found.stopped)
        fleet.commit("merged")


def in_order(fleet: Fleet, removed: tuple[str, ...]) -> None:
    """`check` is content, a rekey changes nothing, and the right keys open files."""
    done = fleet.run("check")
    assert done.returncode == 0, done.stdout
    before = fleet.snapshot()
    fleet.ok("rekey", "--yes")
    assert fleet.snapshot() == before
    opened_by_the_right_keys(fleet, removed)


def opened_by_the_right_keys(fleet: Fleet, removed: tuple[str, ...]) -> None:
    people = {*fleet.hosts, *fleet.users}
    secrets = {
        one["path"]: one["readers"] for one in json.loads(fleet.ok("ls", "--json"))
    }
    assert {path for path in fleet.snapshot() if is_secret(path)} == secrets.keys()
    for path, readers in secrets.items():
        assert {"alice", "bob"} <= {*readers}
        if path.startswith("secrets/dns/"):
            assert not {*readers} & {*removed}
        for name in readers:
            assert opens(fleet, path, name), (path, name)
        assert not opens(fleet, path, *sorted(people - {*readers})), path


def is_secret(path: str) -> bool:
    return path.startswith("secrets/") and not path.endswith(".nix")


def opens(fleet: Fleet, path: str, *names: str) -> bool:
    """Whether real age, or each real sops, opens a file with the keys of these."""
    if not names:
        return False
    keys = [fleet.keys / name for name in names]
    if path.endswith(".age"):
        words = [word for key in keys for word in ("-i", str(key))]
        found = {succeeds(fleet, program("age"), "-d", *words, path)}
    else:
        secrets = "\n".join(age_secret(key.read_bytes()) for key in keys)
        own = {"HOME": str(fleet.keys.parent / "nobody"), "SOPS_AGE_KEY": secrets}
        found = {succeeds(fleet, sops, "decrypt", path, **own) for sops in every_sops()}
    (answer,) = found
    return answer


def succeeds(fleet: Fleet, *argv: str, **env: str) -> bool:
    try:
        kit.run_program(*argv, env=fleet.env | env, cwd=fleet.root)
    except kit.ProgramFailed:
        return False
    return True


def every_sops() -> list[str]:
    """Return the sops of the package, and the newest one where that is at hand."""
    folder = os.environ.get("NIXSECRETS_REFERENCE_BIN", "")
    newest = Path(folder, "sops")
    return [kit.sops_path(), *([str(newest)] if folder and newest.exists() else [])]
