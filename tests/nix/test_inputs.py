"""Secrets in a repository of their own, which the flake has as an input."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.fleet import Fleet
from tests.nix.nixkit import run_nix, write_flake
from tests.nix.test_docs import block

OUTPUTS = """
  nixosConfigurations.brunnen = lib.nixosSystem { modules = [
    nixsecrets.nixos agenix
    { networking.hostName = "brunnen"; nixsecrets.root = secrets;
      age.secrets.wifi.file = secrets + "/secrets/wifi.age"; } ]; };
  nixosConfigurations.stein = lib.nixosSystem { modules = [ agenix
    { networking.hostName = "stein";
      age.secrets.wifi.file = "${secrets}/secrets/wifi.age"; } ]; };
  nixosConfigurations.mole = lib.nixosSystem { modules = [ agenix
    { networking.hostName = "brunnen";
      age.secrets.gone.file = secrets + "/secrets/gone.age";
      age.secrets.mine.file = ./secrets/wifi.age; } ]; };
"""
OLDER = (
    "NS087  secrets/wifi.age: brunnen declares age.secrets.wifi from another version"
    " of it; in the flake: nix flake update secrets"
)


@pytest.fixture
def conf(ready: Fleet, nix: dict[str, str]) -> Fleet:
    """The flake, in a folder beside the fleet, whose commit it has locked."""
    ready.env.update(nix, HOME=ready.env["HOME"])
    root = ready.root.parent / "conf"
    root.mkdir()
    conf = replace(ready, root=root)
    write_flake(conf, OUTPUTS, secrets=ready.root)
    text = conf.read("flake.nix").decode()
    text = text.replace(f'"path:{ready.root}"', f'"git+file://{ready.root}"')
    conf.write(
        "flake.nix", text.replace("outputs", "inputs.secrets.flake = false; outputs", 1)
    )
    (root / "secrets").mkdir()
    conf.write("secrets/wifi.age", b"of the flake itself")
    kit.git_repo(root, ready.env)
    conf.git("add", "-A")
    locked = run_nix("flake", "lock", cwd=root, env=ready.env)
    assert locked.returncode == 0, locked.stderr
    conf.git("add", "-A")
    return conf


def test_a_file_of_an_input_is_judged_from_either_repository(
    ready: Fleet, conf: Fleet
) -> None:
    inside = ready.run("check", "--flake", conf.root)
    outside = conf.run("check", "--flake", ".", "--secrets", ready.root)
    relative = conf.run("check", "--flake", "--secrets", f"../{ready.root.name}")
    for done in (inside, outside, relative):
        assert done.returncode == 1, done.stderr
        rows = [line.split() for line in done.stdout.splitlines()[:7]]
        assert [" ".join(row) for row in rows] == [
            "brunnen",
            "age.secrets.wifi secrets/wifi.age ok",
            "mole",
            "age.secrets.gone - NS091 the input secrets has no such file: add it there,"
            " then nix flake update",
            "age.secrets.mine - not checked: the flake",
            "stein",
            "age.secrets.wifi secrets/wifi.age NS070 host stein is not a recipient;"
            " no rule lets it read",
        ]
        assert "NS087" not in done.stdout


def test_the_version_that_the_flake_has_locked_is_judged(
    ready: Fleet, conf: Fleet
) -> None:
    """A later grant reaches the machine with the next update of the input."""
    text = ready.read("nixsecrets.toml").decode()
    ready.write(
        "nixsecrets.toml",
        text.replace('server = ["brunnen"]', 'server = ["brunnen", "stein"]'),
    )
    ready.ok("rekey", "--yes")
    ready.git("commit", "-qam", "granted")
    done = ready.run("check", "--flake", conf.root)
    assert "  age.secrets.wifi  secrets/wifi.age  ok\n" in done.stdout
    assert "  secrets/wifi.age  NS070 host stein is not a recipient\n" in done.stdout
    assert OLDER in done.stdout.splitlines()


def test_the_folder_of_the_map_needs_a_flake_and_a_map(
    ready: Fleet, tmp_path: Path
) -> None:
    done = ready.run("check", "--secrets", ".")
    assert done.returncode == 2
    assert "--secrets applies to the declarations of a flake" in done.stderr
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        done = ready.run("check", "--flake", ".", "--secrets", tmp_path / folder)
        assert done.returncode == 1
        assert "nixsecrets.toml" in done.stderr


def test_the_check_of_the_guide_judges_every_row_from_both_sides(
    ready: Fleet, conf: Fleet
) -> None:
    (conf.root.parent / "secrets").symlink_to(ready.root)
    script = block("Secrets in a repository of their own", "sh")
    calls = [line for line in script.splitlines() if line.startswith("cd ")]
    assert len(calls) == 2
    for line, at in zip(calls, (conf, ready), strict=True):
        words = shlex.split(line.split("&& nixsecrets ")[1])
        done = at.run(*words, "--host", "brunnen")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "  age.secrets.wifi  secrets/wifi.age  ok\n" in done.stdout
