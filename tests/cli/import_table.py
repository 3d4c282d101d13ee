"""Which modules each everyday command loads: what they cost, without a clock.

`imports.txt` has one line for each module, with the commands that load it: our own, and
libraries that are slow to load.  `python -m tests.cli.import_table --write` updates it;
review the change as you would a figure.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.cli import conftest
from tests.fleet import PROJECT, Fleet

FILE = Path(__file__).with_name("imports.txt")
OWN = "nixsecrets"
# Packages count as one: which of their modules load is theirs.
_OTHERS = """
asyncio concurrent cryptography ctypes dataclasses difflib email hashlib inspect
ipaddress json logging multiprocessing nacl paramiko pathlib pyrage random re2 rich
ruamel secrets shlex shutil socket statistics subprocess tempfile tomllib traceback
urllib
"""
SLOW = frozenset(_OTHERS.split())
_LINE = re.compile(r"import time: +\d+ \| +\d+ \| +(\S+)")


def _nothing(_: Fleet) -> None:
    return


def _an_editor(fleet: Fleet) -> None:
    fleet.env["EDITOR"] = "true"


def _a_module(fleet: Fleet) -> None:
    fleet.write("module.nix", "{ }\n")
    fleet.git("add", "-A")


def _an_age_file(fleet: Fleet) -> None:
    fleet.ok("set", "secrets/wifi.age", "--yes", stdin="other")
    fleet.git("add", "-A")


class Command(NamedTuple):
    """A command, and what has to be the case before it."""

    words: Sequence[str]
    prepare: Callable[[Fleet], None] = _nothing


_AGE, _SOPS = "secrets/wifi.age", "secrets/dns.yaml"
_TEXTCONV = "nixsecrets-textconv"  # what git starts, a program of its own
COMMANDS: Mapping[str, Command] = {
    "--version": Command(["--version"]),
    "cat-age": Command(["cat", _AGE]),
    "cat-key": Command(["cat", _SOPS, "--key", "dns"]),
    "cat-sops": Command(["cat", _SOPS]),
    "check": Command(["check"]),
    "edit": Command(["edit", _AGE], _an_editor),
    "hook": Command(["hook", "run"], _a_module),
    "hook-age": Command(["hook", "run"], _an_age_file),
    "ls": Command(["ls"]),
    "set": Command(["set", _SOPS, "--key", "dns", "--yes"]),
    "status": Command(["status"]),
    "textconv": Command([_TEXTCONV, _AGE]),
    "textconv-other": Command([_TEXTCONV, "nixsecrets.toml"]),
    "why": Command(["why", _AGE]),
}


def loaded(fleet: Fleet, words: Sequence[str]) -> set[str]:
    """Return our modules that a command loads, and the slow ones that click does not.

    Processes that it forks count.
    """
    if words[0] == _TEXTCONV:
        return _imported(fleet, [str(PROJECT / "bin" / _TEXTCONV), *words[1:]])
    entry = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    module, function = entry["project"]["scripts"][OWN].split(":")
    start = f"from {module} import {function}; {function}()"
    of_click = _imported(fleet, ["-c", "import click"])
    return _imported(fleet, ["-c", start, *words]) - of_click


def _imported(fleet: Fleet, arguments: Sequence[str]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=fleet.root,
        env=fleet.env,
        input="a value",
        capture_output=True,
        text=True,
        check=True,
    )
    names = set(_LINE.findall(done.stderr))
    own = {name for name in names if name.split(".")[0] == OWN}
    return own | ({name.split(".")[0] for name in names} & SLOW)


def table() -> dict[str, set[str]]:
    """Return the table of the file: what each command may load."""
    found: dict[str, set[str]] = {command: set() for command in COMMANDS}
    for line in FILE.read_text().splitlines():
        module, commands = line.split(": ")
        for command in commands.split():
            found[command].add(module)
    return found


def _text(found: Mapping[str, set[str]]) -> str:
    modules = sorted(set().union(*found.values()))
    lines = []
    for module in modules:
        commands = [command for command in found if module in found[command]]
        lines.append(f"{module}: {' '.join(commands)}\n")
    return "".join(lines)


def main() -> int:
    """Run each command in a fleet of its own; write the table, or print its sizes."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        template = conftest.in_order(Path(folder) / "template")
        for name, command in COMMANDS.items():
            fleet = conftest.copied(template, Path(folder) / name)
            command.prepare(fleet)
            found[name] = loaded(fleet, command.words)
            own = sum(module.startswith(OWN) for module in found[name])
            others = sorted(one for one in found[name] if not one.startswith(OWN))
            print(f"{name:15} {own:4}  {' '.join(others)}")  # noqa: T201
    if "--write" in sys.argv:
        FILE.write_text(_text(found))
        return 0
    return int(FILE.read_text() != _text(found))


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    sys.exit(main())
