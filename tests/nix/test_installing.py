"""What the real programs refuse although they can decrypt it: modes, owners, order."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from nixsecrets.flake.installing import accepts_mode
from tests.fleet import Fleet
from tests.nix.nixkit import write_flake

MODES = [
    *("0400", "400", "7777", "07777", "00000440", "0", "10000", "07x9", "0o400"),
    *("u=r", "u=rw,g=r", "a+r", "=r", "+400", "-r", "g-w+r", "u=g", "o=", "ugo+X"),
    *("rw", "u", "u=rw,", "u=q", "0400 ", "4_00", "-", "ug400", "8", "u+400"),
]


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_accepted_for_agenix_if_chmod_accepts_it(
    mode: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    done = subprocess.run(
        ["chmod", mode, file], capture_output=True, check=False, cwd=tmp_path
    )
    assert accepts_mode("age", mode) is (done.returncode == 0)


@pytest.mark.parametrize(
    ("mode", "accepted"),
    [
        # as sops-install-secrets -check-mode=manifest of 2026-06 answered
        *((mode, True) for mode in ("0400", "400", "00440", "0", "177777")),
        *((mode, False) for mode in ("07x9", "rw", "u=r", "0o400", "200000", "+400")),
        *((mode, False) for mode in ("-1", " 400", "4_00", "8", "0x100")),
    ],
)
def test_a_mode_is_accepted_for_sops_nix_if_it_is_octal_and_has_16_bits(
    mode: str, accepted: bool
) -> None:
    assert accepts_mode("sops", mode) is accepted


BRUNNEN = """
  nixosConfigurations = builtins.mapAttrs (_: more: lib.nixosSystem { modules = [
    agenix sops more { networking.hostName = "brunnen";
      sops.defaultSopsFile = ./secrets/app.yaml;
      users.users.web = { group = "www"; }; users.groups.www = { };
      users.users.alias = { name = "real"; };
      users.users.off = { enable = false; };
      systemd.services = { nginx = { }; "app@" = { }; }; } ]; }) (let
      age = more: { age.secrets.wifi = { file = ./secrets/wifi.age; } // more; };
      app = more: { sops.secrets.app = more; };
      password = path: { users.users.alice.hashedPasswordFile = path; };
    in {
      a01-mode = age { mode = "07x9"; };
      a02-symbolic = age { mode = "u=rw,g=r"; };
      a03-mode = app { mode = "rw"; };
      a04-symbolic = app { mode = "u=r"; };
      b01-owner = age { owner = "wbe"; };
      b02-group = app { group = "wwww"; };
      b03-owner = app { owner = "web"; group = "www"; };
      b04-number = age { owner = "1000"; group = "100"; };
      b05-number = app { owner = "1000"; };
      b06-renamed = app { owner = "real"; };
      b07-off = app { owner = "off"; };
      b08-key-name = app { owner = "alias"; };
      b09-root = app { owner = "root"; group = "root"; };
      c01-late = { imports = [ (app { }) (password "/run/secrets/app") ]; };
      c02-early = { imports = [ (app { neededForUsers = true; })
        (password "/run/secrets-for-users/app") ]; };
      c03-age = { imports = [ (age { }) (password "/run/agenix/wifi") ]; };
      c04-age = { imports = [ (age { }) (password "/run/agenix/wifi") ];
        services.userborn.enable = true; };
      d01-unit = app { restartUnits = [ "nginx.service" "app@x.service"
        "srv.mount" ]; };
      d02-unit = app { restartUnits = [ "ngnix.service" ]; reloadUnits = [ "nginx" ]; };
      e01-template = { imports = [ (app { }) (password "/run/secrets/rendered/t") ];
        sops.templates = { t = { content = "x"; }; m = { mode = "rw"; };
          o = { owner = "wbe"; restartUnits = [ "ngnix.service" ]; }; }; };
    });
"""
VERDICTS = {
    "a01-mode": 'NS095 chmod refuses its mode "07x9"',
    "a03-mode": 'NS095 sops-install-secrets refuses its mode "rw"',
    "a04-symbolic": 'NS095 sops-install-secrets refuses its mode "u=r"',
    "b01-owner": "NS095 the configuration has no user wbe",
    "b02-group": "NS095 the configuration has no group wwww",
    "b05-number": "NS095 the configuration has no user 1000",
    "b07-off": "NS095 the configuration has no user off",
    "b08-key-name": "NS095 the configuration has no user alias",
    "c01-late": "NS096 it is the password of alice, and is installed after users are"
    " made",
    "c04-age": "NS096 it is the password of alice, and is installed after users are"
    " made",
}
OTHERS = """\
NS095  flake.nix: e01-template declares sops.templates.m: sops-install-secrets refuses\
 its mode "rw"
NS095  flake.nix: e01-template declares sops.templates.o: the configuration has no user\
 wbe
NS096  flake.nix: e01-template declares sops.templates.t: it is the password of alice,\
 and is installed after users are made
NS097  flake.nix: d02-unit declares sops.secrets.app: the configuration has no unit\
 nginx (is it nginx.service?)
NS097  flake.nix: d02-unit declares sops.secrets.app: the configuration has no unit\
 ngnix.service
NS097  flake.nix: e01-template declares sops.templates.o: the configuration has no unit\
 ngnix.service
"""


def test_what_cannot_be_installed_is_not_ok(ready: Fleet, nix: dict[str, Any]) -> None:
    ready.env.update(nix, HOME=ready.env["HOME"])
    write_flake(ready, BRUNNEN)
    ready.git("add", "-A")
    done = ready.run("check", "--flake")
    names: list[str] = []
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        if line.startswith("  ") and "secrets." in line.split()[0]:
            found[names[-1]] = line.split(maxsplit=2)[2]
        else:
            names.append(line)
    assert len(found) == 20, done.stdout + done.stderr
    assert {name: said for name, said in found.items() if said != "ok"} == VERDICTS
    others = (x for x in done.stdout.splitlines(keepends=True) if x[:4] == "NS09")
    assert "".join(x for x in others if x.split()[1] == "flake.nix:") == OTHERS


CANARY = "text-of-a-secret"
STORED = f"""
  nixosConfigurations.plain = lib.nixosSystem {{ modules = [ {{
    networking.wg-quick.interfaces.wg0 = {{ privateKey = "{CANARY}"; peers = [
      {{ presharedKey = "{CANARY}"; }} {{ presharedKey = null; }} ]; }};
    networking.wg-quick.interfaces.wg1.privateKeyFile = "/run/agenix/wg1";
    services.k3s = {{ enable = true; token = "{CANARY}"; agentToken = ""; }};
    services.coturn = {{ enable = false; static-auth-secret = "{CANARY}"; }};
    services.grafana.settings.security = {{ admin_password = "admin";
      secret_key = "$__file{{/run/secrets/key}}"; }};
    services.mosquitto.listeners = [ {{ users.iot.password = "{CANARY}"; }} ];
    users.users = {{
      alice.hashedPassword = "$y$j9T$" + "{CANARY}";
      bob = {{ password = throw "not set"; hashedPassword = "!"; }};
      carol = {{ initialPassword = "{CANARY}"; hashedPasswordFile = "/run/x"; }};
      nixbld1.password = "{CANARY}";
    }};
  }} ]; }};
"""


def test_a_secret_that_an_option_of_nixpkgs_writes_to_the_store_is_a_warning(
    ready: Fleet, nix: dict[str, Any]
) -> None:
    ready.env.update(nix, HOME=ready.env["HOME"])
    write_flake(ready, STORED)
    ready.git("add", "-A")
    file = ready.root.parent / "declared.json"
    done = ready.run("check", "--flake", "--save", file)
    assert done.returncode == 0, done.stdout + done.stderr
    where = "is in the store, readable by everyone; set"
    wg0 = "networking.wg-quick.interfaces.wg0"
    assert [x for x in done.stdout.splitlines() if x.startswith("NS098")] == [
        f"NS098  flake.nix: plain: the text of {option} {where} {instead}"
        for option, instead in (
            (f"{wg0}.peers.*.presharedKey", "presharedKeyFile"),
            (f"{wg0}.privateKey", "privateKeyFile"),
            ("services.k3s.token", "tokenFile"),
            ("services.mosquitto.listeners.*.users.iot.password", "passwordFile"),
            ("users.users.alice.hashedPassword", "hashedPasswordFile"),
            ("users.users.carol.initialPassword", "hashedPasswordFile"),
        )
    ]
    assert CANARY not in done.stdout + done.stderr + file.read_text()
