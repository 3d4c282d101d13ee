"""The hook in real repositories: it checks staged content, however it is started."""

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nixsecrets.findings import scanner
from tests.findings.conftest import K8S, RULES
from tests.findings.shims import attempt, stopped
from tests.fleet import PROJECT, Fleet, age_key, make_fleet, program, ssh_key

# --- what is judged is what is staged


def test_a_plaintext_is_stopped_and_the_message_says_what_to_do(guarded: Fleet) -> None:
    guarded.write("secrets/new.yaml", "password: hunter2\n")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert done.returncode == 1
    assert done.stderr == (
        "NS001  secrets/new.yaml: is not encrypted,"
        " but the rule secrets/** (nixsecrets.toml:10) requires it\n"
        "    nixsecrets set secrets/new.yaml --from-file secrets/new.yaml --git-add\n"
        "nixsecrets: 1 finding; for details: nixsecrets explain NS001\n"
        "nixsecrets: to commit anyway: git commit --no-verify"
        " (or SKIP=nixsecrets-guard)\n"
    )
    assert "hunter2" not in done.stdout + done.stderr


def test_the_staged_content_counts_and_not_the_work_tree(guarded: Fleet) -> None:
    whole = guarded.read("secrets/app.yaml")
    guarded.write("secrets/app.yaml", "a: b\n")
    guarded.git("add", "-A")
    guarded.write("secrets/app.yaml", whole)
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS001  secrets/app.yaml")
    guarded.git("add", "-A")
    guarded.write("secrets/app.yaml", "a: b\n")
    assert attempt(guarded, "commit", "--allow-empty", "-m", "x").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        ("commit", "-a", "-m", "x"),
        ("commit", "-m", "x", "secrets/app.yaml"),
        ("commit", "-m", "x", "-o", "secrets/app.yaml"),
        ("commit", "-m", "x", "-i", "secrets/app.yaml"),
        ("commit", "-a", "--amend", "--no-edit"),
    ],
)
def test_every_way_to_commit_is_judged(
    guarded: Fleet, command: tuple[str, ...]
) -> None:
    guarded.write("secrets/app.yaml", "a: b\n")
    assert stopped(attempt(guarded, *command), "NS001  secrets/app.yaml")


