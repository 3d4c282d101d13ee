"""What a valid map says, however it is written down."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nixsecrets.keys.forms import Backend
from nixsecrets.map.fresh import fresh_map
from nixsecrets.map.load import load
from nixsecrets.map.model import Host, Retired, Rule, User
from tests.fleet import clean_env, program, run_program
from tests.map.maps import SMALL, converted, public, recipient

FULL = f"""\
version = 1
always = ["admins"]                 # readers of every secret

[users.alice]
keys = ["{converted("alice")}", "{public("laptop")}"]

[users.ci]
keys = ["{public("ci")}"]
groups = ["robots"]
sops_form = "ssh"

[hosts.brunnen]
keys = ["{public("brunnen")}"]      # the host's own key
groups = ["server", "dns"]
address = "brunnen.lan"
verified = "fingerprint 2026-11-20"

[hosts.schere]
keys = ['''
{public("schere")}
''']

[groups]
admins = ["alice"]
dns = ["schere"]
"all.of-them" = ["dns", "server", "robots"]
nobody = []

[sops]
[agenix]
rules = "secrets/secrets.nix"

[[secrets]]
path = "secrets/powerdns.yaml"
readers = ["dns"]

[[secrets]]
path = "secrets/hosts/{{host}}/**"
readers = ["{{host}}"]
except = ["schere"]
backend = "age"
armor = true

[[secrets]]
path_regex = '^k8s/.*\\.yaml$'
readers = []
plaintext = "allowed"
sops = {{ mac_only_encrypted = true, encrypted_regex = "^(data|stringData)$" }}

