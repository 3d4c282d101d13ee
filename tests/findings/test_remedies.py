"""Every finding whose remedy is a command: the command is run as printed, and works.

A code without an entry in one of the three tables fails a test.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from nixsecrets.findings.catalogue import Code, fix_for
from tests.cli.conftest import set_editor
from tests.findings.test_fixes import FIX, placed, shell
from tests.fleet import Fleet

YAML, AGE = "secrets/app.yaml", "secrets/wifi file.age"


class Case(NamedTuple):
    """How a finding comes about, and what a person has to say to the remedy.

    `hook` where the hook finds it, else `check`; `answers` are added to the command;
    `edited` is what the person makes of the text in the editor.
    """

    spoil: Callable[[Fleet], object]
    hook: bool = False
    answers: str = ""
    edited: str = ""


def append(path: str, text: str) -> Callable[[Fleet], object]:
    return lambda fleet: fleet.write(path, fleet.read(path) + text.encode())


def own(fleet: Fleet) -> list[str]:
    """The recipients that the sops file has."""
    found = re.findall(r"recipient: (\S+)", fleet.read(YAML).decode())
    assert len(found) == 2
    return found


def encrypted(path: str, text: str, *args: str) -> Callable[[Fleet], object]:
    return lambda fleet: fleet.sops_encrypt(path, text, own(fleet), *args)


def linked(fleet: Fleet) -> None:
    (fleet.root / "secrets/link.yaml").symlink_to("/etc/hostname")


def copied(fleet: Fleet) -> None:
    shutil.copy(fleet.root / YAML, fleet.root / "secrets/copy.yaml")


def strayed(fleet: Fleet) -> None:
    fleet.sops_encrypt("more/x.yaml", "a: b\n", own(fleet))
    fleet.commit("a folder of secrets")
    fleet.write("more/plain.txt", "x\n")


YES = " --yes --allow-revoke"
REMEDIES: Mapping[Code, list[Case]] = {
    Code.PLAINTEXT: [
        Case(lambda fleet: fleet.write("secrets/new.yaml", "a: b\n")),
        Case(lambda fleet: fleet.write("secrets/new.age", "a"), hook=True),
    ],
    Code.DAMAGED: [
        Case(lambda fleet: fleet.write(AGE, fleet.read(AGE)[:-20])),
        Case(lambda fleet: fleet.write(AGE, fleet.read(AGE)[:-20]), hook=True),
    ],
    Code.OPEN_VALUE: [
        Case(append(YAML, ""), edited="a: b\nnew: hunter2\n")._replace(
            spoil=lambda fleet: fleet.write(YAML, b"new: x\n" + fleet.read(YAML))
        )
    ],
    Code.WEAK_OPTIONS: [
        Case(encrypted(YAML, "a: b\nc: d\n", "--encrypted-regex", "^a$"), answers=YES),
    ],
    Code.LEFTOVER: [
        Case(lambda fleet: fleet.write("secrets/app.yaml.dec", "a: b\n"), hook=True)
    ],
    Code.NOT_A_FILE: [Case(linked, hook=True)],
    Code.STALE: [
        Case(
            lambda fleet: fleet.sops_encrypt(YAML, "a: b\n", own(fleet)[:1]),
            answers=YES,
        )
    ],
    Code.UNKNOWN: [
        Case(lambda fleet: fleet.age_encrypt(AGE, "x", "alice", "web"), answers=YES)
    ],
    Code.SHARED_KEY: [Case(copied, answers=YES)],
    Code.KEY_AGAIN: [
        Case(
            encrypted("secrets/x.json", '{"a": 1, "a": 2}'),
            edited='{"a": 2}\n',
        ),
        Case(encrypted("secrets/x.env", "A=1\nA=2\n"), edited="A=2\n"),
    ],
    Code.OPEN_COMMENT: [Case(append(YAML, "# secret\n"), answers=YES)],
    Code.NOT_AGE: [
        Case(lambda fleet: fleet.write("other/new.age", "a"), hook=True),
    ],
    Code.STRAY_FILE: [Case(strayed, hook=True)],
    Code.OUT_OF_DATE: [Case(lambda fleet: fleet.write("secrets.nix", "{ }\n"))],
}
ELSEWHERE: Mapping[Code, str] = {
    Code.SUSPICIOUS_NOISE: "needs a hidden stanza: tests/cli/test_noise.py",
    Code.REGAINED: "needs two branches that git merges: tests/merge/test_regained.py",
    Code.UNMERGED: "needs two branches that conflict: tests/cli/test_unmerged.py",
    Code.FOREIGN_READER: "needs gpg: tests/cli/test_foreign_readers.py",
    Code.DECLARED_UNREADABLE: "needs nix: tests/nix",
    Code.DECLARED_FORM: "needs nix: tests/nix",
    Code.DECLARED_MISSING: "needs nix: tests/nix",
    Code.DECLARED_UNTRACKED: "needs nix: tests/nix",
}
"""Codes with a command that is run in other tests, and why."""

NO_COMMAND = frozenset(code for code in Code if not fix_for(code, "x"))
"""Codes whose remedy is no single command: their help says what there is to do."""


def test_every_code_with_a_command_is_in_a_table() -> None:
    assert REMEDIES.keys() | ELSEWHERE.keys() | NO_COMMAND == set(Code)
    assert not REMEDIES.keys() & ELSEWHERE.keys()
    assert not (REMEDIES.keys() | ELSEWHERE.keys()) & NO_COMMAND


def found(fleet: Fleet, case: Case) -> str:
    """What the hook finds, or check, which reports warnings and notes too."""
    if not case.hook:
        return fleet.run("check").stdout
    fleet.git("add", "-A")
    return fleet.run("hook", "run").stdout


CASES = [(code, number) for code in REMEDIES for number in range(len(REMEDIES[code]))]


@pytest.mark.parametrize(("code", "number"), CASES)
def test_the_command_under_a_finding_mends_it(
    tmp_path: Path, code: Code, number: int
) -> None:
    case = REMEDIES[code][number]
    fleet = placed(tmp_path, "")
    case.spoil(fleet)
    told = found(fleet, case)
    assert re.search(rf"^{code.value} ", told, re.MULTILINE), told
    if case.edited:
        fleet.env["EDITOR"] = set_editor(fleet, case.edited)
    fixes = FIX.findall(told)
    assert fixes, told
    for fix in fixes:
        nixsecrets = "nixsecrets rekey" in fix
        done = shell(fleet, fix + (case.answers if nixsecrets else ""))
        assert done.returncode == 0, done.stdout + done.stderr
    again = fleet.run("hook", "run").stdout if case.hook else fleet.run("check").stdout
    assert code.value not in again, again


@pytest.mark.parametrize("hook", [False, True])
def test_what_git_cannot_restore_has_no_such_command(
    tmp_path: Path, *, hook: bool
) -> None:
    """The last commit has the same fault, or another one."""
    fleet = placed(tmp_path, "")
    fleet.write(YAML, b"new: hunter2\n" + fleet.read(YAML))
    fleet.write(AGE, fleet.read(AGE)[:-20])
    fleet.commit("broken")
    if hook:
        fleet.write(YAML, b"more: hunter2\n" + fleet.read(YAML))
        fleet.write(AGE, fleet.read(AGE)[:-2])
    told = found(fleet, Case(void, hook=hook))
    assert {"NS002", "NS003"} <= set(re.findall(r"NS\d+", told)), told
    assert "checkout" not in told
    assert "rm --cached" not in told


def test_check_advises_no_unstaging_because_it_looks_at_the_work_tree(
    tmp_path: Path,
) -> None:
    fleet = placed(tmp_path, "")
    fleet.write("other/new.age", "a")
    fleet.write("secrets/new.age", "age-encryption.org/v1\n-> broken\n")
    fleet.git("add", "-A")
    told = fleet.run("check").stdout
    assert {"NS002", "NS060"} <= set(re.findall(r"NS\d+", told)), told
    assert "rm --cached" not in told
    assert fleet.run("hook", "run").stdout.count("rm --cached") == 2


def void(_: Fleet) -> None:
    """Nothing."""
