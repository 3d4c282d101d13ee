"""What is typed and hidden is never cut and never shown; the terminal stays whole."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pytest

from tests import fleet as kit
from tests.cli.test_terminal import ended, locked_key, spawn
from tests.fleet import Fleet

PEM = "".join(f"line {number} of a pasted key\n" for number in range(1, 6))


def value(fleet: Fleet, path: str) -> str:
    """Return what a secret holds."""
    return fleet.ok("cat", path)


def test_a_line_that_is_longer_than_a_terminals_is_read_whole(ready: Fleet) -> None:
    long = "x" * 10_000 + "end"
    child = spawn(ready, "set", "secrets/wifi.age", "--yes")
    for question in ("value of secrets/wifi.age: ", "once more: "):
        child.expect_exact(question)
        child.sendline(long)
    said, code = ended(child)
    assert (code, long[:50] in said) == (0, False)
    assert value(ready, "secrets/wifi.age") == long


@pytest.mark.parametrize("brackets", [True, False])
def test_more_than_one_line_is_refused_with_another_way(
    ready: Fleet, *, brackets: bool
) -> None:
    before = ready.snapshot()
    child = spawn(
        ready, "set", "secrets/wifi.age", TERM="xterm" if brackets else "dumb"
    )
    child.expect_exact("value of secrets/wifi.age: ")
    child.send(f"\x1b[200~{PEM}\x1b[201~" if brackets else PEM)
    if brackets:
        child.sendline()
    said, code = ended(child)
    assert code == 1
    assert "nothing was changed: more than one line was typed" in said
    assert "hint" in said and "--from-file FILE, or on stdin" in said
    assert "pasted key" not in said
    assert ready.snapshot() == before


def test_mistyped_keys_can_be_rubbed_out(ready: Fleet) -> None:
    child = spawn(ready, "set", "secrets/wifi.age", "--yes")
    child.expect_exact("value of secrets/wifi.age: ")
    child.sendline("all wrong\x15gö\x7föd")
    child.expect_exact("once more: ")
    child.sendline("göd")
    assert ended(child)[1] == 0
    assert value(ready, "secrets/wifi.age") == "göd"


def test_ctrl_d_without_an_answer_changes_nothing(ready: Fleet) -> None:
    before = ready.snapshot()
    child = spawn(ready, "set", "secrets/wifi.age")
    child.expect_exact("value of secrets/wifi.age: ")
    child.sendeof()
    said, code = ended(child)
    assert (code, "there was no answer" in said) == (1, True)
    assert ready.snapshot() == before


# --- the terminal, as the shell finds it ------------------------------------------


@contextmanager
def shell(fleet: Fleet, name: str) -> Iterator["pexpect.spawn[str]"]:
    """Start a shell with job control, in which `~/n` is nixsecrets."""
    script = fleet.home / "n"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m nixsecrets "$@"\n')
    script.chmod(0o755)
    env = {**fleet.env, "PYTHONPATH": str(kit.PROJECT), "TERM": "dumb", "PS1": "$ "}
    options = ["--norc", "--noprofile", "--noediting"] if name == "bash" else []
    child = pexpect.spawn(
        kit.program(name),
        [*options, "-i"],
        env=env,
        cwd=str(fleet.root),
        timeout=60,
        encoding="utf-8",
    )
    child.expect_exact("$ ")
    yield child
    child.close(force=True)


def shows_typing(child: "pexpect.spawn[str]") -> bool:
    """Return whether the terminal echoes, according to `stty`."""
    child.sendline("stty -a; echo do''ne")
    child.expect_exact("done")
    flags = str(child.before).split()
    assert ("icanon" in flags) is True
    return "echo" in flags


@pytest.mark.parametrize("name", ["bash", "dash"])
def test_after_ctrl_z_and_fg_a_value_is_still_not_shown(
    ready: Fleet, name: str
) -> None:
    with shell(ready, name) as child:
        child.sendline("~/n set secrets/wifi.age --yes")
        child.expect_exact("value of secrets/wifi.age: ")
        child.sendcontrol("z")
        child.expect_exact("$ ")
        assert shows_typing(child)
        child.sendline("fg")
        child.expect_exact("value of secrets/wifi.age: ")
        child.sendline("hidden-canary")
        child.expect_exact("once more: ")
        assert "hidden-canary" not in str(child.before)
        child.sendline("hidden-canary")
        child.expect_exact("$ ")
        assert "hidden-canary" not in str(child.before)
        assert shows_typing(child)
    assert value(ready, "secrets/wifi.age") == "hidden-canary"


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("locked", [True, False])
def test_what_ends_a_prompt_leaves_a_terminal_that_shows_what_is_typed(
    ready: Fleet, number: signal.Signals, *, locked: bool
) -> None:
    command, question = "~/n set secrets/wifi.age", "value of secrets/wifi.age: "
    if locked:
        locked_key(ready)
        command, question = "~/n cat secrets/wifi.age", "passphrase for "
    with shell(ready, "bash") as child:
        child.sendline(f"{command} & echo pid=$!; fg")
        child.expect(r"pid=(\d+)")
        assert child.match
        process = int(child.match[1])
        child.expect_exact(question)
        if number is signal.SIGQUIT:
            child.sendcontrol("\\")
        else:
            os.kill(process, number)
        child.expect_exact("$ ")
        assert shows_typing(child)
