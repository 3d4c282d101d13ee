"""The templates of the flake: each README is followed, from `nix flake init` on."""

import json
import re
import shutil
import subprocess

import pytest

from tests.fleet import PROJECT
from tests.nix.reader import Reader

FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
# What only the machine itself can do, or a build.
ELSEWHERE = {
    "nix run . --": "nixsecrets",
    "sudo ssh-keygen -A ": ": ",
    "--local": "--address brunnen.lan",
    "nix flake check": "",
    "darwin-rebuild": "nixos-rebuild",
}


@pytest.mark.parametrize(
    ("template", "host", "declared"),
    [
        ("agenix", "brunnen", ["age.secrets.wifi"]),
        ("sops-nix", "brunnen", ["sops.secrets.db"]),
        ("both", "brunnen", ["age.secrets.wifi", "sops.secrets.db"]),
        ("darwin", "mac", ["age.secrets.wifi", "sops.secrets.db"]),
    ],
)
def test_a_template_leads_to_a_fleet_whose_checks_pass(
    reader: Reader, template: str, host: str, declared: list[str]
) -> None:
    shutil.copytree(PROJECT / "templates" / template, reader.root, dirs_exist_ok=True)
    reader.flake((reader.root / "flake.nix").read_text())
    sections = FENCE.findall((reader.root / "README.md").read_text())
    assert [kind for kind, _ in sections] == ["sh", "toml", "sh"]
    reader.sh("git init -q")
    assert problems(reader) == [
        "nixsecrets: the flake has no nixsecrets.toml; run `nixsecrets init`, then git"
        " add nixsecrets.toml"
    ]
    for kind, text in sections:
        if kind == "toml":
            assert len(problems(reader)) == len(declared)
            reader.toml(text)
            continue
        for there, here in ELSEWHERE.items():
            text = text.replace(there, here)
        reader.sh(text)
    assert reader.evaluate(
        "checks.x86_64-linux", "builtins.mapAttrs (_: x: x.name)"
    ) == ('{"nixsecrets":"nixsecrets-check","nixsecrets-hosts":"nixsecrets-hosts"}')
    assert "/bin/nixsecrets" in reader.evaluate("apps.x86_64-linux.default.program")
    assert problems(reader) == []
    reader.evaluate("formatter", "builtins.attrNames")
    table = reader.sh("nixsecrets check --flake")
    lines = [line.split() for line in table.splitlines()]
    assert [line[0] for line in lines if line[-1] == "ok"] == declared
    assert lines[0] == [host]


def problems(reader: Reader) -> list[str]:
    """What the build of the check of the hosts says and fails with, if anything."""
    path = "checks.x86_64-linux.nixsecrets-hosts.passthru"
    build = json.loads(reader.evaluate(path))
    ran = subprocess.run(
        ["sh", "-euc", build["script"]],
        env={**reader.env, "out": "/dev/null", "problems": build["problems"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == (1 if ran.stderr else 0)
    return ran.stderr.splitlines()