def test_a_part_of_the_changes_is_judged_alone(guarded: Fleet) -> None:
    guarded.write("notes", "".join(f"line {n}\n" for n in range(40)))
    guarded.commit("notes")
    lines = guarded.read("notes").decode().splitlines()
    lines[2] = "harmless"
    lines[38] = age_key().private
    guarded.write("notes", "\n".join(lines) + "\n")
    take_first = subprocess.run(
        [program("git"), "commit", "-p", "-m", "x"],
        input="y\nn\n",
        cwd=guarded.root,
        env=guarded.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert take_first.returncode == 0, take_first.stderr
    assert stopped(attempt(guarded, "commit", "-am", "x"), "NS005  notes:39")


def test_the_first_commit_of_a_repository_is_judged(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, hosts=("web",))
    fleet.env["PYTHONPATH"] = str(PROJECT)
    fleet.ok("hook", "install")
    fleet.write_map(RULES)
    fleet.write("secrets/a.yaml", "a: b\n")
    fleet.git("add", "-A")
    assert stopped(attempt(fleet, "commit", "-m", "x"), "NS001  secrets/a.yaml")
    fleet.git("rm", "-q", "--cached", "secrets/a.yaml")
    assert attempt(fleet, "commit", "-m", "x").returncode == 0


def test_a_merge_is_judged(guarded: Fleet) -> None:
    guarded.git("checkout", "-q", "-b", "side")
    guarded.write("secrets/side.yaml", "a: b\n")
    guarded.git("add", "-A")
    guarded.git("commit", "-q", "--no-verify", "-m", "past the hook")
    guarded.git("checkout", "-q", "main")
    guarded.write("other", "x")
    guarded.git("add", "-A")
    guarded.git("commit", "-q", "-m", "other")
    done = attempt(guarded, "merge", "--no-edit", "side")
    assert stopped(done, "NS001  secrets/side.yaml")


def test_a_linked_work_tree_is_judged_by_its_own_index(
    guarded: Fleet, tmp_path: Path
) -> None:
    guarded.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    (tmp_path / "linked/secrets/new.yaml").write_text("a: b\n")
    done = attempt(guarded, "add", "-A", cwd=tmp_path / "linked")
    assert done.returncode == 0
    done = attempt(guarded, "commit", "-m", "x", cwd=tmp_path / "linked")
    assert stopped(done, "NS001  secrets/new.yaml")
    assert attempt(guarded, "commit", "--allow-empty", "-m", "x").returncode == 0


def test_a_sparse_checkout_and_a_subfolder_do_not_hide_the_map(guarded: Fleet) -> None:
    guarded.write("sub/deep/x", "x")
    guarded.commit("sub")
    guarded.git("sparse-checkout", "set", "sub")
    guarded.git("config", "diff.relative", "true")
    (guarded.root / "secrets").mkdir(exist_ok=True)
    guarded.write("secrets/new.age", "plain")
    guarded.git("add", "--sparse", "secrets/new.age")
    done = attempt(guarded, "commit", "-m", "x", cwd=guarded.root / "sub/deep")
    assert stopped(done, "NS001  secrets/new.age")


@pytest.mark.parametrize(
    "name",
    [b"with space.yaml", b"new\nline.yaml", b"caf\xe9.yaml", b"-x.yaml", b":(top)"],
)
def test_any_file_name_is_judged(guarded: Fleet, name: bytes) -> None:
    path = os.fsencode(guarded.root) + b"/secrets/" + name
    Path(os.fsdecode(path)).write_bytes(b"a: b\n")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert stopped(done, "NS001")
    Path(os.fsdecode(path)).write_bytes(guarded.read("secrets/wifi.age"))
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-m", "x").returncode == 0


def test_a_moved_and_a_copied_plaintext_are_judged_where_they_land(
    guarded: Fleet,
) -> None:
    guarded.git("mv", "README", "secrets/README.txt")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "secrets/README.txt")


def test_deleting_and_changing_the_mode_of_a_whole_secret_is_fine(
    guarded: Fleet,
) -> None:
    (guarded.root / "secrets/wifi.age").chmod(0o755)
    guarded.git("rm", "-q", "secrets/app.yaml")
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-m", "x").returncode == 0


@pytest.mark.parametrize("target", ["../README", "/etc/passwd", "nowhere.yaml", ".."])
def test_a_link_in_the_place_of_a_secret_is_stopped(
    guarded: Fleet, target: str
) -> None:
    (guarded.root / "secrets/link.yaml").symlink_to(target)
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS008  secrets/link.yaml")


def test_a_link_to_a_secret_and_a_submodule_are_fine(guarded: Fleet) -> None:
    (guarded.root / "secrets/link.yaml").symlink_to("app.yaml")
    guarded.git("add", "-A")
    head = guarded.git("rev-parse", "HEAD").strip()
    guarded.git("update-index", "--add", "--cacheinfo", f"160000,{head},secrets/sub")
    assert attempt(guarded, "commit", "-m", "x").returncode == 0


def test_what_git_exports_to_hooks_does_not_lead_astray(
    guarded: Fleet, tmp_path: Path
) -> None:
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "-A")
    elsewhere = {"GIT_WORK_TREE": str(tmp_path), "GIT_PREFIX": "x/"}
    done = guarded.run("hook", "run", env=elsewhere)
    assert (done.returncode, "NS001  secrets/new.yaml" in done.stdout) == (1, True)
    done = guarded.run("hook", "run", env={"GIT_DIR": str(tmp_path)})
    assert done.returncode == 1
    assert "another repository" in done.stderr


# --- what the map says


