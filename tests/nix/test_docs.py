"""docs/nixos.md, from an empty folder to a deployed secret: every step of it is run.

The blocks are taken in their order: `sh` is run in one folder, `toml` is appended to
the map, `nix` is put where the text says.  Inputs come from this machine, and programs
that deploy only write down how they were called.  Blocks that begin with `# on …` need
a machine of their own; their calls are parsed.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest
from ruamel.yaml import YAML

from nixsecrets.cli.main import cli
from tests import fleet as kit
from tests.fleet import PROJECT
from tests.nix.nixkit import HERE, nix_program, run_nix

TEXT = (PROJECT / "docs/nixos.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^##+ ", TEXT, flags=re.MULTILINE)
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
CALL = re.compile(r"(?:nixsecrets|nix run \S+ --) ([^#&\n]+)")
QUESTION = r"\[y/N\]:? *"
CONTENTS = {
    "wifi": "wifi-canary",
    "brunnen": 'db: "db-canary"\n',
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
      homeManagerModules.default = import ./agenix.nix { home = true; };""",
    "sops-nix": "nixosModules.sops = import ./sops.nix { };",
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


def blocks(section: str) -> list[tuple[str, str]]:
    """Return the blocks of the section with this title: language and text."""
    (text,) = [one for one in SECTIONS if one.startswith(section + "\n")]
    return FENCE.findall(text)


def block(section: str, kind: str, number: int = 0) -> str:
    """Return one block of a section."""
    return [text for known, text in blocks(section) if known == kind][number]


def write_inputs(folder: Path) -> None:
    """Write what stands in for the inputs of the flake."""
    shutil.copytree(HERE / "stub", folder / "nixpkgs")
    for name, outputs in INPUTS.items():
        shutil.copytree(HERE / "fixtures", folder / name)
        (folder / name / "flake.nix").write_text(f"{{ outputs = _: {{ {outputs} }}; }}")
    project = folder / "nixsecrets"
    shutil.copytree(PROJECT / "nix", project / "nix")
    shutil.copy(PROJECT / "flake.nix", project)
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


FAILED = "c: map (a: a.message) (builtins.filter (a: !a.assertion) c.assertions)"
STEIN = """
    nixosConfigurations.stein = nixpkgs.lib.nixosSystem { modules = [ ]; };
    nixosConfigurations.neu = nixpkgs.lib.nixosSystem { modules = [
      { networking.hostName = "neu"; } ]; };
"""


def test_from_an_empty_folder_to_deployed_secrets(reader: Reader) -> None:
    reader.flake(block("Start", "nix"))
    reader.sh(block("Start", "sh"))
    reader.insert("    nixosConfigurations.brunnen", STEIN.splitlines()[1] + "\n")
    reader.sh(block("Start", "sh", 1))
    for section in ("With agenix", "With sops-nix"):
        reader.toml(block(section, "toml"))
        reader.sh(block(section, "sh"))
        reader.insert("./configuration.nix", block(section, "nix"))
    assert reader.evaluate("nixosConfigurations.brunnen.config", FAILED) == "[]"
    seen = reader.sh(block("Check and deploy", "sh"))
    assert block("Check and deploy", "text") in seen
    assert reader.log.read_text() == (
        "sudo nixos-rebuild switch --flake .#brunnen\n"
        "nixos-rebuild switch --flake .#brunnen\n"
    )


def test_the_rest_of_the_way(reader: Reader, tmp_path: Path) -> None:
    reader.flake(block("Start", "nix"))
    reader.sh(block("Start", "sh"))
    reader.insert("    nixosConfigurations.brunnen", STEIN)
    section = "A new machine, with nixos-anywhere"
    extra = tmp_path / "extra"
    reader.sh(block(section, "sh").replace("/dev/shm/extra", str(extra)))
    assert not extra.exists()

    section = "A home-manager user"
    reader.sh(block(section, "sh"))
    reader.toml(block(section, "toml"))
    reader.sh(block(section, "sh", 1))
    home = (
        "homeConfigurations.bob = nixpkgs.lib.homeManagerConfiguration { modules = [ {"
        f'\n home.username = "bob";\n{block(section, "nix")} }} ]; }};\n'
    )
    reader.insert("    nixosConfigurations.brunnen", home)
    assert reader.evaluate("homeConfigurations.bob.config", FAILED) == "[]"
    seen = reader.sh("nixsecrets check --flake --host bob")
    assert "  age.secrets.token  secrets/users/bob/token.age  ok\n" in seen

    reader.sh(block("In CI", "sh"))
    reader.sh(block("colmena and deploy-rs", "sh"))
    assert reader.log.read_text().splitlines() == [
        f"nixos-anywhere --extra-files {extra} --flake .#neu root@192.0.2.7",
        "colmena apply",
        "deploy .#brunnen",
    ]


def test_the_library_is_as_the_document_says(reader: Reader) -> None:
    reader.flake(block("Start", "nix"))
    reader.sh(block("Start", "sh"))
    library = block("The library", "nix")
    reader.insert("    nixosConfigurations.brunnen", f"lines = {library};\n")
    keys = "x: { inherit (x.users.users.root.openssh.authorizedKeys) keys; }"
    public = Path(reader.env["HOME"], ".ssh/id_ed25519.pub").read_text()
    assert f'"{" ".join(public.split()[:2])}"' in reader.evaluate("lines", keys)
    reader.evaluate("lines", "x: [ x.programs.ssh.knownHosts x.age.secrets ]")


@pytest.mark.usefixtures("each_nix")
@pytest.mark.parametrize(
    "text", [t for kind, t in FENCE.findall(TEXT) if kind == "nix"]
)
def test_nix_blocks_are_nix(text: str) -> None:
    wrapped = (f"with {{ }}; {one}" for one in (f"{{ {text} }}", f"[ {text} ]", text))
    codes = [
        subprocess.run(
            [nix_program("nix-instantiate"), "--store", "dummy://", "--parse", "-"],
            input=one,
            text=True,
            capture_output=True,
            check=False,
        ).returncode
        for one in wrapped
    ]
    assert 0 in codes


@pytest.mark.parametrize(
    "text", [t for kind, t in FENCE.findall(TEXT) if kind == "yaml"]
)
def test_yaml_blocks_are_yaml(text: str) -> None:
    assert isinstance(YAML(typ="safe").load(text), dict)


RUN = {
    "Start",
    "With agenix",
    "With sops-nix",
    "Check and deploy",
    "A new machine, with nixos-anywhere",
    "A home-manager user",
    "In CI",
    "colmena and deploy-rs",
}


def test_every_block_is_run_or_says_where() -> None:
    runnable = {
        section.splitlines()[0]
        for section in SECTIONS
        for kind, text in FENCE.findall(section)
        if kind == "sh" and not text.startswith("# on ")
    }
    assert runnable == RUN


def test_every_call_is_one_the_program_takes() -> None:
    texts = [text for kind, text in FENCE.findall(TEXT) if kind in ("sh", "yaml")]
    calls = {found.strip() for text in texts for found in CALL.findall(text)}
    assert {"--help", "check --flake", "add-host mac --local"} <= calls
    for call in calls - {"--help"}:
        words = shlex.split(call)
        with cli.make_context("nixsecrets", [*words]) as context:
            name, command, rest = cli.resolve_command(context, words)
            assert command is not None
            command.make_context(str(name), rest, parent=context).close()
