"""Outside of the rules: what is called .age, and what lands among secrets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import copied
from tests.findings.shims import attempt, stopped
from tests.fleet import Fleet

MAP = """
[[secrets]]
path = "secrets/*.age"
readers = ["web"]

[[secrets]]
path = "apps/{host}/db.yaml"
readers = ["{host}"]

[[secrets]]
path = "vpn/*.conf"
readers = ["web"]

[[secrets]]
path = "**/deep.yaml"
readers = ["web"]

[[secrets]]
path = "k8s/db.yaml"
readers = ["web"]
plaintext = "allowed"
"""
WAYS = (
    "is an ordinary file in a folder of secrets: encrypt it (a rule, then nixsecrets"
    ' set FILE --from-file FILE), allow it (a rule with plaintext = "allowed"), or put'
    " it into another folder"
)


@pytest.fixture(scope="module")
def narrow_template(
    guarded_template: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Fleet:
    fleet = copied(guarded_template, tmp_path_factory.mktemp("narrow") / "fleet")
    fleet.git("rm", "-q", "-r", "k8s", "secrets/app.yaml")
    fleet.write_map(MAP)
    fleet.write("src/main.py", "print()\n")
    fleet.git("add", "-A")
    assert attempt(fleet, "commit", "-m", "rules").returncode == 0
    return fleet


@pytest.fixture
def narrow(narrow_template: Fleet, tmp_path: Path) -> Fleet:
    """The guarded repository with rules that name single kinds of files."""
    return copied(narrow_template, tmp_path / "fleet")


def commit(fleet: Fleet, path: str, content: str | bytes = "hunter2\n") -> str:
    """Stage a new file and try to commit it; return what the hook says."""
    fleet.write(path, content)
    fleet.git("add", "-A")
    done = attempt(fleet, "commit", "-m", "x")
    assert "hunter2" not in done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize(
    "path",
    [
        "secrets/new.age",
        "src/new.age",
        "new.age",
        "k8s/x/new.age",
        "src/n.AGE",
        "n.Age",
    ],
)
@pytest.mark.parametrize("content", ["hunter2\n", "", b"\0GITCRYPT\0hunter2"])
def test_a_file_named_age_is_encrypted_in_any_folder(
    narrow: Fleet, path: str, content: str | bytes
) -> None:
    said = commit(narrow, path, content)
    code = "NS001" if path == "secrets/new.age" else "NS060"
    assert said.startswith(f"{code}  {path}: is "), said
    if code == "NS060":
        assert f"    git rm --cached {path}\n" in said
        done = narrow.run("check")
        assert done.returncode == 1
        assert f"NS060  {path}: is named .age but is not encrypted" in done.stdout


@pytest.mark.parametrize(
    "path",
    [
        "secrets/new.yaml",  # beside secrets of the last commit
        "secrets/wifi.txt",
        "vpn/notes.txt",  # nothing there yet: by the map
    ],
)
def test_an_ordinary_file_in_a_folder_of_secrets_is_stopped_with_three_ways_out(
    narrow: Fleet, path: str
) -> None:
    said = commit(narrow, path)
    assert said.startswith(f"NS061  {path}: {WAYS}\n    git rm --cached {path}\n"), said


def test_a_file_that_is_moved_there_counts_too(narrow: Fleet) -> None:
    narrow.git("mv", "README", "secrets/README")
    assert stopped(attempt(narrow, "commit", "-m", "x"), "NS061  secrets/README")


@pytest.mark.parametrize(
    "path",
    [
        "secrets/default.nix",
        "secrets/README.md",
        "secrets/host.pub",
        "secrets/.gitkeep",
        "src/new.py",
        "src/deeper/new.py",
        "secrets/deeper/new.py",  # another folder, of which nobody said anything
        "flake.lock",  # the map's own folder
        "apps/readme",
        "apps/web/notes.txt",  # that folder is not only for secrets
        "new/notes.txt",
        "k8s/values.yaml",  # ordinary files are allowed there
    ],
)
def test_other_ordinary_files_are_committed(narrow: Fleet, path: str) -> None:
    assert commit(narrow, path) == ""


def test_next_to_an_ordinary_file_another_may_be_added(narrow: Fleet) -> None:
    narrow.write("secrets/users.json", "{}\n")
    narrow.git("add", "-A")
    narrow.git("commit", "-q", "--no-verify", "-m", "agreed")
    assert commit(narrow, "secrets/more.json") == ""


def test_each_of_the_three_ways_out_works(narrow: Fleet) -> None:
    rule = '\n[[secrets]]\npath = "secrets/new.yaml"\nreaders = ["web"]\n'
    text = narrow.read("nixsecrets.toml").decode()
    assert commit(narrow, "secrets/new.yaml", "password: hunter2\n")
    narrow.write("nixsecrets.toml", text + rule + 'plaintext = "allowed"\n')
    narrow.git("add", "-A")
    assert attempt(narrow, "commit", "-m", "allowed").returncode == 0
    narrow.git("reset", "-q", "--hard", "HEAD~1")
    assert commit(narrow, "secrets/new.yaml", "password: hunter2\n")
    narrow.write("nixsecrets.toml", text + rule)
    new = "secrets/new.yaml"
    narrow.ok("set", new, "--from-file", new, "--git-add", "--yes")
    narrow.git("add", "-A")
    assert attempt(narrow, "commit", "-m", "encrypted").returncode == 0
    assert commit(narrow, "secrets/other.yaml")
    narrow.git("mv", "secrets/other.yaml", "src/other.yaml")
    assert attempt(narrow, "commit", "-m", "elsewhere").returncode == 0


def test_a_repository_without_a_map_is_judged_by_its_last_commit(narrow: Fleet) -> None:
    narrow.git("rm", "-q", "nixsecrets.toml")
    narrow.git("commit", "-q", "--no-verify", "-m", "no map")
    assert "NS061  secrets/new.txt" in commit(narrow, "secrets/new.txt")
    narrow.git("rm", "-q", "--cached", "secrets/new.txt")
    (narrow.root / "secrets/new.txt").unlink()
    assert commit(narrow, "src/new.txt") == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda data, _: data + b"hunter2\n",
        lambda data, _: data + b"\0\xff",
        lambda data, head: data[:head] + b"\x01\xfe" * 40,
    ],
    ids=["text appended", "bytes appended", "junk behind the header"],
)
def test_a_payload_that_changed_under_its_old_header_is_stopped(
    guarded: Fleet, change: Callable[[bytes, int], bytes]
) -> None:
    """The file alone shows too little; the last commit identifies it."""
    path = "secrets/wifi.age"
    data = guarded.read(path)
    head = data.index(b"\n--- ") + 49
    guarded.write(path, change(data, head))
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert stopped(done, f"NS002  {path}: its payload was changed under its old header")
    guarded.git("checkout", "-q", "HEAD", "--", path)
    assert attempt(guarded, "commit", "--allow-empty", "-m", "x").returncode == 0