def test_what_was_a_secret_stays_one_where_plaintext_is_allowed(guarded: Fleet) -> None:
    guarded.write("k8s/service.yaml", "kind: Service\n")
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-m", "x").returncode == 0
    guarded.write("k8s/db.yaml", K8S)
    assert stopped(attempt(guarded, "commit", "-am", "x"), "NS001  k8s/db.yaml")
    guarded.git("checkout", "-q", "HEAD", "--", "k8s/db.yaml")
    guarded.git("mv", "k8s/db.yaml", "k8s/prod.yaml")
    assert attempt(guarded, "commit", "-m", "moved").returncode == 0
    (guarded.root / "k8s/prod").mkdir()
    guarded.git("mv", "k8s/prod.yaml", "k8s/prod/prod.yaml")
    guarded.write("k8s/prod/prod.yaml", K8S)
    assert stopped(attempt(guarded, "commit", "-am", "x"), "NS001  k8s/prod/prod.yaml")
    guarded.git("mv", "k8s/prod/prod.yaml", "k8s/other.yaml")  # another name, too
    assert stopped(attempt(guarded, "commit", "-am", "x"), "NS001  k8s/other.yaml")


def test_one_value_in_plaintext_is_found_with_its_line(guarded: Fleet) -> None:
    text = guarded.read("k8s/db.yaml").decode()
    at = text.index("    a: ")
    guarded.write("k8s/db.yaml", text[:at] + "    b: open\n" + text[at:])
    done = attempt(guarded, "commit", "-am", "x")
    assert stopped(done, "NS003  k8s/db.yaml:3: data.b is not encrypted")


def test_weaker_options_than_the_rule_are_stopped(guarded: Fleet) -> None:
    weak = ("--encrypted-regex", "^data$")
    guarded.sops_encrypt("k8s/new.yaml", K8S, [guarded.public("alice")], *weak)
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS004  k8s/new.yaml")
    guarded.sops_encrypt("k8s/new.yaml", K8S, [guarded.public("alice")])
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-m", "x").returncode == 0


def test_a_map_that_claims_more_judges_what_it_claims(guarded: Fleet) -> None:
    guarded.write("private/a.txt", "a")
    guarded.commit("not a secret yet")
    rule = '\n[[secrets]]\npath = "private/*"\nreaders = ["web"]\n'
    guarded.write_map(RULES + rule)
    assert stopped(attempt(guarded, "commit", "-am", "x"), "NS001  private/a.txt")


def test_the_map_that_is_committed_decides_not_the_one_on_disk(guarded: Fleet) -> None:
    guarded.write("nixsecrets.toml", "no toml at all")
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "secrets")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS001  secrets/new.yaml")
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "nixsecrets.toml:1")


def test_the_nearest_map_decides(guarded: Fleet) -> None:
    inner = RULES.replace("secrets/**", "vault/**")
    guarded.write("fleet/nixsecrets.toml", guarded.map_text(inner))
    guarded.write("fleet/secrets/x.yaml", "a: b\n")
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-m", "x").returncode == 0
    guarded.write("fleet/vault/x.yaml", "a: b\n")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert stopped(done, "fleet/vault/x.yaml", "(fleet/nixsecrets.toml:")


# --- anywhere in the commit


def wireguard() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.mark.parametrize(
    ("path", "content", "what"),
    [
        ("notes.md", lambda: age_key().private, "an age identity"),
        ("a.toml", lambda: f'k = "{age_key().private}"', "an age identity"),
        ("key", lambda: ssh_key("x").private, "OPENSSH private key"),
        ("wg.conf", lambda: f"[Interface]\nPrivateKey = {wireguard()}\n", "WireGuard"),
        ("wg.nix", lambda: f'{{ privateKey = "{wireguard()}"; }}', "WireGuard"),
        (
            "k8s/x.yaml",
            lambda: base64.b64encode(ssh_key("x").private.encode()).decode(),
            "private key in base64",
        ),
    ],
)
def test_a_private_key_anywhere_is_stopped(
    guarded: Fleet, path: str, content: object, what: str
) -> None:
    assert callable(content)
    text = content()
    guarded.write(path, text)
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert stopped(done, f"NS005  {path}:", what)
    assert text not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        'if "PRIVATE KEY" in text: pass',
        "PrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "PublicKey = " + base64.b64encode(b"p" * 32).decode(),
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
    ],
)
def test_a_mention_of_a_private_key_is_none(guarded: Fleet, text: str) -> None:
    guarded.write("docs.md", text)
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-m", "x").returncode == 0


