"""The module says of every cause what `check --flake` says, with the same command."""

import json
from collections.abc import Callable

import pytest

from tests.fleet import Fleet
from tests.nix.nixkit import run_nix, write_flake
from tests.nix.test_lib import newcomer, nothing, plain, removed, rewritten, unlocked

OUTPUTS = """
  nixosConfigurations.{host} = lib.nixosSystem {{ modules = [
    nixsecrets.nixos nixsecrets.nixos agenix sops
    {{ networking.hostName = "{host}"; nixsecrets.root = ./.; {declared} }} ]; }};
  messages = map (one: one.message) (builtins.filter (one: !one.assertion)
    self.nixosConfigurations.{host}.config.assertions);
"""
WIFI = "age.secrets.x.file = ./secrets/wifi.age;"
APP = "sops.secrets.app.sopsFile = ./secrets/app.yaml;"
CASES: list[tuple[Callable[[Fleet], None], str, str]] = [
    (nothing, "stein", WIFI),
    (nothing, "stein", APP),
    (newcomer, "neu", APP),
    (rewritten, "brunnen", WIFI),
    (unlocked, "brunnen", WIFI),
    (removed, "brunnen", WIFI),
    (plain, "brunnen", APP),
    (nothing, "brunnen", "sops.secrets.x.sopsFile = ./secrets/wifi.age;"),
    (nothing, "brunnen", "age.secrets.x.file = ./secrets/app.yaml;"),
    (nothing, "fremd", WIFI),
    (nothing, "brunnen", 'age.secrets.x.file = "${./secrets}/gone.age";'),
]


@pytest.mark.parametrize(("spoil", "host", "declared"), CASES)
def test_the_advice_of_the_module_is_that_of_check(
    ready: Fleet,
    newest_nix: dict[str, str],
    spoil: Callable[[Fleet], None],
    host: str,
    declared: str,
) -> None:
    ready.env.update(newest_nix, HOME=ready.env["HOME"])
    spoil(ready)
    write_flake(ready, OUTPUTS.format(host=host, declared=declared))
    ready.git("add", "-A")
    done = run_nix("eval", "--json", ".#messages", cwd=ready.root, env=ready.env)
    assert done.returncode == 0, done.stderr
    (message,) = json.loads(done.stdout)
    said, _, fix = message.removeprefix("nixsecrets: ").partition("; run ")
    checked = ready.run("check", "--flake").stdout
    if spoil is removed:  # Nix cannot tell which
        assert said.endswith("it does not exist, or git does not track it")
        assert said.removesuffix(", or git does not track it") in checked
        return
    (at,) = [line for line in checked.splitlines() if line[7:].startswith(said)]
    assert at[7:] in {said, f"{said}; no rule lets it read"}
    after = checked.partition(f"{at}\n")[2].partition("\n")[0]
    assert after.startswith("    ") is bool(fix)
    assert after.strip() == fix.strip("`") or not fix
