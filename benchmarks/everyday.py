"""Everyday commands, next to `python -c "import click"` and to the tools they replace.

Each run of a command has one of its reference directly before it, and the ratio is the
median over these pairs, so that other load on the machine hits both.  The commands run
from a wheel, as a person installs it.
"""

import os
import resource
import secrets
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.fleets import Built, Shape, build
from benchmarks.measure import timed
from nixsecrets.files.age import operations
from nixsecrets.keys.recipients import parse_recipient
from tests.fleet import PROJECT, program, sops_path

IMPORT_CLICK = '`python -c "import click"`'
AGE, SOPS = "secrets/age/00000.age", "secrets/sops/00000.yaml"
COMMITS = 50

# What agenix does before it starts the editor: two evaluations of the rules, for the
# keys of a file and for its armor, then age, then a copy to compare with.
AGENIX = """
cd secrets
rule='let rules = import ./secrets.nix; in rules."age/00000.age"'
for name in 'publicKeys' 'armor or []'; do
  nix-instantiate --store dummy:// --json --eval --strict -E "$rule.$name" | jq '.[]?'
done
age --decrypt -o "$CLEARTEXT" -i "$NIXSECRETS_IDENTITY" -- age/00000.age
cp "$CLEARTEXT" "$CLEARTEXT.before"
"$EDITOR" "$CLEARTEXT"
"""
TEXTCONV = """#!/bin/sh
read -r first < "$1"
case $first in
  age-encryption*) exec age -d -i "$NIXSECRETS_IDENTITY" "$1" ;;
  *) exec sops decrypt --input-type yaml --output-type yaml "$1" ;;
esac
"""
# Run by git, with which the keeper of textconv ends.  Prints the time at each step.
UNDER_GIT = """
date +%s%N; "$PYTHON" -c 'import click'; date +%s%N
"""


class Pair(NamedTuple):
    """Seconds of a command, of its reference directly before it."""

    ours: float
    theirs: float


class Measure(NamedTuple):
    """A row before it is run: what measures one pair, and what is expected of it."""

    name: str
    today: float  # the ratio before anything was done about it
    goal: str
    reference: str
    pair: Callable[[], Pair]


class Row(NamedTuple):
    """A row of the table, `ratio` being the median of the pairs."""

    name: str
    today: float
    ours: float
    theirs: float
    ratio: float
    goal: str
    reference: str


