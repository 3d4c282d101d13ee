"""The systems people have, and one fault at a time in them: what `check --flake` says.

Every configuration uses the keys of brunnen (a home those of alice), so that one
evaluation of one flake judges all of them.  A system without a fault is ok in every
line, and what is called ok opens with the private key of its machine.
"""

import json
from typing import Any

import pytest

from nixsecrets.files.state import Record
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.repo.files import sha256
from tests import fleet as kit
from tests.fleet import Fleet
from tests.nix.nixkit import run_nix, write_flake

# --- files: name -> content, for sops files that brunnen can read

SOPS = {
    "secrets/pdns.yaml": "powerdns:\n  api-key: k\n  db: p\nport: 5432\non: true\n"
    "list: [a]\nempty: {}\n",
    "secrets/forge.env": "TOKEN=t\n",
    "secrets/forge.ini": "[a]\nb = c\n",
    "secrets/disk.bin": "anything",
    "secrets/deep.json": '{"a": {"b": "c"}, "top": "d"}\n',
}

# --- systems without a fault

GOOD = {
    "homelab": """
      users.users.wpa = { };
      age.secrets.wifi = { file = ./secrets/wifi.age; owner = "wpa"; mode = "0440"; };
      age.secrets.again.file = "${./secrets/wifi.age}";
      specialisation.office.configuration.age.secrets.office.file = ./secrets/wifi.age;
    """,
    "powerdns": """
      sops.defaultSopsFile = ./secrets/pdns.yaml;
      systemd.services.pdns = { };
      sops.secrets."powerdns/api-key" = { restartUnits = [ "pdns.service" ]; };
      sops.secrets."powerdns/db" = { };
      sops.templates."pdns.env".content = "KEY=${
        config.sops.placeholder."powerdns/api-key"}";
    """,
    "impermanence": """
      environment.persistence."/persist" = { };
      age.identityPaths = [ "/persist/etc/ssh/ssh_host_ed25519_key" ];
      sops.age.sshKeyPaths = [ "/persist/etc/ssh/ssh_host_ed25519_key" ];
      age.secrets.wifi.file = ./secrets/wifi.age;
      sops.secrets.app.sopsFile = ./secrets/app.yaml;
    """,
    "luks": """
      sops.secrets.disk = { sopsFile = ./secrets/disk.bin; format = "binary"; };
      age.secrets.luks = { file = ./secrets/wifi.age; symlink = false;
        path = "/var/lib/luks.key"; };
    """,
    "wsl": """
      services.openssh.enable = false;
      age.identityPaths = [ "/etc/ssh/ssh_host_ed25519_key" ];
      sops.age.sshKeyPaths = [ "/etc/ssh/ssh_host_ed25519_key" ];
      age.secrets.wifi.file = ./secrets/wifi.age;
      sops.secrets.app.sopsFile = ./secrets/app.yaml;
    """,
    "forge": """
      sops.secrets.runner = { sopsFile = ./secrets/forge.env; format = "dotenv"; };
      sops.secrets.ini = { sopsFile = ./secrets/forge.ini; format = "ini"; };
      sops.secrets.whole = { sopsFile = ./secrets/deep.json; format = "json";
        key = ""; };
      sops.secrets.top = { sopsFile = ./secrets/deep.json; format = "json"; };
    """,
    "anywhere": """
      users.users.wpa = { };
      nixsecrets.secrets = { wifi.owner = "wpa"; "powerdns/api-key" = { }; forge.file =
        ./secrets/forge.env; };
    """,
    "contained": """
      containers.web = {
        bindMounts."/etc/ssh/ssh_host_ed25519_key" = { };
        config = { imports = [ agenix ]; age.secrets.wifi.file = ./secrets/wifi.age; };
      };
    """,
    "household": """
      home-manager.users.alice = { imports = [ sopsHome ];
        sops.age.keyFile = "/home/alice/.config/sops/age/keys.txt";
        sops.secrets.app.sopsFile = ./secrets/app.yaml; };
    """,
}

# --- faults: what is declared -> the code, and a part of the message

