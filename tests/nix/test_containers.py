"""Containers and guests are judged by the key that reaches them: real Nix."""

import pytest

from tests import fleet as kit
from tests.fleet import Fleet
from tests.nix.nixkit import write_flake

KEY = "/etc/ssh/ssh_host_ed25519_key"
CONTAINERS = """
  nixosConfigurations.brunnen = lib.nixosSystem { modules = [ agenix sops (let
      wifi = { imports = [ agenix ]; age.secrets.wifi.file = ./secrets/wifi.age;
        age.identityPaths = [ key ]; };
      key = "/etc/ssh/ssh_host_ed25519_key";
      mounted.bindMounts.${key} = { };
    in {
    networking.hostName = "brunnen";
    age.secrets.wifi.file = ./secrets/wifi.age;
    containers = {
      alone.config = wifi;
      by-name.config = { imports = [ wifi nixsecrets.nixos ];
        nixsecrets.name = "brunnen.named"; };
      elsewhere = { config = wifi; bindMounts.${key}.hostPath = "/var/lib/x/key"; };
      flagged = { config = wifi; extraFlags = [ "--bind-ro=${key}" ]; };
      folder = { config = wifi; bindMounts.ssh = { mountPoint = "/etc/ssh"; }; };
      fresh = { config = wifi; ephemeral = true; };
      mounted = { config = wifi; } // mounted;
      named.config = wifi;
      namespaced = { config = wifi; privateUsers = "pick"; } // mounted;
      no-key = { config = { imports = [ wifi ];
        age.identityPaths = lib.mkForce [ ]; }; } // mounted;
      of-app.config = { imports = [ sops ]; sops.secrets.app.sopsFile =
        ./secrets/app.yaml; };
      prebuilt.path = "/nix/var/nix/profiles/per-container/x";
      renamed = { config = wifi; bindMounts."/etc/ssh/ssh_host_ed25519_key" = {
        hostPath = "/persist/etc/ssh/ssh_host_ed25519_key"; }; };
    };
    microvm.vms = {
      alone.config = wifi;
      mounted.config = { imports = [ wifi ]; microvm.shares = [
        { source = "/etc/ssh"; mountPoint = "/etc/ssh"; } ]; };
      of-flake.flake = self;
    };
    virtualisation.nspawn.containers = {
      alone = { config = wifi; binds.${key} = { }; };
      mounted = { config = wifi; binds.${key}.options = [ "idmap" ]; };
    };
    specialisation.more.configuration.containers.added.config = wifi;
  }) ]; };
"""
UNREACHED = (
    f"age.identityPaths names {KEY}, which is not bind-mounted from a private key of"
    " the host; the map has no key of the container"
)
VERDICTS = {
    "container alone": f"NS094 {UNREACHED}",
    "container by-name": "ok",
    "container elsewhere": f"NS094 {UNREACHED}",
    "container flagged": "ok",
    "container folder": "ok",
    "container fresh": f"NS094 {UNREACHED}",
    "container mounted": "ok",
    "container named": "ok",
    "container namespaced": f"NS094 {UNREACHED}",
    "container no-key": "NS077 age.identityPaths is empty",
    "container of-app": "NS094 "
    + UNREACHED.replace("age.identityPaths", "sops.age.sshKeyPaths"),
    "container renamed": "ok",
    "microvm alone": f"NS094 {UNREACHED}",
    "microvm mounted": "ok",
    "nspawn container alone": f"NS094 {UNREACHED}",
    "nspawn container mounted": "ok",
    "specialisation more, container added": f"NS094 {UNREACHED}",
}


@pytest.fixture
def flaked(ready: Fleet, nix: dict[str, str]) -> Fleet:
    """A repository whose commands find Nix, and whose map has a container."""
    ready.env.update(nix, HOME=ready.env["HOME"])
    ready.ok("add-host", "brunnen.named", "--key", kit.ssh_key("n").public, "--yes")
    path = ready.root / "nixsecrets.toml"
    path.write_text(
        path.read_text().replace('["brunnen"]', '["brunnen", "brunnen.named"]', 1)
    )
    ready.ok("rekey", "--yes")
    ready.git("add", "-A")
    return ready


def verdicts(fleet: Fleet) -> dict[str, str]:
    """The verdict on the only secret of each part of brunnen, by its place."""
    done = fleet.run("check", "--flake")
    assert done.stdout.startswith("brunnen\n"), done.stdout + done.stderr
    found, at = {}, ""
    for line in done.stdout.splitlines():
        if line.startswith("NS"):
            break
        if line.startswith("  "):
            found[at] = line.split(maxsplit=2)[2]
        else:
            at = line.removeprefix("brunnen").removeprefix(", ")
    assert found.pop("") == "ok"
    return found


def test_a_container_opens_what_a_key_that_reaches_it_opens(flaked: Fleet) -> None:
    write_flake(flaked, CONTAINERS)
    flaked.git("add", "-A")
    assert verdicts(flaked) == VERDICTS
