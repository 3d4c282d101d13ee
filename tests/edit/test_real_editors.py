"""vim and nano on a pseudo-terminal, with settings that keep everything: no trace."""

import time
from pathlib import Path

import pexpect
import pytest

from tests.cli.conftest import changed
from tests.edit.helpers import (
    CANARY,
    ended,
    kept,
    left_in,
    plaintext_below,
    put,
    sops_text,
    terminal,
)
from tests.fleet import Fleet, program

EDITORS = ("vim", "nano")
CONTENTS = {
    "secrets/e.age": "old",
    "secrets/e.yaml": "# why\na: old\n\nb: 1\n",
    "secrets/e.json": '{"a": "old", "b": "1"}\n',
    "secrets/e.env": "A=old\nB=1\n",
    "secrets/e.ini": "[s]\na = old\nb = 1\n",
    "secrets/e.bin": "old\n",
}
VIMRC = """set backup writebackup undofile swapfile history=50
set backupdir=~ undodir=~ directory=~ viminfo='100,n~/.viminfo
"""
NANORC = """set backup
set backupdir "{home}"
set historylog
set positionlog
"""


@pytest.fixture(params=EDITORS)
def editor(request: pytest.FixtureRequest, fleet: Fleet) -> str:
    """The name of an editor that is $EDITOR, and keeps all it can."""
    name = str(request.param)
    fleet.env["EDITOR"] = program(name)
    (fleet.home / ".vimrc").write_text(VIMRC)
    (fleet.home / ".nanorc").write_text(NANORC.format(home=fleet.home))
    return name


def replace(child: "pexpect.spawn[str]", editor: str, old: str, new: str) -> None:
    """Replace every `old` by `new` in the editor's text."""
    child.expect_exact(old)
    time.sleep(0.3)
    if editor == "vim":
        child.send(f":%s/{old}/{new}/\r")
        child.expect_exact(f"{new}/")
        time.sleep(0.5)  # what it draws then depends on what stood there
        return
    # nano draws only what differs from the line before, so no whole questions to see
    for keys, seen in (
        ("\x1c", "Search"),
        (f"{old}\r", "with"),
        (f"{new}\r", " No"),
        ("a", "Replaced "),
    ):
        child.send(keys)
        child.expect_exact(seen)


def save_and_quit(child: "pexpect.spawn[str]", editor: str) -> None:
    """Save the text and end the editor."""
    if editor == "vim":
        child.send(":wq\r")
        return
    child.send("\x18")
    child.expect_exact(" No")
    child.send("y")
    child.expect_exact("Write")
    child.send("\r")


def plaintext(fleet: Fleet, path: str) -> bytes:
    """Return what the real age or sops decrypts."""
    if path.endswith(".age"):
        return fleet.age_decrypt(path, "alice")
    return sops_text(fleet, path)


@pytest.mark.parametrize("path", CONTENTS)
def test_a_secret_is_edited_and_leaves_no_trace(
    fleet: Fleet, memory: Path, editor: str, path: str
) -> None:
    put(fleet, path, value=CONTENTS[path].encode())
    with terminal(fleet, "edit", path) as child:
        replace(child, editor, "old", CANARY)
        save_and_quit(child, editor)
        assert ended(child) == 0, child.before
    text = plaintext(fleet, path)
    assert CANARY.encode() in text
    assert b"old" not in text
    if path.endswith(".age"):
        assert text == CANARY.encode(), "no line feed was put behind it"
    if path.endswith(".yaml"):
        assert b"# why" in text
    assert plaintext_below(fleet.home) == []
    assert plaintext_below(fleet.root) == []
    assert left_in(memory) == []
    assert not (fleet.home / ".local" / "share" / "nano" / "search_history").exists()


def test_leaving_without_saving_changes_nothing(fleet: Fleet, editor: str) -> None:
    before = fleet.snapshot()
    with terminal(fleet, "edit", "secrets/wifi.age") as child:
        child.expect_exact("wifi-canary")
        child.send(":q!\r" if editor == "vim" else "\x18")
        child.expect_exact("secrets/wifi.age: unchanged")
        assert ended(child) == 0
    assert changed(fleet, before) == set()


def test_a_terminal_that_goes_away_loses_no_text(
    fleet: Fleet, memory: Path, editor: str
) -> None:
    before = fleet.snapshot()
    with terminal(fleet, "edit", "secrets/wifi.age") as child:
        replace(child, editor, "wifi", CANARY)
        child.close(force=False)  # the window is closed: SIGHUP, nothing was saved
        deadline = time.monotonic() + 20
        while not kept(fleet) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert len(kept(fleet)) == 1
    while left_in(memory) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_in(memory) == []
    assert changed(fleet, before) == set()
    assert plaintext_below(fleet.home) == []
    assert plaintext_below(fleet.root) == []
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", "--resume")
    assert fleet.age_decrypt("secrets/wifi.age", "alice").strip() == (
        f"{CANARY}-canary".encode()
    )


def test_ctrl_c_in_the_editor_is_the_editors(fleet: Fleet, editor: str) -> None:
    with terminal(fleet, "edit", "secrets/wifi.age") as child:
        child.expect_exact("wifi-canary")
        time.sleep(0.3)
        child.send("\x03")
        time.sleep(0.3)
        replace_again = ":%s/wifi/lan/\r:wq\r"
        if editor == "vim":
            child.send("\x1b" + replace_again)
        else:
            child.send("lan")
            save_and_quit(child, editor)
        assert ended(child) == 0, child.before
    assert b"lan" in fleet.age_decrypt("secrets/wifi.age", "alice")


def test_a_text_that_does_not_parse_is_opened_again_in_the_editor(
    fleet: Fleet, editor: str
) -> None:
    with terminal(fleet, "edit", "secrets/app.yaml") as child:
        replace(child, editor, "app-canary", "[broken")
        save_and_quit(child, editor)
        child.expect_exact("sops cannot store the content as yaml")
        child.expect_exact("edit it again? [Y/n]")
        child.sendline("y")
        replace(child, editor, "broken", f"{CANARY}]")
        save_and_quit(child, editor)
        assert ended(child) == 0, child.before
    assert CANARY.encode() in sops_text(fleet, "secrets/app.yaml")
    assert kept(fleet) == []


def test_without_an_editor_set_vi_is_started_on_a_terminal(fleet: Fleet) -> None:
    program("vi")
    with terminal(fleet, "edit", "secrets/wifi.age") as child:
        replace(child, "vim", "wifi", CANARY)
        save_and_quit(child, "vim")
        assert ended(child) == 0
    assert fleet.age_decrypt("secrets/wifi.age", "alice") == (
        f"{CANARY}-canary".encode()
    )
