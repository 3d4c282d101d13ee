"""Which private keys a configuration names, and what they open: through real Nix."""

from tests.fleet import Fleet
from tests.nix.nixkit import write_flake

BRUNNEN = """
  nixosConfigurations = builtins.mapAttrs (_: more: lib.nixosSystem { modules = [
    agenix sops more { networking.hostName = "brunnen"; } ]; }) (let
      age = { age.secrets.wifi.file = ./secrets/wifi.age; };
      app = { sops.secrets.app.sopsFile = ./secrets/app.yaml; };
      key = { sops.age.keyFile = "/var/lib/key.txt"; };
      own = { sops.age.sshKeyPaths = [ ]; };
      made = { sops.age.generateKey = true; };
    in {
      both = { imports = [ app key made ]; };
      given = { imports = [ app key own ]; };
      made = { imports = [ app key own made ]; };
      none = { imports = [ app own ]; };
      no-sshd = { imports = [ age app ]; services.openssh.enable = false; };
    });
"""
TABLE = """\
both
  sops.secrets.app  secrets/app.yaml  ok
given
  sops.secrets.app  secrets/app.yaml  ok
made
  sops.secrets.app  secrets/app.yaml  NS078 the map has a key of kind ssh-ed25519, and\
 sops.age.keyFile names /var/lib/key.txt (generated on the machine)
no-sshd
  age.secrets.wifi  secrets/wifi.age  NS077 age.identityPaths is empty
  sops.secrets.app  secrets/app.yaml  NS077 neither sops.age.sshKeyPaths nor\
 sops.age.keyFile is set
none
  sops.secrets.app  secrets/app.yaml  NS077 neither sops.age.sshKeyPaths nor\
 sops.age.keyFile is set
"""
FINDINGS = """\
NS077  flake.nix: no-sshd: age.identityPaths is empty
NS077  flake.nix: no-sshd: neither sops.age.sshKeyPaths nor sops.age.keyFile is set
NS077  flake.nix: none: neither sops.age.sshKeyPaths nor sops.age.keyFile is set
NS078  flake.nix: made: the map has a key of kind ssh-ed25519, and sops.age.keyFile\
 names /var/lib/key.txt (generated on the machine)
NS090  flake.nix: both: sops.age.keyFile /var/lib/key.txt is generated on the machine,\
 and opens no key of the map
"""


def test_a_verdict_follows_the_private_keys_and_not_the_defaults_of_sops_nix(
    ready: Fleet, nix: dict[str, str]
) -> None:
    ready.env.update(nix, HOME=ready.env["HOME"])
    write_flake(ready, BRUNNEN)
    ready.git("add", "-A")
    done = ready.run("check", "--flake")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(TABLE)
    found = done.stdout.removeprefix(TABLE).splitlines(keepends=True)
    assert "".join(x for x in found if x[:4] in ("NS07", "NS09")) == FINDINGS
