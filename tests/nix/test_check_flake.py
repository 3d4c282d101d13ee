"""`check --flake`: real Nix evaluates fixture flakes over real repositories."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.fleet import Fleet
from tests.nix.nixkit import run_nix, write_flake

SEVERAL = """
  nixosConfigurations.brunnen = lib.nixosSystem { modules = [ agenix sops {
    networking.hostName = "brunnen";
    age.secrets.wifi.file = ./secrets/wifi.age;
    age.secrets.interpolated.file = "${./secrets/wifi.age}";
    age.secrets.copied.file =
      builtins.path { path = ./secrets; name = "copy"; } + "/wifi.age";
    age.secrets.dns.file = ./secrets/dns.age;
    age.secrets.thrown.file = throw "not yet";
    age.secrets.new.file = ./secrets/new.age;
    sops.defaultSopsFile = ./secrets/app.yaml;
    sops.secrets.app = { };
    sops.secrets."db/password" = { };
    sops.secrets.gone.sopsFile = ./secrets/gone.yaml;
    home-manager.users.alice = {
      imports = [ sopsHome ];
      sops.age.keyFile = "/home/alice/.config/sops/age/keys.txt";
      sops.secrets.app.sopsFile = ./secrets/app.yaml;
    };
    specialisation.office.configuration.age.secrets.office.file = ./secrets/wifi.age;
    containers.web.bindMounts."/etc/ssh/ssh_host_ed25519_key" = { };
    containers.web.config = {
      imports = [ agenix ];
      age.secrets.wifi.file = ./secrets/wifi.age;
    };
  } ]; };
  nixosConfigurations.typo = lib.nixosSystem { modules = [ { netwroking = 1; } ]; };
  nixosConfigurations.absent = lib.nixosSystem { modules = [ agenix {
    age.secrets.x.file = ({ }).file; } ]; };
  nixosConfigurations.neither = lib.nixosSystem { modules = [ ]; };
  darwinConfigurations.schere = lib.darwinSystem { modules = [ agenix sops {
    age.secrets.dns.file = self + "/secrets/dns.age";
    sops.secrets.dns.sopsFile = ./secrets/dns.yaml;
  } ]; };
  homeConfigurations."alice@laptop" = lib.homeManagerConfiguration { modules = [
    agenixHome { home.username = "alice"; age.identityPaths = [ "/keys.txt" ];
      age.secrets.wifi.file = ./secrets/wifi.age; } ]; };
  colmenaHive.nodes.stein = lib.nixosSystem { modules = [ sops {
    networking.hostName = "stein";
    sops.secrets.dns.sopsFile = ./secrets/dns.yaml; } ]; };
"""
TABLE = """\
stein
  sops.secrets.dns          secrets/dns.yaml   ok
schere
  age.secrets.dns           secrets/dns.age    ok
  sops.secrets.dns          secrets/dns.yaml   ok
alice@laptop
  age.secrets.wifi          secrets/wifi.age   ok
brunnen
  age.secrets.copied        secrets/wifi.age   ok
  age.secrets.dns           secrets/dns.age    NS070 host brunnen is not a recipient;\
 no rule lets it read
  age.secrets.interpolated  secrets/wifi.age   ok
  age.secrets.new           secrets/new.age    NS073 git does not track it
  age.secrets.thrown        -                  NS081 its file does not evaluate
  age.secrets.wifi          secrets/wifi.age   ok
  sops.secrets.app          secrets/app.yaml   ok
  sops.secrets.db/password  secrets/app.yaml   NS074 it has no key "db/password"
  sops.secrets.gone         secrets/gone.yaml  NS072 it does not exist
brunnen, home-manager user alice
  sops.secrets.app          secrets/app.yaml   ok
brunnen, specialisation office
  age.secrets.office        secrets/wifi.age   ok
brunnen, container web
  age.secrets.wifi          secrets/wifi.age   ok
