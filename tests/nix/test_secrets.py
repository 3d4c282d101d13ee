"""`nixsecrets.secrets`: secrets declared from the map, evaluated by real Nix."""

import json
from pathlib import Path
from typing import Any

import pytest

from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.repo.files import sha256
from tests.cli.conftest import write_secret
from tests.fleet import PROJECT, Fleet
from tests.nix.nixkit import evaluate, evaluated, run_nix

pytestmark = pytest.mark.usefixtures("each_nix")

MODULES = f"""
let
  lib = (import {PROJECT}/tests/nix/stub).lib;
  agenix = import {PROJECT}/tests/nix/fixtures/agenix.nix {{ }};
  sops = import {PROJECT}/tests/nix/fixtures/sops.nix {{ }};
  agenixHome = import {PROJECT}/tests/nix/fixtures/agenix.nix {{ home = true; }};
  sopsHome = import {PROJECT}/tests/nix/fixtures/sops.nix {{ home = true; }};
  nixsecrets = import {PROJECT}/nix/modules.nix;
  failed = system: map (one: one.message) (
    builtins.filter (one: !one.assertion) system.config.assertions);
  declared = system: {{
    failed = failed system;
    age = builtins.mapAttrs (_: one: {{
      file = toString one.file; inherit (one) mode owner path; }})
      system.config.age.secrets;
    sops = builtins.mapAttrs (_: one: {{
      file = toString one.sopsFile;
      inherit (one) format key mode owner path restartUnits neededForUsers; }})
      system.config.sops.secrets;
  }};
  host = name: secrets: lib.nixosSystem {{ modules = [
    nixsecrets.nixos agenix sops
    {{ nixsecrets = {{ root = ./.; inherit name secrets; }}; }}
  ]; }};
in
"""


def converted(fleet: Fleet, name: str) -> str:
    """The X25519 form of a host's key."""
    return parse_recipient(fleet.public(name)).converted().text


def age(fleet: Fleet, path: str, **more: str) -> dict[str, Any]:
    at = f"/run/agenix/{Path(path).stem}"
    usual: dict[str, Any] = {"mode": "0400", "owner": "0", "path": at}
    return usual | {"file": f"{fleet.root}/{path}"} | more


def sops(
    fleet: Fleet, path: str, key: str, at: str = "", **more: Any
) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "mode": "0400",
        "owner": None,
        "format": path.rpartition(".")[2],
        "key": key,
        "path": at or f"/run/secrets/{key}",
        "restartUnits": [],
        "neededForUsers": False,
    }
    return usual | {"file": f"{fleet.root}/{path}"} | more


def test_backend_file_format_and_key_come_from_the_map(ready: Fleet) -> None:
    expression = f"""{MODULES} declared (host "brunnen" {{
      wifi = {{ owner = "wpa"; mode = "0440"; }};
      app.restartUnits = [ "app.service" ];
      key = {{ neededForUsers = true; destination = "/var/key"; }};
    }})"""
    seen = evaluate(expression, ready.root)
    tls = "secrets/hosts/brunnen/tls.json"
    assert seen == {
        "failed": [],
        "age": {"wifi": age(ready, "secrets/wifi.age", owner="wpa", mode="0440")},
        "sops": {
            "app": sops(ready, "secrets/app.yaml", "app", restartUnits=["app.service"]),
            "key": sops(ready, tls, "key", neededForUsers=True, at="/var/key"),
        },
    }


DEEP = """\
db:
  password: x
  "host name": y
list:
  - inside: b
note_unencrypted: |
  line
top: z
"""


