"""Expressions that come out of a repository: read as sops reads them, in no time."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import fleet as kit
from tests import gate
from tests.fleet import SHARED, Fleet, make_fleet, measured

HOSTILE = "^(a+)+c$"
LONG = "a" * 200


def spoilt(fleet: Fleet, rule: str) -> None:
    """Put a creation rule before those of ours."""
    text = fleet.read(".sops.yaml").decode()
    key = kit.age_key().public
    there = f"creation_rules:\n  - path_regex: {json.dumps(rule)}\n    age: {key}\n"
    fleet.write(".sops.yaml", text.replace("creation_rules:\n", there))


@pytest.mark.parametrize(
    "rule",
    [
        f'path_regex = "{HOSTILE}"',
        'path = "q/*a*a*a*a*a*a*a*a*a*b"',
        'path = "**/a*/**/a*/**/a*/**/a*/**/a*/**/b"',
    ],
)
def test_a_rule_of_the_map_hangs_no_command(ready: Fleet, rule: str) -> None:
    text = ready.read("nixsecrets.toml").decode()
    ready.write("nixsecrets.toml", f"{text}\n[[secrets]]\n{rule}\nreaders = []\n")
    ready.write("q/" + LONG, "x")
    ready.write("/".join(["a"] * 100) + "/c", "x")
    ready.ok("sync")
    ready.git("add", "-A")
    for words in [("check",), ("hook", "run"), ("status",), ("lint",)]:
        code, _, seconds = measured(ready, *words)
        ordinary = words[0] == "hook"  # it stops the file for where it lies
        assert (ordinary or code == 0, seconds < 10) == (True, True), words


def test_a_foreign_rule_hangs_no_command(ready: Fleet) -> None:
    spoilt(ready, "(a*)*(a+)+(s|e|c|r|t|/|p|.)*!$")
    ready.write(f"secrets/{LONG}.yaml", ready.read("secrets/app.yaml"))
    ready.commit("hostile")
    for words in [("check",), ("hook", "run"), ("status",), ("lint",)]:
        _, _, seconds = measured(ready, *words)
        assert seconds < 10, words


def test_the_options_of_a_file_hang_no_command(ready: Fleet) -> None:
    ready.sops_encrypt(
        "secrets/app.yaml",
        f"{LONG}: b\nkey: c\n",
        [kit.age_key().public],
        "--encrypted-regex",
        f"{HOSTILE}|key",
    )
    ready.git("add", "-A")
    for words in [("check",), ("hook", "run"), ("status",), ("lint",)]:
        _, _, seconds = measured(ready, *words)
        assert seconds < 10, words


def test_a_foreign_rule_that_sops_cannot_compile_stops_nothing(ready: Fleet) -> None:
    spoilt(ready, "*.yaml")
    ready.commit("broken")
    expected = (
        "NS063  .sops.yaml:LINE: sops fails for files that no earlier rule matches:"
        " path_regex: no argument for repetition operator: *"
    )
    line = ready.read(".sops.yaml").decode().split("path_regex")[0].count("\n") + 1
    for command in ("check", "lint"):
        code, shown, _ = measured(ready, command)
        assert code == 1
        assert expected.replace("LINE", str(line)) in shown.splitlines()
    before = ready.read("secrets/dns.age")
    key = kit.ssh_key("late host").public
    ready.ok("add-host", "late", "--key", key, "--group", "dns", "--yes")
    assert ready.read("secrets/dns.age") != before
    ready.ok("rekey", "--yes")
    assert '"*.yaml"' in ready.read(".sops.yaml").decode()
    told = subprocess.run(
        [kit.sops_path(), "--config", ".sops.yaml", "encrypt", "nixsecrets.toml"],
        cwd=ready.root,
        env=ready.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "can not compile regexp" in told.stderr


def test_a_rule_that_sops_never_reaches_is_named_by_lint_alone(ready: Fleet) -> None:
    text = ready.read(".sops.yaml").decode()
    rule = "  - path_regex: '^(?!public/)'\n    age: ''\n"
    ready.write(".sops.yaml", text + rule)
    ready.commit("broken below")
    assert ready.ok("check") == ""
    code, shown, _ = measured(ready, "lint")
    assert (code, shown.count("NS063")) == (1, 1)


def test_options_that_sops_ignores_are_named_with_their_file(ready: Fleet) -> None:
    text = ready.read("secrets/app.yaml").decode()
    ready.write(
        "secrets/app.yaml",
        text.replace("unencrypted_suffix: _unencrypted", "encrypted_regex: (?!a)"),
    )
    ready.git("add", "-A")
    expected = (
        "NS063  secrets/app.yaml: sops ignores its encrypted_regex:"
        " invalid perl operator: (?!"
    )
    code, shown, _ = measured(ready, "check")
    assert (code, expected in shown) == (1, True), shown
    code, shown, _ = measured(ready, "hook", "run")
    assert (code, expected in shown) == (1, True), shown


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("^[[:alpha:]]+$", "key"),
        (r"^key\z", "key"),
        ("(?i)^KEY$", "key"),
        (r"^\pL+$", "schlüssel"),
    ],
)
def test_what_sops_selects_is_what_is_written_and_checked(
    ready: Fleet, option: str, key: str
) -> None:
    text = ready.read("nixsecrets.toml").decode()
    rule = (
        '[[secrets]]\npath = "k8s/**"\nreaders = ["brunnen"]\n'
        f"sops = {{ encrypted_regex = {json.dumps(option)} }}\n"
    )
    ready.write("nixsecrets.toml", f"{text}\n{rule}")
    ready.ok("sync")
    content = f"{key}: hunter2\nn-1: plain\n"
    ready.ok("set", "k8s/x.yaml", stdin=content)
    written = ready.read("k8s/x.yaml").decode()
    assert f"{key}: ENC[" in written
    assert "n-1: plain\n" in written
    assert ready.ok("cat", "k8s/x.yaml") == content
    ready.git("add", "-A")
    assert ready.ok("check") == ""
    ready.write("k8s/x.yaml", f"{key}: hunter2\n" + written.split("\n", 1)[1])
    code, shown, _ = measured(ready, "check")
    assert (code, "NS003  k8s/x.yaml:1: " in shown) == (1, True), shown


def test_an_expression_of_the_map_is_refused_with_its_line(ready: Fleet) -> None:
    text = ready.read("nixsecrets.toml").decode()
    line = text.count("\n") + 2
    rule = "[[secrets]]\npath_regex = '(?!a)'\nreaders = []\n"
    ready.write("nixsecrets.toml", text + rule)
    done = ready.run("check")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"nixsecrets: error: nixsecrets.toml:{line}: path_regex: invalid perl"
        " operator: (?!\n"
        "nixsecrets: hint: write it as sops reads it:"
        " github.com/google/re2/wiki/Syntax\n"
    )


@pytest.mark.parametrize("name", ["glob1", "lookahead"])
def test_init_says_which_rule_sops_cannot_compile(tmp_path: Path, name: str) -> None:
    case = SHARED / "cases" / f"f07-regex-{name}.sops.yaml"
    if not case.exists():
        gate.absent("shared", "the cases lie outside of the repository")
    fleet = make_fleet(tmp_path, hosts=("brunnen",))
    shutil.rmtree(fleet.root / ".git", ignore_errors=True)
    (fleet.root / "nixsecrets.toml").unlink(missing_ok=True)
    key = kit.age_key().public
    text = case.read_text().replace("age1REPLACE_WITH_YOUR_KEY", key)
    fleet.write(".sops.yaml", text)
    kit.git_repo(fleet.root, fleet.env)
    done = fleet.run("init", "--yes")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "nixsecrets: error: .sops.yaml: no rule of it can be adopted\n"
        "  line 2: sops cannot compile its path_regex: "
    )
    hint = "nixsecrets: hint: correct the expression (it is not a glob), or remove"
    assert hint in done.stderr