@pytest.mark.parametrize(
    "path",
    [
        "k8s/db.yaml.dec",
        "k8s/db.dec.yaml",
        "k8s/.db.yaml.swp",
        "k8s/db.yaml~",
        "k8s/#db.yaml#",
        "k8s/db.yaml.bak",
        "notes.decrypted",
        "home/keys.txt",
    ],
)
def test_what_is_left_of_a_secret_is_stopped(guarded: Fleet, path: str) -> None:
    guarded.write(path, "data")
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS006")


def test_copies_of_ordinary_files_and_encrypted_copies_are_fine(guarded: Fleet) -> None:
    guarded.write("README~", "x")
    guarded.write("k8s/service.yaml.bak", "kind: Service\n")
    guarded.write("k8s/db.yaml.bak", guarded.read("k8s/db.yaml"))
    guarded.write("keys.txt", "# readers\n" + guarded.public("web") + "\n")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x")
    assert done.returncode == 0, done.stdout


# --- ranges, files, pushes


def test_a_range_finds_what_a_later_commit_took_out_again(guarded: Fleet) -> None:
    start = guarded.git("rev-parse", "HEAD").strip()
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "-A")
    guarded.git("commit", "-q", "--no-verify", "-m", "oops")
    oops = guarded.git("rev-parse", "--short=12", "HEAD").strip()
    guarded.git("rm", "-q", "secrets/new.yaml")
    guarded.git("commit", "-q", "-m", "gone")
    assert guarded.run("hook", "run", "--all").returncode == 0
    done = guarded.run("hook", "run", "--from", start)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{oops} NS001  secrets/new.yaml: ")
    assert guarded.run("hook", "run", "--from", oops).returncode == 0


def test_what_a_merge_adds_by_itself_is_found(guarded: Fleet) -> None:
    start = guarded.git("rev-parse", "HEAD").strip()
    guarded.git("checkout", "-q", "-b", "side")
    guarded.git("commit", "-q", "--allow-empty", "-m", "side")
    guarded.git("checkout", "-q", "main")
    guarded.git("commit", "-q", "--allow-empty", "-m", "main")
    guarded.git("merge", "-q", "--no-commit", "--no-ff", "side")
    guarded.write("secrets/evil.yaml", "a: b\n")
    guarded.git("add", "-A")
    guarded.git("commit", "-q", "--no-verify", "-m", "merge")
    done = guarded.run("hook", "run", "--from", start, "--to", "main")
    assert "NS001  secrets/evil.yaml" in done.stdout


def test_files_are_judged_as_they_are_staged(guarded: Fleet) -> None:
    guarded.write("secrets/a.yaml", "a: b\n")
    guarded.write("secrets/b.yaml", "a: b\n")
    guarded.git("add", "-A")
    done = guarded.run("hook", "run", "secrets/a.yaml", "README")
    assert (done.returncode, done.stdout.count("NS001")) == (1, 1)
    done = guarded.run("hook", "run", "secrets")
    assert done.stdout.count("NS001") == 2
    done = guarded.run("hook", "run", "b.yaml", cwd=guarded.root / "secrets")
    assert done.stdout.count("NS001") == 1
    guarded.write("untracked", "x")
    assert guarded.run("hook", "run", "untracked").returncode == 2
    assert guarded.run("hook", "run", "--all", "README").returncode == 2


def test_a_push_of_a_commit_past_the_hook_is_stopped(
    guarded: Fleet, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.git"
    guarded.git("init", "-q", "--bare", str(bare))
    guarded.git("remote", "add", "origin", str(bare))
    guarded.ok("hook", "install", "--pre-push")
    assert attempt(guarded, "push", "-q", "origin", "main").returncode == 0
    guarded.write("secrets/new.yaml", "a: b\n")
    guarded.git("add", "-A")
    guarded.git("commit", "-q", "--no-verify", "-m", "oops")
    guarded.git("rm", "-q", "secrets/new.yaml")
    guarded.git("commit", "-q", "-m", "gone")
    done = attempt(guarded, "push", "-q", "origin", "main")
    assert done.returncode == 1
    assert "NS001  secrets/new.yaml" in done.stdout + done.stderr
    assert "--no-verify" not in done.stderr
    guarded.git("branch", "topic")
    assert attempt(guarded, "push", "-q", "origin", "topic").returncode == 1
    assert attempt(guarded, "push", "-q", "origin", ":nothing").returncode != 3


# --- manners


def foreign_hook(fleet: Fleet, name: str, exit_code: int = 0) -> Path:
    hook = fleet.root / ".git/hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho foreign >> {fleet.home}/ran\nexit {exit_code}\n")
    hook.chmod(0o755)
    return hook