def test_a_key_is_found_at_any_depth_and_other_files_by_their_names(
    ready: Fleet,
) -> None:
    to = [ready.public("alice"), converted(ready, "brunnen")]
    ready.sops_encrypt("secrets/deep.yaml", DEEP, to)
    ready.sops_encrypt("secrets/web.env", "TOKEN=x\n", to)
    ready.sops_encrypt("secrets/blob.bin", "anything", to)
    write_secret(ready, "secrets/hosts/brunnen/wifi.age", "x")
    expression = f"""{MODULES} let system = host "brunnen" {{
      "db/password" = {{ }};
      "db/host name" = {{ }};
      top = {{ }};
      pass.key = "db/password";
      whole = {{ file = ./secrets/deep.yaml; key = ""; }};
      web = {{ }};
      "secrets/hosts/brunnen/wifi" = {{ }};
      old.file = ./secrets/wifi.age;
      blob.file = ./secrets/blob.bin;
    }}; in {{
      failed = failed system;
      sops = builtins.mapAttrs (_: one: "${{one.format}} ${{one.key}}")
        system.config.sops.secrets;
      age = builtins.mapAttrs (_: one: toString one.file) system.config.age.secrets;
      paths = with system.config.nixsecrets.secrets; [ web.path old.path ];
    }}"""
    assert evaluate(expression, ready.root) == {
        "failed": [],
        "sops": {
            "db/password": "yaml db/password",
            "db/host name": "yaml db/host name",
            "top": "yaml top",
            "pass": "yaml db/password",
            "whole": "yaml ",
            "web": "dotenv ",
            "blob": "binary ",
        },
        "age": {
            "secrets/hosts/brunnen/wifi": str(
                ready.root / "secrets/hosts/brunnen/wifi.age"
            ),
            "old": str(ready.root / "secrets/wifi.age"),
        },
        "paths": ["/run/secrets/web", "/run/agenix/old"],
    }


def test_a_declaration_that_cannot_be_met_says_what_to_do(ready: Fleet) -> None:
    """Of several files the one that the host can read is meant."""
    write_secret(ready, "secrets/hosts/stein/wifi.age", "x")
    write_secret(ready, "secrets/hosts/brunnen/dns.age", "x")
    expression = f"""{MODULES}
    let on = name: secrets: failed (host name secrets);
        alone = modules: failed (lib.nixosSystem {{ modules = [ nixsecrets.nixos {{
          networking.hostName = "brunnen";
          nixsecrets.secrets = {{ wifi = {{ }}; app = {{ }}; }};
        }} ] ++ modules; }});
    in {{
      own = on "stein" {{ wifi = {{ }}; }};
      unreadable = on "stein" {{ app = {{ }}; }};
      unclear = on "schere" {{ wifi = {{ }}; }};
      unknown = on "brunnen" {{ wfii = {{ }}; }};
      nameless = failed (lib.darwinSystem {{ modules = [ nixsecrets.darwin agenix {{
        nixsecrets.root = ./.; nixsecrets.secrets.wifi = {{ }}; }} ]; }});
      rootless = alone [ agenix sops ];
      frameworkless = alone [ {{ nixsecrets.root = ./.; }} ];
    }}"""
    seen = evaluate(expression, ready.root)
    assert seen == {
        "unreadable": [
            "nixsecrets: secrets/app.yaml: stein declares sops.secrets.app: host stein"
            " is not a recipient; run `nixsecrets why secrets/app.yaml`",
            "nixsecrets: nixsecrets.secrets.app: to let host stein read it, add"
            ' "stein" to the readers of secrets/app.yaml in nixsecrets.toml, and run'
            " `nixsecrets rekey secrets/app.yaml`",
        ],
        "own": [],
        "unclear": [
            "nixsecrets: nixsecrets.secrets.wifi may mean secrets/hosts/stein/wifi.age,"
            " secrets/wifi.age; set nixsecrets.secrets.wifi.file"
        ],
        "unknown": [
            "nixsecrets: nixsecrets.secrets.wfii: no secret of the map is called wfii;"
            " create it (nixsecrets edit secrets/wfii.age, git add), or set"
            " nixsecrets.secrets.wfii.file"
        ],
        "nameless": ["nixsecrets: set nixsecrets.name"],
        "rootless": [
            "nixsecrets: nixsecrets.secrets needs nixsecrets.root, the folder of"
            " nixsecrets.toml"
        ],
        "frameworkless": [
            "nixsecrets: nixsecrets.secrets.wifi is an age file; import the module of"
            " agenix",
            "nixsecrets: nixsecrets.secrets.app is a sops file; import the module of"
            " sops-nix",
        ],
    }


def test_whoever_asks_for_the_path_first_gets_the_same_sentence(ready: Fleet) -> None:
    expression = f"""{MODULES}
      (host "brunnen" {{ wfii = {{ }}; }}).config.nixsecrets.secrets.wfii.path"""
    done = evaluated(expression, ready.root)
    assert "no secret of the map is called wfii" in done.stderr