FAULTS = {
    "unreadable-age": (
        "age.secrets.x.file = ./secrets/dns.age;",
        "NS070 host brunnen is not a recipient",
    ),
    "unreadable-sops": (
        "sops.secrets.dns.sopsFile = ./secrets/dns.yaml;",
        "NS070 host brunnen is not a recipient",
    ),
    "unreadable-interpolated": (
        'age.secrets.x.file = "${./secrets/dns.age}";',
        "NS070 host brunnen is not a recipient",
    ),
    "unreadable-default": (
        "sops.defaultSopsFile = ./secrets/dns.yaml; sops.secrets.dns = { };",
        "NS070 host brunnen is not a recipient",
    ),
    "unreadable-in-specialisation": (
        "specialisation.s.configuration.age.secrets.x.file = ./secrets/dns.age;",
        "NS070 host brunnen is not a recipient",
    ),
    "unreadable-by-name": (
        "nixsecrets.secrets.dns.file = ./secrets/dns.age;",
        "NS070 host brunnen is not a recipient",
    ),
    "unreadable-at-home": (
        "home-manager.users.bob = { imports = [ agenixHome ];"
        " age.secrets.x.file = ./secrets/wifi.age; };",
        "NS070 user bob is not a recipient",
    ),
    "only-x25519": (
        "age.secrets.x.file = ./secrets/x25519.age;",
        "NS070 none of its recipients is an ssh key",
    ),
    "ssh-form-in-sops": (
        "sops.secrets.app.sopsFile = ./secrets/sshform.yaml;",
        "NS071 a form of the key that sops-nix does not open",
    ),
    "x25519-form-in-age": (
        "age.secrets.x.file = ./secrets/otherform.age;",
        "NS071 a form of the key that agenix does not open",
    ),
    "missing-age": (
        "age.secrets.x.file = ./secrets/gone.age;",
        "NS072 it does not exist",
    ),
    "missing-sops": (
        "sops.secrets.x.sopsFile = ./secrets/gone.yaml;",
        "NS072 it does not exist",
    ),
    "untracked": ("age.secrets.x.file = ./secrets/new.age;", "NS073 git does not"),
    "plaintext": ("sops.secrets.x.sopsFile = ./secrets/plain.yaml;", "NS001 not encr"),
    "cut-age": ("age.secrets.x.file = ./secrets/cut.age;", "NS002 "),
    "cut-sops": ("sops.secrets.x.sopsFile = ./secrets/cut.yaml;", "NS002 "),
    "no-such-key": (
        "sops.secrets.db.sopsFile = ./secrets/app.yaml;",
        'NS074 it has no key "db"',
    ),
    "misspelt-key": (
        'sops.secrets."powerdns/api_key".sopsFile = ./secrets/pdns.yaml;',
        'NS074 it has no key "powerdns/api_key"',
    ),
    "key-above-the-value": (
        "sops.secrets.powerdns.sopsFile = ./secrets/pdns.yaml;",
        "NS075 not one value but a mapping",
    ),
    "number": (
        "sops.secrets.port.sopsFile = ./secrets/pdns.yaml;",
        "NS075 is not a string",
    ),
    "boolean": (
        "sops.secrets.on.sopsFile = ./secrets/pdns.yaml;",
        "NS075 is not a string",
    ),
    "list": (
        "sops.secrets.list.sopsFile = ./secrets/pdns.yaml;",
        "NS075 not one value but a mapping",
    ),
    "key-of-json-below": (
        'sops.secrets."a/b" = { sopsFile = ./secrets/deep.json; format = "json"; };',
        "NS076 nested key of a JSON file",
    ),
    "format-of-yaml": (
        'sops.secrets.app = { sopsFile = ./secrets/app.yaml; format = "dotenv"; };',
        "NS076 its format is yaml",
    ),
    "format-of-dotenv": (
        "sops.secrets.TOKEN.sopsFile = ./secrets/forge.env;",
        "NS076 its format is dotenv",
    ),
    "key-of-dotenv": (
        'sops.secrets.x = { sopsFile = ./secrets/forge.env; format = "dotenv";'
        ' key = "TOKEN"; };',
        "NS076 is used whole",
    ),
    "sops-file-in-agenix": (
        "age.secrets.x.file = ./secrets/app.yaml;",
        "NS076 it is a sops file",
    ),
    "age-file-in-sops": (
        "sops.secrets.x.sopsFile = ./secrets/wifi.age;",
        "NS076 it is an age file",
    ),
    "no-identity-paths": (
        "age.identityPaths = [ ]; age.secrets.x.file = ./secrets/wifi.age;",
        "NS077 age.identityPaths is empty",
    ),
    "no-key-of-sops": (
        "sops.age.sshKeyPaths = [ ]; sops.secrets.app.sopsFile = ./secrets/app.yaml;",
        "NS077 neither sops.age.sshKeyPaths nor",
    ),
    "no-sshd": (
        "services.openssh.enable = false; age.secrets.x.file = ./secrets/wifi.age;",
        "NS077 age.identityPaths is empty",
    ),
    "no-sshd-for-sops": (
        "services.openssh.enable = false;"
        " sops.secrets.app.sopsFile = ./secrets/app.yaml;",
        "NS077 neither sops.age.sshKeyPaths nor",
    ),
    "identity-of-another-kind": (
        'age.identityPaths = [ "/var/lib/keys.txt" ];'
        " age.secrets.x.file = ./secrets/wifi.age;",
        "NS078 age.identityPaths names /var/lib/keys.txt",
    ),
    "rsa-for-sops": (
        'sops.age.sshKeyPaths = [ "/etc/ssh/ssh_host_rsa_key" ];'
        " sops.secrets.app.sopsFile = ./secrets/app.yaml;",
        "NS078 sops.age.sshKeyPaths names /etc/ssh/ssh_host_rsa_key",
    ),
    "generated-key": (
        'sops.age = { sshKeyPaths = [ ]; keyFile = "/var/lib/k"; generateKey = true; };'
        " sops.secrets.app.sopsFile = ./secrets/app.yaml;",
        "NS078 (generated on the machine)",
    ),
    "lost-at-boot": (
        'environment.persistence."/persist" = { };'
        " age.secrets.x.file = ./secrets/wifi.age;",
        "NS079 age.identityPaths names",
    ),
    "lost-at-boot-for-sops": (
        'environment.persistence."/persist" = { };'
        " sops.secrets.app.sopsFile = ./secrets/app.yaml;",
        "NS079 sops.age.sshKeyPaths names",
    ),
    "identity-without-use": (
        'age.identityPaths = [ "/etc/ssh/ssh_host_ed25519_key" "/var/lib/key.txt" ];'
        " age.secrets.x.file = ./secrets/wifi.age;",
        "NS090 /var/lib/key.txt opens no key",
    ),
    "not-in-the-map": (
        'networking.hostName = lib.mkForce "fremd"; nixsecrets.root = lib.mkForce null;'
        " age.secrets.x.file = ./secrets/wifi.age;",
        "NS080 the map has no host not-in-the-map",
    ),
    "user-not-in-the-map": (
        "home-manager.users.carol = { imports = [ agenixHome ];"
        " age.secrets.x.file = ./secrets/wifi.age; };",
        "NS080 the map has no user carol",
    ),
    "misspelt-option": ("netwroking.domain = 1;", "NS081 netwroking"),
    "misspelt-option-of-agenix": (
        "age.secrets.x.fiel = ./secrets/wifi.age;",
        "NS081 does not evaluate",
    ),
    "file-that-throws": (
        'age.secrets.x.file = throw "not yet";',
        "NS081 its file does not evaluate",
    ),
    "no-file": ('age.secrets.x.mode = "0400";', "NS081 "),
    "template-too-early": (
        "sops.secrets.app = { sopsFile = ./secrets/app.yaml; neededForUsers = true; };"
        " sops.templates.t.content = config.sops.placeholder.app;",
        "NS084 needed for users",
    ),
    "no-secret-of-this-name": ("nixsecrets.secrets.wfii = { };", "module wfii"),
}