def test_a_foreign_hook_is_set_aside_run_first_and_put_back(guarded: Fleet) -> None:
    guarded.ok("hook", "uninstall")
    hook = foreign_hook(guarded, "pre-commit")
    text = hook.read_text()
    done = guarded.run("hook", "install")
    assert "is kept as pre-commit.before-nixsecrets, run first" in done.stderr
    assert "runs pre-commit.before-nixsecrets first" in guarded.ok("hook", "status")
    assert attempt(guarded, "commit", "--allow-empty", "-m", "x").returncode == 0
    assert (guarded.home / "ran").read_text() == "foreign\n"
    guarded.ok("hook", "install")
    assert "the previous hook is restored" in (guarded.run("hook", "uninstall").stderr)
    assert hook.read_text() == text
    assert os.access(hook, os.X_OK)
    assert not (hook.parent / "pre-commit.before-nixsecrets").exists()


def test_a_foreign_hook_that_fails_stops_the_commit(guarded: Fleet) -> None:
    guarded.ok("hook", "uninstall")
    foreign_hook(guarded, "pre-commit", exit_code=7)
    guarded.ok("hook", "install")
    assert attempt(guarded, "commit", "--allow-empty", "-m", "x").returncode != 0


def test_a_second_foreign_hook_is_not_overwritten(guarded: Fleet) -> None:
    guarded.ok("hook", "uninstall")
    foreign_hook(guarded, "pre-commit")
    guarded.ok("hook", "install")
    foreign_hook(guarded, "pre-commit")
    done = guarded.run("hook", "install")
    assert done.returncode == 1
    assert "merge the two" in done.stderr


def test_a_hook_that_runs_ours_again_runs_in_no_circle(guarded: Fleet) -> None:
    hooks = guarded.root / ".git/hooks"
    shutil.move(hooks / "pre-commit", hooks / "pre-commit.legacy")
    foreign_hook(guarded, "pre-commit")
    legacy = hooks / "pre-commit.legacy"
    (hooks / "pre-commit").write_text(f'#!/bin/sh\nexec "{legacy}" "$@"\n')
    guarded.ok("hook", "install")
    assert attempt(guarded, "commit", "--allow-empty", "-m", "x").returncode == 0
    guarded.write("secrets/a.yaml", "a: b\n")
    guarded.git("add", "-A")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS001")


def test_without_nixsecrets_the_commit_is_stopped_with_a_message(
    guarded: Fleet,
) -> None:
    hook = guarded.root / ".git/hooks/pre-commit"
    text = hook.read_text()
    hook.write_text(text.replace(sys.executable, "/nonexistent/python"))
    done = attempt(guarded, "commit", "--allow-empty", "-m", "x")
    assert done.returncode == 1
    assert "this repository's hook cannot find nixsecrets" in done.stderr


