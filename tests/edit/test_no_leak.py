"""A canary through every command, also failing ones: it is seen nowhere it must not."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import copied
from tests.edit.helpers import CANARY, left_in, plaintext_below, put, script
from tests.fleet import PROJECT, Fleet

WIFI, APP = "secrets/wifi.age", "secrets/app.yaml"
SEEN = CANARY.encode()


class Watch:
    """Looks at `/proc` of everything that runs below one process."""

    def __init__(self, root: int) -> None:
        """Start looking."""
        self.found: set[str] = set()
        self.looks = 0
        self._root, self._end = root, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.is_set():
            for process in self._below():
                for what in ("cmdline", "environ"):
                    if SEEN in _read(f"/proc/{process}/{what}"):
                        self.found.add(what)
            self.looks += 1
            self._end.wait(0.002)

    def _below(self) -> list[int]:
        """Return the process and all that came from it."""
        found = [self._root]
        for process in found:
            children = _read(f"/proc/{process}/task/{process}/children")
            found += map(int, children.split())
        return found


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def watched(
    fleet: Fleet, args: Sequence[str], stdin: bytes = b""
) -> tuple[int, bytes, bytes, Watch]:
    """Run a command while it is watched: exit code, stdout, stderr, the watch."""
    child = subprocess.Popen(
        [sys.executable, "-m", "nixsecrets", *args],
        env={**fleet.env, "PYTHONPATH": str(PROJECT)},
        cwd=fleet.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    watch = Watch(child.pid)
    try:
        out, err = child.communicate(stdin, timeout=120)
    finally:
        watch.stop()
    return child.returncode, out, err, watch


YAML = b"app: " + SEEN + b"\n"
BAD_YAML = YAML + b"b: [" + SEEN + b"\n"
BAD_JSON = b'{"a": "' + SEEN + b'", "n": 12345678901234567890}'
# arguments, stdin, exit code; `edit` gets an editor that writes its stdin's text
RUNS: dict[str, tuple[tuple[str, ...], bytes, int]] = {
    "set": (("set", WIFI), SEEN, 0),
    "set a new one": (("set", "secrets/n.age"), SEEN, 0),
    "set yaml": (("set", APP), YAML, 0),
    "set a value": (("set", APP, "--key", "x/y"), SEEN, 0),
    "set a value of a new file": (("set", "secrets/n.ini", "--key", "x/y"), SEEN, 0),
    "set, dry": (("set", WIFI, "--dry-run", "--json"), SEEN, 0),
    "set what sops cannot parse": (("set", APP), BAD_YAML, 1),
    "set what sops would change": (("set", "secrets/n.json"), BAD_JSON, 1),
    "set what is cut short": (("set", "secrets/n.ini"), b"[a]\nb = c#" + SEEN, 1),
    "set without levels": (("set", "secrets/n.env"), SEEN, 1),
    "set binary": (("set", APP, "--key", "a"), SEEN + b"\xff", 1),
    "set where no rule is": (("set", "other/n.age"), SEEN, 1),
    "set with a bad key": (("set", APP, "--key", "a//b"), SEEN, 2),
    "edit": (("edit", WIFI), SEEN, 0),
    "edit yaml": (("edit", APP), YAML, 0),
    "edit what does not parse": (("edit", APP), BAD_YAML, 1),
    "edit what sops would change": (("edit", "secrets/n.json"), BAD_JSON, 1),
    "cat to nowhere": (("cat", "secrets/held.age", "--output", "secrets"), b"", 2),
    "cat without that value": (("cat", "secrets/held.yaml", "--key", "z"), b"", 1),
    "generate over it": (("generate", "secrets/held.age", "--yes"), b"", 0),
    "mv": (("mv", "secrets/held.age", "secrets/m.age"), b"", 0),
    "mv to others": (
        ("mv", "secrets/held.yaml", "secrets/dns.m.yaml", "--yes", "--allow-revoke"),
        b"",
        0,
    ),
    "rm": (("rm", "secrets/held.yaml", "--yes"), b"", 0),
    "ls": (("ls", "--json"), b"", 0),
    "status": (("status",), b"", 0),
    "check": (("check",), b"", 0),
    "why": (("why", "secrets/held.yaml"), b"", 0),
    "git-setup": (("git-setup",), b"", 0),
    "rekey": (("rekey", "--yes"), b"", 0),
    "remove-host": (("remove-host", "brunnen", "--yes"), b"", 0),
}


@pytest.fixture(scope="module")
def held(template: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A fleet with secrets of both backends that hold the canary already."""
    fleet = copied(template, tmp_path_factory.mktemp("held") / "fleet")
    put(fleet, "secrets/held.age", value=SEEN)
    put(fleet, "secrets/held.yaml", value=b"held: " + SEEN + b"\n")
    fleet.commit("held")
    return fleet


@pytest.fixture
def holding(held: Fleet, tmp_path: Path, memory: Path) -> Fleet:
    """A copy of it; its private folders are made in `memory`."""
    fleet = copied(held, tmp_path / "fleet")
    fleet.env["XDG_RUNTIME_DIR"] = str(memory)
    return fleet


@pytest.mark.parametrize("name", RUNS)
def test_the_canary_stays_inside(holding: Fleet, memory: Path, name: str) -> None:
    args, given, code = RUNS[name]
    if args[0] == "edit":
        written = memory / "typed-by-the-test"
        written.write_bytes(given)
        script(holding, f'cat "{written}" > "$1"')
    ended, out, err, watch = watched(holding, args, given)
    (memory / "typed-by-the-test").unlink(missing_ok=True)
    assert ended == code, err.decode()
    assert SEEN not in out + err
    assert watch.found == set()
    assert watch.looks > 0
    assert plaintext_below(holding.root.parent) == []
    assert left_in(memory) == []


@pytest.mark.parametrize("args", [(WIFI,), (APP, "--key", "app")])
def test_a_bug_shows_no_value(
    fleet: Fleet, tmp_path: Path, args: tuple[str, ...]
) -> None:
    folder = tmp_path / "sabotage"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "from nixsecrets.repo import staging\n"
        "def broken(self, path, blocks, *, before):\n"
        "    raise ValueError(list(blocks))\n"
        "staging.Batch.stage_blocks = broken\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "nixsecrets", "set", *args],
        input=SEEN,
        env={**fleet.env, "PYTHONPATH": f"{PROJECT}:{folder}"},
        cwd=fleet.root,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr.decode()
    assert b"this is a bug in nixsecrets (ValueError)" in done.stderr
    assert SEEN not in done.stdout + done.stderr
    assert plaintext_below(fleet.root.parent) == []


def test_the_watch_does_see(fleet: Fleet) -> None:
    script(fleet, "sleep 1; true")  # no exec: the shell stays, with its arguments
    fleet.env["EDITOR"] += f" {CANARY}"
    *_, watch = watched(fleet, ("edit", WIFI))
    assert "cmdline" in watch.found
    assert "environ" in watch.found
