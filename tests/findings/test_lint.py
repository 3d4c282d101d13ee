"""lint: mistakes in the map and the configurations, one table for each file."""

import json
from pathlib import Path

import pytest

from nixsecrets.findings.lint.sopsfiles import config_findings
from tests.fleet import SHARED, Fleet, rsa_key

KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
OTHER = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
AGE = f"    age: {KEY}\n"


def codes(text: str) -> list[tuple[str, int]]:
    return [(f.code.value, f.line) for f in config_findings(".sops.yaml", text)]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (f"  - path_regex: ^secrets/[^/]+\\.yaml$\n{AGE}", []),
        (f"  - path_regex: secrets/h1\n{AGE}", ["NS050"]),
        (f"  - path_regex: ^secrets/h1.yaml$\n{AGE}", ["NS050"]),
        (f"  - path_regex: ^modules/nebula/*$\n{AGE}", ["NS050"]),
        (f"  - path_regexp: ^a$\n{AGE}", ["NS051"]),
        (f"  - path_regex: ^a$\n    mac-only-encrypted: true\n{AGE}", ["NS051"]),
        (f"  - age: {KEY}\n  - path_regex: ^a$\n{AGE}", ["NS032"]),
        (
            "  - path_regex: ^a$\n    key_groups:\n"
            f"      - age: [{KEY}]\n      - age: [{OTHER}]\n",
            ["NS052"],
        ),
        (
            "  - path_regex: ^a$\n    shamir_threshold: 2\n    key_groups:\n"
            f"      - age: [{KEY}]\n      - age: [{OTHER}]\n",
            [],
        ),
        (
            f"  - path_regex: ^a$\n{AGE}    key_groups:\n      - age: [{OTHER}]\n",
            ["NS053"],
        ),
        ("  - path_regex: ^a$\n    age: age1REPLACE_ME\n", ["NS056"]),
        (f"  - path_regex: ^a$\n    age: {KEY},{KEY}\n", ["NS057"]),
    ],
)
def test_a_foreign_creation_rule_is_read_as_sops_does(
    rules: str, expected: list[str]
) -> None:
    found = codes(f"creation_rules:\n{rules}")
    assert [code for code, _ in found] == expected
    assert all(line >= 2 for _, line in found)


def test_a_misspelt_path_regex_is_called_a_catch_all() -> None:
    text = f"creation_rules:\n  - path_regexp: ^secrets/a$\n{AGE}"
    (found,) = config_findings(".sops.yaml", text)
    assert found.message == (
        "sops does not know the field 'path_regexp':"
        " without path_regex the rule matches every file"
    )


def test_one_key_under_two_names_is_reported() -> None:
    text = f"keys:\n  - &a {KEY}\n  - &b {KEY}\n  - &c {OTHER}\n"
    assert codes(text) == [("NS058", 3)]


def test_a_file_that_sops_cannot_read_is_reported_with_its_line() -> None:
    assert [code for code, _ in codes("creation_rules: [\n")] == ["NS059"]
    assert codes("a: b\ncreation_rules:\n  age: x\n") == [("NS059", 3)]