def test_nixsecrets_on_path_is_preferred(guarded: Fleet, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program_file = tmp_path / "bin/nixsecrets"
    program_file.write_text('#!/bin/sh\necho "found: $*" >&2\n')
    program_file.chmod(0o755)
    path = f"{tmp_path}/bin:{guarded.env['PATH']}"
    done = attempt(guarded, "commit", "--allow-empty", "-m", "x", PATH=path)
    assert (done.returncode, "found: hook run" in done.stderr) == (0, True)


def test_skip_and_no_verify_override(guarded: Fleet) -> None:
    guarded.write("secrets/a.yaml", "a: b\n")
    guarded.git("add", "-A")
    done = attempt(guarded, "commit", "-m", "x", SKIP="flake8,nixsecrets-guard")
    assert (done.returncode, "skipped" in done.stderr) == (0, True)
    guarded.write("secrets/b.yaml", "a: b\n")
    guarded.git("add", "-A")
    assert attempt(guarded, "commit", "-q", "--no-verify", "-m", "x").returncode == 0


def test_hooks_path_inside_the_repository_is_used(guarded: Fleet) -> None:
    guarded.ok("hook", "uninstall")
    guarded.git("config", "core.hooksPath", ".githooks")
    guarded.ok("hook", "install")
    assert (guarded.root / ".githooks/pre-commit").exists()
    guarded.write("secrets/a.yaml", "a: b\n")
    guarded.git("add", "secrets")
    assert stopped(attempt(guarded, "commit", "-m", "x"), "NS001")


def test_hooks_path_of_everybody_is_left_alone(guarded: Fleet, tmp_path: Path) -> None:
    guarded.git("config", "core.hooksPath", str(tmp_path / "hooks"))
    done = guarded.run("hook", "install")
    assert done.returncode == 1
    assert "core.hooksPath" in done.stderr
    assert not (tmp_path / "hooks").exists()


def test_status_and_uninstall_tell_what_is_there(fleet: Fleet) -> None:
    assert fleet.ok("hook", "status").splitlines()[0] == "pre-commit: not installed"
    done = fleet.run("hook", "uninstall")
    assert (done.returncode, "nothing to do" in done.stderr) == (0, True)
    foreign_hook(fleet, "pre-commit")
    assert "pre-commit: another program's (" in fleet.ok("hook", "status")


def test_outside_of_git_there_is_nothing_to_install(fleet: Fleet) -> None:
    shutil.rmtree(fleet.root / ".git")
    done = fleet.run("hook", "install")
    assert (done.returncode, "not a git repository" in done.stderr) == (1, True)


# --- other kinds of secrets


def test_tokens_in_ordinary_files_are_found_where_asked_for(guarded: Fleet) -> None:
    pytest.importorskip("detect_secrets")
    token = "ghp_" + "a1B2c3D4" * 4 + "e5F6"
    guarded.write("script.sh", f"# public\nTOKEN={token}\n")
    guarded.write("known.sh", f"TOKEN={token}  # pragma: allowlist secret\n")
    guarded.write("flake.lock", '{"narHash": "sha256-' + "A1b2" * 10 + '="}\n')
    guarded.git("add", "-A")
    assert guarded.run("hook", "run").returncode == 0
    done = guarded.run("hook", "run", "--scan")
    assert done.returncode == 1
    assert done.stdout.startswith("NS007  script.sh:2: holds what looks like a secret")
    assert len(done.stdout.splitlines()) == 1
    assert token not in done.stdout + done.stderr


def test_every_plugin_that_is_asked_for_is_one_of_the_scanner() -> None:
    util = pytest.importorskip("detect_secrets.core.plugins.util")
    kinds = util.get_mapping_from_secret_type_to_class().values()
    known = {kind.__name__ for kind in kinds}
    left_out = {
        *("Base64HighEntropyString", "HexHighEntropyString"),  # every hash
        *("KeywordDetector", "IPPublicDetector"),  # every module
        "PrivateKeyDetector",  # ours
    }
    assert known - left_out == set(scanner._PLUGINS)


def test_secrets_and_what_we_generate_are_not_scanned(guarded: Fleet) -> None:
    pytest.importorskip("detect_secrets")
    tables = '[sops]\nconfig = ".sops.yaml"\n[agenix]\nrules = "secrets.nix"\n'
    guarded.write_map(tables + RULES)
    guarded.ok("sync")
    guarded.git("add", "-A")
    done = guarded.run("hook", "run", "--all", "--scan")
    assert (done.returncode, done.stdout) == (0, "")


def test_without_the_scanner_it_is_said_how_to_get_it(
    guarded: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['detect_secrets'] = None\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "nixsecrets", "hook", "run", "--scan"],
        cwd=guarded.root,
        env=guarded.env | {"PYTHONPATH": f"{tmp_path}:{PROJECT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: --scan needs detect-secrets\n"
        "nixsecrets: hint: pipx install 'nixsecrets[scan]'\n"
    )