def test_a_file_of_another_repository_is_taken_by_its_name(
    ready: Fleet, nix: dict[str, str]
) -> None:
    other = ready.root.parent / "other"
    other.mkdir()
    (other / "theirs.age").write_bytes(b"of nobody here")
    (other / "theirs.env").write_bytes(b"of nobody here")
    expression = f"""{MODULES} let system = host "brunnen" {{
      a.file = "${{{other}}}/theirs.age";
      b.file = {other}/theirs.env;
    }}; in [ (baseNameOf system.config.age.secrets.a.file)
      system.config.sops.secrets.b.format (failed system) ]"""
    asked = ("eval", "--impure", "--json", "--expr", expression)
    done = run_nix(*asked, cwd=ready.root, env=nix)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["theirs.age", "dotenv", []]


def test_a_service_restarts_when_an_age_file_changes(ready: Fleet) -> None:
    expression = f"""{MODULES} (host "brunnen" {{
      wifi.restartUnits = [ "a.service" "b" ];
      secrets-wifi = {{ file = ./secrets/wifi.age; reloadUnits = [ "b.service" ]; }};
      app.restartUnits = [ "c.service" ];
    }}).config.systemd.services"""
    digest = sha256(ready.read("secrets/wifi.age"))
    assert evaluate(expression, ready.root) == {
        "a": {"restartTriggers": [digest]},
        "b": {"restartTriggers": [digest], "reloadTriggers": [digest]},
    }


def test_a_mac_and_a_home_declare_theirs_in_the_same_way(ready: Fleet) -> None:
    expression = f"""{MODULES} let
      mac = lib.darwinSystem {{ modules = [ nixsecrets.darwin agenix sops {{
        nixsecrets = {{ root = ./.; name = "schere";
          secrets.dns = {{ owner = "me"; file = ./secrets/dns.age; }};
          secrets.zone = {{ key = "dns"; }}; }}; }} ]; }};
      home = lib.homeManagerConfiguration {{ modules = [
        nixsecrets.home agenixHome sopsHome
        {{ home.username = "alice"; nixsecrets.root = ./.;
          sops.age.keyFile = "/home/alice/keys.txt";
          nixsecrets.secrets = {{ wifi.mode = "0600"; app = {{ }}; }}; }}
      ]; }};
    in {{
      failed = map failed [ mac home ];
      mac = mac.config.age.secrets.dns.owner + mac.config.sops.secrets.zone.key;
      home = home.config.age.secrets.wifi.mode + home.config.sops.secrets.app.key;
    }}"""
    assert evaluate(expression, ready.root) == {
        "failed": [[], []],
        "mac": "medns",
        "home": "0600app",
    }


def test_the_checks_of_a_fleet_judge_configurations_without_our_module(
    ready: Fleet,
) -> None:
    expression = f"""{MODULES} let
      nixpkgs = import {PROJECT}/tests/nix/stub;
      flake = (import {PROJECT}/flake.nix).outputs {{
        self = flake // {{ outPath = {PROJECT}; }}; inherit nixpkgs; }};
      age.secrets.x.file = ./secrets/wifi.age;
      system = name: more: {{ imports = [ agenix more ]; inherit age;
        networking.hostName = name; }};
      bob = {{ imports = [ agenixHome ]; inherit age; }};
      fleet = {{
        outPath = ./.;
        nixosConfigurations.brunnen = lib.nixosSystem {{
          modules = [ (system "brunnen" {{ home-manager.users.bob = bob; }}) ]; }};
        darwinConfigurations.mac = lib.darwinSystem {{
          modules = [ (system "schere" {{ }}) ]; }};
        homeConfigurations = builtins.mapAttrs (name: _:
          lib.homeManagerConfiguration {{
            modules = [ bob {{ home.username = "alice"; }} ]; }}) {{ alice = 1; }};
      }};
    in (flake.lib.checks {{ self = fleet; }}).x86_64-linux.nixsecrets-hosts.passthru"""
    said = evaluate(expression, ready.root)["problems"].splitlines()
    assert [line.split(";")[0] for line in said] == [
        "nixsecrets: brunnen: nixsecrets.toml: bob declares secrets, and the map has no"
        " user bob",
        "nixsecrets: mac: secrets/wifi.age: schere declares age.secrets.x: host schere"
        " is not a recipient",
    ]
