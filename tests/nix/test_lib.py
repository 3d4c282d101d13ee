"""nix/lib.nix and the modules, evaluated by real Nix over real repositories."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import write_secret
from tests.cli.test_merge import left_by_older
from tests.fleet import PROJECT, Fleet
from tests.nix.nixkit import evaluate, evaluated, lib

pytestmark = pytest.mark.usefixtures("each_nix")


def test_hosts_and_users_have_the_keys_of_the_map_without_comments(
    ready: Fleet,
) -> None:
    seen = lib(ready, "{ inherit (fleet) hosts users; }")
    assert seen["hosts"]["brunnen"] == [" ".join(ready.public("brunnen").split()[:2])]
    assert seen["users"] == {"alice": [ready.public("alice")]}


def test_known_hosts_are_ready_for_programs_ssh(ready: Fleet) -> None:
    path = ready.root / "nixsecrets.toml"
    text = path.read_text()
    address = '[hosts."brunnen"]\naddress = "root@brunnen.lan:2222"'
    path.write_text(text.replace('[hosts."brunnen"]', address))
    seen = lib(ready, "fleet.knownHosts")
    key = " ".join(ready.public("brunnen").split()[:2])
    assert seen["brunnen"] == {
        "hostNames": ["brunnen", "brunnen.lan"],
        "publicKey": key,
    }
    assert seen["stein"]["hostNames"] == ["stein"]


def test_authorized_keys_are_the_ssh_keys_of_a_user_or_of_a_groups_users(
    fleet: Fleet,
) -> None:
    bob = kit.ssh_key("bob")
    fleet.add_user("bob", bob)
    fleet.write_map('[groups]\nops = ["bob", "dev"]\ndev = ["alice", "bob"]\n')
    assert lib(fleet, 'fleet.authorizedKeys "bob"') == [bob.public]
    assert lib(fleet, 'fleet.authorizedKeys "ops"') == [bob.public]
    assert lib(fleet, 'fleet.authorizedKeys "alice"') == []
    done = evaluated(
        f'((import {PROJECT}/nix/lib.nix).fleet {fleet.root}).members "nobody"',
        fleet.root,
    )
    assert "has no host, user or group nobody" in done.stderr


def test_a_host_gets_every_file_it_can_read_and_no_other(ready: Fleet) -> None:
    expression = """builtins.mapAttrs (name: _: {
      files = fleet.filesFor name;
      age = builtins.mapAttrs (_: s: toString s.file) (fleet.ageSecretsFor name);
    }) fleet.hosts"""
    seen = lib(ready, expression)
    root = ready.root
    assert seen == {
        "brunnen": {
            "files": [
                "secrets/app.yaml",
                "secrets/hosts/brunnen/tls.json",
                "secrets/wifi.age",
            ],
            "age": {"wifi": f"{root}/secrets/wifi.age"},
        },
        "schere": {
            "files": ["secrets/dns.age", "secrets/dns.yaml"],
            "age": {"dns": f"{root}/secrets/dns.age"},
        },
        "stein": {
            "files": ["secrets/dns.age", "secrets/dns.yaml"],
            "age": {"dns": f"{root}/secrets/dns.age"},
        },
    }


def test_files_with_one_base_name_get_names_with_their_folders(ready: Fleet) -> None:
    write_secret(ready, "secrets/hosts/brunnen/wifi.age", "x")
    seen = lib(ready, 'builtins.attrNames (fleet.ageSecretsFor "brunnen")')
    assert seen == ["secrets-hosts-brunnen-wifi", "secrets-wifi"]


def test_a_lock_as_an_older_program_or_a_merge_left_it_says_the_same(
    ready: Fleet,
) -> None:
    expression = "builtins.mapAttrs (name: _: fleet.filesFor name) fleet.hosts"
    seen = lib(ready, expression)
    new = ready.read("nixsecrets.lock").decode()
    left_by_older(ready)
    old = ready.read("nixsecrets.lock").decode()
    assert '"set"' in old
    assert lib(ready, expression) == seen
    stale = re.sub(r'"sha256":"[^"]*"', '"sha256":"0"', new)
    no_keys = re.sub(r'\{"recipient".*\n', "", new)
    later = '{"value":"secrets/dns.yaml","changed":"2027-01-01"}\n'
    marked = f"<<<<<<< HEAD\n{stale}=======\n{no_keys}>>>>>>> side\n{later}"
    ready.write("nixsecrets.lock", marked)
    assert lib(ready, expression) == seen
    ready.write("nixsecrets.lock", old + new + stale)
    assert lib(ready, expression) == seen


def test_a_lock_of_a_newer_version_says_upgrade(ready: Fleet) -> None:
    text = ready.read("nixsecrets.lock").replace(b'"nixsecrets":2', b'"nixsecrets":3')
    ready.write("nixsecrets.lock", text)
    library = f"((import {PROJECT}/nix/lib.nix).fleet {ready.root})"
    done = evaluated(f'{library}.filesFor "brunnen"', ready.root)
    assert "nixsecrets.lock was written by a newer nixsecrets" in done.stderr


def config(**secrets: str) -> str:
    """A configuration that declares age (`a_…`) and sops (`s_…`) files."""
    age = "".join(
        f"{name}.file = ./{path};"
        for name, path in secrets.items()
        if name.startswith("a")
    )
    sops = "".join(
        f"{name}.sopsFile = ./{path};"
        for name, path in secrets.items()
        if name.startswith("s")
    )
    return f"{{ age.secrets = {{ {age} }}; sops.secrets = {{ {sops} }}; }}"


def rewritten(fleet: Fleet) -> None:
    fleet.age_encrypt("secrets/wifi.age", "new", "alice", "brunnen")


def unlocked(fleet: Fleet) -> None:
    path = fleet.root / "nixsecrets.lock"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "wifi" not in line) + "\n")


def removed(fleet: Fleet) -> None:
    (fleet.root / "secrets/wifi.age").unlink()


def plain(fleet: Fleet) -> None:
    fleet.write("secrets/app.yaml", "app: plain\n")


def newcomer(fleet: Fleet) -> None:
    """A host whose key no file and no generated file has."""
    key = kit.ssh_key("a newcomer")
    path = fleet.root / "nixsecrets.toml"
    path.write_text(path.read_text().replace("{host}", "brunnen"))
    fleet.ok("sync")
    fleet.ok("add-host", "neu", "--key", key.public, "--yes")
    assert b"neu" not in fleet.read(".sops.yaml") + fleet.read("nixsecrets.lock")


def stranger(fleet: Fleet) -> None:
    """The same, and a recipient in the file that is nobody's key."""
    newcomer(fleet)
    to = [fleet.public("alice"), kit.age_key().public]
    fleet.sops_encrypt("secrets/app.yaml", "app: x\n", to)


