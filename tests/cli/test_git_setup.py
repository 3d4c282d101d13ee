"""`git-setup` and merges: where the driver is named, what undoes it, who reminds of it.

What git shows is in tests/edit/test_files.py, what it merges in tests/merge.
"""

import subprocess
from pathlib import Path

import pytest

from tests import fleet as kit
from tests.cli.conftest import changed
from tests.edit.helpers import git_setup
from tests.fleet import Fleet

ATTRIBUTES = ".git/info/attributes"
LINES = """\
# nixsecrets: begin
# nixsecrets.toml
/nixsecrets.toml merge=nixsecrets
/nixsecrets.lock merge=nixsecrets
/.sops.yaml merge=nixsecrets
/secrets/secrets.nix merge=nixsecrets
*.age merge=nixsecrets
/secrets/dns.* merge=nixsecrets
/secrets/hosts/*/** merge=nixsecrets
/secrets/** merge=nixsecrets
# nixsecrets: end
"""


def merge_of(fleet: Fleet, path: str) -> str:
    """Return what git does with both versions of a path."""
    said = fleet.git("check-attr", "-z", "merge", "--", path)
    return said.split("\0")[2]


def settings(fleet: Fleet) -> str:
    """Return the clone's settings of the driver."""
    return fleet.git("config", "--local", "--list").partition("merge.nixsecrets.")[1]


def test_the_clone_alone_names_the_driver_also_for_files_to_come(ready: Fleet) -> None:
    git_setup(ready)
    assert ready.read(ATTRIBUTES).decode() == LINES
    shared = ready.read(".gitattributes").decode()
    assert "merge=nixsecrets" not in shared
    assert "nixsecrets.lock merge=union\n*.age -text -merge\n" in shared
    for path in ("nixsecrets.lock", "new/to come.age", "secrets/new.yaml"):
        assert merge_of(ready, path) == "nixsecrets"
    assert merge_of(ready, "README.md") == "unspecified"
    before = ready.snapshot()
    ready.ok("git-setup")
    assert changed(ready, before) == set()
    assert ready.read(ATTRIBUTES).decode() == LINES


def test_lines_of_others_stay_and_undo_takes_ours_alone(ready: Fleet) -> None:
    ready.write(ATTRIBUTES, "*.bin -diff")
    git_setup(ready)
    assert ready.read(ATTRIBUTES).decode() == f"*.bin -diff\n{LINES}"
    asked = ready.run("git-setup", "--undo")
    assert asked.stderr == (
        "git shows secrets encrypted again; .gitattributes is unchanged\n"
        "git leaves a secret that both sides changed as it is in ours\n"
    )
    assert ready.read(ATTRIBUTES).decode() == "*.bin -diff\n"
    assert settings(ready) == ""
    assert merge_of(ready, "a.age") == "unset", "no markers in a secret"


def test_a_dry_run_configures_nothing(ready: Fleet) -> None:
    ready.ok("git-setup", "--dry-run")
    assert settings(ready) == ""
    assert not (ready.root / ATTRIBUTES).exists()


def test_a_pattern_that_git_reads_differently_has_a_line_for_each_file(
    ready: Fleet,
) -> None:
    text = ready.read("nixsecrets.toml").decode()
    ready.write("nixsecrets.toml", text.replace('"secrets/dns.*"', '"secrets/[d]ns.*"'))
    git_setup(ready)
    lines = ready.read(ATTRIBUTES).decode().splitlines()
    assert "/secrets/dns.yaml merge=nixsecrets" in lines
    assert "/secrets/dns.* merge=nixsecrets" not in lines


@pytest.mark.parametrize("name", ["a b", 'a"b', "a*b", "-a", "a\nb", "ä", "#a"])
def test_a_map_in_a_folder_has_lines_below_it(ready: Fleet, name: str) -> None:
    folder = ready.root / name
    folder.mkdir()
    for one in ("nixsecrets.toml", "secrets", ".sops.yaml", "nixsecrets.lock"):
        (ready.root / one).rename(folder / one)
    ready.commit("moved")
    git_setup(ready, "-C", str(folder))
    for path in ("nixsecrets.toml", "secrets/secrets.nix", "secrets/dns.yaml"):
        assert merge_of(ready, f"{name}/{path}") == "nixsecrets"
    assert merge_of(ready, f"{name}/new.age") == "nixsecrets"
    assert merge_of(ready, "secrets/dns.yaml") == "unspecified"


def test_two_maps_of_a_clone_each_have_their_part(ready: Fleet, tmp_path: Path) -> None:
    inner = ready.root / "inner"
    inner.mkdir()
    for one in ("nixsecrets.toml", "secrets", ".sops.yaml", "nixsecrets.lock"):
        subprocess.run(["cp", "-r", ready.root / one, inner / one], check=True)
    ready.commit("two")
    git_setup(ready)
    ready.ok("-C", str(inner), "git-setup")
    ready.ok("git-setup")
    text = ready.read(ATTRIBUTES).decode()
    assert text.count("# nixsecrets: begin") == 1
    assert "\n# inner/nixsecrets.toml\n/inner/nixsecrets.toml " in text
    for path in ("secrets/a.yaml", "inner/secrets/a.yaml"):
        assert merge_of(ready, path) == "nixsecrets"


def test_a_work_tree_shares_the_setup_and_a_submodule_has_its_own(
    ready: Fleet, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    ready.git("worktree", "add", "-q", str(linked), "-b", "linked")
    git_setup(ready, "-C", str(linked))
    assert ready.read(ATTRIBUTES).decode() == LINES
    outer = kit.make_fleet(tmp_path / "outer", hosts=())
    allow = ("-c", "protocol.file.allow=always")
    outer.git(*allow, "submodule", "add", "-q", str(ready.root), "fleet")
    ready.ok("-C", str(outer.root / "fleet"), "git-setup")
    assert not (outer.root / ATTRIBUTES).exists()
    assert (outer.root / ".git/modules/fleet/info/attributes").read_text() == LINES


def test_status_reminds_of_what_the_clone_lacks_and_says_nothing_else(
    ready: Fleet,
) -> None:
    assert "git-setup" not in ready.ok("status"), "nobody here uses it"
    git_setup(ready)
    ready.commit("attributes")
    assert "git-setup" not in ready.ok("status")
    text = ready.read("nixsecrets.toml").decode()
    rule = '\n[[secrets]]\npath = "more/**"\nreaders = ["dns"]\n'
    ready.write("nixsecrets.toml", text + rule)
    line = "git would not merge every secret in this clone: nixsecrets git-setup\n"
    assert ready.ok("status").endswith(line)
    ready.ok("git-setup")
    assert "git-setup" not in ready.ok("status")
    ready.git("config", "merge.nixsecrets.driver", "'/gone away/driver' -- %O %A %B %P")
    line = "the merge driver of this clone is no longer where it was:"
    assert ready.ok("status").endswith(f"{line} nixsecrets git-setup\n")
    asked = ready.run("git-setup")
    assert "git now runs `nixsecrets-merge-driver -- %O %A %B %P` instead of" in (
        asked.stderr
    )
    assert "git-setup" not in ready.ok("status")
    ready.git("config", "--remove-section", "merge.nixsecrets")
    line = "git does not merge secrets in this clone: nixsecrets git-setup\n"
    assert ready.ok("status").endswith(line)
