"""What was typed is saved or kept; a file that changed is never overwritten."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import changed
from tests.edit.helpers import (
    CANARY,
    ended,
    kept,
    left_in,
    plaintext_below,
    script,
    sops_text,
    terminal,
)
from tests.fleet import PROJECT, Fleet, await_end

WIFI, DNS = "secrets/wifi.age", "secrets/dns.yaml"
TYPE = f'printf "{CANARY}\\n" > "$1"'
TYPE_YAML = f'printf "dns: {CANARY}\\n" > "$1"'


def test_an_editor_that_fails_changes_nothing(fleet: Fleet, memory: Path) -> None:
    script(fleet, "exit 3")
    before = fleet.snapshot()
    done = fleet.run("edit", WIFI)
    assert done.returncode == 1
    assert "ended with exit code 3; nothing was changed" in done.stderr
    assert "kept" not in done.stderr
    assert changed(fleet, before) == set()
    assert kept(fleet) == []
    assert left_in(memory) == []


def test_a_text_saved_before_the_editor_failed_is_kept(
    fleet: Fleet, memory: Path
) -> None:
    script(fleet, f"{TYPE}\nexit 3")
    before = fleet.snapshot()
    done = fleet.run("edit", WIFI)
    assert done.returncode == 1
    assert (
        "nixsecrets: hint: your draft is kept, encrypted to you:"
        f" nixsecrets edit --resume {WIFI}\n"
    ) in done.stderr
    assert changed(fleet, before) == set()
    assert len(kept(fleet)) == 1
    assert plaintext_below(fleet.root) == []
    assert left_in(memory) == []


def test_an_editor_that_is_killed_is_said_to_be(fleet: Fleet, memory: Path) -> None:
    script(fleet, f"{TYPE}\nkill -SEGV $$")
    done = fleet.run("edit", WIFI)
    assert done.returncode == 1
    assert "was ended by SIGSEGV" in done.stderr
    assert len(kept(fleet)) == 1
    assert left_in(memory) == []


def test_a_kept_text_is_resumed_and_then_gone(fleet: Fleet, memory: Path) -> None:
    script(fleet, f"{TYPE}\nexit 3")
    fleet.run("edit", WIFI)
    script(fleet, f'grep -q {CANARY} "$1" && echo more >> "$1"')
    done = fleet.run("edit", "--resume")
    assert done.returncode == 0, done.stderr
    assert fleet.age_decrypt(WIFI, "alice") == f"{CANARY}\nmore\n".encode()
    assert kept(fleet) == []
    again = fleet.run("edit", "--resume")
    assert again.returncode == 1
    assert "no draft is saved" in again.stderr


def test_a_resumed_text_is_saved_even_if_nothing_more_is_typed(fleet: Fleet) -> None:
    script(fleet, f"{TYPE}\nexit 3")
    fleet.run("edit", WIFI)
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", "--resume", WIFI)
    assert fleet.age_decrypt(WIFI, "alice") == f"{CANARY}\n".encode()


def test_a_text_that_is_resumed_in_vain_is_kept_once(fleet: Fleet) -> None:
    script(fleet, f"{TYPE}\nexit 3")
    fleet.run("edit", WIFI)
    for _ in range(2):
        assert fleet.run("edit", "--resume", WIFI).returncode == 1
        assert len(kept(fleet)) == 1


def test_kept_texts_of_several_secrets_have_to_be_named(fleet: Fleet) -> None:
    script(fleet, f"{TYPE_YAML}\nexit 3")
    fleet.run("edit", WIFI)
    fleet.run("edit", DNS)
    done = fleet.run("edit", "--resume")
    assert done.returncode == 1
    assert "there are drafts of several secrets; name one" in done.stderr
    assert f"nixsecrets edit --resume {DNS}" in done.stderr
    assert fleet.run("edit", "--discard", DNS).returncode == 1
    assert len(kept(fleet)) == 2
    fleet.ok("edit", "--discard", DNS, "--yes")
    assert len(kept(fleet)) == 1
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", "--resume")


def test_a_later_edit_says_that_a_text_is_kept(fleet: Fleet) -> None:
    script(fleet, f"{TYPE}\nexit 3")
    fleet.run("edit", WIFI)
    fleet.env["EDITOR"] = "true"
    done = fleet.run("edit", WIFI)
    assert f"{WIFI} has an unsaved draft" in done.stderr
    assert len(kept(fleet)) == 1


def test_a_full_staging_folder_leaves_the_text_in_memory(
    fleet: Fleet, memory: Path
) -> None:
    staging = fleet.root / ".git" / "nixsecrets"
    (staging / "kept").write_text("no folder can be made here")
    script(fleet, f"{TYPE}\nexit 3")
    done = fleet.run("edit", WIFI)
    assert done.returncode == 1
    assert "your draft is kept" in done.stderr
    assert len(left_in(memory)) == 1
    assert plaintext_below(memory) == []
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", "--resume")
    assert left_in(memory) == []
    assert fleet.age_decrypt(WIFI, "alice") == f"{CANARY}\n".encode()


def test_without_an_own_key_the_text_stays_in_memory(
    fleet: Fleet, memory: Path
) -> None:
    del fleet.env["NIXSECRETS_IDENTITY"]
    script(fleet, f"{TYPE}\nexit 3")
    done = fleet.run("edit", "secrets/new.age")
    assert done.returncode == 1
    assert f"your draft is kept, in memory, in {memory}/nixsecrets-kept-" in (
        done.stderr
    )
    assert plaintext_below(fleet.root) == []
    (place,) = left_in(memory)
    assert (memory / place).stat().st_mode & 0o777 == 0o600
    assert (memory / place).parent.stat().st_mode & 0o777 == 0o700
    fleet.ok("status")  # the next command leaves it where it is
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", "--resume")
    assert fleet.age_decrypt("secrets/new.age", "brunnen") == f"{CANARY}\n".encode()
    assert left_in(memory) == []


def test_a_text_that_cannot_be_encrypted_is_kept(fleet: Fleet, memory: Path) -> None:
    script(fleet, 'printf "a: [\\n" > "$1"')
    before = fleet.snapshot()
    done = fleet.run("edit", DNS)
    assert done.returncode == 1
    assert "sops cannot store the content as yaml" in done.stderr
    assert f"nixsecrets edit --resume {DNS}" in done.stderr
    assert changed(fleet, before) == set()
    assert len(kept(fleet)) == 1
    assert left_in(memory) == []


def test_without_sops_the_text_is_kept(fleet: Fleet) -> None:
    path = f"{fleet.home}/bin"
    Path(path).mkdir()
    broken = Path(path) / "sops"
    broken.write_text("#!/bin/sh\nexit 1\n")
    script(fleet, f'{TYPE_YAML}\nchmod 755 "{broken}"')
    fleet.env["PATH"] = f"{path}:{fleet.env['PATH']}"
    done = fleet.run("edit", DNS)
    assert done.returncode == 1, done.stderr
    assert f"nixsecrets edit --resume {DNS}" in done.stderr
    broken.unlink()
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", "--resume")
    assert CANARY.encode() in sops_text(fleet, DNS)


@pytest.mark.parametrize("path", [WIFI, DNS])
def test_a_file_that_changed_meanwhile_is_not_overwritten(
    fleet: Fleet, path: str
) -> None:
    other = fleet.root / path
    inner = fleet.home / "inner"
    inner.write_text('#!/bin/sh\nprintf "dns: theirs\\n" > "$1"\n')
    inner.chmod(0o755)
    nested = (
        f'EDITOR="{inner}" PYTHONPATH="{PROJECT}" "{sys.executable}" -m nixsecrets'
        f" edit {path} 2>/dev/null"
    )
    script(fleet, f"{TYPE_YAML}\n{nested}")
    done = fleet.run("edit", path)
    assert done.returncode == 1
    assert f"{path} changed on disk while it was edited" in done.stderr
    assert "nothing was written" in done.stderr
    assert len(kept(fleet)) == 1
    after = other.read_bytes()
    fleet.env["EDITOR"] = "true"
    again = fleet.run("edit", "--resume")
    assert again.returncode == 1, "the conflict is not forgotten"
    assert other.read_bytes() == after
    assert len(kept(fleet)) == 1


def test_a_secret_that_was_made_meanwhile_is_not_overwritten(fleet: Fleet) -> None:
    path = "secrets/new.age"
    copy = f'cp "{fleet.root / WIFI}" "{fleet.root / path}"'
    script(fleet, f"{TYPE}\n{copy}")
    done = fleet.run("edit", path)
    assert done.returncode == 1
    assert "changed on disk" in done.stderr
    assert fleet.read(path) == fleet.read(WIFI)


def test_on_a_terminal_both_versions_are_opened(fleet: Fleet) -> None:
    path = "secrets/app.yaml"
    inner = fleet.home / "inner"
    inner.write_text('#!/bin/sh\nprintf "app: theirs\\n" > "$1"\n')
    inner.chmod(0o755)
    nested = (
        f'EDITOR="{inner}" PYTHONPATH="{PROJECT}" "{sys.executable}" -m nixsecrets'
        f" edit {path} >/dev/null 2>&1 </dev/null"
    )
    once = f'test -e "{fleet.home}/once" && {{ cat "$1" > "{fleet.home}/seen"; '
    once += f'printf "app: both\\n" > "$1"; exit 0; }}\n: > "{fleet.home}/once"'
    script(fleet, f'{once}\nprintf "app: mine\\n" > "$1"\n{nested}')
    with terminal(fleet, "edit", path) as child:
        child.expect_exact("changed on disk while it was edited")
        child.expect_exact("open both in the editor? [Y/n]")
        child.sendline("y")
        assert ended(child) == 0, child.before
    assert (fleet.home / "seen").read_text() == (
        "<<<<<<< your draft\napp: mine\n=======\napp: theirs\n>>>>>>> on disk\n"
    )
    assert sops_text(fleet, path) == b"app: both\n"
    assert kept(fleet) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_editor_and_keeps_what_it_saved(
    fleet: Fleet, memory: Path, number: signal.Signals, code: int
) -> None:
    script(fleet, f"{TYPE}\ntouch '{fleet.home}/started'\nexec sleep 60")
    child = start(fleet, "edit", WIFI)
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == code
    assert "your draft is kept, encrypted to you" in err
    assert len(kept(fleet)) == 1
    assert left_in(memory) == []


def test_ctrl_c_in_the_editor_ends_the_command(fleet: Fleet, memory: Path) -> None:
    script(fleet, f"{TYPE}\nkill -INT $$")
    done = fleet.run("edit", WIFI)
    assert done.returncode == 130
    assert "your draft is kept" in done.stderr
    assert left_in(memory) == []


def test_what_a_kill_leaves_the_next_command_removes(
    fleet: Fleet, memory: Path
) -> None:
    script(fleet, f"{TYPE}\ntouch '{fleet.home}/started'\nexec sleep 60")
    child = start(fleet, "edit", WIFI)
    os.killpg(child.pid, signal.SIGKILL)  # the editor too, as the OOM killer may
    child.communicate()
    assert plaintext_below(memory) != []
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", DNS)
    assert left_in(memory) == []


def test_while_the_editor_of_a_killed_run_is_open_its_text_stays(
    fleet: Fleet, memory: Path
) -> None:
    started, on = fleet.home / "started", fleet.home / "on"
    wait = f"while [ ! -e '{on}' ]; do sleep 0.05; done"
    script(fleet, f"echo $$ > '{started}.pid'; {TYPE}\ntouch '{started}'\n{wait}")
    child = start(fleet, "edit", WIFI)
    child.kill()  # the editor goes on
    child.wait()
    assert child.stderr is not None
    child.stderr.close()
    fleet.env["EDITOR"] = "true"
    fleet.ok("edit", DNS)
    fleet.ok("set", WIFI, "--yes", stdin="another")
    assert plaintext_below(memory) != []
    on.touch()
    await_end(int(Path(f"{started}.pid").read_text()))
    fleet.ok("edit", DNS)
    assert left_in(memory) == []


def start(fleet: Fleet, *args: str) -> "subprocess.Popen[str]":
    """Start nixsecrets and wait until its editor runs."""
    child = subprocess.Popen(
        [sys.executable, "-m", "nixsecrets", *args],
        cwd=fleet.root,
        env={**fleet.env, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=os.setsid,
    )
    deadline = time.monotonic() + 30
    while not (fleet.home / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return child


def test_the_editor_gets_no_stdin_and_no_fall_back_without_a_terminal(
    fleet: Fleet,
) -> None:
    script(fleet, 'cat > "$1"')
    done = fleet.run("edit", WIFI, "--allow-empty", stdin="from the pipe")
    assert done.returncode == 0
    assert fleet.age_decrypt(WIFI, "alice") == b""
    del fleet.env["EDITOR"]
    done = fleet.run("edit", DNS, stdin="dns: from the pipe\n")
    assert done.returncode == 1
    assert "there is no editor" in done.stderr
    assert "nixsecrets set" in done.stderr


def test_the_editor_sees_no_credentials(fleet: Fleet) -> None:
    seen = fleet.home / "seen"
    script(fleet, f'env | cut -d= -f1 > "{seen}"')
    secrets = {"VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "SOPS_AGE_KEY", "MY_PASSWORD"}
    fleet.env |= dict.fromkeys(secrets, "") | {"NVIM_APPNAME": "mine"}
    fleet.ok("edit", WIFI)
    names = set(seen.read_text().split())
    assert {"PATH", "HOME", "TERM", "NVIM_APPNAME", "TMPDIR"} <= names
    assert not names & secrets


def test_the_buffer_is_private_and_ends_as_the_secret_does(fleet: Fleet) -> None:
    seen = fleet.home / "seen"
    script(
        fleet,
        f'(stat -c "%a %n" "$1" "$(dirname "$1")"; echo $TMPDIR; ulimit -c) > "{seen}"',
    )
    fleet.ok("edit", DNS)
    first = seen.read_text().splitlines()
    fleet.ok("edit", DNS)
    second = seen.read_text().splitlines()
    mode, name = first[0].split()
    assert mode == "600"
    assert name.endswith(".yaml")
    assert Path(name).name != Path(second[0].split()[1]).name
    assert first[1].split()[0] == "700"
    assert first[2] == str(Path(name).parent)
    assert first[3] == "0"


def test_an_added_final_newline_is_no_change(fleet: Fleet) -> None:
    script(fleet, 'echo >> "$1"')
    before = fleet.snapshot()
    done = fleet.run("edit", WIFI)
    assert done.stderr == f"{WIFI}: unchanged\n"
    assert changed(fleet, before) == set()


def test_an_editor_that_does_not_wait_is_explained(fleet: Fleet) -> None:
    program = script(fleet, "exit 0", name="code")
    done = fleet.run("edit", WIFI)
    assert done.returncode == 1
    assert "did not wait for you to finish" in done.stderr
    assert f"EDITOR='{program} --wait'" in done.stderr
    fleet.env["EDITOR"] = f"{program} --wait"
    done = fleet.run("edit", WIFI)
    assert done.returncode == 0
    assert "code may keep copies of what it edits" in done.stderr


def test_a_text_that_does_not_parse_is_opened_again_at_the_line(fleet: Fleet) -> None:
    body = f'''
echo "$*" >> "{fleet.home}/calls"
for last; do :; done
if test -e "{fleet.home}/once"; then
cp "$last" "{fleet.home}/seen"; printf "a: 1\\n" > "$last"
else : > "{fleet.home}/once"; printf "a: 1\\nb: [\\n" > "$last"; fi'''
    script(fleet, body, name="joe")
    with terminal(fleet, "edit", "secrets/new.yaml") as child:
        child.expect_exact("sops cannot store the content as yaml (line ")
        child.expect_exact("edit it again? [Y/n]")
        child.sendline("")
        assert ended(child) == 0, child.before
    calls = (fleet.home / "calls").read_text().splitlines()
    assert not calls[0].startswith("+")
    assert calls[1].startswith("+")
    assert (fleet.home / "seen").read_text() == "a: 1\nb: [\n"
    assert sops_text(fleet, "secrets/new.yaml") == b"a: 1\n"