def in_the_cloud(fleet: Fleet) -> None:
    """A file that machines can open with what their cloud gives them."""
    text = fleet.read("secrets/app.yaml").decode()
    entry = "    kms:\n        - arn: arn:aws:kms:eu-west-1:1:key/a\n"
    fleet.write("secrets/app.yaml", text.replace("sops:\n", "sops:\n" + entry))


def in_ssh_form(fleet: Fleet) -> None:
    """A file for the ssh key of stein itself."""
    to = [fleet.public("alice"), " ".join(fleet.public("stein").split()[:2])]
    fleet.sops_encrypt("secrets/app.yaml", "app: x\n", to)


def nothing(fleet: Fleet) -> None:
    return


APP, WIFI = "secrets/app.yaml", "secrets/wifi.age"


def not_a_recipient(host: str, option: str, path: str) -> str:
    return (
        f"{path}: {host} declares {option}: host {host} is not a recipient;"
        f" run `nixsecrets why {path}`"
    )


OF_WIFI = "secrets/wifi.age: brunnen declares age.secrets.a:"
OF_APP = "secrets/app.yaml: brunnen declares sops.secrets.s:"
UNRECORDED = (
    f"{OF_WIFI} its recipients are unknown: nixsecrets.lock does not record its"
    " recipients; run `nixsecrets rekey secrets/wifi.age`"
)
CASES = [
    (newcomer, "neu", {"s": APP}, [not_a_recipient("neu", "sops.secrets.s", APP)]),
    (stranger, "neu", {"s": APP}, []),
    (in_the_cloud, "stein", {"s": APP}, []),
    (
        in_ssh_form,
        "stein",
        {"s": APP},
        [not_a_recipient("stein", "sops.secrets.s", APP)],
    ),
    (nothing, "brunnen", {"a": WIFI, "s": APP}, []),
    (
        nothing,
        "stein",
        {"a": WIFI, "s": APP},
        [
            not_a_recipient("stein", "age.secrets.a", WIFI),
            not_a_recipient("stein", "sops.secrets.s", APP),
        ],
    ),
    (
        rewritten,
        "brunnen",
        {"a": WIFI},
        [UNRECORDED],
    ),
    (
        unlocked,
        "brunnen",
        {"a": WIFI},
        [UNRECORDED],
    ),
    (
        removed,
        "brunnen",
        {"a": WIFI},
        [
            f"{OF_WIFI} it does not exist, or git does not track it;"
            " run `git add secrets/wifi.age`"
        ],
    ),
    (
        plain,
        "brunnen",
        {"s": APP},
        [
            f"{OF_APP} it is not encrypted; run `nixsecrets set {APP}"
            f" --from-file {APP} --git-add`"
        ],
    ),
    (
        nothing,
        "brunnen",
        {"s": WIFI},
        ["secrets/wifi.age: brunnen declares sops.secrets.s: it is an age file"],
    ),
    (
        nothing,
        "brunnen",
        {"a": APP},
        ["secrets/app.yaml: brunnen declares age.secrets.a: it is a sops file"],
    ),
    (
        nothing,
        "fremd",
        {"a": WIFI},
        [
            "nixsecrets.toml: fremd declares secrets, and the map has no host fremd;"
            " run `nixsecrets add-host fremd`"
        ],
    ),
]


