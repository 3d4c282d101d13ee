"""Files that nixsecrets did not write are written over only if they are named."""

import pytest

from tests.fleet import Fleet, ssh_key

FOREIGN = '{ config, ... }: { services.foo.enable = true; } # "mine"\n'


def points_at(fleet: Fleet, table: str, key: str, path: str) -> None:
    """Let the map name another file for a generated one."""
    old = {"rules": "secrets/secrets.nix", "config": ".sops.yaml"}[key]
    text = fleet.read("nixsecrets.toml").decode()
    there = f'[{table}]\n{key} = "{old}"'
    assert there in text
    fleet.write("nixsecrets.toml", text.replace(there, f'[{table}]\n{key} = "{path}"'))


@pytest.mark.parametrize(
    "words",
    [
        ("sync", "--yes"),
        ("rekey", "--yes"),
        ("add-host", "late", "--yes", "--group", "dns", "--key", "KEY"),
        ("set", "secrets/new.age"),
        ("remove-host", "stein", "--yes", "--allow-revoke"),
    ],
)
def test_no_command_writes_over_a_foreign_file_unasked(
    ready: Fleet, words: tuple[str, ...]
) -> None:
    ready.write("modules/foo.nix", FOREIGN)
    points_at(ready, "agenix", "rules", "modules/foo.nix")
    before = ready.snapshot()
    key = ssh_key("a late host").public
    args = [key if word == "KEY" else word for word in words]
    done = ready.run(*args, stdin="hunter2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "modules/foo.nix was not written by nixsecrets" in done.stderr
    assert "nixsecrets sync --overwrite modules/foo.nix\n" in done.stderr
    assert ready.snapshot() == before


def test_what_is_named_is_written_over_and_is_ours_from_then_on(ready: Fleet) -> None:
    ready.write("modules/foo.nix", FOREIGN)
    points_at(ready, "agenix", "rules", "modules/foo.nix")
    shown = ready.run("check").stdout
    assert (
        "NS040  modules/foo.nix: was not written by nixsecrets and differs from the"
        " map\n    nixsecrets sync --overwrite modules/foo.nix\n" in shown
    )
    assert "(nixsecrets did not write it)" in ready.ok("sync", "--dry-run")
    done = ready.run("sync", "--overwrite", "secrets/secrets.nix")
    assert done.returncode == 1
    ready.ok("sync", "--overwrite", "./modules/foo.nix")
    assert ready.read("modules/foo.nix").startswith(b"# written by nixsecrets from ")
    text = ready.read("nixsecrets.toml").decode()
    ready.write("nixsecrets.toml", text.replace('dns = ["schere",', "dns = ["))
    ready.ok("sync")


def test_where_a_link_leads_is_said(ready: Fleet) -> None:
    ready.write("flake.nix", FOREIGN)
    (ready.root / "rules.nix").symlink_to("flake.nix")
    points_at(ready, "agenix", "rules", "rules.nix")
    done = ready.run("sync", "--yes")
    assert done.returncode == 1
    assert "rules.nix (a link to flake.nix) was not written by" in done.stderr
    assert ready.read("flake.nix").decode() == FOREIGN


def test_blocks_are_put_into_a_configuration_of_sops_and_no_other_yaml(
    ready: Fleet,
) -> None:
    workflow = "on: push\njobs: {}\n"
    ready.write("ci.yaml", workflow)
    points_at(ready, "sops", "config", "ci.yaml")
    done = ready.run("sync", "--yes")
    assert (done.returncode, ready.read("ci.yaml").decode()) == (1, workflow)
    assert "nixsecrets sync --overwrite ci.yaml\n" in done.stderr
    ready.write("ci.yaml", "stores: {}\ncreation_rules:\n  - age: x\n")
    ready.ok("sync")
    assert ready.read("ci.yaml").startswith(b"stores: {}\n")


@pytest.mark.parametrize(
    "path",
    [
        *("flake.nix", "sub/flake.nix", "flake.lock", "nixsecrets.toml"),
        *("nixsecrets.lock", ".gitattributes", ".git/config", "a/.GIT/hooks/x"),
        *(".gitmodules", "secrets/wifi.age", "keys/alice.pub"),
    ],
)
@pytest.mark.parametrize(("table", "key"), [("agenix", "rules"), ("sops", "config")])
def test_the_map_may_not_name_what_has_another_use(
    ready: Fleet, table: str, key: str, path: str
) -> None:
    points_at(ready, table, key, path)
    done = ready.run("check")
    assert done.returncode == 1
    assert "this path is reserved for another file" in done.stderr
