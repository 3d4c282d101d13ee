"""Somebody who follows the documents, in an empty folder with a home and two machines.

Inputs come from this machine, and programs that deploy only write down how they were
called.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from tests import fleet as kit
from tests.fleet import PROJECT
from tests.nix.nixkit import HERE, run_nix

QUESTION = r"\[y/N\]:? *"
CONTENTS = {
    "wifi": "wifi-canary",
    "brunnen": 'db: "db-canary"\n',
    "mac": 'db: "db-canary"\n',
    "token": "token-canary",
}
EDITOR = """#!/bin/sh
case $(basename "$1") in {cases} *) exit 9 ;; esac
"""
RECORDER = '#!/bin/sh\necho "$(basename "$0") $*" >>"{log}"\n{more}\n'
DEPLOYERS = {
    "sudo": 'exec "$@"',
    "nixos-rebuild": "",
    "nixos-anywhere": 'test -s "$2/etc/ssh/ssh_host_ed25519_key"',
    "colmena": "",
    "deploy": "",
}
FLAKES = "experimental-features = nix-command flakes"
INPUTS = {
    "agenix": """
      nixosModules.default = import ./agenix.nix { };
      darwinModules.default = import ./agenix.nix { };
      homeManagerModules.default = import ./agenix.nix { home = true; };""",
    "sops-nix": """
      nixosModules.sops = import ./sops.nix { };
      darwinModules.sops = import ./sops.nix { };""",
    "nix-darwin": "lib = (import ./stub).lib;",
}


@dataclass
class Reader:
    """Somebody who follows the document, with a folder, a home and programs."""

    root: Path
    env: dict[str, str]
    log: Path
    inputs: Path

    def sh(self, script: str) -> str:
        """Run a block in a terminal, and say yes to what is asked."""
        own = f'nixsecrets() {{ {shlex.quote(sys.executable)} -m nixsecrets "$@"; }}\n'
        child = pexpect.spawn(
            "bash",
            ["-euo", "pipefail", "-c", own + script],
            cwd=str(self.root),
            env=self.env,
            encoding="utf-8",
            timeout=kit.TIMEOUT_SECONDS,
            dimensions=(50, 200),
        )
        said = ""
        while child.expect([pexpect.EOF, QUESTION]) == 1:
            said += child.before + child.after
            child.sendline("yes")
        said = f"{said}{child.before}".replace("\r\n", "\n")
        child.close()
        assert child.exitstatus == 0, f"{script}\n{said}"
        return str(said)

    def toml(self, rule: str) -> None:
        """Append a rule to the map."""
        with (self.root / "nixsecrets.toml").open("a") as file:
            file.write("\n" + rule)

    def flake(self, text: str) -> None:
        """Write the flake, with inputs of this machine."""
        (self.root / "flake.nix").write_text(
            re.sub(r'"github:[^"/]+/([\w-]+)[^"]*"', self._input, text)
        )

    def _input(self, found: re.Match[str]) -> str:
        return f'"path:{self.inputs / found[1]}"'

    def insert(self, before: str, text: str) -> None:
        """Put something into the flake."""
        path = self.root / "flake.nix"
        old = path.read_text()
        assert old.count(before) == 1, before
        path.write_text(old.replace(before, text + before))

    def evaluate(self, attribute: str, function: str = "x: x") -> str:
        """Evaluate an output of the flake to JSON."""
        self.sh("git add .")
        arguments = ("eval", "--json", f".#{attribute}", "--apply", function)
        done = run_nix(*arguments, cwd=self.root, env=self.env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def write_inputs(folder: Path) -> None:
    """Write what stands in for the inputs of the flake."""
    shutil.copytree(HERE / "stub", folder / "nixpkgs")
    for name, outputs in INPUTS.items():
        shutil.copytree(HERE / "fixtures", folder / name)
        shutil.copytree(HERE / "stub", folder / name / "stub")
        (folder / name / "flake.nix").write_text(f"{{ outputs = _: {{ {outputs} }}; }}")
    project = folder / "nixsecrets"
    shutil.copytree(PROJECT / "nix", project / "nix")
    shutil.copy(PROJECT / "flake.nix", project)
    shutil.copytree(PROJECT / "templates", project / "templates")
    (project / "nixsecrets").mkdir()
    shutil.copy(PROJECT / "nixsecrets/__init__.py", project / "nixsecrets")


def write_programs(folder: Path, log: Path) -> None:
    """Write an editor that knows its lines, and programs that deploy nothing."""
    folder.mkdir()
    cases = "".join(
        f"""*{name}*) printf %s {shlex.quote(text)} >"$1" ;; """
        for name, text in CONTENTS.items()
    )
    programs = {
        "editor": EDITOR.format(cases=cases),
        # ssh itself asks the system where the home is
        "ssh": f'#!/bin/sh\nexec {kit.program("ssh")} -F ~/.ssh/config "$@"\n',
    }
    for name, more in DEPLOYERS.items():
        programs[name] = RECORDER.format(log=log, more=more)
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.fixture
def reader(tmp_path: Path, newest_nix: dict[str, str]) -> Iterator[Reader]:
    """An empty folder, a home with an ssh key, and two machines that run."""
    home, root = tmp_path / "home", tmp_path / "flake"
    root.mkdir()
    kit.ssh_key("alice", comment="alice@laptop").write(home / ".ssh/id_ed25519")
    write_inputs(tmp_path / "inputs")
    write_programs(tmp_path / "programs", tmp_path / "log")
    env = {
        **newest_nix,
        "NIX_CONFIG": f"{newest_nix['NIX_CONFIG']}\n{FLAKES}",
        "HOME": str(home),
        "USER": "alice",
        "EDITOR": str(tmp_path / "programs/editor"),
        "PATH": f"{tmp_path}/programs:{newest_nix['PATH']}",
        "PYTHONPATH": str(PROJECT),
    }
    (root / "bob.pub").write_text(kit.ssh_key("bob", comment="bob@b").public + "\n")
    (root / "configuration.nix").write_text('{ networking.hostName = "brunnen"; }\n')
    with ExitStack() as stack:
        for name in ("brunnen.lan", "stein"):
            sshd = kit.start_sshd(tmp_path / name, kit.ssh_key(f"host {name}"))
            port = stack.enter_context(sshd)
            with (home / ".ssh/config").open("a") as config:
                config.write(f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n")
        yield Reader(root, env, tmp_path / "log", tmp_path / "inputs")
