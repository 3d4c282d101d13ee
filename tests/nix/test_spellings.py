"""Every spelling of a path: module, library and `check --flake` say the same."""

import json
import shutil
from pathlib import Path

import pytest

from tests.fleet import Fleet
from tests.nix.nixkit import run_nix, write_flake

FILES = """
  path = path: ./. + path;
  appended = path: self + path;
  interpolated = path: "${self}${path}";
  out = path: "${self.outPath}${path}";
  source = path: self.sourceInfo.outPath + path;
  odd = path: "${self}/secrets/..//.${path}";
  text = path: toString (./. + path);
  folder = path: "${./.}${path}";
  below = path: "${./secrets}/${baseNameOf path}";
  alone = path: "${./. + path}";
  named = path: builtins.path { path = ./. + path; name = "other"; };
  copied = path:
    builtins.path { path = ./secrets; name = "copy"; } + "/${baseNameOf path}";
  filtered = path: builtins.filterSource (_: _: true) ./. + path;
  input = path: private + path;
  input-text = path: "${private}${path}";
  input-out = path: private.outPath + path;
  plain-input = path: "${plain}${path}";
"""
ROOTS = """
  path = ./.;
  flake = self;
  text = "${self}";
  out = self.outPath;
  slash = self + "/";
  no-context = toString ./.;
  copy = "${./.}";
  named = builtins.path { path = ./.; name = "root"; };
  input = private;
  input-text = "${private}";
  plain-input = plain;
"""
OUTPUTS = f"""
  nixosConfigurations =
    let
      files = {{ {FILES} }};
      roots = {{ {ROOTS} }};
      each = f: set: builtins.mapAttrs (_: f) set;
      host = name: root: more: lib.nixosSystem {{ modules = [
        nixsecrets.nixos agenix sops
        {{ networking.hostName = name; nixsecrets.root = root; }} more ]; }};
      every = {{
        age.secrets = each (spell: {{ file = spell "/secrets/wifi.age"; }}) files;
        sops.secrets = each (spell: {{
          sopsFile = spell "/secrets/app.yaml"; key = "app"; }}) files;
      }};
      default = spell: {{
        sops.defaultSopsFile = spell "/secrets/app.yaml"; sops.secrets.app = {{ }}; }};
      on = name: builtins.listToAttrs (
        map (root: {{
          name = "${{name}} with root ${{root}}";
          value = host name roots.${{root}} every;
        }}) (builtins.attrNames roots)
        ++ map (file: {{
          name = "${{name}} by default ${{file}}";
          value = host name ./. (default files.${{file}});
        }}) (builtins.attrNames files));
    in
    on "brunnen" // on "stein";
  messages = builtins.mapAttrs (_: system: map (one: one.message) (
    builtins.filter (one: !one.assertion) system.config.assertions
  )) self.nixosConfigurations;
"""


@pytest.fixture
def spelled(ready: Fleet, nix: dict[str, str], tmp_path: Path) -> Fleet:
    """A repository whose hosts name their secrets in every way."""
    ready.env.update(nix, HOME=ready.env["HOME"])
    for name in ("private", "plain"):  # a repository of its own, with and without flake
        for part in ("nixsecrets.toml", "nixsecrets.lock", ".sops.yaml"):
            (tmp_path / name).mkdir(exist_ok=True)
            shutil.copy(ready.root / part, tmp_path / name / part)
        shutil.copytree(ready.root / "secrets", tmp_path / name / "secrets")
    (tmp_path / "private/flake.nix").write_text("{ outputs = _: { }; }")
    inputs = {name: tmp_path / name for name in ("private", "plain")}
    write_flake(ready, OUTPUTS, **inputs)
    flake = ready.read("flake.nix").decode()
    ready.write(
        "flake.nix", flake.replace("outputs", "inputs.plain.flake = false; outputs", 1)
    )
    ready.git("add", "-A")
    locked = run_nix("flake", "lock", cwd=ready.root, env=ready.env)
    assert locked.returncode == 0, locked.stderr
    ready.git("add", "-A")
    return ready


def test_every_spelling_of_a_path_has_the_same_verdict(spelled: Fleet) -> None:
    done = spelled.run("check", "--flake", "--json")
    assert done.stdout, done.stderr
    rows = json.loads(done.stdout)["declared"]
    assert not [
        row for row in rows if row["host"].startswith("brunnen") and row["code"]
    ]
    of_stein = [row for row in rows if row["host"].startswith("stein")]
    assert len(of_stein) * 2 == len(rows)
    assert {row["code"] for row in rows} == {None, "NS070"}
    assert {row["code"] for row in of_stein} == {"NS070"}
    assert {row["path"] for row in rows} == {"secrets/wifi.age", "secrets/app.yaml"}

    evaluated = run_nix(
        "eval", "--json", ".#messages", cwd=spelled.root, env=spelled.env
    )
    assert evaluated.returncode == 0, evaluated.stderr
    messages = json.loads(evaluated.stdout)
    assert messages.keys() == {row["host"] for row in rows}
    for host, said in messages.items():
        name = host.split()[0]
        assert sorted(said) == sorted(
            f"nixsecrets: {row['path']}: {name} declares {row['option']}: host {name}"
            f" is not a recipient; run `nixsecrets why {row['path']}`"
            for row in rows
            if row["host"] == host and row["code"]
        )
