"""The sample fleet in `secrets/` and `.sops.yaml.example`, as nixsecrets writes it.

`python -m tests.sample --write` makes them anew.  Its private keys are derived from
the published words below, so everybody has them: they protect nothing.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from nixsecrets.plan.outputs import ATTRIBUTE_LINES
from tests import fleet as kit
from tests.fleet import PROJECT, Fleet, SshKey

FOLDER = PROJECT / "secrets"
EXAMPLE = PROJECT / ".sops.yaml.example"
HOSTS = {"brunnen": "server", "schere": "dns", "stein": "dns", "laptop": ""}
USERS = ("alice",)
CONTENTS = {
    "wifi.age": "sample: not a password\n",
    "powerdns.yaml": "powerdns:\n    api-key: 'sample: not a key'\n",
    "hosts/brunnen/tls.json": '{\n\t"key": "sample: not a key"\n}\n',
}
HEAD = """\
# A sample fleet. Its private keys are public (tests/sample.py derives them from fixed
# words), so nothing here is secret and the keys must never be used. To explore it, run
# `nixsecrets -C secrets status`.
version = 1

# Readers of every secret; keeps you from locking yourself out.
always = ["admins"]
"""
TAIL = """
[groups]
admins = ["alice"]

[sops]
config = ".sops.yaml"

[agenix]
rules = "secrets.nix"

# The first rule that matches a path wins.

[[secrets]]
path = "powerdns.yaml"           # a sops file for both DNS servers
readers = ["dns"]

[[secrets]]
path = "hosts/{host}/**"         # one folder per host
readers = ["{host}"]

[[secrets]]
path = "*.age"                   # agenix files
readers = ["server", "laptop"]
"""


def key(name: str) -> SshKey:
    """The published key of a name."""
    return kit.ssh_key(f"sample {name}", comment=f"sample-{name}")


def map_text() -> str:
    """The sample map."""
    parts = [HEAD]
    for name in USERS:
        parts.append(f'\n[users.{name}]\nkeys = ["{key(name).public}"]\n')
    for name, group in HOSTS.items():
        parts.append(f'\n[hosts.{name}]\nkeys = ["{key(name).public}"]\n')
        parts.append(f'groups = ["{group}"]\n' if group else "")
    return "".join(parts) + TAIL


def build(base: Path) -> Fleet:
    """Make the sample fleet below `base` with the real commands."""
    fleet = kit.make_fleet(base, users=())
    fleet.add_user("alice", key("alice"))
    fleet.operate_as("alice")
    fleet.write("nixsecrets.toml", map_text())
    fleet.write(".gitattributes", "".join(f"{line}\n" for line in ATTRIBUTE_LINES))
    fleet.ok("sync")
    for path, content in CONTENTS.items():
        source = fleet.home / "content"
        source.write_text(content)
        editor = fleet.home / "editor"
        editor.write_text(f'#!/bin/sh\ncp "{source}" "$1"\n')
        editor.chmod(0o755)
        fleet.env["EDITOR"] = str(editor)
        fleet.ok("edit", path)
    return fleet


def write() -> None:
    """Put a new sample fleet in the place of the old one."""
    with tempfile.TemporaryDirectory() as folder:
        files = build(Path(folder)).snapshot()
    shutil.rmtree(FOLDER, ignore_errors=True)
    for path, data in files.items():
        target = FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    EXAMPLE.write_bytes(files[".sops.yaml"])


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.sample --write")
    write()
