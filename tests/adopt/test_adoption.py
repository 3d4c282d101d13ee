"""`nixsecrets init` in a repository that has secrets: adopted, and nobody gains."""

import json
import os
import tomllib

import pytest

from tests import fleet as kit
from tests.adopt.conftest import converted
from tests.fleet import Fleet, ProgramFailed, program, run_program, sops_path

FINDINGS = """\
  re-encrypt  secrets/db-password.age  its recipients are unknown
  grant       shared/app.yaml  missing db
problems:
  NS030  nixsecrets.toml:57: the rule secrets/planned.age (line 57) applies to no file
  NS030  nixsecrets.toml:44: the rule shared/never.yaml (line 44) applies to no file
  NS020  secrets/stray.age: is an encrypted age file that no rule matches
"""
SECRETS = (".age", "app.yaml", "tls.yaml", "old.yaml")


def secrets_of(fleet: Fleet) -> dict[str, bytes]:
    return {p: d for p, d in fleet.snapshot().items() if p.endswith(SECRETS)}


def evaluated(fleet: Fleet) -> dict[str, set[str]]:
    """What stock agenix sees in the rules file: keys without their comments."""
    done = run_program(
        program("nix-instantiate"),
        *("--store", "dummy://", "--eval", "--strict", "--json", "--readonly-mode"),
        *("-E", "import ./secrets/secrets.nix"),
        env=fleet.env,
        cwd=fleet.root,
    )
    return {
        name: {" ".join(key.split()[:2]) for key in entry["publicKeys"]}
        for name, entry in json.loads(done).items()
    }


def stock_sops_readers(fleet: Fleet, path: str) -> set[str]:
    """To whom the real sops encrypts a new file there; what it says where it cannot."""
    target = fleet.write(path, "a: b\n")
    try:
        argv = (sops_path(), "--config", str(fleet.root / ".sops.yaml"), "encrypt")
        text = run_program(*argv, str(target), env=fleet.env, cwd=fleet.root).decode()
    except ProgramFailed as error:
        return {str(error).rpartition(": ")[2].strip()}
    finally:
        target.unlink()
    return {line.split()[-1] for line in text.splitlines() if "recipient: " in line}


def test_adoption_changes_no_secret_and_says_what_status_says(old: Fleet) -> None:
    before = secrets_of(old)
    done = old.run("init", "--yes")
    assert done.returncode == 0, done.stderr
    assert secrets_of(old) == before
    assert old.ok("status") == FINDINGS
    for line in FINDINGS.replace("problems:\n", "").splitlines():
        assert line in done.stderr


def test_options_that_only_a_file_has_are_a_finding_and_stop_no_adoption(
    fleet: Fleet,
) -> None:
    """And those of a creation rule move into the map."""
    alice = fleet.public("alice")
    rules = f"  - path_regex: ^some/.*\\.yaml$\n    age: {alice}\n"
    rules += "    encrypted_regex: ^a$\n"
    rules += f"  - path_regex: ^all/.*\\.yaml$\n    age: {alice}\n"
    fleet.write(".sops.yaml", f"creation_rules:\n{rules}")
    for path in ("some/x.yaml", "all/x.yaml"):
        args = ("--encrypted-regex", "^a$")
        fleet.sops_encrypt(path, "a: b\nc: hunter2\n", [alice], *args)
    fleet.commit("as it was")
    done = fleet.run("init", "--yes")
    assert done.returncode == 0, done.stderr
    told = "NS004  all/x.yaml:2: its selection options leave c in plaintext"
    assert told in done.stderr
    found = fleet.run("check").stdout
    assert found.splitlines() == [told, "    nixsecrets rekey all/x.yaml"]
    fleet.ok("rekey", "--yes")
    assert fleet.ok("check") == ""
    assert b"hunter2" in fleet.read("some/x.yaml")
    assert b"hunter2" not in fleet.read("all/x.yaml")


def test_a_dry_run_shows_the_map_and_the_proof_and_writes_nothing(old: Fleet) -> None:
    before = old.snapshot()
    shown = old.ok("init", "--dry-run")
    assert old.snapshot() == before
    assert "verified: the recipients of 8 secret files and" in shown
    assert "are unchanged" in shown
    old.ok("init", "--yes")
    written = old.read("nixsecrets.toml").decode()
    assert all(f"  {line}".rstrip() in shown for line in written.splitlines())


def test_names_come_from_anchors_bindings_and_headings(old: Fleet) -> None:
    shown = old.ok("init", "--dry-run")
    assert "  alice  user   anchor &user_alice, .sops.yaml:4\n" in shown
    assert "  bob    user   `bob` in secrets/secrets.nix:4\n" in shown
    old.ok("init", "--yes")
    data = tomllib.loads(old.read("nixsecrets.toml").decode())
    assert data["always"] == ["alice"]
    assert set(data["hosts"]) == {"web", "db"}
    assert data["groups"] == {"systems": ["web", "db"]}


