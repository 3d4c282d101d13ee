"""`make nix-real`: the tests of the Nix side with the real modules, given a network.

python -m tests.nix.real_modules [--write] [FOLDER]

CI reaches no git host, so its tests use stand-ins for agenix, sops-nix and the library
of nixpkgs.  This clones the real ones into FOLDER (kept in the cache by default), then

- compares the options of the stand-ins with the real ones: `differences.txt` lists what
  differs (`--write` brings it up to date);
- runs the tables of faults, spellings and identities with the real modules;
- runs the activation script of agenix, and verifies what it decrypts.

The options of NixOS, nix-darwin, home-manager, impermanence and NixOS-WSL around them
are stand-ins here, too (`stub/system.nix`).
"""

import os
import subprocess
import sys
from pathlib import Path

from tests import fleet as kit
from tests import options_doc
from tests.cli.conftest import CONTENTS
from tests.fleet import PROJECT, Fleet
from tests.nix import nixkit
from tests.nix.nixkit import HERE, REAL_SOURCES, evaluate, run_nix
from tests.nix.test_faults import systems as systems

DIFFERENCES = HERE / "differences.txt"
TABLES = ("test_faults.py", "test_spellings.py", "test_identities.py")
# The frameworks' options, of the real module and of the stand-in.
OPTIONS = """
let
  stub = (import ./stub).lib;
  real = import {sources}/nixpkgs.lib/lib;
  program = name: {{ type = "derivation"; outPath = name; }};
  pkgs = {{
    age = program "age"; gnupg = program "gnupg"; callPackage = _: _: program;
    stdenv = {{ buildPlatform = 1; hostPlatform = 1; }}; writeTextFile = one: one;
  }};
  base = {{ lib, ... }}:
    let value = default: lib.mkOption {{ inherit default; type = lib.types.raw; }}; in
    {{ options = {{
      services.openssh = {{ enable = value false; hostKeys = value [ ]; }};
      users.users = value {{ }};
    }}; }};
  of = lib: name: module: import ./options.nix {{ inherit lib; }} {{
    inherit module name base pkgs; }};
in {{
  age = {{
    real = of real "age" {sources}/agenix/modules/age.nix;
    here = of stub "age" (import ./fixtures/agenix.nix {{ }});
  }};
  sops = {{
    real = of real "sops" {sources}/sops-nix/modules/sops;
    here = of stub "sops" (import ./fixtures/sops.nix {{ }});
  }};
}}
"""
# The activation script that decrypts, with paths of the test's own.
SCRIPT = """
one: (one.extendModules {{ modules = [ ({{ lib, ... }}: {{
  age = {{
    ageBin = "{age}"; identityPaths = lib.mkForce [ "{identity}" ];
    secretsDir = "{folder}/agenix"; secretsMountPoint = "{folder}/agenix.d";
  }};
}}) ]; }}).config.system.activationScripts.agenixInstall.text
"""


def differences(sources: Path) -> str:
    """Return a line for each option that differs: real, then that of the stand-in."""
    lines = [
        "# How the options of the stand-ins in fixtures/ differ from the real ones.",
        "# Written by `python -m tests.nix.real_modules --write`; - real, + here.",
    ]
    for both in evaluate(OPTIONS.format(sources=sources), HERE).values():
        real, here = both["real"], both["here"]
        for name in sorted(real.keys() | here.keys()):
            if real.get(name) != here.get(name):
                lines += [name]
                lines += [f"  - {real[name]}"] if name in real else []
                lines += [f"  + {here[name]}"] if name in here else []
    return "\n".join(lines) + "\n"


def test_the_stand_ins_differ_as_listed() -> None:
    assert differences(Path(nixkit.REAL)) == DIFFERENCES.read_text()


def test_the_real_library_renders_the_same_page_of_options() -> None:
    library = f"import {nixkit.REAL}/nixpkgs.lib/lib"
    assert options_doc.rendered(library) == options_doc.PAGE.read_text()


def test_agenix_decrypts_what_is_called_ok_and_nothing_else(
    systems: Fleet, tmp_path: Path
) -> None:
    for name in ("homelab", "impermanence", "wsl", "anywhere"):
        folder = tmp_path / name
        said = activate(systems, name, folder)
        secrets = sorted((folder / "agenix.d/1").iterdir())
        assert secrets, said
        for secret in secrets:
            assert secret.read_text() == CONTENTS["secrets/wifi.age"], said
    for name in ("unreadable-age", "only-x25519", "x25519-form-in-age"):
        said = activate(systems, name, tmp_path / name)
        assert "no identity matched any of the recipients" in said
        assert not (tmp_path / name / "agenix.d/1/x").exists()


def activate(fleet: Fleet, name: str, folder: Path) -> str:
    """Run the script of a host, with the key of brunnen, and return its output."""
    function = SCRIPT.format(
        age=kit.program("age"), identity=fleet.keys / "brunnen", folder=folder
    )
    asked = ("eval", "--raw", f".#nixosConfigurations.{name}", "--apply", function)
    done = run_nix(*asked, cwd=fleet.root, env=fleet.env)
    assert done.returncode == 0, done.stderr
    script = f"_agenix_generation=1\nmkdir -p {folder}/agenix.d/1\n{done.stdout}"
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False
    )
    return ran.stdout + ran.stderr


def main() -> int:
    """Fetch what is not there, and compare; return the exit code."""
    arguments = [one for one in sys.argv[1:] if one != "--write"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    sources = Path(*arguments or [str(cache / "nixsecrets-real")]).absolute()
    for name, url in REAL_SOURCES.items():
        if not (folder := sources / name).exists():
            clone = ("git", "clone", "--quiet", "--depth", "1", url, str(folder))
            subprocess.run(clone, check=True)
    if "--write" in sys.argv:
        DIFFERENCES.write_text(differences(sources))
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "0", __file__),
            *(str(HERE / name) for name in TABLES),
        ],
        cwd=PROJECT,
        env={**os.environ, "NIXSECRETS_REAL_MODULES": str(sources)},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
