"""The hook where git, other programs and people do what nobody expects."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo import journal, locking
from nixsecrets.repo.journal import Entry, Journal
from nixsecrets.repo.worktree import Repo
from tests.findings.conftest import RULES, without_nixsecrets
from tests.findings.shims import attempt, stopped
from tests.fleet import PROJECT, Fleet, age_key, git_repo, make_fleet, program

# --- other commands of ours


def test_a_commit_never_waits_for_a_command_that_holds_the_lock(
    guarded: Fleet,
) -> None:
    """The command asks its question with the lock held; the commit goes on."""
    rekey = pexpect.spawn(
        sys.executable,
        ["-m", "nixsecrets", "rekey"],
        env=guarded.env | {"TERM": "xterm"},
        cwd=str(guarded.root),
        timeout=60,
        encoding="utf-8",
    )
    rekey.expect_exact("[y/N] ")
    before = time.monotonic()
    guarded.write("README", "more\n")
    assert attempt(guarded, "commit", "-qam", "x").returncode == 0
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS001  secrets/new.yaml")
    assert time.monotonic() - before < 30
    assert rekey.isalive()
    with (
        pytest.raises(NixsecretsError),
        locking.exclusive(Repo.find(guarded.root), wait=False),
    ):
        pass  # it was held all the time
    rekey.sendline("n")
    rekey.expect(pexpect.EOF)


def test_an_unfinished_run_is_reported_and_left_alone(guarded: Fleet) -> None:
    repo = Repo.find(guarded.root)
    repo.staging.mkdir(exist_ok=True)
    entry = Entry("README", "0" * 64, "1" * 64, f".nixsecrets-{0:032}", None)
    journal.publish(repo, Journal((entry,)))
    guarded.write("other", "x\n")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert done.returncode == 0
    assert (
        "nixsecrets: warning: another run is replacing files, or was interrupted"
        in done.stderr
    )
    assert journal.unfinished(repo) is not None
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "-A")
    expected = ("NS001  secrets/new.yaml", "was interrupted")
    assert stopped(attempt(guarded, "commit", "-m", "x"), *expected)


# --- line ends


def test_the_line_ends_of_the_work_tree_do_not_matter(guarded: Fleet) -> None:
    """git stores LF; what is judged is what git stores."""
    guarded.write(".gitattributes", "*.age -text\n")
    guarded.commit("attributes")
    guarded.git("config", "core.autocrlf", "true")
    for path in ("secrets/app.yaml", "nixsecrets.toml", "README"):
        text = guarded.read(path).replace(b"\n", b"\r\n")
        more = {"nixsecrets.toml": b"# more\r\n", "README": b"x"}.get(path, b"\r\n")
        guarded.write(path, text + more)
    done = attempt(guarded, "commit", "-am", "windows")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\r" not in guarded.git("show", "HEAD:secrets/app.yaml")
    guarded.write("secrets/new.yaml", "a: b\r\n")
    guarded.write("keys.md", f"x\r\n{age_key().private}\r\n")
    guarded.git("add", "-A")
    expected = ("NS001  secrets/new.yaml", "NS005  keys.md:2")
    assert stopped(attempt(guarded, "commit", "-m", "x"), *expected)


def test_line_ends_that_break_a_secret_are_stopped(guarded: Fleet) -> None:
    """With CRLF in the blob: YAML is as good as ever, age and dotenv are broken."""
    yaml, age = "secrets/app.yaml", "secrets/wifi.age"
    env = guarded.sops_encrypt("secrets/a.env", "A=b\n", [guarded.public("alice")])
    guarded.write(".gitattributes", "* -text\n")
    guarded.commit("attributes")
    guarded.write(yaml, guarded.read(yaml).replace(b"\n", b"\r\n"))
    assert attempt(guarded, "commit", "-qam", "x").returncode == 0
    guarded.write(age, guarded.read(age).replace(b"\n", b"\r\n"))
    env.write_bytes(env.read_bytes().replace(b"\n", b"\r\n"))
    done = attempt(guarded, "commit", "-am", "x")
    assert stopped(done, f"NS002  {age}", "NS002  secrets/a.env", "CRLF")
    assert f"git checkout HEAD -- {age}" in done.stderr


# --- git


def test_what_is_replaced_for_oneself_is_judged_as_others_get_it(
    guarded: Fleet,
) -> None:
    guarded.write("secrets/new.yaml", "a: hunter2\n")
    guarded.git("add", "-A")
    plain = guarded.git("rev-parse", ":secrets/new.yaml").strip()
    whole = guarded.git("rev-parse", ":secrets/app.yaml").strip()
    guarded.git("replace", plain, whole)
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS001  secrets/new.yaml")


def test_a_file_that_is_only_meant_to_be_added_is_none(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, hosts=("web",))
    fleet.env["PYTHONPATH"] = str(PROJECT)
    fleet.ok("hook", "install")
    fleet.write_map(RULES)
    fleet.write("secrets/a.yaml", "a: b\n")
    fleet.git("add", "nixsecrets.toml")
    fleet.git("add", "-N", "secrets/a.yaml")
    done = attempt(fleet, "commit", "-m", "x")
    assert done.returncode == 0, done.stdout + done.stderr
    assert fleet.run("hook", "run", "--all").returncode == 0
    assert stopped(attempt(fleet, "commit", "-am", "x"), "NS001  secrets/a.yaml")


def test_a_secret_that_becomes_a_link_and_back_is_judged(guarded: Fleet) -> None:
    path = guarded.root / "secrets/app.yaml"
    whole = path.read_bytes()
    path.unlink()
    path.symlink_to("../README")
    assert stopped(attempt(guarded, "commit", "-am", "x"), "NS008  secrets/app.yaml")
    guarded.git("commit", "-q", "--no-verify", "-am", "past the hook")
    path.unlink()
    path.write_text("a: b\n")
    assert stopped(attempt(guarded, "commit", "-am", "x"), "NS001  secrets/app.yaml")
    path.write_bytes(whole)
    assert attempt(guarded, "commit", "-qam", "x").returncode == 0


def test_a_link_to_a_folder_in_plaintext_is_stopped(guarded: Fleet) -> None:
    guarded.write("plain/x.yaml", "a: b\n")
    (guarded.root / "secrets/folder").symlink_to("../plain")
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS008  secrets/folder")


def test_a_map_that_is_a_link_is_followed_or_refused_and_never_ignored(
    guarded: Fleet,
) -> None:
    guarded.git("mv", "nixsecrets.toml", "real.toml")
    link = guarded.root / "nixsecrets.toml"
    link.symlink_to("real.toml")
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS001  secrets/new.yaml")
    guarded.git("rm", "-qf", "secrets/new.yaml")
    guarded.write("private/x", "a: b\n")
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-qm", "a link").returncode == 0
    rule = '\n[[secrets]]\npath = "private/*"\nreaders = ["web"]\n'
    guarded.write("real.toml", guarded.map_text(RULES + rule))
    assert stopped(attempt(guarded, "commit", "-am", "x"), "NS001  private/x")
    link.unlink()
    link.symlink_to("/etc/passwd")
    expected = "nixsecrets.toml: a link to no file of this commit"
    assert stopped(attempt(guarded, "commit", "-am", "x"), expected)


def test_a_map_that_goes_leaves_its_files_to_the_one_above(guarded: Fleet) -> None:
    guarded.write("secrets/own/nixsecrets.toml", guarded.map_text())
    guarded.write("secrets/own/x.yaml", "a: b\n")
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-qm", "a map of its own").returncode == 0
    guarded.git("rm", "-q", "secrets/own/nixsecrets.toml")
    done = attempt(guarded, "commit", "-m", "x")
    assert stopped(done, "NS001  secrets/own/x.yaml", "1 finding;")


def test_a_commit_of_nothing_says_nothing_of_the_map(guarded: Fleet) -> None:
    done = attempt(guarded, "commit", "--allow-empty", "-m", "x")
    assert done.returncode == 0
    assert "is not in git" not in done.stderr


def test_a_map_that_git_does_not_know_is_reported(guarded: Fleet) -> None:
    guarded.git("rm", "-q", "--cached", "nixsecrets.toml")
    guarded.git("commit", "-q", "--no-verify", "-m", "no map")
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "secrets/new.yaml")
    done = attempt(guarded, "commit", "-m", "x")
    assert done.returncode == 1  # the folder holds nothing but secrets
    assert "NS061  secrets/new.yaml" in done.stdout + done.stderr
    assert "warning: nixsecrets.toml is not in git, so its rules are ignored" in (
        done.stderr
    )


@pytest.mark.parametrize("renames", ["true", "copies"])
def test_a_copy_and_a_move_are_judged_whatever_git_calls_them(
    guarded: Fleet, renames: str
) -> None:
    guarded.git("config", "diff.renames", renames)
    guarded.git("config", "diff.renameLimit", "1")
    shutil.copy(guarded.root / "README", guarded.root / "secrets/copy.txt")
    guarded.git("mv", "secrets/app.yaml", "k8s/app.yaml")
    shutil.copy(guarded.root / "k8s/db.yaml", guarded.root / "k8s/copy.yaml")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert stopped(done, "NS001  secrets/copy.txt")
    assert "copy.yaml" not in done.stderr
    assert "k8s/app.yaml" not in done.stderr


def test_an_amended_commit_and_an_octopus_are_judged(guarded: Fleet) -> None:
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "--amend", "--no-edit"), "NS001")
    guarded.git("rm", "-qf", "secrets/new.yaml")
    for name in ("one", "two"):
        guarded.git("checkout", "-q", "-b", name, "main")
        guarded.write(f"secrets/{name}.yaml", "a: b\n")
        guarded.git("add", "-A")
        guarded.git("commit", "-q", "--no-verify", "-m", name)
    guarded.git("checkout", "-q", "main")
    done = attempt(guarded, "merge", "--no-edit", "one", "two")
    assert stopped(done, "NS001  secrets/one.yaml", "NS001  secrets/two.yaml")


def test_a_conflict_that_is_resolved_to_a_plaintext_is_stopped(guarded: Fleet) -> None:
    path = "secrets/app.yaml"
    alice = guarded.public("alice")
    for branch, text in (("side", "a: c\n"), ("main", "a: d\n")):
        guarded.git("checkout", "-q", "-B", branch, "main")
        guarded.sops_encrypt(path, text, [alice])
        guarded.git("commit", "-qam", branch)
        guarded.git("checkout", "-q", "main")
        guarded.git("reset", "-q", "--hard", "main" if branch == "main" else "HEAD")
    assert attempt(guarded, "merge", "side").returncode == 1
    assert guarded.run("hook", "run", "--all").returncode in {0, 1}
    guarded.git("add", path)  # with the conflict marks in it
    assert stopped(attempt(guarded, "commit", "-m", "x"), f"  {path}")
    guarded.write(path, "a: b\n")
    guarded.git("add", path)
    assert stopped(attempt(guarded, "commit", "-m", "x"), f"NS001  {path}")
    guarded.git("checkout", "-q", "side", "--", path)
    assert attempt(guarded, "commit", "-qm", "x").returncode == 0


def test_a_submodule_has_a_hook_and_a_map_of_its_own(
    guarded: Fleet, tmp_path: Path
) -> None:
    inner = git_repo(tmp_path / "inner", guarded.env)
    (inner / "nixsecrets.toml").write_text(guarded.map_text(RULES))
    for words in (("add", "-A"), ("commit", "-qm", "inner")):
        assert attempt(guarded, *words, cwd=inner).returncode == 0
    allow = ("-c", "protocol.file.allow=always")
    guarded.git(*allow, "submodule", "--quiet", "add", str(inner), "secrets/sub")
    assert attempt(guarded, "commit", "-qm", "sub").returncode == 0
    sub = guarded.root / "secrets/sub"
    (sub / "secrets").mkdir()
    (sub / "secrets/x.yaml").write_text("a: b\n")
    done = guarded.run("hook", "install", cwd=sub)
    assert done.returncode == 0, done.stderr
    assert attempt(guarded, "add", "-A", cwd=sub).returncode == 0
    done = attempt(guarded, "commit", "-m", "x", cwd=sub)
    assert stopped(done, "NS001  secrets/x.yaml")
    assert attempt(guarded, "commit", "--allow-empty", "-qam", "x").returncode == 0


def test_a_repository_with_longer_hashes_is_judged(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, hosts=("web",))
    shutil.rmtree(fleet.root / ".git")
    fleet.git("init", "-q", "-b", "main", "--object-format=sha256")
    fleet.env["PYTHONPATH"] = str(PROJECT)
    fleet.ok("hook", "install", "--pre-push")
    fleet.write_map(RULES)
    fleet.age_encrypt("secrets/wifi.age", "wifi", "alice", "web")
    fleet.git("add", "-A")
    assert attempt(fleet, "commit", "-qm", "x").returncode == 0
    fleet.write("secrets/a.yaml", "a: b\n")
    fleet.git("add", "-A")
    assert stopped(attempt(fleet, "commit", "-m", "x"), "NS001  secrets/a.yaml")
    fleet.git("commit", "-q", "--no-verify", "-m", "past the hook")
    assert fleet.run("hook", "run", "--from", "HEAD~1").returncode == 1


def test_thousands_of_files_at_once_are_judged(guarded: Fleet) -> None:
    whole = guarded.read("secrets/wifi.age")
    for number in range(3000):
        guarded.write(f"secrets/{'long' * 30}/{number}.age", whole)
    guarded.write("secrets/zz.age", "plain")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert stopped(done, "NS001  secrets/zz.age", "1 finding;")


def test_a_file_that_was_not_read_to_its_end_is_reported(guarded: Fleet) -> None:
    key = age_key().private.encode()
    guarded.write("small.bin", bytes(10 << 20) + key)
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS005  small.bin")
    guarded.git("rm", "-qf", "small.bin")
    guarded.write("big.bin", bytes(65 << 20) + key)
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert done.returncode == 0
    assert "warning: 1 file over 64 MB: only the beginning was checked" in done.stderr


def test_git_settings_of_a_person_change_nothing(guarded: Fleet) -> None:
    for name, value in (
        ("diff.ignoreSubmodules", "all"),
        ("diff.noprefix", "true"),
        ("diff.external", "false"),
        ("diff.orderFile", "/nonexistent"),
        ("core.quotePath", "true"),
        ("color.ui", "always"),
        ("core.pager", "false"),
        ("status.showUntrackedFiles", "no"),
        ("core.fsmonitor", "false"),
    ):
        guarded.git("config", name, value)
    guarded.write("secrets/grün.yaml", "a: b\n")
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS001  secrets/grün.yaml")


# --- how nixsecrets was installed


def console_script(place: Path) -> Path:
    """What pip writes for `nixsecrets` into the folder of an environment."""
    place.parent.mkdir(parents=True)
    place.write_text(
        f"#!{sys.executable}\nimport sys\nfrom nixsecrets.cli.main import run\n"
        "sys.exit(run())\n"
    )
    place.chmod(0o755)
    return place


def install_with(fleet: Fleet, script: Path) -> None:
    done = subprocess.run(
        [script, "hook", "install"],
        cwd=fleet.root,
        env=fleet.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Fleet:
    """A repository without the hook, in a folder whose name a shell would split."""
    fleet = make_fleet(tmp_path / "it's a $HOME of; mine", hosts=("web",))
    fleet.env["PYTHONPATH"] = str(PROJECT)
    fleet.env["PATH"] = without_nixsecrets(fleet.env["PATH"])
    fleet.write_map(RULES)
    fleet.write("secrets/a.yaml", "a: b\n")
    fleet.git("add", "-A")
    return fleet


def test_from_a_virtual_environment_that_is_not_on_path(
    bare: Fleet, tmp_path: Path
) -> None:
    script = console_script(tmp_path / "my 'venv'/bin/nixsecrets")
    install_with(bare, script)
    assert str(script.parent) not in bare.env["PATH"]
    assert stopped(attempt(bare, "commit", "-m", "x"), "NS001  secrets/a.yaml")


def test_from_pipx_whose_environment_is_created_again(
    bare: Fleet, tmp_path: Path
) -> None:
    """pipx keeps the link where it is, and replaces what it leads to."""
    link = tmp_path / "local/bin/nixsecrets"
    link.parent.mkdir(parents=True)
    link.symlink_to(console_script(tmp_path / "venvs/old/bin/nixsecrets"))
    install_with(bare, link)
    shutil.rmtree(tmp_path / "venvs/old")
    link.unlink()
    link.symlink_to(console_script(tmp_path / "venvs/new/bin/nixsecrets"))
    assert stopped(attempt(bare, "commit", "-m", "x"), "NS001  secrets/a.yaml")


def test_from_nix_whose_wrapper_is_collected(bare: Fleet, tmp_path: Path) -> None:
    """Of a store path that is gone the profile's program takes the place."""
    inner = console_script(tmp_path / "store/abc-nixsecrets/bin/.nixsecrets-wrapped")
    wrapper = inner.parent / "nixsecrets"
    wrapper.write_text(f'#!/bin/sh\nexec -a "$0" {inner} "$@"\n')
    inner.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = {str(wrapper)!r}\n"
        "from nixsecrets.cli.main import run\nsys.exit(run())\n"
    )
    wrapper.write_text(f'#!/bin/sh\nexec {inner} "$@"\n')
    wrapper.chmod(0o755)
    install_with(bare, wrapper)
    assert stopped(attempt(bare, "commit", "-m", "x"), "NS001  secrets/a.yaml")
    shutil.rmtree(tmp_path / "store")
    done = attempt(bare, "commit", "-m", "x")
    assert stopped(done, "this repository's hook cannot find nixsecrets")
    profile = console_script(tmp_path / "profile/bin/nixsecrets").parent
    path = f"{profile}:{bare.env['PATH']}"
    done = attempt(bare, "commit", "-m", "x", PATH=path)
    assert stopped(done, "NS001  secrets/a.yaml")


def test_the_workaround_is_shown_once(guarded: Fleet) -> None:
    for name in ("a", "b", "c"):
        guarded.write(f"secrets/{name}.yaml", "a: b\n")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert done.stderr.count("--no-verify") == done.stderr.count("SKIP=") == 1
    assert os.fspath(guarded.root) not in done.stderr
    assert program("git") not in done.stderr
