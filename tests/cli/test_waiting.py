"""What a terminal shows while a command takes its time."""

import shutil
import socket
import sys

import pytest

from tests.cli.test_terminal import locked_key
from tests.edit.helpers import ended, on_terminal, terminal
from tests.fleet import PROJECT, Fleet, run_cli

TAKEN_BACK = "\r\x1b[K"


def slow(fleet: Fleet, name: str, seconds: int, words: str = "") -> str:
    """Return a PATH on which a program that is given `words` waits first."""
    real = shutil.which(name)
    folder = fleet.root.parent / "slow"
    folder.mkdir()
    wrapper = folder / name
    wait = f'case " $* " in *"{words}"*) sleep {seconds};; esac'
    wrapper.write_text(f'#!/bin/sh\n{wait}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    return f"{folder}:{fleet.env['PATH']}"


def test_a_slow_history_is_named_while_it_is_searched(ready: Fleet) -> None:
    ready.env["PATH"] = slow(ready, "git", 3, " log ")
    with terminal(ready, "ls") as child:
        child.expect("searching the git history …")
        child.expect_exact(TAKEN_BACK)
        child.expect("secrets/wifi.age")


@pytest.mark.parametrize(
    ("words", "slowed", "line"),
    [
        (("status",), " ls-files ", "listing the files"),
        (("rekey", "--yes"), " ls-files ", "listing the files"),
        (("rekey", "--yes"), " log ", "searching the git history"),
        (("check",), " rev-parse ", "looking for the repository"),
        (("exposed",), " log ", "searching the git history"),
        (("approve",), " log ", "searching the git history"),
        (("hook", "run", "--all"), " cat-file ", "checking the files"),
        (("hook", "run", "--from", "HEAD~1"), " rev-list ", "checking the files"),
        (("init", "--dry-run"), " ls-files ", "looking for rules of agenix and sops"),
    ],
    ids=lambda one: " ".join(one).strip() if isinstance(one, tuple) else one.strip(),
)
def test_a_command_that_waits_for_git_says_what_it_does(
    ready: Fleet, words: tuple[str, ...], slowed: str, line: str
) -> None:
    if words[0] == "init":
        ready.git("rm", "-q", "nixsecrets.toml")
    else:
        ready.write("note.txt", "a second commit\n")
        ready.commit()
    ready.env["PATH"] = slow(ready, "git", 3, slowed)
    with terminal(ready, *words) as child:
        child.expect_exact(f"{line} …")
        child.expect_exact(TAKEN_BACK)
        ended(child)


def test_the_machines_of_a_flake_are_asked_for_visibly(ready: Fleet) -> None:
    ready.write("flake.nix", "{ outputs = _: { nixosConfigurations = { }; }; }\n")
    ready.commit()
    ready.env["PATH"] = slow(ready, "nix", 3)
    with terminal(ready, "add-host", "--discover", "--flake", ".") as child:
        child.expect_exact("asking nix for the machines …")
        child.expect_exact(TAKEN_BACK)
        ended(child)


def test_a_terminal_that_cannot_take_a_line_back_gets_whole_lines(ready: Fleet) -> None:
    ready.env["PATH"] = slow(ready, "git", 3, " log ")
    command = (sys.executable, "-m", "nixsecrets", "ls")
    with on_terminal(ready, *command, PYTHONPATH=str(PROJECT), TERM="dumb") as child:
        child.expect_exact("searching the git history …\r\n")
        child.expect("secrets/wifi.age")
        assert "\x1b" not in str(child.before)
        assert ended(child) == 0


def test_unlocking_a_key_is_named_at_once(ready: Fleet) -> None:
    # deriving the key runs no Python: no signal handler could write the line later
    locked_key(ready)
    with terminal(ready, "cat", "secrets/wifi.age") as child:
        child.expect_exact("passphrase for ")
        child.sendline("correct horse")
        child.expect("unlocking .*id_ed25519 …")
        child.expect_exact(TAKEN_BACK)


def test_a_silent_server_is_named_at_once(ready: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        words = ("add-host", "new", "--address", f"127.0.0.1:{port}", "--timeout", "2")
        with terminal(ready, *words, "--retries", "0") as child:
            child.expect("collecting the key of new …", timeout=20)
            child.expect_exact(TAKEN_BACK)
            child.expect("nixsecrets: .*error")


def test_nothing_is_shown_without_a_terminal(ready: Fleet) -> None:
    ready.env["PATH"] = slow(ready, "git", 1)
    done = run_cli("ls", cwd=ready.root, env=ready.env)
    assert "…" not in done.stderr
    assert done.returncode == 0