@dataclass(frozen=True)
class Wheel:
    """An environment with the wheel, and everything that it requires."""

    folder: Path

    @classmethod
    def installed(cls, folder: Path) -> "Wheel":
        """Build the wheel and install it; the dependencies are those of this Python."""
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        build_it = [*pip, "wheel", "--no-deps", "--no-build-isolation"]
        _run([*build_it, "--wheel-dir", str(folder), str(PROJECT)])
        venv = folder / "venv"
        _run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
        (wheel,) = folder.glob("*.whl")
        _run([*pip, "--python", str(venv), "install", "--no-deps", str(wheel)])
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = sysconfig.get_path("purelib")
        (venv / "lib" / version / "site-packages/rest.pth").write_text(packages + "\n")
        return cls(venv / "bin")

    @property
    def python(self) -> str:
        """The Python of this environment."""
        return str(self.folder / "python")

    def command(self, *words: str) -> list[str]:
        """Return the command line of a nixsecrets command."""
        return [str(self.folder / "nixsecrets"), *words]


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class Fleet:
    """A repository of some size, and the ways to measure a command in it."""

    wheel: Wheel
    built: Built
    tools: Path

    @cached_property
    def env(self) -> dict[str, str]:
        """The environment of an operator whose key is unlocked."""
        env = self.built.fleet.env
        return env | {
            "PATH": f"{self.tools}:{self.wheel.folder}:{env['PATH']}",
            "SOPS_AGE_KEY_FILE": str(self.built.identity),
            "PYTHON": self.wheel.python,
            "CLEARTEXT": str(self.tools / "cleartext"),
            "STAMP": str(self.tools / "stamp"),
        }

    @property
    def root(self) -> Path:
        """The repository."""
        return self.built.fleet.root

    def seconds(self, command: Sequence[str]) -> float:
        """Return how long a command takes; findings do not fail it."""
        return timed(command, cwd=self.root, env=self.env, ok=(0, 1)).seconds

    def beside_click(self, *words: str) -> Callable[[], Pair]:
        """Return what measures a command against the start of Python and click."""
        click = [self.wheel.python, "-c", "import click"]
        ours = self.wheel.command(*words)

        def pair() -> Pair:
            theirs = self.seconds(click)
            return Pair(self.seconds(ours), theirs)

        return pair

    def until_editor(self) -> Pair:
        """Measure `edit` and agenix until the editor runs."""
        editor = self.env | {"EDITOR": str(self.tools / "stamping")}
        agenix = ["bash", "-ec", AGENIX]
        theirs = self._until_stamp(agenix, editor)
        return Pair(self._until_stamp(self.wheel.command("edit", AGE), editor), theirs)

    def _until_stamp(self, command: Sequence[str], env: dict[str, str]) -> float:
        Path(env["CLEARTEXT"]).unlink(missing_ok=True)
        began = _now()
        timed(command, cwd=self.root, env=env)
        return (int(Path(env["STAMP"]).read_text()) - began) / 1e9

    def set_one(self) -> Pair:
        """Measure the processor time of `set --key` and of `sops set`."""
        value = secrets.token_hex(16)
        sops = ["sops", "set", SOPS, '["token"]', f'"{value}"']
        theirs = self._processor(sops)
        ours = self.wheel.command("set", SOPS, "--key", "token", "--yes")
        return Pair(self._processor(ours, value[::-1]), theirs)

    def _processor(self, command: Sequence[str], stdin: str = "") -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            command,
            input=stdin.encode(),
            cwd=self.root,
            env=self.env,
            check=True,
            capture_output=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return sum(after[:2]) - sum(before[:2])

    def under_git(self, path: str, turn: int) -> Callable[[], Pair]:
        """Return what measures the n-th textconv of one git, after `import click`."""
        one = f'nixsecrets-textconv "{path}" >/dev/null; date +%s%N\n'
        script = self.tools / f"textconv-{turn}"
        script.write_text(UNDER_GIT + one * turn)
        command = ["git", "-c", f"alias.measure=!sh '{script}'", "measure"]

        def pair() -> Pair:
            done = subprocess.run(
                command, cwd=self.root, env=self.env, check=True, capture_output=True
            )
            times = list(map(int, done.stdout.split()))
            return Pair((times[-1] - times[-2]) / 1e9, (times[1] - times[0]) / 1e9)

        return pair

    def git_log(self) -> Pair:
        """Measure `git log -p` with our textconv and with a shell script."""
        theirs, ours = (
            self.seconds(
                ["git", "-c", f"diff.nixsecrets.textconv={textconv}", "log", "-p"]
            )
            for textconv in (self.tools / "by-shell", "nixsecrets-textconv")
        )
        return Pair(ours, theirs)


def _now() -> int:
    done = subprocess.run(["date", "+%s%N"], check=True, capture_output=True)
    return int(done.stdout)