"""
CANARY = "untracked-plaintext-canary"


@pytest.fixture
def several(ready: Fleet, nix: dict[str, str]) -> Fleet:
    """A repository whose flake has every kind of configuration, and mistakes."""
    write_flake(ready, SEVERAL)
    ready.git("add", "-A")
    ready.age_encrypt("secrets/new.age", "x", "brunnen")
    ready.write("notes", CANARY)
    ready.env.update(nix, HOME=ready.env["HOME"])
    return ready


def test_every_declared_secret_of_every_configuration_has_a_verdict(
    several: Fleet, nix: dict[str, str]
) -> None:
    done = several.run("check", "--flake")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(TABLE)
    findings = done.stdout.removeprefix(TABLE).splitlines()
    assert [line for line in findings if line.startswith("NS081")] == [
        "NS081  flake.nix: absent does not evaluate: attribute 'file' missing",
        "NS081  flake.nix: brunnen declares age.secrets.thrown: its file does not"
        " evaluate",
        "NS081  flake.nix: typo does not evaluate: The option `netwroking' does not"
        " exist",
    ]
    assert not (several.root / "flake.lock").exists()
    store = Path(nix["NIX_STORE_DIR"])
    copied = [path for path in store.rglob("*") if path.is_file()]
    assert any(path.name == "wifi.age" for path in copied)
    assert not [path for path in copied if CANARY.encode() in path.read_bytes()]
    assert not [path for path in copied if path.name in {"notes", "new.age"}]


def test_a_saved_inventory_gives_the_same_elsewhere_without_nix(
    several: Fleet,
) -> None:
    file = several.root.parent / "declared.json"
    there = several.run("check", "--flake", ".", "--jobs", "2", "--save", file)
    assert there.stdout.startswith(TABLE)
    without = {"PATH": str(Path(shutil.which("git") or "").parent)}
    if shutil.which("nix", path=without["PATH"]):
        folder = several.root.parent / "bin"
        folder.mkdir()
        (folder / "git").symlink_to(shutil.which("git") or "")
        without = {"PATH": str(folder)}
    here = several.run("check", "--declared", file, env=without)
    assert here.stdout == there.stdout
    done = several.run("check", "--flake", env=without)
    assert done.stderr == (
        "nixsecrets: error: nix cannot be started\n"
        "nixsecrets: hint: install nix, or check what another machine wrote:"
        " nixsecrets check --declared FILE\n"
    )


def test_one_host_can_be_asked_for_alone(several: Fleet) -> None:
    done = several.run("check", "--flake", "--host", "schere", "--json")
    assert {row["host"] for row in json.loads(done.stdout)["declared"]} == {"schere"}
    assert done.returncode == 1  # new.age is not recorded in the lock
    done = several.run("check", "--flake", "--host", "nobody")
    assert done.returncode == 2
    assert 'there is no configuration "nobody"' in done.stderr


def test_a_bare_path_is_refused_because_it_would_copy_untracked_files(
    several: Fleet, nix: dict[str, str]
) -> None:
    done = several.run("check", "--flake", f"path:{several.root}")
    assert done.returncode == 1
    assert "would copy untracked files to the store" in done.stderr
    assert not Path(nix["NIX_STORE_DIR"]).exists()


def test_a_flake_without_git_is_refused(tmp_path: Path, several: Fleet) -> None:
    shutil.rmtree(several.root / ".git")
    done = several.run("check", "--flake")
    assert done.returncode == 1
    assert "is not a git repository" in done.stderr


def test_the_code_of_a_flake_sees_nothing_of_this_machine(several: Fleet) -> None:
    outside = several.root.parent / "outside"
    outside.write_text("x")
    write_flake(
        several,
        f"""nixosConfigurations.brunnen = lib.nixosSystem {{ modules = [ agenix {{
          networking.hostName = "brunnen";
          age.secrets.env.file = "/env:${{builtins.getEnv "HOME"}}";
        }} ]; }};
        nixosConfigurations.reader = lib.nixosSystem {{ modules = [ agenix {{
          age.secrets.x.file = builtins.readFile {outside};
        }} ]; }};
        nixosConfigurations.builder = lib.nixosSystem {{ modules = [ agenix {{
          age.secrets.x.file = import (derivation {{
            name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; }});
        }} ]; }};""",
    )
    done = several.run("check", "--flake")
    (builder,) = [x for x in done.stdout.splitlines() if "builder does not eval" in x]
    assert "allow-import-from-derivation" in builder
    assert "not checked: /env: on the machine" in done.stdout
    assert "reader does not evaluate: access to" in done.stdout


def test_a_flake_that_does_not_evaluate_is_an_error_with_nix_own_words(
    several: Fleet,
) -> None:
    several.write("flake.nix", "{ outputs = _: { nixosConfigurations = 1 + }; }")
    done = several.run("check", "--flake")
    assert (done.returncode, done.stdout) == (1, "")
    assert "syntax error, unexpected" in done.stderr


def test_a_flake_in_a_folder_finds_the_files_of_its_repository(
    several: Fleet,
) -> None:
    write_flake(
        several,
        """nixosConfigurations.brunnen = lib.nixosSystem { modules = [ agenix {
          networking.hostName = "brunnen";
          age.secrets.wifi.file = ../secrets/wifi.age;
          age.secrets.env.file = "/env:${builtins.getEnv "HOME"}"; } ]; };""",
    )
    (several.root / "infra").mkdir()
    for name in ("flake.nix", "vendor"):
        (several.root / name).rename(several.root / "infra" / name)
    several.git("add", "-A", "infra")
    done = several.run("check", "--flake", "./infra")
    assert "age.secrets.wifi  secrets/wifi.age  ok" in done.stdout, done.stderr
    # Nix 2.8 takes such a flake only with --impure; newer ones evaluate it purely
    version = run_nix("--version", cwd=several.root, env=several.env).stdout
    pure = "not checked: /env: on the machine" in done.stdout
    assert pure is not version.startswith("nix (Nix) 2.8.")


RICH = """
  nixosConfigurations.brunnen = lib.nixosSystem { modules = [ agenix sops
    ({ config, ... }: {
      networking.hostName = "brunnen-1";
      environment.persistence."/persist" = { };
      users.users.wpa = { };
      age.secrets.wifi = { file = ./secrets/wifi.age; owner = "wpa"; mode = "0440"; };
      sops.defaultSopsFile = ./secrets/app.yaml;
      sops.secrets.app.neededForUsers = true;
      sops.secrets.whole = { key = ""; format = "json"; owner = null;
        sopsFile = ./secrets/hosts/brunnen/tls.json; };
      sops.templates.env.content = "APP=${config.sops.placeholder.app}";
      sops.templates.plain.content = "nothing";
      sops.gnupg.sshKeyPaths = [ "/etc/ssh/ssh_host_rsa_key" ];
      sops.environment.SOPS_AGE_SSH_PRIVATE_KEY_FILE = "/etc/ssh/key";
    }) ]; };