# What only the copy of the repository that Nix sees has wrong.
FAULTS |= {
    "symbolic-link": ("age.secrets.x.file = ./secrets/link.age;", "NS092 symbolic"),
    "left-out-of-a-copy": (
        "age.secrets.x.file = builtins.filterSource (path: _: baseNameOf path !="
        ' "wifi.age") ./secrets + "/wifi.age";',
        "NS091 source filter",
    ),
    "key-does-not-reach-container": (
        "containers.web.config = { imports = [ agenix ];"
        " age.secrets.x.file = ./secrets/wifi.age; };",
        "NS094 not bind-mounted",
    ),
}

# What opens and still cannot be installed, or lies in the store as plain text.
FAULTS |= {
    "mode-of-age": (
        'age.secrets.x = { file = ./secrets/wifi.age; mode = "07x9"; };',
        "NS095 07x9",
    ),
    "mode-of-sops": (
        'sops.secrets.app = { sopsFile = ./secrets/app.yaml; mode = "rw"; };',
        "NS095 rw",
    ),
    "owner-nobody-has": (
        'age.secrets.x = { file = ./secrets/wifi.age; owner = "nodoby"; };',
        "NS095 nodoby",
    ),
    "group-nobody-has": (
        'sops.secrets.app = { sopsFile = ./secrets/app.yaml; group = "whele"; };',
        "NS095 whele",
    ),
    "password-too-late": (
        "sops.secrets.app.sopsFile = ./secrets/app.yaml;"
        " users.users.a.hashedPasswordFile = config.sops.secrets.app.path;",
        "NS096 installed after users are made",
    ),
    "unit-nobody-has": (
        "sops.secrets.app = { sopsFile = ./secrets/app.yaml;"
        ' restartUnits = [ "pdsn.service" ]; };',
        "NS097 pdsn.service",
    ),
    "password-in-the-store": (
        'users.users.a.password = "hunter2"; age.secrets.x.file = ./secrets/wifi.age;',
        "NS098 hashedPasswordFile",
    ),
}

