"""`check --flake`: what the evaluation of a fleet costs for each host.

The configurations have the options of agenix and sops-nix and nothing of nixpkgs, so
the figures are what the check itself adds: real systems cost what `nix eval` of them
costs, times the ratio.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.fleets import Built, Shape, build
from benchmarks.measure import Run, timed
from tests.nix.nixkit import FLAKES, nix_env, nix_program, write_flake

HOSTS = 60
SHAPE = Shape(age=20, sops=5, readers=HOSTS + 1)
_OUTPUTS = """
  nixosConfigurations = builtins.listToAttrs (map (name: {{
    inherit name;
    value = lib.nixosSystem {{ modules = [ agenix sops {{
      networking.hostName = name;
      age.secrets = builtins.mapAttrs (_: file: {{ inherit file; }}) {{ {age} }};
      sops.secrets = builtins.mapAttrs (_: sopsFile: {{
        inherit sopsFile;
        key = "database/user";
      }}) {{ {sops} }};
    }} ]; }};
  }}) [ {hosts} ]);
"""
_FILES = """builtins.mapAttrs (_: system: [
  (builtins.mapAttrs (_: one: toString one.file) system.config.age.secrets)
  (builtins.mapAttrs (_: one: toString one.sopsFile) system.config.sops.secrets)
])"""


def build_flake(base: Path) -> Built:
    """Build a fleet whose flake declares every secret for every host."""
    built = build(base, SHAPE)
    kinds: dict[str, list[str]] = {"age": [], "yaml": []}
    for number, path in enumerate(built.paths):
        kinds[path.rpartition(".")[2]].append(f"s{number} = ./{path};")
    hosts = " ".join(f'"{name}"' for name in built.fleet.hosts)
    age, sops = (" ".join(lines) for lines in kinds.values())
    write_flake(built.fleet, _OUTPUTS.format(age=age, sops=sops, hosts=hosts))
    built.fleet.commit("flake")
    built.fleet.env.update(nix_env(base / "nix", built.fleet.env))
    return built


def checked(built: Built, jobs: int) -> Run:
    """Run the check on all hosts, with this many processes at a time."""
    command = [sys.executable, "-m", "nixsecrets", "check", "--flake"]
    return _run(built, [*command, "--jobs", str(jobs)])


def evaluated(built: Built) -> Run:
    """Have one `nix eval` tell the files of all hosts."""
    command = [nix_program("nix"), *FLAKES, "eval", "--json", "--no-write-lock-file"]
    return _run(built, [*command, ".#nixosConfigurations", "--apply", _FILES])


def _run(built: Built, command: list[str]) -> Run:
    return timed(
        command,
        cwd=built.fleet.root,
        env=built.fleet.env,
        watch=("python", "nix"),
    )


def least(runs: Iterator[Run]) -> Run:
    """Return the shortest of several runs."""
    return min(runs, key=lambda run: run.seconds)