"""


def test_the_inventory_has_everything_that_is_compared(
    ready: Fleet, nix: dict[str, str]
) -> None:
    ready.env.update(nix, HOME=ready.env["HOME"])
    write_flake(ready, RICH)
    ready.git("add", "-A")
    file = ready.root.parent / "declared.json"
    done = ready.run("check", "--flake", "--save", file)
    (host,) = json.loads(file.read_text())["hosts"]
    (part,) = host.pop("parts")
    assert host == {"kind": "nixos", "name": "brunnen", "hostName": "brunnen-1"}
    age, sops = part.pop("age"), part.pop("sops")
    assert part == {
        "at": "",
        "user": None,
        "container": None,
        "persistent": ["/persist"],
        "mapName": None,
        "usersByUnit": False,
        "inStore": [],
    }

    def known(path: str) -> dict[str, object]:
        digest = hashlib.sha256(ready.read(path)).hexdigest()
        return {"file": path, "exists": True, "sha256": digest}

    ssh = "/etc/ssh/ssh_host_ed25519_key"
    assert age == {
        "identityPaths": ["/etc/ssh/ssh_host_rsa_key", ssh],
        "secrets": [
            {"name": "wifi", "owner": "wpa", "mode": "0440"} | known("secrets/wifi.age")
        ],
    }
    assert sops == {
        "sshKeyPaths": [ssh],
        "keyFile": None,
        "generateKey": False,
        "sshPrivateKeyFile": "/etc/ssh/key",
        "gnupg": True,
        "secrets": [
            {
                "name": "app",
                "key": "app",
                "format": "yaml",
                "owner": None,
                "mode": "0400",
                "neededForUsers": True,
            }
            | known("secrets/app.yaml"),
            {
                "name": "whole",
                "key": "",
                "format": "json",
                "owner": None,
                "mode": "0400",
                "neededForUsers": False,
            }
            | known("secrets/hosts/brunnen/tls.json"),
        ],
        "templates": [
            {"name": "env", "owner": None, "mode": "0400", "uses": ["app"]},
            {"name": "plain", "owner": None, "mode": "0400", "uses": []},
        ],
    }
    codes = [line.split(" ")[0] for line in done.stdout.splitlines()]
    assert [code for code in codes if code.startswith("NS07")] == ["NS079", "NS079"]
    assert "NS084  flake.nix: brunnen declares sops.templates.env" in done.stdout
    assert "NS082" not in done.stdout
    beside = ready.run("ls", "--host", "brunnen", "--declared")
    assert beside.stdout.splitlines()[1:] == [
        "secrets/app.yaml                yes       sops.secrets.app",
        "secrets/hosts/brunnen/tls.json  yes       sops.secrets.whole",
        "secrets/wifi.age                yes       age.secrets.wifi",
    ]


RAW_HIVE = """
  colmena = {
    meta.nixpkgs = pkgs;
    meta.specialArgs.secrets = ./secrets;
    meta.nodeSpecialArgs.schere.secrets = ./secrets;
    defaults = { imports = [ agenix sops ]; };
    brunnen = { name, nodes, secrets, config, ... }: {
      networking.hostName = name;
      deployment.tags = [ "web" ];
      deployment.keys.token.text = "x";
      age.secrets.wifi.file = secrets + "/wifi.age";
      # these are colmena's defaults, and what another machine says of itself
      age.secrets.beside.file = if
        config.deployment.keys.token.path == "/run/keys/token"
        && config.deployment.targetHost == "brunnen"
        && nodes.schere.config.networking.hostName == "schere"
        then ./secrets/wifi.age else throw "not as colmena has it";
    };
    schere = [
      { networking.hostName = "schere"; }
      ({ secrets, ... }: { age.secrets.wifi.file = secrets + "/wifi.age"; })
    ];
    stein = { netwroking.hostName = "stein"; };
  };