# --- machines that are no NixOS hosts, with and without a fault

OTHERS = """
  darwinConfigurations.mac = lib.darwinSystem { modules = [ agenix sops {
    networking.hostName = "brunnen"; age.secrets.wifi.file = ./secrets/wifi.age;
    sops.secrets.app.sopsFile = ./secrets/app.yaml; } ]; };
  darwinConfigurations.mac-unreadable = lib.darwinSystem { modules = [ agenix {
    networking.hostName = "brunnen"; age.secrets.x.file = ./secrets/dns.age; } ]; };
  homeConfigurations.alice = lib.homeManagerConfiguration { modules = [ agenixHome {
    home.username = "alice"; age.identityPaths = [ "/keys.txt" ];
    age.secrets.wifi.file = ./secrets/wifi.age; } ]; };
  homeConfigurations.bob-unreadable = lib.homeManagerConfiguration { modules = [
    agenixHome { home.username = "bob"; age.secrets.x.file = ./secrets/wifi.age; } ]; };
  colmena = {
    meta.nixpkgs = pkgs;
    defaults = { imports = [ agenix ]; networking.hostName = "brunnen"; };
    hive.age.secrets.wifi.file = ./secrets/wifi.age;
    hive-unreadable.age.secrets.x.file = ./secrets/dns.age;
  };
"""
OTHER_GOOD = ["alice", "hive", "mac"]
OTHER_FAULTS = {
    "mac-unreadable": "NS070 host brunnen is not a recipient",
    "bob-unreadable": "NS070 user bob is not a recipient",
    "hive-unreadable": "NS070 host brunnen is not a recipient",
}


def outputs() -> str:
    """The flake of all systems, and what the module says of each."""
    declared = GOOD | {name: text for name, (text, _) in FAULTS.items()}
    hosts = "".join(
        f'"{name}" = {{ config, lib, ... }}: {{ {text} }};\n'
        for name, text in declared.items()
    )
    return f"""{OTHERS}
  nixosConfigurations = builtins.mapAttrs (_: system: lib.nixosSystem {{ modules = [
    agenix sops nixsecrets.nixos
    {{ networking.hostName = lib.mkDefault "brunnen"; nixsecrets.root = ./.; }} system
  ]; }}) {{ {hosts} }};
  problems = builtins.mapAttrs (_: one: let
      tried = builtins.tryEval (builtins.deepSeq one.config.nixsecrets.problems
        one.config.nixsecrets.problems);
    in if tried.success then tried.value else null) (removeAttrs
      self.nixosConfigurations [ "misspelt-option" "misspelt-option-of-agenix" ]);
"""


