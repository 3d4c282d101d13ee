"""`check`: exit 1 on any drift, with git and nothing else."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed
from tests.fleet import Fleet


def only_git(fleet: Fleet, tmp_path: Path) -> dict[str, str]:
    """An environment with git on PATH, no home and no key."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").symlink_to(kit.program("git"))
    kept = {k: v for k, v in fleet.env.items() if k.startswith("GIT_")}
    return {**kept, "PATH": str(programs), "HOME": "/nonexistent"}


def test_check_needs_git_and_nothing_else_in_a_shallow_clone(
    ready: Fleet, tmp_path: Path
) -> None:
    ready.write("later", "x")
    ready.commit("later")
    clone = tmp_path / "clone"
    url = f"file://{ready.root}"
    kit.git(tmp_path, "clone", "-q", "--depth=1", url, str(clone), env=ready.env)
    shutil.rmtree(ready.keys)
    env = only_git(ready, tmp_path)
    done = kit.run_cli("check", cwd=clone, env=env)
    assert (done.returncode, done.stdout) == (0, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith("removals: this clone is shallow")
    (clone / "secrets/wifi.age").unlink()
    done = kit.run_cli("check", cwd=clone, env=env)
    assert done.returncode == 1


def plaintext(fleet: Fleet) -> None:
    fleet.write("secrets/new.yaml", "a: b\n")


def truncated(fleet: Fleet) -> None:
    fleet.write("secrets/wifi.age", fleet.read("secrets/wifi.age")[:-20])


def unmanaged(fleet: Fleet) -> None:
    fleet.age_encrypt("elsewhere/x.age", "x", "alice")


def stranger(fleet: Fleet) -> None:
    fleet.sops_encrypt("secrets/app.yaml", "a: b\n", [kit.age_key().public])


def anonymous(fleet: Fleet) -> None:
    fleet.age_encrypt("secrets/wifi.age", "x", "alice", "brunnen")


def no_such_host(fleet: Fleet) -> None:
    fleet.age_encrypt("secrets/hosts/gone/x.age", "x", "alice")


def hand_edited(fleet: Fleet) -> None:
    text = fleet.read("secrets/secrets.nix").decode()
    fleet.write("secrets/secrets.nix", text.replace("in\n", "in # mine\n"))


def foreign_rule(fleet: Fleet) -> None:
    key = kit.age_key().public
    text = fleet.read(".sops.yaml").decode()
    rule = f"creation_rules:\n  - path_regex: app\n    age: {key}\n"
    fleet.write(".sops.yaml", text.replace("creation_rules:\n", rule))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (plaintext, "NS001  secrets/new.yaml: is not encrypted"),
        (truncated, "NS002  secrets/wifi.age: "),
        (stranger, "NS010  secrets/app.yaml: missing alice, brunnen"),
        (anonymous, "NS011  secrets/wifi.age: its recipients are unknown"),
        (unmanaged, "NS020  elsewhere/x.age: "),
        (no_such_host, "NS021  secrets/hosts/gone/x.age: gone is not in the map"),
        (foreign_rule, "NS031  secrets/app.yaml: stock sops uses the foreign rule"),
        (hand_edited, "NS040  secrets/secrets.nix: differs from the map"),
    ],
)
def test_a_finding_has_a_code_and_fails_the_check(
    ready: Fleet, spoil: Callable[[Fleet], None], expected: str
) -> None:
    spoil(ready)
    before = ready.snapshot()
    done = ready.run("check")
    assert done.returncode == 1
    assert expected in done.stdout
    assert changed(ready, before) == set()


def test_a_rule_that_wins_no_file_is_reported_and_does_not_fail(ready: Fleet) -> None:
    path = ready.root / "nixsecrets.toml"
    rule = '\n[[secrets]]\npath = "vault/*.age"\nreaders = ["brunnen"]\n'
    path.write_text(path.read_text() + rule)
    ready.ok("sync")
    done = ready.run("check")
    assert done.returncode == 0
    assert re.search(
        r"NS030  nixsecrets.toml:\d+: the rule vault/\*.age \(line", done.stdout
    )


def test_the_json_of_check_is_that_of_status(ready: Fleet) -> None:
    anonymous(ready)
    done = ready.run("check", "--json")
    assert done.returncode == 1
    status = json.loads(ready.ok("status", "--json"))
    assert json.loads(done.stdout) | {"merge": None} == status


def test_plaintext_may_lie_where_the_rule_allows_it(ready: Fleet) -> None:
    path = ready.root / "nixsecrets.toml"
    rule = (
        '\n[[secrets]]\npath = "k8s/**"\nreaders = ["brunnen"]\nplaintext = "allowed"\n'
    )
    path.write_text(path.read_text() + rule)
    ready.write("k8s/deployment.yaml", "kind: Deployment\n")
    ready.ok("sync")
    ready.ok("check")


def test_it_works_from_any_folder_and_with_directory_option(ready: Fleet) -> None:
    deep = ready.root / "secrets/hosts/brunnen"
    assert ready.run("check", cwd=deep).returncode == 0
    assert ready.run("-C", str(deep), "check", cwd=Path("/")).returncode == 0
    done = ready.run("why", "tls.json", cwd=deep)
    assert done.stdout.startswith("secrets/hosts/brunnen/tls.json: a sops file")