"""


def test_a_hive_that_only_colmena_evaluates_is_evaluated_as_colmena_does(
    ready: Fleet, nix: dict[str, str]
) -> None:
    ready.env.update(nix, HOME=ready.env["HOME"])
    write_flake(ready, RAW_HIVE)
    ready.git("add", "-A")
    done = ready.run("check", "--flake")
    assert done.stdout.startswith(
        "brunnen\n"
        "  age.secrets.beside  secrets/wifi.age  ok\n"
        "  age.secrets.wifi    secrets/wifi.age  ok\n"
        "schere\n"
        "  age.secrets.wifi    secrets/wifi.age  NS070 host schere is not a recipient;"
        " no rule lets it read\n"
    ), done.stdout + done.stderr
    assert (
        "NS081  flake.nix: stein does not evaluate: The option `netwroking' does not"
        " exist\n" in done.stdout
    )
    write_flake(ready, RAW_HIVE.replace("meta.nixpkgs = pkgs;", ""))
    done = ready.run("check", "--flake", "--host", "brunnen")
    assert (
        "NS081  flake.nix: brunnen does not evaluate: colmena: meta.nixpkgs is not set"
        in done.stdout
    )


def test_a_hive_is_made_by_colmena_itself_where_it_is_an_input(
    ready: Fleet, nix: dict[str, str], tmp_path: Path
) -> None:
    colmena, private = tmp_path / "colmena", tmp_path / "private"
    for folder, outputs in (
        (
            colmena,
            "lib.makeHive = raw: { nodes = builtins.mapAttrs (_: n: n 1) raw; };",
        ),
        (private, ""),
    ):
        folder.mkdir()
        (folder / "flake.nix").write_text(f"{{ outputs = _: {{ {outputs} }}; }}")
    (private / "wifi.age").write_bytes(ready.read("secrets/wifi.age"))
    ready.env.update(nix, HOME=ready.env["HOME"])
    write_flake(
        ready,
        """colmena.brunnen = number: lib.nixosSystem { modules = [ agenix {
          networking.hostName = "brunnen";
          age.secrets.own.file = ./secrets/wifi.age;
          age.secrets.of-another.file = private + "/wifi.age";
        } ]; };""",
        colmena=colmena,
        private=private,
    )
    ready.git("add", "-A")
    done = ready.run("check", "--flake")
    assert done.stderr.endswith(
        "hint: write its lock file: nix flake lock && git add flake.lock\n"
    )
    assert not (ready.root / "flake.lock").exists()
    locked = run_nix("flake", "lock", cwd=ready.root, env=ready.env)
    assert locked.returncode == 0, locked.stderr
    ready.git("add", "-A")
    done = ready.run("check", "--flake")
    assert done.stdout.startswith(
        "brunnen\n"
        "  age.secrets.of-another  secrets/wifi.age  ok\n"
        "  age.secrets.own         secrets/wifi.age  ok\n"
    ), done.stdout + done.stderr


def test_discover_adds_the_machines_of_the_flake_that_the_map_does_not_know(
    ready: Fleet, nix: dict[str, str], tmp_path: Path
) -> None:
    ready.env.update(nix, HOME=ready.env["HOME"])
    key = kit.ssh_key("a new machine")
    write_flake(
        ready,
        """nixosConfigurations = { brunnen = null; neu = null; };
        darwinConfigurations.mac = throw "never evaluated";
        homeConfigurations."alice@laptop" = null;""",
    )
    ready.git("add", "-A")
    config = tmp_path / "ssh_config"
    with kit.start_sshd(tmp_path / "sshd", key) as port:
        closed = kit.free_port()
        config.write_text(
            f"Host neu\n  HostName 127.0.0.1\n  Port {port}\n"
            f"Host mac\n  HostName 127.0.0.1\n  Port {closed}\n"
        )
        done = ready.run(
            *("add-host", "--discover", "--flake", "--ssh-config", config, "--yes"),
            *("--retries", "0", "--trust-on-first-use", "--group", "dns"),
        )
    lines = done.stderr.splitlines()
    assert f"  neu  {key.fingerprint}  not verified" in lines
    assert any(line.startswith("  mac  skipped: ") for line in lines)
    assert not any("alice@laptop" in line or "brunnen  " in line for line in lines)
    key.write(ready.keys / "neu")
    assert ready.age_decrypt("secrets/dns.age", "neu") == b"dns-canary"
    assert ready.run("add-host", "x", "--flake").returncode == 2