def write_files(fleet: Fleet) -> None:
    """Write the files that the systems declare, sound and broken ones."""
    alice, ssh = fleet.public("alice"), " ".join(fleet.public("brunnen").split()[:2])
    brunnen = parse_recipient(ssh).converted()
    for path, content in SOPS.items():
        fleet.sops_encrypt(path, content, [alice, brunnen.text])
    fleet.sops_encrypt("secrets/sshform.yaml", "app: x\n", [alice, ssh])
    fleet.write("secrets/plain.yaml", "x: y\n")
    app = fleet.read("secrets/app.yaml")
    fleet.write("secrets/cut.yaml", app[: app.index(b"lastmodified")])
    fleet.write("secrets/cut.age", fleet.read("secrets/wifi.age")[:-20])
    fleet.age_encrypt("secrets/x25519.age", "x", kit.age_key().public)
    path = "secrets/otherform.age"
    keys = (parse_recipient(alice), brunnen)
    fleet.age_encrypt(path, "x", *(key.text for key in keys))
    lock = fleet.root / "nixsecrets.lock"
    record = Record(keys, sha256(fleet.read(path)), "written")
    lock.write_text(
        Lock.parse(lock.read_text()).with_files({path: record}, {}).render()
    )
    (fleet.root / "secrets/link.age").symlink_to("wifi.age")


@pytest.fixture
def systems(ready: Fleet, nix: dict[str, str]) -> Fleet:
    """A repository with every system, sound and broken, in one flake."""
    ready.env.update(nix, HOME=ready.env["HOME"])
    ready.ok("add-user", "bob", "--key", kit.ssh_key("bob").public, "--yes")
    write_files(ready)
    write_flake(ready, outputs())
    ready.git("add", "-A")
    ready.age_encrypt("secrets/new.age", "x", "brunnen")
    return ready


def said_of(report: dict[str, Any], name: str) -> set[str]:
    """What is said of one configuration: codes with messages, least privilege aside."""
    rows = {
        f"{row['code']} {row['verdict']}"
        for row in report["declared"]
        if row["host"] == name and row["code"]
    }
    return rows | {
        f"{one['code']} {one['message']}"
        for one in report["problems"]
        if one["message"].startswith((f"{name} ", f"{name}:", f"{name},"))
    }


def test_each_fault_is_named_and_a_system_without_one_is_ok(systems: Fleet) -> None:
    done = systems.run("check", "--flake", "--json")
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    asked = ("eval", "--json", ".#problems")
    evaluated = run_nix(*asked, cwd=systems.root, env=systems.env)
    assert evaluated.returncode == 0, evaluated.stderr
    problems = json.loads(evaluated.stdout)
    wrong: dict[str, object] = {}

    wanted = {name: one for name, (_, one) in FAULTS.items()} | OTHER_FAULTS
    for name, want in wanted.items():
        code, _, part = want.partition(" ")
        said = said_of(report, name)
        if code == "module":
            said = {f"module {one}" for one in problems[name]}
        if {one.split()[0] for one in said} != {code} or part not in " ".join(said):
            wrong[name] = said

    for name in (*GOOD, *OTHER_GOOD):
        rows = [row for row in report["declared"] if row["host"] == name]
        bad = [row for row in rows if row["verdict"] != "ok"]
        said = said_of(report, name) | set(problems.get(name) or ())
        if said or bad or not rows:
            wrong[name] = (said, bad, len(rows))
        wrong |= dict.fromkeys(not_opened(systems, rows), name)

    assert wrong == {}


def not_opened(fleet: Fleet, rows: list[dict[str, Any]]) -> list[str]:
    """The files called ok that the machine's own key does not open after all."""
    return sorted(
        {
            row["path"]
            for row in rows
            if row["host"] not in ("alice", "household")
            and not opens(fleet, row["path"], row["option"].partition(".")[0])
        }
    )


def opens(fleet: Fleet, path: str, framework: str) -> bool:
    """Whether real age or sops opens a file with the private key of brunnen.

    sops-nix converts the ssh key first; agenix gives it to age as it is.
    """
    if framework == "age":
        return fleet.age_opens(path, "brunnen")
    identity = kit.age_secret((fleet.keys / "brunnen").read_bytes())
    return fleet.sops_opens(path, identity)
