"""The project's own flake, every output of it forced, with a stub for nixpkgs."""

import json
import shutil
from pathlib import Path

import pytest

from nixsecrets import __version__
from tests import fleet as kit
from tests import options_doc
from tests.fleet import PROJECT
from tests.nix.nixkit import evaluate, run_nix

pytestmark = pytest.mark.usefixtures("each_nix")
SYSTEMS = ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"]
OUTPUTS = f"""
let
  nixpkgs = import {PROJECT}/tests/nix/stub;
  flake = import {PROJECT}/flake.nix;
  self = flake.outputs {{ inherit self nixpkgs; }} // {{ outPath = {PROJECT}; }};
in
"""


def test_the_flake_has_every_output_for_every_system() -> None:
    seen = evaluate(
        OUTPUTS + "builtins.mapAttrs (_: builtins.attrNames) (removeAttrs self "
        '[ "outPath" ])',
        PROJECT,
    )
    for name in ("packages", "apps", "devShells", "checks"):
        assert seen.pop(name) == SYSTEMS
    assert seen.pop("formatter") == SYSTEMS
    assert seen == {
        "lib": ["checkWith", "checks", "fleet"],
        "templates": ["agenix", "both", "darwin", "default", "sops-nix"],
        "nixosModules": ["default"],
        "darwinModules": ["default"],
        "homeModules": ["default"],
        "homeManagerModules": ["default"],
        "flakeModules": ["default"],
        "overlays": ["default"],
    }


@pytest.mark.parametrize("output", ["packages", "devShells", "checks"])
def test_every_derivation_of_it_can_be_instantiated(output: str) -> None:
    expression = (
        f"{OUTPUTS} builtins.mapAttrs (_: builtins.mapAttrs (_: one: "
        f"builtins.seq one.drvPath one.name)) self.{output}"
    )
    seen = evaluate(expression, PROJECT)
    assert sorted(seen) == SYSTEMS
    assert all(seen[system] == seen["x86_64-linux"] for system in SYSTEMS)
    if output == "packages":
        assert set(seen["x86_64-linux"].values()) == {f"nixsecrets-{__version__}"}


def test_the_app_is_the_program_of_the_package() -> None:
    seen = evaluate(f"{OUTPUTS} self.apps.x86_64-linux.default", PROJECT)
    assert seen["type"] == "app"
    assert seen["program"].endswith(f"-nixsecrets-{__version__}/bin/nixsecrets")


def test_the_package_names_the_dependencies_of_the_project() -> None:
    import re
    import tomllib

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [re.split(r"[>=<~!\[]", one)[0] for one in project["dependencies"]]
    expression = f"""{OUTPUTS}
      let args = self.packages.x86_64-linux.default.passthru; in {{
        dependencies = map (one: one.pname) args.dependencies;
        wrapped = map (one: one.pname) (with nixpkgs.legacyPackages.x86_64-linux; [
          git openssh sops ]);
        inherit (args) makeWrapperArgs postInstall;
      }}"""
    seen = evaluate(expression, PROJECT)
    assert sorted(seen["dependencies"]) == sorted(
        name.replace(".", "-") for name in wanted
    )
    path = seen["makeWrapperArgs"][-1]
    assert all(f"-{name}/bin" in path for name in seen["wrapped"])
    assert "installShellCompletion" in seen["postInstall"]
    assert "installManPage" in seen["postInstall"]


def test_the_overlay_adds_the_program_and_takes_what_others_change() -> None:
    expression = f"""{OUTPUTS}
      let
        pkgs = nixpkgs.legacyPackages.x86_64-linux;
        other = final: prev: {{ sops = prev.age // {{ outPath = "/their/sops"; }}; }};
        more = final: prev: {{ nixsecrets = prev.nixsecrets // {{ theirs = true; }}; }};
        base = pkgs // {{
          callPackage = file: _: import file
            (builtins.intersectAttrs (builtins.functionArgs (import file)) final);
        }};
        final = builtins.foldl' (prev: overlay: prev // overlay final prev) base
          [ self.overlays.default other more ];
      in {{
        inherit (final.nixsecrets) pname theirs;
        path = builtins.elemAt final.nixsecrets.passthru.makeWrapperArgs 3;
      }}"""
    seen = evaluate(expression, PROJECT)
    assert seen["pname"].startswith("nixsecrets-")
    assert seen["theirs"]
    assert seen["path"].endswith(":/their/sops/bin")


def test_the_options_are_documented_as_the_modules_have_them() -> None:
    assert options_doc.PAGE.read_text() == options_doc.rendered()


def test_nix_flake_show_lists_it_and_nix_flake_check_finds_nothing(
    tmp_path: Path, nix: dict[str, str]
) -> None:
    root = tmp_path / "project"
    for name in ("flake.nix", "nixsecrets/__init__.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((PROJECT / name).read_bytes())
    for folder in ("nix", "secrets", "templates", "tests/nix/stub"):
        shutil.copytree(PROJECT / folder, root / folder)
    kit.git_repo(root, nix)
    kit.git(root, "add", "-A", env=nix)
    override = ("--override-input", "nixpkgs", f"path:{root}/tests/nix/stub")
    done = run_nix(
        *("flake", "show", "--json", "--no-write-lock-file", *override, "."),
        cwd=root,
        env=nix,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert sorted(shown["packages"]) == SYSTEMS
    assert shown["apps"]["x86_64-linux"]["default"]["type"] == "app"
    assert shown["templates"]["agenix"]["type"] == "template"
    assert shown["nixosModules"]["default"]["type"] == "nixos-module"
    assert not (root / "flake.lock").exists()
    checked = run_nix(
        *("flake", "check", "--no-build", "--no-write-lock-file", *override, "."),
        cwd=root,
        env=nix,
    )
    assert checked.returncode == 0, checked.stderr