@pytest.mark.parametrize(
    ("spoil", "host", "secrets", "problems"),
    CASES,
    ids=[f"{case[0].__name__}-{case[1]}-{'-'.join(case[2])}" for case in CASES],
)
def test_a_declared_secret_has_a_problem_or_none(
    ready: Fleet,
    spoil: Callable[[Fleet], None],
    host: str,
    secrets: dict[str, str],
    problems: list[str],
) -> None:
    spoil(ready)
    seen = lib(ready, f'fleet.problemsOf "{host}" {config(**secrets)}')
    assert seen == problems


def test_what_else_opens_a_file_is_taken_from_the_configuration(ready: Fleet) -> None:
    in_ssh_form(ready)
    expression = """name: more: fleet.problemsOf name {
      sops = { secrets.s.sopsFile = ./secrets/app.yaml; } // more; }"""
    ssh = '{ environment.SOPS_AGE_SSH_PRIVATE_KEY_FILE = "/etc/ssh/key"; }'
    seen = lib(ready, f'map (({expression}) "stein") [ {{ }} {ssh} ]')
    assert [len(problems) for problems in seen] == [1, 0]
    text = ready.read("secrets/dns.yaml").decode()
    entry = "    pgp:\n        - enc: '-----BEGIN PGP MESSAGE-----'\n          fp: A\n"
    ready.write("secrets/app.yaml", text.replace("sops:\n", "sops:\n" + entry))
    home = '{ gnupg.home = "/root/.gnupg"; }'
    seen = lib(ready, f'map (({expression}) "brunnen") [ {{ }} {home} ]')
    assert [len(problems) for problems in seen] == [1, 0]


def test_a_removed_host_is_no_recipient_any_more(ready: Fleet) -> None:
    ready.ok("remove-host", "stein", "--yes")
    ready.add_host("stein", kit.ssh_key("another stein"))
    ready.ok("add-host", "stein", "--key", ready.public("stein"), "--yes", "--no-rekey")
    seen = lib(ready, f'fleet.problemsOf "stein" {config(a="secrets/dns.age")}')
    assert seen == [not_a_recipient("stein", "age.secrets.a", "secrets/dns.age")]


MODULES = f"""
let
  lib = (import {PROJECT}/tests/nix/stub).lib;
  agenix = home: import {PROJECT}/tests/nix/fixtures/agenix.nix {{ inherit home; }};
  sops = home: import {PROJECT}/tests/nix/fixtures/sops.nix {{ inherit home; }};
  nixsecrets = import {PROJECT}/nix/modules.nix;
  messages = system: map (one: one.message) (
    builtins.filter (one: !one.assertion) system.config.assertions);
in
"""