def test_a_key_that_both_sides_have_becomes_one_entry_in_its_ssh_form(
    old: Fleet,
) -> None:
    old.ok("init", "--yes")
    data = tomllib.loads(old.read("nixsecrets.toml").decode())
    assert data["hosts"]["web"]["keys"] == [old.public("web")]
    assert converted(old, "web") in old.read(".sops.yaml").decode()


def test_comments_move_along_with_what_they_describe(old: Fleet) -> None:
    old.ok("init", "--yes")
    text = old.read("nixsecrets.toml").decode()
    assert '# for the office\n[[secrets]]\npath = "secrets/wifi.age"' in text
    assert "# on holiday in May\n[users.bob]" in text
    assert "# in the cellar\n[hosts.db]" in text
    assert "# After adding a host: agenix -r -i ~/.ssh/id_ed25519\n" in text
    assert "# everybody's; keep this rule last\n[[secrets]]" in text


def test_what_is_not_managed_stays_byte_for_byte_and_is_listed(old: Fleet) -> None:
    lines = old.read(".sops.yaml").decode().splitlines(keepends=True)
    foreign = "".join(lines[:15])
    done = old.run("init", "--yes")
    assert "  line 10 stays as it is: it names PGP\n" in done.stderr
    assert old.read(".sops.yaml").decode().startswith(foreign)


def test_a_dead_rule_plain_files_and_readers_of_the_text_are_reported(
    old: Fleet,
) -> None:
    shown = old.ok("init", "--dry-run")
    assert "  line 30 never applies: line 27 covers what it covers\n" in shown
    assert '(yaml|env)$ also covers plaintext files: plaintext = "allowed"\n' in shown
    assert "  justfile:2 reads .sops.yaml with yq: check it\n" in shown


def test_the_rules_file_has_the_same_names_and_keys_as_before(old: Fleet) -> None:
    before = evaluated(old)
    old.ok("init", "--yes")
    assert evaluated(old) == before


@pytest.mark.parametrize(
    "path",
    [
        "hosts/web/new.yaml",
        "hosts/db/a/new.yaml",
        "shared/new.yaml",
        "deep/shared/new.env",
        "xshared/new.yaml",
        "shared/never.yaml",
        "shared/a/new.yaml",
        "elsewhere.yaml",
    ],
)
def test_stock_sops_encrypts_new_files_to_the_same_keys(old: Fleet, path: str) -> None:
    before = stock_sops_readers(old, path)
    old.ok("init", "--yes")
    assert stock_sops_readers(old, path) == before


def test_after_adoption_a_host_comes_and_another_one_goes(old: Fleet) -> None:
    old.ok("init", "--yes")
    key = old.add_host("neu")
    old.ok("add-host", "neu", "--key", key.public, "--group", "systems", "--yes")
    assert old.age_opens("secrets/wifi.age", "neu")
    assert not old.age_opens("secrets/backup.age", "neu")
    old.ok("remove-host", "db", "--yes")
    assert not old.age_opens("secrets/wifi.age", "db")
    assert not old.age_opens("secrets/backup.age", "db")
    assert old.age_opens("secrets/stray.age", "alice")


def test_a_second_adoption_is_refused(old: Fleet) -> None:
    old.ok("init", "--yes")
    before = old.snapshot()
    done = old.run("init", "--yes")
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: nixsecrets.toml is already here\n"
        "nixsecrets: hint: nixsecrets status\n"
    )
    assert old.snapshot() == before


def test_without_a_terminal_and_a_yes_nothing_is_written(old: Fleet) -> None:
    before = old.snapshot()
    done = old.run("init")
    assert done.returncode == 1
    assert "agree in advance with --yes" in done.stderr
    assert old.snapshot() == before


def test_without_nix_instantiate_it_says_so_and_adopts_sops_only_if_asked(
    old: Fleet,
) -> None:
    folder = old.home / "bin"
    folder.mkdir()
    (folder / "git").symlink_to(program("git"))
    poor = {"PATH": str(folder)}
    done = old.run("init", "--yes", env=poor)
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: nix-instantiate is not installed, so agenix rules cannot"
        " be read\n"
        "nixsecrets: hint: install nix, or adopt the sops side only: --sops-only\n"
    )
    rules = old.read("secrets/secrets.nix")
    done = old.run("init", "--yes", "--sops-only", env=poor)
    assert done.returncode == 0, done.stderr
    assert old.read("secrets/secrets.nix") == rules
    assert "agenix" not in tomllib.loads(old.read("nixsecrets.toml").decode())


