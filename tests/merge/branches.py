"""Two branches, brought together by git, and what must hold after it.

An `Act` is what somebody does to a repository; `parted` lets two people act in clones.
"""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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


def edited(*replaced: str) -> Act:
    """Change the map by hand (old, new, old, new …), and the files as it says."""

    def edit(fleet: Fleet) -> None:
        text = fleet.read("nixsecrets.toml").decode()
        for old, new in zip(replaced[::2], replaced[1::2], strict=True):
            assert old in text
            text = text.replace(old, new, 1)
        fleet.write("nixsecrets.toml", text)
        fleet.ok("rekey", "--yes", "--allow-revoke")

    return edit


def several(*acts: Act) -> Act:
    def every(fleet: Fleet) -> None:
        for act in acts:
            act(fleet)

    return every


def larger_fleet(template: Fleet, folder: Path) -> Fleet:
    """Return a copy with more files: formats of sops, several values in one."""
    fleet = copied(template, folder)
    put(DB, DB_TEXT)(fleet)
    put(ENV, "MAIL=one\nUSER=web\n")(fleet)
    put(INI, "[mail]\nkey = one\nuser = web\n")(fleet)
    put(AGE, LINES)(fleet)
    fleet.commit("base")
    return fleet


class Parted(NamedTuple):
    """A repository in which git has merged, or stopped at it."""

    fleet: Fleet
    stopped: bool


def parted(
    fleet: Fleet,
    ours: Act,
    theirs: Act,
    way: str = "merge",
    colleague: str = "alice",
) -> Parted:
    """Do something in each of two clones, then bring them together by git."""
    other = fleet.root.parent / "other"
    fleet.git("clone", "-q", str(fleet.root), str(other))
    kit.approve_keys(other, fleet.env)
    their = dataclasses.replace(fleet, root=other, env=dict(fleet.env))
    their.operate_as(colleague)
    theirs(their)
    their.commit("theirs")
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