@pytest.mark.parametrize("path", sorted((SHARED / "corpus/sops").glob("*.yaml")))
def test_configurations_of_others_are_judged_without_a_fault(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for finding in config_findings(".sops.yaml", text):
        assert finding.message
        assert "AGE-SECRET" not in finding.message


@pytest.fixture
def odd(fleet: Fleet) -> Fleet:
    """A fleet whose map and configurations have something of everything."""
    fleet.add_host("web")
    fleet.add_host("idle")
    fleet.add_user("bob")
    rules = """
[sops]
config = ".sops.yaml"

[agenix]
rules = "secrets.nix"

[[secrets]]
path = "secrets/*.yaml"
readers = ["web"]

[[secrets]]
path = "secrets/app.yaml"
readers = []

[[secrets]]
path = "vault/**"
readers = ["web"]
"""
    fleet.write_map(rules, always=["alice"])
    fleet.sops_encrypt("secrets/app.yaml", "a: b\n", [fleet.public("alice")])
    fleet.age_encrypt("elsewhere/x.age", "x", "alice")
    fleet.ok("sync")
    fleet.write(".sops.yml", "creation_rules: []\n")
    fleet.write("sub/.sops.yaml", f"creation_rules:\n  - path_regex: x\n{AGE}")
    fleet.write("secrets.nix", '{\n  "gone.age".publicKeys = [ ];\n}\n')
    fleet.commit("odd")
    return fleet


def test_lint_finds_mistakes_and_names_their_place(odd: Fleet) -> None:
    done = odd.run("lint")
    assert done.returncode == 1
    found = [line.split(": ")[0] for line in done.stdout.splitlines()]
    lines = odd.read("nixsecrets.toml").decode().splitlines()
    app, vault = (
        lines.index(f'path = "{path}"') for path in ("secrets/app.yaml", "vault/**")
    )
    idle, bob = lines.index('[hosts."idle"]') + 1, lines.index('[users."bob"]') + 1
    assert set(found) == {
        "NS054  .sops.yml",
        "NS041  elsewhere/x.age",
        f"NS022  nixsecrets.toml:{idle}",
        f"NS023  nixsecrets.toml:{bob}",
        f"NS030  nixsecrets.toml:{app}",
        f"NS030  nixsecrets.toml:{vault}",
        f"NS032  nixsecrets.toml:{app}",
        f"NS033  nixsecrets.toml:{app}",
        "NS042  secrets.nix:2",
        "NS050  sub/.sops.yaml:2",
        "NS055  sub/.sops.yaml",
    }
    problems = json.loads(odd.run("lint", "--format", "json").stdout)["problems"]
    assert len(problems) == len(found)
    assert odd.run("lint", "--format", "sarif").stdout.startswith("{")


def test_a_reader_that_the_format_cannot_serve_is_reported_before_there_is_a_file(
    fleet: Fleet,
) -> None:
    fleet.add_host("old", rsa_key())
    sops, age = (
        f'[[secrets]]\npath = "secrets/{{host}}/*.{end}"\nreaders = ["{{host}}"]\n'
        for end in ("yaml", "age")
    )
    fleet.write_map(sops + age)
    line = fleet.read("nixsecrets.toml").decode().splitlines().index("[[secrets]]") + 1
    done = fleet.run("lint")
    assert done.returncode == 1
    found = [one for one in done.stdout.splitlines() if one.startswith("NS013")]
    assert found == [
        f"NS013  nixsecrets.toml:{line}: old could not read secrets/{{host}}/*.yaml:"
        " sops-nix opens no file with a host's ssh-rsa key; use its ssh-ed25519 key"
    ]


def test_rules_that_overlap_at_a_future_file_are_reported(fleet: Fleet) -> None:
    fleet.add_host("web")
    named = '[[secrets]]\npath = "secrets/a.yaml"\nreaders = []\n'
    every = '[[secrets]]\npath = "secrets/*"\nreaders = ["web"]\n'
    fleet.write_map(named + every)
    assert "NS033  nixsecrets.toml:" in fleet.ok("lint")


def test_one_key_under_two_names_in_the_map_is_an_error(fleet: Fleet) -> None:
    key = fleet.add_host("web").public
    fleet.write_map(f'[hosts.twin]\nkeys = ["{key}"]\n')
    done = fleet.run("lint")
    assert (done.returncode, "nixsecrets.toml:" in done.stderr) == (1, True)
    assert "web" in done.stderr
    assert "twin" in done.stderr


def test_a_tidy_fleet_has_nothing_odd(fleet: Fleet) -> None:
    fleet.add_host("web")
    rule = '[[secrets]]\npath = "secrets/{host}/*"\nreaders = ["{host}"]\n'
    tables = '[sops]\nconfig = ".sops.yaml"\n[agenix]\nrules = "secrets.nix"\n'
    fleet.write_map(tables + rule)
    fleet.age_encrypt("secrets/web/x.age", "x", "alice", "web")
    fleet.ok("sync")
    done = fleet.run("lint", "--strict")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_computed_secrets_nix_is_left_to_nix(odd: Fleet) -> None:
    odd.write("secrets.nix", "builtins.listToAttrs (map (n: n) [ ])\n")
    assert "NS041" not in odd.run("lint").stdout