def test_the_old_rules_are_kept_only_if_asked(old: Fleet) -> None:
    rules = old.read("secrets/secrets.nix")
    old.ok("init", "--yes", "--keep-rules")
    assert old.read("secrets/secrets.nix.orig") == rules


def test_files_can_be_named(old: Fleet) -> None:
    os.renames(old.root / "secrets/secrets.nix", old.root / "secrets/rules.nix")
    old.ok(
        "init", "--yes", "--rules", "secrets/rules.nix", "--sops-config", ".sops.yaml"
    )
    data = tomllib.loads(old.read("nixsecrets.toml").decode())
    assert data["agenix"]["rules"] == "secrets/rules.nix"


def test_a_configuration_with_damaged_blocks_of_ours_stops_the_adoption(
    old: Fleet,
) -> None:
    old.write(".sops.yaml", "# nixsecrets: begin\n" + old.read(".sops.yaml").decode())
    before = old.snapshot()
    done = old.run("init", "--yes")
    assert done.returncode == 1
    assert "has no end" in done.stderr
    assert old.snapshot() == before


def test_a_configuration_that_a_program_writes_is_left_to_it(old: Fleet) -> None:
    written = (
        "# This file is GENERATED, do not edit\n" + old.read(".sops.yaml").decode()
    )
    old.write(".sops.yaml", written)
    done = old.run("init", "--yes")
    assert done.returncode == 0
    assert (
        "nixsecrets: warning: .sops.yaml is written by a program: its next run would"
        " undo the adoption\n"
        "nixsecrets: hint: remove the header and the generator first; the map replaces"
        " them\n"
    ) in done.stderr
    assert old.read(".sops.yaml").decode() == written
    assert "sops" not in tomllib.loads(old.read("nixsecrets.toml").decode())


def test_a_program_next_to_the_configuration_is_found(old: Fleet) -> None:
    old.write("sops.nix", "{ }: { creation_rules = [ ]; }\n")
    done = old.run("init", "--yes", "--sops-config", ".sops.yaml")
    assert done.returncode == 1
    assert '.sops.yaml is written by a program from "sops.nix"' in done.stderr


def test_a_nixos_module_that_is_called_secrets_nix_is_left_alone(old: Fleet) -> None:
    old.write("modules/secrets.nix", "{ config, ... }: { age.secrets = { }; }\n")
    old.ok("init", "--yes")
    assert (old.root / "modules/secrets.nix").read_text().startswith("{ config")
    assert not (old.root / "modules/nixsecrets.toml").exists()


def test_a_named_file_that_is_no_rules_is_refused(old: Fleet) -> None:
    old.write("module.nix", "{ config, ... }: { }\n")
    done = old.run("init", "--yes", "--rules", "module.nix")
    assert done.returncode == 1
    assert '"module.nix": not a file of agenix rules' in done.stderr


def test_a_file_of_a_rule_that_stays_is_no_finding_as_long_as_it_fits_the_rule(
    fleet: Fleet,
) -> None:
    gnupg = fleet.home / "g"
    gnupg.mkdir(mode=0o700)
    env = fleet.env | {"GNUPGHOME": str(gnupg)}
    key = ["--batch", "--passphrase", "", "--quick-gen-key", "c@example.org"]
    run_program(program("gpg"), *key, env=env)
    listing = run_program(program("gpg"), "-k", "--with-colons", env=env).decode()
    fpr = listing.split("fpr:::::::::")[1].split(":")[0]
    alice, bob = fleet.public("alice"), kit.age_key().public
    fleet.write(
        ".sops.yaml",
        "creation_rules:\n"
        f"  - path_regex: ^old/\n    pgp: {fpr}\n    age: {alice}\n"
        f"  - path_regex: ^new/\n    age: {alice}\n",
    )
    for path in ("old/x.yaml", "new/x.yaml"):
        fleet.write(path, "a: b\n")
        run_program(sops_path(), "encrypt", "-i", path, env=env, cwd=fleet.root)
    fleet.commit("years of secrets")
    fleet.ok("init", "--yes", "--git-add")
    assert fleet.ok("check") == ""
    fleet.ok("hook", "run")
    add = (sops_path(), "rotate", "-i", "--add-age", bob, "old/x.yaml")
    run_program(*add, env=env, cwd=fleet.root)
    done = fleet.run("check")
    assert "NS020  old/x.yaml: is an encrypted sops file that no rule" in done.stdout
    fleet.git("checkout", "-q", "old/x.yaml")
    text = fleet.read("old/x.yaml").replace(fpr.encode(), b"A" * len(fpr))
    fleet.write("old/x.yaml", text)
    assert f"pgp:{'A' * len(fpr)}" in fleet.run("check").stdout
    run_program(program("gpgconf"), "--kill", "all", env=env)
