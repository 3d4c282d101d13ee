"""Line ends: what git checks out with CRLF is no drift, and keeps its line ends."""

from tests.cli.conftest import changed, set_editor, write_secret
from tests.fleet import Fleet, program, run_program

PROTECTED = "nixsecrets.lock merge=union\n*.age -text -merge\n*.env -text\n"
PUBLIC = ("nixsecrets.toml", "nixsecrets.lock", ".sops.yaml", "secrets/secrets.nix")
MORE = {"secrets/e.env": "A=env-canary\nB=c\n", "secrets/i.ini": "[x]\na = ini\n"}


def check_out(fleet: Fleet, attributes: str) -> None:
    """Commit everything, and check it out as Git for Windows does by default."""
    for path, content in MORE.items():
        write_secret(fleet, path, content)
    fleet.age_encrypt("secrets/armored.age", "armored-canary", "alice", armor=True)
    fleet.ok("rekey", "--yes")
    fleet.write(".gitattributes", attributes)
    fleet.commit("all")
    fleet.git("config", "core.autocrlf", "true")
    for path in fleet.git("ls-files").split():
        (fleet.root / path).unlink()
    fleet.git("checkout", "--", ".")


def line_ends(fleet: Fleet) -> dict[str, str]:
    """The line ends of each text: lf, crlf, mixed; without binary age files."""
    found = {}
    for path, data in fleet.snapshot().items():
        if path.endswith(".age") and "armored" not in path:
            continue
        windows, all_ = data.count(b"\r\n"), data.count(b"\n")
        found[path] = "lf" if not windows else "crlf" if windows == all_ else "mixed"
    return found


def test_a_checkout_with_autocrlf_is_no_drift(ready: Fleet) -> None:
    check_out(ready, PROTECTED)
    ends = line_ends(ready)
    assert {ends[path] for path in PUBLIC} == {"crlf"}
    assert ends["secrets/app.yaml"] == ends["secrets/i.ini"] == "crlf"
    assert ends["secrets/e.env"] == ends["secrets/armored.age"] == "lf"
    assert ready.ok("check") == ""
    before = ready.snapshot()
    for command in (("sync",), ("rekey", "--yes")):
        ready.ok(*command)
        assert changed(ready, before) == set()


def test_commands_keep_the_line_ends_and_git_commits_lf(ready: Fleet) -> None:
    check_out(ready, PROTECTED)
    before = line_ends(ready)
    key = ready.add_host("neu").public
    ready.ok("add-host", "neu", "--key", key, "--group", "server", "--yes")
    assert line_ends(ready) == before  # grants: not one line end is another
    ready.ok("remove-host", "stein", "--yes")
    ready.env["EDITOR"] = set_editor(ready, "app: other-canary\n")
    ready.ok("edit", "secrets/app.yaml")
    ready.ok("set", "secrets/i.ini", "--key", "x/a", stdin="changed")
    ends = line_ends(ready)
    assert {path: ends[path] for path in PUBLIC} == dict.fromkeys(PUBLIC, "crlf")
    assert "mixed" not in ends.values()
    assert ready.ok("check") == ""
    assert ready.ok("cat", "secrets/app.yaml") == "app: other-canary\n"
    assert ready.ok("cat", "secrets/e.env") == MORE["secrets/e.env"]
    assert ready.age_decrypt("secrets/armored.age", "neu") == b"armored-canary"
    ready.git("add", "-A")
    ready.git("commit", "-q", "-m", "after")
    for path in ready.git("ls-files").split():
        if path in PUBLIC or path.endswith((".yaml", ".ini", ".json", ".env")):
            assert b"\r" not in blob(ready, path), path


def blob(fleet: Fleet, path: str) -> bytes:
    """What the last commit holds of a file."""
    argv = (program("git"), "cat-file", "blob", f"HEAD:{path}")
    return run_program(*argv, env=fleet.env, cwd=fleet.root)


def test_without_the_attributes_what_is_spoilt_is_named(ready: Fleet) -> None:
    check_out(ready, "")
    sound = blob(ready, "secrets/wifi.age")  # git takes only some for text
    ready.write("secrets/wifi.age", sound.replace(b"\n", b"\r\n"))
    done = ready.run("check")
    assert done.returncode == 1
    told = [line for line in done.stdout.splitlines() if line.startswith("NS")]
    reasons = dict(line.split(": ", 1) for line in told)
    assert reasons["NS002  secrets/e.env"] == (
        "the file has CRLF line ends, which sops treats as part of the values"
    )
    assert reasons["NS002  secrets/wifi.age"] == (
        "the age file is corrupted by CRLF line ends, as git's core.autocrlf writes"
        " them"
    )
    assert "core.autocrlf" in ready.ok("explain", "NS002")
    ready.ok("git-setup", "--yes")
    lines = ready.read(".gitattributes").decode().splitlines()
    assert set(PROTECTED.splitlines()) <= set(lines)
    for path in ready.git("ls-files").split():
        if path.endswith((".age", ".env")):
            (ready.root / path).unlink()
    ready.git("checkout", "--", "secrets")
    assert ready.ok("check") == ""
