"""What a terminal shows while a command takes its time."""

import shutil
import socket

from tests.edit.helpers import terminal
from tests.fleet import Fleet, run_cli

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
