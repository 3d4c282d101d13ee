"""A merge of two branches, each of which granted a new host every file."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.fleets import Built, Shape, build
from benchmarks.measure import timed
from tests.fleet import approve_keys, git, program, ssh_key

GOAL = "≤ 5 s"


class Taken(NamedTuple):
    """What was merged, and the seconds of `resolve` and of `git merge`."""

    name: str
    resolve: float
    git: float


def taken(base: Path, files: int) -> Iterator[Taken]:
    """Measure both backends by themselves, and half and half."""
    half = files // 2
    shapes = {
        f"{files} age files": Shape(age=files, readers=10),
        f"{files} sops files": Shape(sops=files, readers=10, real_sops=False),
        f"{files} files, half age, half sops": Shape(
            age=half, sops=half, readers=10, real_sops=False
        ),
    }
    for number, (name, shape) in enumerate(shapes.items()):
        print(f"building {name} …", file=sys.stderr, flush=True)
        yield _measured(build(base / str(number), shape), name)


def _measured(built: Built, name: str) -> Taken:
    root, env = built.fleet.root, built.fleet.env
    git(root, "branch", "-q", "side", env=env)
    for branch, host in (("main", "ours"), ("side", "theirs")):
        git(root, "checkout", "-q", branch, env=env)
        _granted(built, host)
    git(root, "checkout", "-q", "main", env=env)
    approve_keys(root, env)
    os.sync()
    merge = timed([program("git"), "merge", "side"], cwd=root, env=env, ok=(1,))
    resolve = timed(_command(built, "resolve", "--yes"), cwd=root, env=env)
    left = git(root, "ls-files", "-u", env=env)
    assert not left, "resolve left conflicts"
    checked = subprocess.run(
        _command(built, "check"), cwd=root, env=env, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout.decode()
    return Taken(name, resolve.seconds, merge.seconds)


def _granted(built: Built, host: str) -> None:
    key = ssh_key(f"host {host}").public
    words = ("add-host", host, "--group", "servers", "--key", key, "--yes")
    timed(_command(built, *words), cwd=built.fleet.root, env=built.fleet.env)
    built.fleet.commit(host)


def _command(built: Built, *words: str) -> list[str]:
    own = [] if words[0] == "check" else ["--identity", str(built.identity)]
    return [sys.executable, "-m", "nixsecrets", *words, *own]