[[retired]]
name = "stein"
key = "{public("stein")}"
date = "2026-11-20"
reason = "sold"
"""


def test_every_field_of_the_map_is_read() -> None:
    result = load(FULL)
    alice = (recipient("alice").converted(), recipient("laptop"))
    assert result.always == ("admins",)
    assert result.users == (
        User("alice", alice),
        User("ci", (recipient("ci"),), groups=("robots",), sops_form="ssh"),
    )
    assert result.hosts == (
        Host(
            "brunnen",
            (recipient("brunnen"),),
            groups=("server", "dns"),
            address="brunnen.lan",
            verified="fingerprint 2026-11-20",
        ),
        Host("schere", (recipient("schere"),)),
    )
    options = (("encrypted_regex", "^(data|stringData)$"), ("mac_only_encrypted", True))
    assert result.rules == (
        Rule(0, "secrets/powerdns.yaml", None, ("dns",)),
        Rule(
            1,
            "secrets/hosts/{host}/**",
            None,
            ("{host}",),
            except_=("schere",),
            backend=Backend.AGE,
            armor=True,
        ),
        Rule(2, None, "^k8s/.*\\.yaml$", (), plaintext_allowed=True, sops=options),
    )
    retired = Retired("stein", recipient("stein"), "2026-11-20", "sold")
    assert result.retired == (retired,)
    assert (result.sops_config, result.agenix_rules) == (
        ".sops.yaml",
        "secrets/secrets.nix",
    )


def test_groups_hold_their_own_members_and_those_who_joined() -> None:
    assert dict(load(FULL).groups) == {
        "admins": ("alice",),
        "dns": ("schere", "brunnen"),
        "all.of-them": ("dns", "server", "robots"),
        "nobody": (),
        "robots": ("ci",),
        "server": ("brunnen",),
    }


def test_hosts_users_and_rules_know_their_lines() -> None:
    result = load(FULL)
    lines = FULL.splitlines()
    assert lines[result.hosts[0].line - 1] == "[hosts.brunnen]"
    assert lines[result.users[1].line - 1] == "[users.ci]"
    assert [lines[rule.line - 1] for rule in result.rules] == 3 * ["[[secrets]]"]


def test_line_endings_and_a_missing_last_newline_make_no_difference() -> None:
    assert load(FULL.replace("\n", "\r\n")) == load(FULL) == load(FULL.rstrip("\n"))


@pytest.mark.parametrize(
    "text",
    [
        f'hosts.web.keys = ["{public("web")}"]\n{{0}}',
        f'{{0}}[hosts]\nweb = {{{{ keys = ["{public("web")}"] }}}}\n',
        f'{{0}}[hosts]\nweb.keys = ["{public("web")}", ]\n',
        f'{{0}}["hosts"."web"]\n"keys" = [ # c\n"""{public("web")}"""]\n',
        f"{{0}}hosts = {{{{ 'web'.'keys' = ['{public('web')}'] }}}}\n",
    ],
)
def test_toml_may_be_written_in_any_of_its_ways(text: str) -> None:
    usual = f'version = 1\n\n[hosts.web]\nkeys = ["{public("web")}"]\n'
    written = load(text.format("version = 1\n"))
    assert written == load(usual)
    assert written.hosts[0].line


def test_tables_may_stand_in_any_order() -> None:
    head, *tables = SMALL.split("\n\n")
    assert load("\n\n".join([head, *reversed(tables)])) == load(SMALL)


def test_names_may_be_used_before_they_are_defined_and_repeated() -> None:
    text = SMALL.replace('["web"]', '["web", "web"]')
    assert load(text) == load(SMALL)


def test_an_empty_readers_list_is_legal_where_somebody_always_reads() -> None:
    assert load(SMALL.replace('["web"]', "[]")).rules[0].readers == ()


def test_a_placeholder_alone_is_somebody() -> None:
    text = SMALL.replace('always = ["alice"]', "").replace('["web"]', '["{host}"]')
    rule = load(text.replace("secrets/**", "secrets/{host}/**")).rules[0]
    assert rule.readers == ("{host}",)


def test_a_retired_key_may_be_in_use_again() -> None:
    text = f'{SMALL}[[retired]]\nname = "web"\nkey = "{public("web")}"\n'
    assert load(text).retired[0].key == load(text).hosts[0].keys[0]


def test_the_longest_name_and_the_oddest_characters_are_legal() -> None:
    for name in ("a" * 63, "0", "a.b_c@d-e", "A-"):
        text = SMALL.replace("hosts.web", f'hosts."{name}"')
        assert load(text.replace('["web"]', f'["{name}"]')).hosts[0].name == name


@pytest.mark.parametrize("text", [SMALL, FULL])
def test_real_nix_reads_the_map(text: str, tmp_path: Path) -> None:
    path = tmp_path / "nixsecrets.toml"
    path.write_text(text)
    query = f"builtins.fromTOML (builtins.readFile {path})"
    options = ("--store", "dummy://", "--eval", "--strict", "--json")
    env = clean_env(tmp_path)
    printed = run_program(
        program("nix-instantiate"), *options, "-E", query, env=env, cwd=tmp_path
    )
    data = json.loads(printed)
    result = load(text)
    assert set(data["hosts"]) == {host.name for host in result.hosts}
    assert [rule["readers"] for rule in data["secrets"]] == [
        list(rule.readers) for rule in result.rules
    ]


def test_a_fresh_map_makes_its_users_readers_of_everything() -> None:
    keys = (recipient("alice"), recipient("laptop"))
    result = load(fresh_map(users={"alice": keys}))
    assert result.users == (User("alice", keys),)
    assert result.always == ("admins",)
    assert dict(result.groups) == {"admins": ("alice",)}
    assert (result.sops_config, result.agenix_rules) == (
        ".sops.yaml",
        "secrets/secrets.nix",
    )


def test_a_fresh_map_has_what_it_was_asked_for() -> None:
    for name in ("admins", "all-admins"):
        result = load(fresh_map(users={name: (recipient("alice"),)}))
        assert result.always != (name,)
    text = fresh_map(
        users={"alice": (recipient("alice"),), "bob": (recipient("bob"),)},
        sops_config=None,
        agenix_rules=None,
    )
    result = load(text)
    assert result == replace(result, sops_config=None, agenix_rules=None)
    assert result.groups == (("admins", ("alice", "bob")),)


def test_the_examples_in_a_fresh_map_are_a_valid_map_once_uncommented() -> None:
    text = fresh_map(users={"alice": (recipient("alice"),)})
    head, _, examples = text.partition("#\n# [[secrets]]")
    uncommented = ("# [[secrets]]" + examples).replace("\n# ", "\n").replace("\n#", "")
    joined = f'[hosts.web]\nkeys = ["{public("web")}"]\ngroups = ["server"]\n'
    result = load(f"{head}\n{joined}\n{uncommented.removeprefix('# ')}")
    assert [rule.path for rule in result.rules] == [
        "secrets/hosts/{host}/**",
        "secrets/*.yaml",
    ]
