"""Files that Nix does not get as the work tree has them: links, submodules, filters."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.fleet import Fleet
from tests.nix.nixkit import run_nix, write_flake

OUTPUTS = """
  nixosConfigurations.brunnen = lib.nixosSystem {{ modules = [
    nixsecrets.nixos agenix
    {{ networking.hostName = "brunnen"; nixsecrets.root = ./.; {declared} }} ]; }};
  messages = map (one: one.message) (builtins.filter (one: !one.assertion)
    self.nixosConfigurations.brunnen.config.assertions);
"""


def flake(fleet: Fleet, nix: dict[str, str], declared: str) -> None:
    """Give the repository a flake whose host brunnen declares something."""
    fleet.env.update(nix, HOME=fleet.env["HOME"])
    write_flake(fleet, OUTPUTS.format(declared=declared))
    fleet.git("add", "-A")


def checked(fleet: Fleet, reference: str = ".") -> list[str]:
    """The rows, and the findings about how a file is stored."""
    done = fleet.run("check", "--flake", reference)
    assert done.stdout, done.stderr
    lines = done.stdout.splitlines()
    rows = [line.split(maxsplit=1)[1] for line in lines if line.startswith("  age.")]
    return rows + [line for line in lines if line[:5] in {"NS088", "NS089"}]


def messages(fleet: Fleet) -> list[str]:
    """What the module says."""
    done = run_nix("eval", "--json", ".#messages", cwd=fleet.root, env=fleet.env)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_path_that_is_a_link_is_an_error_and_a_text_that_names_one_is_none(
    ready: Fleet, nix: dict[str, str]
) -> None:
    (ready.root / "secrets/link.age").symlink_to("wifi.age")
    (ready.root / "all").symlink_to("secrets")
    flake(
        ready,
        nix,
        """age.secrets.alone.file = ./secrets/link.age;
        age.secrets.folder.file = ./all/wifi.age;
        age.secrets.text.file = "${self}/secrets/link.age";""",
    )
    why = "it is a symbolic link, which Nix stores without its target: name"
    rows = checked(ready)
    assert rows[0].split("  ")[-1] == f"NS092 {why} secrets/wifi.age"
    assert [row.split("  ")[-1] for row in rows[1:]] == ["ok", "ok"]
    assert messages(ready) == [
        "nixsecrets: secrets/link.age: brunnen declares age.secrets.alone:"
        f" {why} the file that it points to"
    ]


def test_a_link_that_is_copied_alone_leads_nowhere_with_new_nix(
    ready: Fleet, nix: dict[str, str]
) -> None:
    (ready.root / "secrets/link.age").symlink_to("wifi.age")
    flake(ready, nix, 'age.secrets.x.file = "${./secrets/link.age}";')
    version = run_nix("--version", cwd=ready.root, env=ready.env).stdout
    follows = version.startswith("nix (Nix) 2.8.")
    (row,) = checked(ready)
    assert ("NS092" in row, row.endswith("  ok")) == (not follows, follows)
    assert len(messages(ready)) == (0 if follows else 1)


def filtered(fleet: Fleet) -> None:
    fleet.write(".gitattributes", "secrets/wifi.age filter=lfs\n")


def exported(fleet: Fleet) -> None:
    fleet.write(".gitattributes", "secrets/wifi.age export-ignore\n")


def announced(fleet: Fleet) -> None:
    fleet.git("rm", "-q", "--cached", "secrets/wifi.age")
    fleet.git("add", "-N", "secrets/wifi.age")


def doubled(fleet: Fleet) -> None:
    fleet.write("secrets/Wifi.age", fleet.read("secrets/wifi.age"))
    fleet.git("add", "-A")


DECLARES = "secrets/wifi.age: a configuration declares it, and"
ONLY_HERE = [
    (filtered, f"NS089  {DECLARES} git stores it through the filter lfs"),
    (exported, f"NS089  {DECLARES} `git archive` leaves it out (export-ignore)"),
    (announced, f"NS089  {DECLARES} the next commit leaves it out (git add -N)"),
    (
        doubled,
        "NS088  secrets/wifi.age: git also tracks secrets/Wifi.age, which differs in"
        " case",
    ),
]


@pytest.mark.parametrize(("spoil", "warning"), ONLY_HERE)
def test_a_file_that_nix_gets_here_and_not_everywhere_is_a_warning(
    ready: Fleet, nix: dict[str, str], spoil: Callable[[Fleet], None], warning: str
) -> None:
    flake(ready, nix, "age.secrets.x.file = ./secrets/wifi.age;")
    assert checked(ready) == ["secrets/wifi.age  ok"]
    spoil(ready)
    assert checked(ready) == ["secrets/wifi.age  ok", warning]


def test_a_pointer_of_git_lfs_is_an_error_where_nix_sees_it(
    ready: Fleet, nix: dict[str, str]
) -> None:
    """As in a clean clone: git has the pointer, the work tree the file."""
    flake(ready, nix, "age.secrets.x.file = ./secrets/wifi.age;")
    content = ready.read("secrets/wifi.age")
    filtered(ready)
    ready.write("secrets/wifi.age", "version https://git-lfs.github.com/spec/v1\n")
    ready.git("add", "-A")
    saved = ready.root.parent / "declared.json"
    ready.run("check", "--flake", "--save", saved)
    ready.write("secrets/wifi.age", content)
    done = ready.run("check", "--declared", saved)
    assert (
        "NS091 git stores it through the filter lfs, and Nix sees what git stores:"
        " take it out of the filter in .gitattributes\n" in done.stdout
    )


def test_a_name_in_another_case_is_an_error_that_names_the_file(
    ready: Fleet, nix: dict[str, str]
) -> None:
    flake(ready, nix, "age.secrets.x.file = ./secrets/WiFi.age;")
    (row,) = checked(ready)
    assert row.endswith(
        "NS093 it does not exist; git tracks secrets/wifi.age, which differs in case"
    )
    assert len(messages(ready)) == 1


def test_a_file_in_a_submodule_is_there_with_submodules_alone(
    ready: Fleet, nix: dict[str, str], tmp_path: Path
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "wifi.age").write_bytes(ready.read("secrets/wifi.age"))
    kit.git_repo(inner, ready.env)
    kit.git(inner, "add", "-A", env=ready.env)
    kit.git(inner, "commit", "-qm", "x", env=ready.env)
    allowed = ("-c", "protocol.file.allow=always")
    ready.git(*allowed, "submodule", "--quiet", "add", str(inner), "sub")
    flake(ready, nix, "age.secrets.x.file = ./sub/wifi.age;")
    assert checked(ready) == [
        "sub/wifi.age  NS091 it is in the submodule sub, which Nix does not read: add"
        " ?submodules=1 to the flake's reference"
    ]
    assert len(messages(ready)) == 1
    ready.env |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.file.allow",
        "GIT_CONFIG_VALUE_0": "always",
    }
    ready.git("commit", "-qm", "x")
    assert checked(ready, f"git+file://{ready.root}?submodules=1") == [
        "sub/wifi.age  NS011 its recipients are unknown: nixsecrets.lock does not"
        " record its recipients"
    ]


def test_a_source_filter_that_leaves_the_file_out_is_an_error(
    ready: Fleet, nix: dict[str, str]
) -> None:
    clean = 'builtins.filterSource (path: _: baseNameOf path != "wifi.age") ./.'
    flake(ready, nix, f'age.secrets.x.file = {clean} + "/secrets/wifi.age";')
    why = (
        "the copy of its folder in the store has no secrets/wifi.age: name the file"
        " itself, or let the source filter include it"
    )
    (row,) = checked(ready)
    assert row.endswith(f"NS091 {why}")
    assert messages(ready) == [
        f"nixsecrets: flake.nix: brunnen declares age.secrets.x: {why}"
    ]
