"""What is evaluated of a flake, and what may fail without a finding: real Nix."""

import json

import pytest

from tests.fleet import Fleet
from tests.nix.nixkit import write_flake

GONE = {
    "nodes": {
        "a-gone": {
            "locked": {
                "type": "tarball",
                "url": "file:///nowhere/gone.tar.gz",
                "narHash": "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            },
            "original": {"type": "tarball", "url": "file:///nowhere/gone.tar.gz"},
        },
        "root": {"inputs": {"a-gone": "a-gone"}},
    },
    "root": "root",
    "version": 7,
}
USES_NO_INPUT = """
  nixosConfigurations.brunnen = lib.nixosSystem { modules = [ agenix {
    networking.hostName = "brunnen";
    age.secrets.wifi.file = ./secrets/wifi.age;
    age.secrets.text.file = "${./secrets/wifi.age}";
  } ]; };
  nixosConfigurations.stein = lib.nixosSystem { modules = [ agenix {
    age.secrets.dns.file = "${a-gone}/dns.age";
  } ]; };
"""


@pytest.fixture
def flaked(ready: Fleet, nix: dict[str, str]) -> Fleet:
    """A repository whose commands find Nix."""
    ready.env.update(nix, HOME=ready.env["HOME"])
    return ready


def test_an_input_that_cannot_be_fetched_fails_only_the_host_that_uses_it(
    flaked: Fleet,
) -> None:
    write_flake(flaked, USES_NO_INPUT)
    path = flaked.root / "flake.nix"
    url = '{ inputs.a-gone.url = "file:///nowhere/gone.tar.gz"; outputs = { self, '
    text = path.read_text().replace("{ outputs = { self }", url + "a-gone }")
    path.write_text(text)
    flaked.write("flake.lock", json.dumps(GONE))
    flaked.git("add", "-A")
    done = flaked.run("check", "--flake")
    assert done.stdout.startswith(
        "brunnen\n"
        "  age.secrets.text  secrets/wifi.age  ok\n"
        "  age.secrets.wifi  secrets/wifi.age  ok\n"
    ), done.stdout + done.stderr
    (failed,) = [x for x in done.stdout.splitlines() if x.startswith("NS081")]
    assert failed.startswith("NS081  flake.nix: stein does not evaluate: ")


PERSISTENCE = """
  nixosConfigurations = builtins.mapAttrs (_: volumes: lib.nixosSystem { modules = [
    agenix { networking.hostName = "brunnen"; environment.persistence = volumes;
      age.secrets.wifi.file = ./secrets/wifi.age; } ]; }) {
    off = { "/persist" = { enable = false; }; };
    on = { "/persist" = { enable = true; }; "/old" = { enable = false; }; };
    renamed = { main = { enable = true; persistentStoragePath = "/etc"; }; };
  };
"""


def test_a_persistent_volume_that_is_turned_off_asks_for_nothing(flaked: Fleet) -> None:
    write_flake(flaked, PERSISTENCE)
    flaked.git("add", "-A")
    done = flaked.run("check", "--flake")
    assert [x for x in done.stdout.splitlines() if x.startswith("NS079")] == [
        "NS079  flake.nix: on: age.identityPaths names /etc/ssh/ssh_host_ed25519_key,"
        " which is not below /persist"
    ]


HOMES = """
  homeConfigurations."alice@laptop" = home { };
  legacyPackages = {
    aarch64-darwin.homeConfigurations = { alice = home { }; bob = home { }; };
    x86_64-linux.homeConfigurations = {
      alice = home { age.secrets.dns.file = ./secrets/dns.age; };
      "alice@laptop" = throw "the other one is evaluated";
    };
    riscv64-linux = throw "no such platform";
  };
"""


def test_home_configurations_are_found_where_home_manager_finds_them(
    flaked: Fleet,
) -> None:
    home = """home = more: lib.homeManagerConfiguration { modules = [ agenixHome more {
      home.username = "alice"; age.identityPaths = [ "/keys.txt" ];
      age.secrets.wifi.file = ./secrets/wifi.age; } ]; };
    in {"""
    write_flake(flaked, HOMES)
    path = flaked.root / "flake.nix"
    path.write_text(path.read_text().replace("in {", home, 1))
    flaked.git("add", "-A")
    done = flaked.run("check", "--flake")
    wifi = "  age.secrets.wifi  secrets/wifi.age  ok\n"
    assert done.stdout.startswith(
        f"alice, aarch64-darwin\n{wifi}"
        f"alice, x86_64-linux\n  age.secrets.dns   secrets/dns.age   ok\n{wifi}"
        f"alice@laptop\n{wifi}"
        f"bob, aarch64-darwin\n{wifi}"
    ), done.stdout + done.stderr
    assert "NS081" not in done.stdout
    listed = flaked.ok("ls", "--host", "alice@laptop", "--declared")
    assert listed.splitlines()[4:] == [
        "secrets/hosts/brunnen/tls.json  yes       -",
        "secrets/wifi.age                yes       age.secrets.wifi",
    ]
