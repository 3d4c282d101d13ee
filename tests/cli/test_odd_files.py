"""What is not a regular file is never read and never waited for.

Every place where a file is expected holds a FIFO, a socket, a device or a folder in
turn.  The time limit of `run_cli` is the hang detector.
"""

import ast
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nixsecrets.repo import gitrun
from nixsecrets.repo.git import Git
from tests.cli.conftest import changed
from tests.fleet import PROJECT, TIMEOUT_SECONDS, Fleet


def _fifo(place: Path) -> None:
    os.mkfifo(place)


def _socket(place: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(place.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name)
    finally:
        os.fchdir(here)
        os.close(here)


def _device(place: Path) -> None:
    place.symlink_to("/dev/zero")  # endless


def _folder(place: Path) -> None:
    place.mkdir()


def _link_to_fifo(place: Path) -> None:
    os.mkfifo(place.with_name("elsewhere"))
    place.symlink_to(place.with_name("elsewhere"))


KINDS: dict[str, Callable[[Path], None]] = {
    "a named pipe": _fifo,
    "a socket": _socket,
    "a device": _device,
    "a folder": _folder,
    "a link to a named pipe": _link_to_fifo,
}
JUDGING = (("check",), ("status",), ("ls",), ("lint",))
WRITING = (("rekey", "--yes"), ("sync",))
WIFI = "secrets/wifi.age"
# A file of the repository -> the commands that read it.
IN_TREE: dict[str, tuple[tuple[str, ...], ...]] = {
    "nixsecrets.toml": (*JUDGING, *WRITING, ("why", WIFI), ("cat", WIFI), ("recover",)),
    "nixsecrets.lock": (*JUDGING, *WRITING, ("why", WIFI)),
    ".sops.yaml": (*JUDGING, *WRITING, ("why", "secrets/app.yaml")),
    "secrets/secrets.nix": (*JUDGING, *WRITING),
    WIFI: (
        *(("cat", WIFI), ("set", WIFI, "--yes"), ("edit", WIFI), ("why", WIFI)),
        *(("mv", WIFI, "secrets/x.age", "--yes"), ("rm", WIFI, "--yes")),
        *(("accept", WIFI, "--yes"), ("textconv", WIFI), ("hook", "run", WIFI)),
        *(("generate", WIFI, "password", "--yes"), *JUDGING, *WRITING),
    ),
    "secrets/app.yaml": (
        *(("cat", "secrets/app.yaml"), ("cat", "secrets/app.yaml", "--key", "app")),
        *(("set", "secrets/app.yaml", "--key", "app", "--yes"), *JUDGING, *WRITING),
    ),
    ".gitattributes": (("init",), ("git-setup",), ("git-setup", "--dry-run")),
    ".git/hooks/pre-commit": (("hook", "status"), ("hook", "install")),
}
# Options and arguments that name a file; `{}` stands for it.
NAMED: tuple[tuple[str, ...], ...] = (
    ("textconv", "{}"),
    ("set", WIFI, "--from-file", "{}", "--yes"),
    ("set", "secrets/app.yaml", "--key", "app", "--from-file", "{}", "--yes"),
    ("cat", WIFI, "--identity", "{}"),
    ("textconv", "--identity", "{}", WIFI),
    ("add-user", "new", "--key-file", "{}", "--yes"),
    ("add-host", "new", "--key-file", "{}", "--yes"),
    ("rotate-user", "alice", "--key-file", "{}", "--yes"),
    ("check", "--declared", "{}"),
    ("ls", "--host", "brunnen", "--declared", "{}"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", IN_TREE)
def test_a_file_of_the_repository_that_is_none_is_said_to_be(
    ready: Fleet, path: str, kind: str
) -> None:
    place = ready.root / path
    place.unlink(missing_ok=True)
    KINDS[kind](place)
    every = IN_TREE[path] if kind == "a named pipe" else IN_TREE[path][:2]
    for arguments in every:
        done = ready.run(*arguments, stdin="a value")
        assert done.returncode in {0, 1, 2}, done.stderr
        assert "this is a bug" not in done.stderr
    if path == "nixsecrets.toml":
        what = kind.removeprefix("a link to ")
        if kind != "a device":  # a link that leaves the tree is not followed
            assert f"not a regular file but {what}" in ready.run("check").stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", NAMED, ids=" ".join)
def test_a_file_that_is_named_and_is_none_is_an_error_that_says_what_it_is(
    ready: Fleet, arguments: tuple[str, ...], kind: str
) -> None:
    place = ready.home / "named.json"
    KINDS[kind](place)
    before = ready.snapshot()
    done = ready.run(*(word.replace("{}", str(place)) for word in arguments))
    if arguments[:2] == ("textconv", "--identity"):  # shown as one line, for git
        assert "(cannot be shown: " in done.stdout
        return
    assert done.returncode in {1, 2}
    said = f"not a regular file but {kind.removeprefix('a link to ')}"
    assert said in done.stderr or "is a directory" in done.stderr
    assert changed(ready, before) == set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variable", ["NIXSECRETS_IDENTITY", "SOPS_AGE_KEY_FILE"])
def test_an_identity_in_a_variable_or_a_usual_place_that_is_no_file_is_passed(
    ready: Fleet, kind: str, variable: str
) -> None:
    place = ready.home / "keys"
    KINDS[kind](place)
    ready.env[variable] = str(place)
    shown = ready.run("cat", WIFI)
    assert shown.returncode in {0, 1}
    if variable == "NIXSECRETS_IDENTITY":
        assert "not a regular file but" in shown.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_in_a_usual_place_that_is_no_file_is_no_obstacle(
    ready: Fleet, kind: str
) -> None:
    place = ready.home / ".ssh" / "id_ed25519"
    place.parent.mkdir(exist_ok=True)
    KINDS[kind](place)
    assert ready.ok("cat", WIFI) == "wifi-canary"


# --- what a person hands over -------------------------------------------------------


@pytest.mark.parametrize("path", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_a_value_is_read_from_what_the_shell_opened(ready: Fleet, path: str) -> None:
    ready.ok("set", WIFI, "--from-file", path, "--yes", stdin="from a pipe")
    assert ready.ok("cat", WIFI) == "from a pipe"


def test_process_substitution_works_for_values_identities_and_keys(
    ready: Fleet,
) -> None:
    key = next(ready.keys.glob("alice"))
    program = f"{sys.executable} -m nixsecrets"
    public = ready.public("stein")
    for line, said in (
        (f"{program} set {WIFI} --yes --from-file <(printf value)", ""),
        (f"HOME=/ {program} cat {WIFI} --identity <(cat '{key}')", "value"),
        (f"HOME=/ SOPS_AGE_KEY_FILE=<(cat '{key}') {program} cat {WIFI}", "value"),
        (f"{program} add-host new --dry-run --key-file <(echo '{public}')", None),
        (f"{program} textconv <(printf text)", "text"),
    ):
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=ready.root,
            env={**ready.env, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        if said is None:
            assert "not a regular file" not in done.stderr
        else:
            assert (done.returncode, done.stdout) == (0, said), done.stderr


# --- the editor ---------------------------------------------------------------------


def _editor(fleet: Fleet, body: str) -> None:
    place = fleet.home / "editor"
    place.write_text(f"#!/bin/sh\n{body}\n")
    place.chmod(0o755)
    fleet.env["EDITOR"] = str(place)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ('rm "$1"; mkfifo "$1"', "a named pipe"),
        ('rm "$1"; mkdir "$1"', "a folder"),
        ('rm "$1"; ln -s /dev/zero "$1"', "a device"),
        ('mkfifo "$1.save"', "a named pipe"),
    ],
)
def test_an_editor_that_leaves_something_else_changes_nothing(
    ready: Fleet, body: str, what: str
) -> None:
    _editor(ready, body)
    before = ready.snapshot()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        ready.env["XDG_RUNTIME_DIR"] = memory
        done = ready.run("edit", WIFI)
        assert list(Path(memory).glob("nixsecrets-private-*/*")) == []
    assert done.returncode == 1
    assert done.stderr.endswith(
        "nixsecrets: error: what the editor left is not a regular file but"
        f" {what}\nnixsecrets: hint: nothing was changed\n"
    )
    assert changed(ready, before) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("fifo", [False, True])
def test_an_edit_ends_on_a_signal(
    ready: Fleet, number: signal.Signals, *, fifo: bool
) -> None:
    started = ready.home / "started"
    make = 'rm "$1"; mkfifo "$1"; ' if fifo else ""
    _editor(ready, f"{make}: > {started}; exec sleep 100000")
    child = subprocess.Popen(
        [sys.executable, "-m", "nixsecrets", "edit", WIFI],
        cwd=ready.root,
        env={**ready.env, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not started.exists():
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(number)
    child.communicate(timeout=TIMEOUT_SECONDS)
    assert child.returncode == 128 + number


# --- what git reads -----------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [".gitignore", "secrets/.gitignore", ".git/info/exclude"]
)
def test_a_file_that_git_would_wait_for_is_named(
    ready: Fleet, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ready.root / path
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    os.mkfifo(place)
    monkeypatch.setattr(gitrun, "_ANSWER_SECONDS", 0.5)
    found = Git.find(ready.root)
    assert found is not None
    with (
        pytest.raises(Exception, match="git waits for") as caught,
        found.listing(ready.root) as names,
    ):
        names()
    assert str(place) in str(caught.value)


# --- by construction ----------------------------------------------------------------

# Files of our own making, in a folder that is ours alone, or of the system.
OWN = {
    "nixsecrets/flake/nix.py": 1,  # inventory.nix, of the package
    "nixsecrets/untrusted/inputs.py": 1,
    "nixsecrets/repo/newfile.py": 1,  # /proc
    "nixsecrets/repo/private.py": 1,  # /proc
    "nixsecrets/repo/gitunlock/proctable.py": 1,  # /proc
    "nixsecrets/files/age/plugin.py": 1,  # /proc
    "nixsecrets/files/sops/program.py": 1,  # what sops left in the private folder
    "nixsecrets/files/sops/run.py": 1,  # the program itself
    "nixsecrets/hosts/provision.py": 1,  # written just now
}


def test_nothing_else_opens_a_file_to_read() -> None:
    found: dict[str, int] = {}
    for path in sorted((PROJECT / "nixsecrets").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _reads(node):
                name = path.relative_to(PROJECT).as_posix()
                found[name] = found.get(name, 0) + 1
    assert found == OWN


def _reads(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name in {"inputs.read", "inputs.read_text", "inputs.open_regular"}:
        return False
    if name.endswith((".read_bytes", ".read_text")):
        return True
    modes = [one.value for one in call.args if isinstance(one, ast.Constant)]
    return (name == "open" or name.endswith("path.open")) and bool(
        {"r", "rb", "r+b"} & set(modes)
    )
