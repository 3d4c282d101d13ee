"""Adoption, case by case: names, forms, orders, places, and what is hostile."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from nixsecrets.keys.recipients import parse_recipient
from tests import fleet as kit
from tests.cli.test_terminal import ended, spawn
from tests.fleet import Fleet

A, B, C, D = (kit.ssh_key(f"case {n}").public for n in "abcd")
XA, XB, XC, XD = (parse_recipient(key).converted().text for key in (A, B, C, D))


def adopted(fleet: Fleet, *args: str) -> dict[str, Any]:
    """Adopt and return the map."""
    fleet.commit("old")
    before = fleet.snapshot()
    fleet.ok("init", "--yes", *args)
    after = fleet.snapshot()
    secrets = [p for p in before if p.endswith((".age", ".yaml")) and ".sops" not in p]
    assert all(after[path] == before[path] for path in secrets)
    return tomllib.loads(fleet.read("nixsecrets.toml").decode())


def refused(fleet: Fleet, *args: str) -> str:
    """Insist that adoption is refused, writes nothing and shows no traceback."""
    before = fleet.snapshot()
    done = fleet.run("init", "--yes", *args)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "nixsecrets: hint: " in done.stderr
    assert fleet.snapshot() == before
    return done.stderr


def config(*rules: tuple[str, str], keys: str = "") -> str:
    """A `.sops.yaml`; each rule is an expression and a flow list of keys."""
    lines = ["keys:", keys.rstrip()] if keys else []
    lines.append("creation_rules:")
    for regex, age in rules:
        lines += [f"  - path_regex: {regex}", "    key_groups:", f"    - age: [{age}]"]
    return "\n".join(lines) + "\n"


def rules(**entries: str) -> str:
    """A `secrets.nix`; each entry is a list in Nix."""
    lines = (f'  "{name}.age".publicKeys = {value};' for name, value in entries.items())
    return "{\n" + "\n".join(lines) + "\n}\n"


# Names


def test_the_same_key_under_two_names_is_one_entry_and_the_other_name_is_reported(
    fleet: Fleet,
) -> None:
    fleet.write(".sops.yaml", config(("^a$", "*web"), keys=f"  - &web {XA}\n"))
    fleet.write("secrets.nix", f'let zeev = "{A}"; in\n' + rules(w="[ zeev ]"))
    fleet.commit("old")
    shown = fleet.ok("init", "--dry-run")
    assert "anchor &web, .sops.yaml:2; also called zeev\n" in shown
    data = adopted(fleet)
    assert [*data.get("users", {}), *data.get("hosts", {})] == ["web"]


def test_two_keys_of_one_name_that_read_the_same_are_one_entry(fleet: Fleet) -> None:
    fleet.write(
        "secrets.nix",
        f'let alice = [ "{A}" "{B}" ]; in\n' + rules(x="alice", y="alice"),
    )
    assert adopted(fleet)["users"]["alice"]["keys"] == [A, B]


def test_two_keys_of_one_name_that_read_other_files_stay_apart(fleet: Fleet) -> None:
    person = fleet.users["alice"].public
    fleet.write(".sops.yaml", config(("^a$", "*bob"), keys=f"  - &bob {person}\n"))
    fleet.write("secrets.nix", f'let bob = "{A}"; in\n' + rules(w="[ bob ]"))
    users = adopted(fleet)["users"]
    assert users["bob"]["keys"] == [person]
    assert users["bob-ssh"]["keys"] == [A]


def test_names_that_differ_in_their_role_only_keep_it(fleet: Fleet) -> None:
    keys = f"  - &host_x {XA}\n  - &user_x {XB}\n"
    fleet.write(".sops.yaml", config(("^a$", "*host_x, *user_x"), keys=keys))
    data = adopted(fleet)
    assert list(data["hosts"]) == ["host_x"]
    assert list(data["users"]) == ["user_x"]


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (f"  - &my.web {XA}\n", None),
        (f"  - &server_web {XA}\n", "web"),
        (f"  - &hosts:\n    - &web {XA}\n", "web"),
        (f"  - &machines\n    - &web {XA}\n", "web"),
        (f"  # Hosts\n  - &web {XA}\n", "web"),
        (f"  - hosts:\n    - &web {XA}\n", "web"),
    ],
)
def test_headings_and_prefixes_tell_hosts(
    fleet: Fleet, keys: str, name: str | None
) -> None:
    anchor = next(
        w[1:]
        for w in keys.split()
        if w.startswith("&") and w[-1] != ":" and w not in ("&machines",)
    )
    fleet.write(".sops.yaml", config(("^a$", f"*{anchor}"), keys=keys))
    data = adopted(fleet)
    assert list(data.get("hosts", {})) == ([name] if name else [])


def test_a_comment_next_to_a_key_without_a_name_is_its_name(fleet: Fleet) -> None:
    fleet.write(
        ".sops.yaml",
        f"creation_rules:\n  - path_regex: ^a$\n    key_groups:\n      - age:\n"
        f"          - {XA} # kelvin\n          - {XB}\n",
    )
    users = adopted(fleet)["users"]
    assert users["kelvin"]["keys"] == [XA]
    assert sum(name.startswith("key-") for name in users) == 1


def test_a_comma_list_takes_its_names_from_the_comment_above(fleet: Fleet) -> None:
    fleet.write(
        ".sops.yaml",
        "creation_rules:\n  - path_regex: ^a$\n    # kazuki, asako\n"
        f'    age: "{XA},{XB}"\n',
    )
    users = adopted(fleet)["users"]
    assert (users["kazuki"]["keys"], users["asako"]["keys"]) == ([XA], [XB])


def test_a_key_without_a_name_is_called_as_the_path_that_it_alone_reads(
    fleet: Fleet,
) -> None:
    fleet.write(
        ".sops.yaml",
        config(
            ("^hosts/web01/secrets.yaml$", f"{XA}, {XD}"),
            ("^hosts/db-1/secrets.yaml$", f"{XB}, {XD}"),
            ("^backup.yaml$", f"{XA}, {XB}, {XC}, {XD}"),
        ),
    )
    data = adopted(fleet)
    assert data["hosts"]["web01"] == {"keys": [XA]}
    assert data["hosts"]["db-1"] == {"keys": [XB]}
    assert len(data["users"]) == 1
    assert data["secrets"][0] == {
        "path_regex": "^hosts/{host}/secrets.yaml$",
        "readers": ["{host}"],
    }


def test_files_that_one_key_each_reads_name_their_keys(fleet: Fleet) -> None:
    fleet.write(
        "secrets.nix",
        "{\n"
        f'"wg/web.privkey.age".publicKeys = [ "{A}" "{D}" ];\n'
        f'"wg/db.privkey.age".publicKeys = [ "{B}" "{D}" ];\n'
        f'"wg/mail.privkey.age".publicKeys = [ "{C}" "{D}" ];\n'
        f'"wg/psk.age".publicKeys = [ "{A}" "{B}" "{C}" "{D}" ];\n'
        "}\n",
    )
    for name in ("web", "db", "mail"):
        fleet.age_encrypt(f"wg/{name}.privkey.age", "x", "alice")
    data = adopted(fleet)
    assert {name: one["keys"] for name, one in data["hosts"].items()} == {
        "web": [A],
        "db": [B],
        "mail": [C],
    }
    assert data["secrets"][0]["path"] == "wg/{host}.privkey.age"


def test_two_files_with_a_reader_of_their_own_each_name_nobody(fleet: Fleet) -> None:
    fleet.write(
        "secrets.nix",
        f'{{ "x.age".publicKeys = [ "{A}" "{D}" ];'
        f' "y.age".publicKeys = [ "{B}" "{D}" ]; }}\n',
    )
    data = adopted(fleet)
    assert [one["path"] for one in data["secrets"]] == ["x.age", "y.age"]


def test_a_file_that_one_host_happens_to_read_names_nobody(fleet: Fleet) -> None:
    fleet.write(
        "secrets.nix",
        "{\n"
        f'"wireguard.age".publicKeys = [ "{A}" "{D}" ];\n'
        f'"grafana.age".publicKeys = [ "{B}" "{C}" "{D}" ];\n'
        f'"mail.age".publicKeys = [ "{B}" "{C}" "{D}" ];\n'
        "}\n",
    )
    data = adopted(fleet)
    names = [*data.get("hosts", {}), *data["users"]]
    assert all(name.startswith(("key-", "case-")) for name in names), names


def test_a_host_is_spelled_as_its_folder_is(fleet: Fleet) -> None:
    fleet.write(
        ".sops.yaml",
        config(
            ("^hosts/node-1/.*$", f"*node_1, {XD}"),
            ("^hosts/node-2/.*$", f"*Node-2, {XD}"),
            ("^shared/.*$", f"*node_1, *Node-2, {XD}"),
            keys=f"  - &node_1 {XA}\n  - &Node-2 {XB}\n",
        ),
    )
    data = adopted(fleet)
    assert list(data["hosts"]) == ["node-1", "node-2"]
    assert [one["path"] for one in data["secrets"]] == ["hosts/{host}/**", "shared/**"]


def test_a_user_that_is_bound_and_reads_nothing_is_kept(fleet: Fleet) -> None:
    fleet.write(
        "secrets.nix", f'let alice = "{A}"; idle = "{B}"; in\n' + rules(x="[ alice ]")
    )
    assert set(adopted(fleet)["users"]) == {"alice", "idle"}


def test_names_come_from_imported_files_and_from_names_of_pub_files(
    fleet: Fleet,
) -> None:
    fleet.write("keys.nix", f'{{ users.carol = "{A}"; }}\n')
    fleet.write("keys/hosts/web.pub", f"{B}\n")
    fleet.write(
        "secrets/secrets.nix",
        "let keys = import ../keys.nix;\n"
        "  web = builtins.readFile ../keys/hosts/web.pub;\nin\n"
        + rules(x="[ keys.users.carol web ]"),
    )
    data = adopted(fleet)
    assert data["users"]["carol"]["keys"] == [A]
    assert data["hosts"]["web"]["keys"] == [B]


# Forms


def test_an_ssh_key_that_stock_sops_opened_as_it_is_keeps_its_form(
    fleet: Fleet,
) -> None:
    fleet.write(".sops.yaml", config(("^a$", "*alice"), keys=f"  - &alice {A}\n"))
    fleet.sops_encrypt("a", "x", [A])
    assert adopted(fleet)["users"]["alice"]["sops_form"] == "ssh"
    assert fleet.ok("check") == ""


# Order, and what is not managed


def test_a_rule_that_also_covers_foreign_files_stays_foreign(fleet: Fleet) -> None:
    foreign = (
        "creation_rules:\n  - path_regex: ^secrets/admin/.*\n    pgp: 85D77543B3D624B6"
        "3CEA9E6DBC17301B491B3F21\n"
    )
    wide = f"  - path_regex: ^secrets/.*\n    age: {XA}\n"
    apart = f"  - path_regex: ^other/.*\n    age: {XA}\n"
    fleet.write(".sops.yaml", foreign + wide + apart)
    fleet.commit("old")
    shown = fleet.ok("init", "--dry-run")
    assert "  line 2 stays as it is: it names PGP\n" in shown
    assert (
        "  line 4 stays as it is: it also covers files of the foreign rule at line 2\n"
        in shown
    )
    assert [one["path"] for one in adopted(fleet)["secrets"]] == ["other/**"]


def test_the_order_of_rules_keeps_deciding(fleet: Fleet) -> None:
    text = config(
        (r"^s/a\.yaml$", XA), (r"^s/.*\.yaml$", XB), (r"^s/b\.yaml$", XC), ("", XD)
    )
    fleet.write(".sops.yaml", text.replace("  - path_regex: \n  ", "  -\n  "))
    paths = [one["path"] for one in adopted(fleet)["secrets"]]
    assert paths == ["s/a.yaml", "s/**/*.yaml", "s/b.yaml", "**"]


def test_rules_of_one_kind_per_host_become_one(fleet: Fleet) -> None:
    keys = f"  - &host_web {XA}\n  - &host_db {XB}\n  - &user_me {XC}\n"
    text = config(
        (r"^hosts/web/[^/]+\.yaml$", "*user_me, *host_web"),
        (r"^hosts/db/[^/]+\.yaml$", "*user_me, *host_db"),
        keys=keys,
    )
    fleet.write(".sops.yaml", text)
    data = adopted(fleet)
    assert data["secrets"] == [{"path": "hosts/{host}/?*.yaml", "readers": ["{host}"]}]
    assert data["always"] == ["me"]


def test_rules_per_host_stay_apart_where_one_rule_would_hide_another(
    fleet: Fleet,
) -> None:
    keys = f"  - &host_web {XA}\n  - &host_db {XB}\n  - &user_me {XC}\n"
    text = config(
        (r"^hosts/web/[^/]+\.yaml$", "*user_me, *host_web"),
        (r"^hosts/db/[^/]+\.yaml$", "*user_me, *host_db"),
        (r"^hosts/.*$", "*user_me, *host_db"),
        keys=keys,
    )
    fleet.write(".sops.yaml", text)
    assert len(adopted(fleet)["secrets"]) == 3


def test_a_name_without_age_at_its_end_says_its_backend(fleet: Fleet) -> None:
    fleet.write("secrets.nix", f'{{ "raw".publicKeys = [ "{A}" ]; }}\n')
    fleet.age_encrypt("raw", "x", A)
    (rule,) = adopted(fleet)["secrets"]
    assert rule["backend"] == "age"
    assert fleet.ok("check") == ""


def test_one_broken_entry_is_named_and_the_others_are_not(fleet: Fleet) -> None:
    fleet.write("secrets.nix", rules(good=f'[ "{A}" ]', bad='[ (throw "no") ]'))
    said = refused(fleet)
    assert '"bad.age": it does not evaluate (no)' in said
    assert "good.age" not in said


def test_computed_rules_are_adopted_as_they_evaluate_today(fleet: Fleet) -> None:
    fleet.write("hosts/web.pub", f"{A}\n")
    fleet.write(
        "secrets.nix",
        'builtins.listToAttrs (map (n: { name = n + ".age"; value.publicKeys ='
        ' [ (builtins.readFile (./hosts + ("/" + n))) ]; })'
        " (builtins.attrNames (builtins.readDir ./hosts)))\n",
    )
    fleet.commit("old")
    said = fleet.ok("init", "--dry-run")
    assert "secrets.nix is computed (readDir): it was adopted as it evaluates" in said
    assert adopted(fleet)["secrets"][0]["path"] == "web.pub.age"


def test_a_wide_creation_rule_does_not_take_the_age_files(fleet: Fleet) -> None:
    keys = f"  - &host_web {XA}\n  - &user_me {XC}\n"
    fleet.write(".sops.yaml", config(("secrets/.*", "*user_me, *host_web"), keys=keys))
    me = f'let me = "{C}"; db = "{B}"; in\n'
    fleet.write("secrets/secrets.nix", me + rules(a="[ me ]", b="[ me db ]"))
    fleet.age_encrypt("secrets/a.age", "a", C)
    fleet.age_encrypt("secrets/b.age", "b", C, B)
    fleet.age_encrypt("secrets/stray.age", "s", XA, C)
    fleet.sops_encrypt("secrets/x.yaml", "x: y\n", [XC, XA])
    fleet.commit("old")
    shown = fleet.ok("init", "--dry-run")
    assert "  secrets/stray.age gets an entry: a rule of .sops.yaml covers it" in shown
    adopted(fleet)
    assert fleet.ok("status") == "the repository matches the map\n"
    assert fleet.ok("check") == ""


def test_names_with_a_dot_in_front_are_reported(fleet: Fleet) -> None:
    fleet.write("secrets.nix", f'{{ "./x.age".publicKeys = [ "{A}" ]; }}\n')
    fleet.commit("old")
    assert "  ./x.age is written x.age from now on\n" in fleet.ok("init", "--dry-run")


def test_an_empty_configuration_gives_a_map_to_begin_with(fleet: Fleet) -> None:
    fleet.write("secrets.nix", "{ } # publicKeys come here\n")
    fleet.commit("old")
    assert "none; begin with: nixsecrets add-user" in fleet.ok("init", "--dry-run")
    assert adopted(fleet)["agenix"] == {"rules": "secrets.nix"}


# Places


def test_several_configurations_make_several_maps(fleet: Fleet) -> None:
    fleet.write("prod/.sops.yaml", config((r"^s/", XA)))
    fleet.write("test/.sops.yaml", config((r"^s/", XB)))
    fleet.write("secrets.nix", rules(x=f'[ "{C}" ]'))
    fleet.sops_encrypt("prod/s/a.yaml", "a: b\n", [XA])
    fleet.age_encrypt("x.age", "x", C)
    fleet.commit("old")
    done = fleet.run("init", "--yes")
    assert done.returncode == 0, done.stderr
    assert "git add -- prod/.gitattributes prod/nixsecrets.lock" in done.stderr
    for folder in ("prod", "test", "."):
        found = fleet.run("check", cwd=fleet.root / folder)
        assert found.returncode == 0, found.stdout


def test_a_configuration_below_the_map_keeps_what_its_expressions_mean(
    fleet: Fleet,
) -> None:
    fleet.write("infra/.sops.yaml", config((r"^s/[^/]+$", XA), (r"db\.yaml$", XB)))
    fleet.sops_encrypt("infra/s/a.yaml", "a: b\n", [XA])
    fleet.sops_encrypt("infra/x/db.yaml", "a: b\n", [XB])
    fleet.write("secrets.nix", rules(x=f'[ "{C}" ]'))
    fleet.age_encrypt("x.age", "x", C)
    data = adopted(fleet, "--sops-config", "infra/.sops.yaml", "--rules", "secrets.nix")
    assert data["sops"] == {"config": "infra/.sops.yaml"}
    assert data["secrets"][0]["path"] == "infra/s/*"
    assert fleet.ok("check") == ""


def test_a_named_file_outside_of_the_folder_is_a_mistake(
    fleet: Fleet, tmp_path: Path
) -> None:
    outside = tmp_path / "secrets.nix"
    outside.write_text("{ }")
    done = fleet.run("init", "--yes", "--rules", outside)
    assert done.returncode == 2
    assert "no file below" in done.stderr


# On a terminal


def test_a_person_is_asked_and_no_is_the_default(old: Fleet) -> None:
    before = old.snapshot()
    child = spawn(old, "init")
    child.expect(r"write this\? \[y/N\] ")
    child.sendline("")
    _, code = ended(child)
    assert code == 1
    assert old.snapshot() == before


# What is hostile


def test_rules_see_nothing_outside_of_their_repository(
    fleet: Fleet, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("canary-of-another-place")
    fleet.write("secrets.nix", rules(x=f'[ "{A}" (builtins.readFile {canary}) ]'))
    said = refused(fleet)
    assert "access to" in said
    assert "canary-of-another-place" not in said


@pytest.mark.parametrize(
    "text",
    [
        '{ "x.age".publicKeys = builtins.genList (n: "k") 10000000; }',
        'let f = n: f (n + 1); in { "x.age".publicKeys = f 0; }',
        '{ "x.age".publicKeys = [ (builtins.fetchurl "http://127.0.0.1:9/") ]; }',
    ],
    ids=["output without end", "no end", "network"],
)
def test_rules_that_would_take_too_much_are_refused(fleet: Fleet, text: str) -> None:
    fleet.write("secrets.nix", text)
    refused(fleet)


@pytest.mark.parametrize("field", ["<<", "merge"])
def test_merged_merges_take_no_time(fleet: Fleet, field: str) -> None:
    lines = [f"  - &a0 {{age: [{XA}]}}"]
    lines += [f"  - &a{n} {{{field}: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)]
    text = "keys:\n" + "\n".join(lines) + "\ncreation_rules:\n"
    fleet.write(".sops.yaml", text + "  - path_regex: ^a$\n    key_groups: [*a39]\n")
    (user,) = adopted(fleet)["users"].values()
    assert user["keys"] == [XA]


def test_aliases_of_aliases_take_no_time(fleet: Fleet) -> None:
    lines = [f"  - &a0 [{XA}]"]
    lines += [f"  - &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    fleet.write(".sops.yaml", config(("^a$", XA), keys="\n".join(lines) + "\n"))
    adopted(fleet)


def test_a_private_key_in_a_comment_is_not_carried_over(fleet: Fleet) -> None:
    secret = kit.age_key().private
    fleet.write(
        "secrets.nix", f'# {secret}\nlet a = "{A}"; in # {secret}\n' + rules(x="[ a ]")
    )
    adopted(fleet)
    assert secret not in fleet.read("nixsecrets.toml").decode()


@pytest.mark.parametrize("text", ["a: [", "creation_rules: 3\n", "\x00", "- a\n"])
def test_a_configuration_that_sops_cannot_read_is_refused_or_empty(
    fleet: Fleet, text: str
) -> None:
    fleet.write(".sops.yaml", text)
    refused(fleet)


# What cannot be adopted, and does not stop the rest


def test_a_rules_file_that_is_none_is_named_and_the_others_are_adopted(
    fleet: Fleet,
) -> None:
    fleet.write("old/secrets.nix", "{ pkgs, ... }: { publicKeys = 1; }\n")
    fleet.write("new/secrets.nix", f'let k = "{A}"; in\n' + rules(x="[ k ]"))
    fleet.commit("old")
    done = fleet.run("init", "--yes")
    assert done.returncode == 0, done.stderr
    assert (
        'nixsecrets: warning: "old/secrets.nix": not a file of agenix rules'
        in done.stderr
    )
    assert (fleet.root / "new/nixsecrets.toml").exists()
    assert not (fleet.root / "old/nixsecrets.toml").exists()


def test_agenix_rules_that_fail_do_not_stop_the_sops_side(fleet: Fleet) -> None:
    fleet.write(".sops.yaml", config(("^a$", XA)))
    fleet.write("secrets.nix", "let publicKeys = 1; in {\n")
    data = adopted(fleet)
    assert [one["path"] for one in data["secrets"]] == ["a"]
    assert "agenix" not in data


def test_a_sops_side_that_fails_does_not_stop_agenix_rules(fleet: Fleet) -> None:
    fleet.write(".sops.yaml", f"# DO NOT EDIT\n{config(('^a$', XA))}")
    fleet.write("secrets.nix", f'let k = "{A}"; in\n' + rules(x="[ k ]"))
    data = adopted(fleet)
    assert [one["path"] for one in data["secrets"]] == ["x.age"]
    assert "sops" not in data


def test_a_rule_that_sops_cannot_compile_stays_with_all_below_it(fleet: Fleet) -> None:
    text = config(("^a$", XA), ("'*.yaml'", XB), ("^b$", XB))
    fleet.write(".sops.yaml", text)
    data = adopted(fleet)
    assert [one["path"] for one in data["secrets"]] == ["a"]
    now = fleet.read(".sops.yaml").decode()
    assert now.endswith(text[text.index("  - path_regex: '*.yaml'") :])
    done = fleet.run("lint")
    assert "NS063" in done.stdout
    assert "no argument for repetition operator: *" in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "# This key was generated by age-keygen",
        "# keys generated from ssh host keys: ssh-to-age",
        "# managed by alice",
        "# DO NOT remove bob",
    ],
)
def test_a_comment_on_generated_keys_is_no_header(fleet: Fleet, line: str) -> None:
    fleet.write(".sops.yaml", f"{line}\n{config(('^a$', XA))}")
    assert len(adopted(fleet)["secrets"]) == 1


@pytest.mark.parametrize(
    "line",
    [
        "# WARNING: This is a generated file. DO NOT EDIT DIRECTLY!",
        "# Generated by terraform",
        "# This file is managed by Ansible",
        "# @autogenerated",
        "# don't edit, run make",
    ],
)
def test_a_generator_s_header_is_refused(fleet: Fleet, line: str) -> None:
    fleet.write(".sops.yaml", f"\n{line}\n{config(('^a$', XA))}")
    fleet.commit("old")
    assert "is written by a program" in refused(fleet)


def test_a_generator_is_no_word_in_a_comment_further_down(fleet: Fleet) -> None:
    text = config(("^a$", XA)).replace("creation", "# do not edit below\ncreation")
    fleet.write(".sops.yaml", f"keys: []\n{text}")
    assert len(adopted(fleet)["secrets"]) == 1


def test_rules_that_need_more_than_the_repository_are_evaluated_after_a_yes(
    fleet: Fleet,
) -> None:
    outside = fleet.home / "keys.nix"
    outside.write_text(f'"{A}"\n')
    fleet.write("secrets.nix", "let k = import <keys>; in\n" + rules(x="[ k ]"))
    fleet.commit("old")
    fleet.env["NIX_PATH"] = f"keys={outside}"
    assert "if agenix evaluates it: nixsecrets init --impure" in refused(fleet)
    done = fleet.run("init", "--impure")
    assert done.returncode == 1
    assert "hint: agree in advance with --yes" in done.stderr
    assert [one["path"] for one in adopted(fleet, "--impure")["secrets"]] == ["x.age"]


def test_a_module_called_secrets_nix_is_no_secret(fleet: Fleet) -> None:
    fleet.write("secrets.nix", "{ config, ... }: { age.secrets = { }; }\n")
    fleet.commit("module")
    fleet.ok("init", "--user", "alice")
    assert (fleet.root / "secrets/secrets.nix").exists()


def test_a_key_that_rules_list_twice_is_no_drift(fleet: Fleet) -> None:
    alice, web = fleet.public("alice"), kit.ssh_key("web")
    fleet.write(
        "secrets.nix",
        f'let alice = "{alice}"; web = "{web.public}"; users = [ alice ]; in\n'
        + rules(x="users ++ [ web alice ] ++ users", y="[ web web ]"),
    )
    fleet.age_encrypt("x.age", "x", alice, web.public, alice, alice)
    fleet.age_encrypt("y.age", "y", web.public, web.public)
    adopted(fleet, "--git-add")
    assert fleet.ok("check") == ""
    before = fleet.read("x.age")
    fleet.ok("rekey", "--yes")
    assert fleet.read("x.age") == before
    late = kit.ssh_key("late").public
    fleet.ok("add-user", "late", "--key", late, "--yes")
    fleet.ok("check")
    assert fleet.ok("cat", "x.age") == "x"


def test_what_git_would_ignore_is_said_before_anything_is_written(fleet: Fleet) -> None:
    fleet.write(".gitignore", "*.toml\n")
    fleet.write(".sops.yaml", config(("^a$", XA)))
    fleet.commit("old")
    warning = (
        "nixsecrets: warning: git ignores nixsecrets.toml\n"
        "nixsecrets: hint: let .gitignore except it: !nixsecrets.toml\n"
    )
    assert warning in fleet.run("init", "--dry-run").stderr
    assert warning in fleet.run("init").stderr
    fleet.write(".gitignore", "*.toml\n!nixsecrets.toml\n")
    assert "git ignores" not in fleet.run("init", "--yes").stderr


def test_a_key_group_too_many_is_named_by_its_dash(fleet: Fleet) -> None:
    groups = f"    key_groups:\n      - age: [{XA}]\n      - age: [{XB}]\n"
    fleet.write(".sops.yaml", f"creation_rules:\n  - path_regex: ^a$\n{groups}")
    fleet.commit("old")
    assert (
        "line 2: it splits its data key over 2 key groups (Shamir);"
        " each dash below key_groups begins one"
    ) in refused(fleet)


# Groups


def test_groups_of_groups_stay_what_they_are(fleet: Fleet) -> None:
    fleet.write(
        "secrets.nix",
        f'let web = "{A}"; db = "{B}"; desk = "{C}"; me = "{D}";\n'
        "  servers = [ web db ]; desktops = [ desk ]; all = servers ++ [ desk ]; in\n"
        + rules(x="all ++ [ me ]", y="servers ++ [ me ]"),
    )
    data = adopted(fleet)
    assert data["groups"] == {"servers": ["web", "db"], "all": ["servers", "desk"]}
    assert [one["readers"] for one in data["secrets"]] == [["all"], ["servers"]]


def test_who_happens_to_read_everything_is_no_group(fleet: Fleet) -> None:
    fleet.write(
        "secrets.nix",
        f'let one = "{A}"; two = "{B}"; three = "{C}"; in\n'
        + rules(x="[ one two three ]", y="[ three one two ]"),
    )
    data = adopted(fleet)
    assert (data["always"], data.get("groups")) == (["one", "two", "three"], None)
