"""docs/nixos.md, from an empty folder to a deployed secret: every step of it is run.

The blocks are taken in their order: `sh` is run in one folder, `toml` is appended to
the map, `nix` is put where the text says.  Blocks that begin with `# on …` need a
machine of their own; their calls are parsed.
"""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from nixsecrets.cli.main import cli
from tests.fleet import PROJECT
from tests.nix.nixkit import nix_program
from tests.nix.reader import Reader

TEXT = (PROJECT / "docs/nixos.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^##+ ", TEXT, flags=re.MULTILINE)
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
CALL = re.compile(r"(?:nixsecrets|nix run \S+ --) ([^#&\n]+)")


def blocks(section: str) -> list[tuple[str, str]]:
    """Return the blocks of the section with this title: language and text."""
    (text,) = [one for one in SECTIONS if one.startswith(section + "\n")]
    return FENCE.findall(text)


def block(section: str, kind: str, number: int = 0) -> str:
    """Return one block of a section."""
    return [text for known, text in blocks(section) if known == kind][number]


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