def _tools(folder: Path) -> Path:
    """Return a folder with the programs the references need, for PATH."""
    folder.mkdir()
    for name, place in (("sops", sops_path()), ("age", program("age"))):
        (folder / name).symlink_to(place)
    scripts = {
        "by-shell": TEXTCONV,
        "stamping": '#!/bin/sh\nexec date +%s%N > "$STAMP"\n',
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


# --- the rows ---------------------------------------------------------------------


def _reading(fleet: Fleet) -> Iterator[Measure]:
    """Return the rows of commands that change nothing, in an unchanged repository."""
    size = fleet.built.shape.age + fleet.built.shape.sops

    def row(
        name: str, today: float, goal: float, pair: Callable[[], Pair], by: str = ""
    ) -> Measure:
        aim = f"≤ {goal}" if goal else ""
        return Measure(f"{name}, {size:,}", today, aim, by or IMPORT_CLICK, pair)

    click = fleet.beside_click
    plain = "nixsecrets.toml"
    look = {2: 2.0, 60: 2.2}.get(size, 0)
    named = 2.1 if size <= 60 else 0
    yield row("--version", 1.2, 1.2, click("--version"))
    yield row("cat x.age", 4.6, 1.8, click("cat", AGE))
    yield row("cat x.yaml --key k", 5.1, 2.2, click("cat", SOPS, "--key", "token"))
    yield row("cat x.yaml", 5.2, 2.8, click("cat", SOPS))
    yield row("textconv, first of a git", 4.0, 1.3, fleet.under_git(AGE, 1))
    yield row("textconv, with the keeper there", 4.0, 0.5, fleet.under_git(AGE, 2))
    yield row("textconv of what is no secret", 3.7, 0.5, fleet.under_git(plain, 1))
    yield row("edit x.age, to the editor", 2.5, 1.5, fleet.until_editor, "`agenix -e`")
    yield row("status", 2.6, look, click("status"))
    yield row("check", 3.2, look, click("check"))
    yield row("ls", 2.4, named, click("ls"))
    yield row("why x.age", 2.9, named, click("why", AGE))


def _staged(fleet: Fleet) -> Iterator[Measure]:
    """Return the rows of the hook; stages what it looks at on the way."""
    size = fleet.built.shape.age + fleet.built.shape.sops
    hook = fleet.beside_click("hook", "run")
    repo = fleet.built.fleet
    for number in range(5):
        repo.write(f"module-{number}.nix", "{ }\n")
    repo.git("add", "-A")
    yield Measure(
        f"hook run, nothing secret, {size:,}", 2.0, "≤ 1.8", IMPORT_CLICK, hook
    )
    repo.git("commit", "-q", "-m", "modules")
    for number in range(5):
        command = fleet.wheel.command("set", f"secrets/hook/{number}.age", "--yes")
        subprocess.run(
            command,
            input=b"value",
            cwd=fleet.root,
            env=fleet.env,
            check=True,
            capture_output=True,
        )
    repo.git("add", "-A")
    yield Measure(f"hook run, 5 age files, {size:,}", 2.5, "≤ 2.2", IMPORT_CLICK, hook)
    repo.git("commit", "-q", "-m", "secrets")
    name = f"set x.yaml --key, processor, {size:,}"
    yield Measure(name, 12, "≤ 4", "`sops set`", fleet.set_one)


def _history(fleet: Fleet) -> Iterator[Measure]:
    """Return the row of `git log -p` after fifty commits of two files each."""
    repo = fleet.built.fleet
    names = [repo.public(name) for name in ("alice", *repo.hosts)]
    readers = [parse_recipient(name) for name in names]
    sops = ["sops", "set", SOPS, '["token"]']
    repo.write(".gitattributes", "secrets/*/* diff=nixsecrets\n")
    for number in range(COMMITS):
        data = operations.seal(f"value {number}\n".encode(), readers).data
        repo.write(AGE, data)
        command = [*sops, f'"value {number}"']
        subprocess.run(command, cwd=fleet.root, env=fleet.env, check=True)
        repo.commit(f"change {number}")
    name = f"git log -p, {COMMITS} commits of 2 files"
    yield Measure(name, 42, "≤ 1.5", "a script with age and sops", fleet.git_log)


# --- running them -----------------------------------------------------------------


class Choice(NamedTuple):
    """How many runs of which rows, in repositories of which sizes."""

    runs: int
    sizes: Sequence[int]
    only: Sequence[str]

    def takes(self, name: str) -> bool:
        """Return whether a row was asked for: by a part of its name."""
        return not self.only or any(part in name for part in self.only)


def rows(base: Path, choice: Choice) -> Iterator[Row]:
    """Measure the rows that were asked for, one after the other."""
    base.mkdir()
    wheel = Wheel.installed(base)
    tools = _tools(base / "tools")
    for size in choice.sizes:
        print(f"building {size} secrets …", file=sys.stderr, flush=True)
        half = size // 2
        shape = Shape(age=half, sops=half, readers=10, real_sops=size <= 60)
        fleet = Fleet(wheel, build(base / f"fleet-{size}", shape), tools)
        os.sync()
        for part in (_reading, _staged):
            yield from _measured(part(fleet), choice)
    if choice.takes("git log -p"):
        built = build(base / "history", Shape(age=1, sops=1, readers=10))
        fleet = Fleet(wheel, built, tools)
        yield from _measured(_history(fleet), choice._replace(runs=min(choice.runs, 3)))


def _measured(measures: Iterator[Measure], choice: Choice) -> Iterator[Row]:
    for one in measures:
        if choice.takes(one.name):
            one.pair()  # whatever is read from the disk is read here
            pairs = [one.pair() for _ in range(choice.runs)]
            yield Row(
                one.name,
                one.today,
                median(pair.ours for pair in pairs),
                median(pair.theirs for pair in pairs),
                median(pair.ours / pair.theirs for pair in pairs),
                one.goal,
                one.reference,
            )