@pytest.mark.parametrize(
    ("imports", "declared"),
    [
        ("(agenix false)", "age.secrets.db.file = ./secrets/dns.age;"),
        ("(sops false)", "sops.secrets.db.sopsFile = ./secrets/dns.yaml;"),
    ],
)
@pytest.mark.parametrize("kind", ["nixos", "darwin"])
def test_the_module_fails_a_configuration_that_could_not_open_its_secret(
    ready: Fleet, kind: str, imports: str, declared: str
) -> None:
    expression = f"""{MODULES}
    let on = name: messages (lib.{kind}System {{ modules = [
      nixsecrets.{kind} {imports}
      {{ nixsecrets.root = ./.; networking.hostName = name; {declared} }}
    ]; }}); in {{ good = on "stein"; bad = on "brunnen"; }}"""
    path = declared.split("./")[1].rstrip(";")
    option = declared.split(".db")[0] + ".db"
    assert evaluate(expression, ready.root) == {
        "good": [],
        "bad": ["nixsecrets: " + not_a_recipient("brunnen", option, path)],
    }


def test_the_module_works_with_both_and_with_neither(ready: Fleet) -> None:
    expression = f"""{MODULES}
    let with_ = imports: more: messages (lib.nixosSystem {{ modules = imports ++ [
      nixsecrets.nixos {{ networking.hostName = "stein"; }} more ]; }});
    in {{
      neither = with_ [ ] {{ nixsecrets.root = ./.; }};
      both = with_ [ (agenix false) (sops false) ] {{
        nixsecrets.root = ./.;
        age.secrets.a.file = ./secrets/wifi.age;
        sops.secrets.b.sopsFile = ./secrets/app.yaml;
      }};
      off = with_ [ (agenix false) ] {{ age.secrets.a.file = ./secrets/wifi.age; }};
    }}"""
    seen = evaluate(expression, ready.root)
    assert (seen["neither"], len(seen["both"]), seen["off"]) == ([], 2, [])


def test_a_mac_without_a_host_name_is_asked_for_its_name_in_the_map(
    ready: Fleet,
) -> None:
    expression = f"""{MODULES}
    map (more: messages (lib.darwinSystem {{ modules = [
      nixsecrets.darwin (agenix false)
      {{ nixsecrets.root = ./.; age.secrets.a.file = ./secrets/dns.age; }} more ]; }}))
    [ {{ }} {{ nixsecrets.name = "schere"; }} ]"""
    seen = evaluate(expression, ready.root)
    assert seen == [["nixsecrets: set nixsecrets.name"], []]


def test_a_home_is_judged_by_the_keys_of_its_user(ready: Fleet) -> None:
    expression = f"""{MODULES}
    let of = name: messages (lib.homeManagerConfiguration {{ modules = [
      nixsecrets.home (agenix true)
      {{ nixsecrets.root = ./.; home.username = name;
        age.secrets.a.file = ./secrets/wifi.age; }}
    ]; }}); in {{ good = of "alice"; bad = of "bob"; }}"""
    seen = evaluate(expression, ready.root)
    assert seen["good"] == []
    assert seen["bad"] == [
        "nixsecrets: nixsecrets.toml: bob declares secrets, and the map has no user"
        " bob; run `nixsecrets add-user bob`"
    ]


def test_the_flake_parts_module_adds_the_view_and_a_check(ready: Fleet) -> None:
    expression = f"""
    let
      pkgs = (import {PROJECT}/tests/nix/stub).legacyPackages.x86_64-linux;
      self = {{
        lib = import {PROJECT}/nix/lib.nix;
        packages.x86_64-linux.default = "/package";
      }};
      parts = pkgs.lib.evalModules {{ modules = [
        (import {PROJECT}/nix/flake-module.nix self)
        {{ nixsecrets.root = {ready.root}; }}
        {{ options.perSystem = pkgs.lib.mkOption {{ type = pkgs.lib.types.raw; }}; }}
      ]; }};
      system = parts.config.perSystem {{ inherit pkgs; system = "x86_64-linux"; }};
    in {{
      hosts = builtins.attrNames parts.config.nixsecrets.fleet.hosts;
      check = system.checks.nixsecrets.name;
    }}"""
    assert evaluate(expression, ready.root) == {
        "hosts": ["brunnen", "schere", "stein"],
        "check": "nixsecrets-check",
    }


def test_the_sample_fleet_can_be_read(tmp_path: Path) -> None:
    root = tmp_path / "secrets"
    shutil.copytree(PROJECT / "secrets", root)
    expression = f'((import {PROJECT}/nix/lib.nix).fleet {root}).filesFor "schere"'
    assert json.loads(evaluated(expression, root).stdout) == ["powerdns.yaml"]
