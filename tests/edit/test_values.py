"""`cat`, `set` and `generate`: exact bytes in, exact bytes out, nothing by accident."""

import base64
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import changed
from tests.edit.helpers import (
    CANARY,
    ended,
    kept,
    left_in,
    put,
    run_bytes,
    script,
    sops_text,
    terminal,
)
from tests.fleet import PROJECT, Fleet, program, run_program, sops_path

WIFI, DNS, APP = "secrets/wifi.age", "secrets/dns.yaml", "secrets/app.yaml"
BINARY = bytes(range(256)) * 3
VALUES = [b"x", b"two\nlines\n", b" blanks \t", BINARY, b"\n", "übung".encode()]


@pytest.mark.parametrize("path", [WIFI, "secrets/new.age", "secrets/new.bin"])
@pytest.mark.parametrize("value", VALUES)
def test_the_bytes_come_back_exactly(fleet: Fleet, path: str, value: bytes) -> None:
    put(fleet, path, value=value)
    done = run_bytes(fleet, "cat", path)
    assert done.stdout == value
    if path.endswith(".age"):
        assert fleet.age_decrypt(path, "brunnen") == value


def test_strip_newline_drops_one_line_end(fleet: Fleet) -> None:
    for given, stored in ((b"a\n\n", b"a\n"), (b"a\r\n", b"a"), (b"a", b"a")):
        put(fleet, WIFI, "--strip-newline", value=given)
        assert fleet.age_decrypt(WIFI, "alice") == stored


def test_an_empty_value_is_never_an_accident(fleet: Fleet) -> None:
    before = fleet.snapshot()
    for path in (WIFI, APP, "secrets/new.age"):
        done = run_bytes(fleet, "set", path)
        assert done.returncode == 1
        assert b"the value is empty; nothing was changed" in done.stderr
    done = run_bytes(fleet, "set", APP, "--key", "app")
    assert done.returncode == 1
    assert changed(fleet, before) == set()
    put(fleet, WIFI, "--allow-empty", value=b"")
    assert fleet.age_decrypt(WIFI, "alice") == b""


def test_sops_has_no_empty_yaml_or_json_and_that_is_said(fleet: Fleet) -> None:
    before = fleet.snapshot()
    for path in (APP, "secrets/new.json"):
        done = run_bytes(fleet, "set", path, "--allow-empty")
        assert done.returncode == 1
        assert b"the text is empty, and sops cannot store an empty" in done.stderr
        assert b"nixsecrets rm FILE removes the secret" in done.stderr
        assert b"has to be opened" not in done.stderr
    assert changed(fleet, before) == set()


def test_the_same_value_again_changes_no_byte(fleet: Fleet) -> None:
    put(fleet, WIFI, value=b"v")
    put(fleet, APP, "--key", "app", value=b"v")
    before = fleet.snapshot()
    for args in ((WIFI,), (APP, "--key", "app")):
        done = run_bytes(fleet, "set", *args, stdin=b"v")
        assert done.returncode == 0
        assert done.stderr.decode() == f"{args[0]}: unchanged\n"
    assert changed(fleet, before) == set()


def test_from_a_file(fleet: Fleet) -> None:
    source = fleet.home / "tls.key"
    source.write_bytes(BINARY)
    put(fleet, WIFI, "--from-file", str(source), value=b"not this")
    assert fleet.age_decrypt(WIFI, "alice") == BINARY
    done = run_bytes(fleet, "set", WIFI, "--from-file", "missing")
    assert done.returncode == 1
    assert b'cannot read "missing"' in done.stderr


def test_on_a_terminal_the_value_is_asked_for_twice_and_not_shown(fleet: Fleet) -> None:
    with terminal(fleet, "set", WIFI) as child:
        child.expect_exact("value of secrets/wifi.age: ")
        child.sendline(CANARY)
        child.expect_exact("once more: ")
        child.sendline(CANARY)
        assert ended(child) == 0, child.before
        assert CANARY not in (child.before or "")
    assert fleet.age_decrypt(WIFI, "alice") == CANARY.encode()
    with terminal(fleet, "set", WIFI) as child:
        child.expect_exact("value of secrets/wifi.age: ")
        child.sendline("one")
        child.expect_exact("once more: ")
        child.sendline("other")
        assert ended(child) == 1
    assert fleet.age_decrypt(WIFI, "alice") == CANARY.encode()


TREES = {
    "secrets/t.yaml": (
        "b:\n  c: old\n  # why\n  list:\n    - x\n    - y\nz: 1\n",
        "b/c",
    ),
    "secrets/t.json": ('{"b": {"c": "old", "list": ["x", "y"]}, "z": 1}', "b/c"),
    "secrets/t.env": ("C=old\nZ=1\n", "C"),
    "secrets/t.ini": ("[b]\nc = old\n[z]\nz = 1\n", "b/c"),
}


@pytest.mark.parametrize("path", TREES)
def test_one_value_of_each_format_is_read_and_set(fleet: Fleet, path: str) -> None:
    text, key = TREES[path]
    put(fleet, path, value=text.encode())
    assert run_bytes(fleet, "cat", path, "--key", key).stdout == b"old"
    before = fleet.read(path)
    put(fleet, path, "--key", key, value=CANARY.encode())
    assert run_bytes(fleet, "cat", path, "--key", key).stdout == CANARY.encode()
    lines = before.decode().splitlines()
    untouched = [one for one in lines if re.match(r'\s*"?[zZ]"?\s*[:=]', one)]
    assert untouched
    after = fleet.read(path).decode()
    assert all(one in after for one in untouched), "other values keep their ciphertext"
    assert CANARY.encode() in sops_text(fleet, path)


def test_levels_lists_and_new_values(fleet: Fleet) -> None:
    text, _ = TREES["secrets/t.yaml"]
    put(fleet, "secrets/t.yaml", value=text.encode())
    path = "secrets/t.yaml"
    assert run_bytes(fleet, "cat", path, "--key", "b/list/1").stdout == b"y"
    put(fleet, path, "--key", "b/list/1", value=b"two")
    put(fleet, path, "--key", "new/deep", value=b"true")
    plain = sops_text(fleet, path).decode()
    assert "- two" in plain
    assert 'deep: "true"' in plain, "a value that is set is text"
    assert "# why" in plain


@pytest.mark.parametrize("path", ["n.yaml", "n.json", "n.env", "n.ini"])
def test_a_new_file_with_one_value(fleet: Fleet, path: str) -> None:
    path = f"secrets/{path}"
    key = {"env": "KEY", "ini": "part/key"}.get(path[-3:], "part/key")
    put(fleet, path, "--key", key, value=b"value")
    assert run_bytes(fleet, "cat", path, "--key", key).stdout == b"value"
    assert b"value" in sops_text(fleet, path)


def test_set_key_changes_no_other_value_of_an_ini_or_dotenv_file(
    fleet: Fleet,
) -> None:
    """A text with a backslash at its end takes the next line of an INI file along."""
    text = "[db]\npassword = old\nuser = bob\n[web]\nport = 80\n"
    put(fleet, "secrets/t.ini", value=text.encode())
    put(fleet, "secrets/t.env", value=b"A=old\nB=b\n")
    for value in (
        "a\\",
        "x\ny = z\n[s]",
        '"q"',
        "a#b;c",
        "\\n",
        "`",
        " blanks ",
        '"""',
    ):
        put(fleet, "secrets/t.ini", "--key", "db/password", value=value.encode())
        put(fleet, "secrets/t.env", "--key", "A", value=value.encode())
        for path, key, held in (
            ("secrets/t.ini", "db/password", value),
            ("secrets/t.ini", "db/user", "bob"),
            ("secrets/t.ini", "web/port", "80"),
            ("secrets/t.env", "A", value),
            ("secrets/t.env", "B", "b"),
        ):
            found = run_bytes(fleet, "cat", path, "--key", key)
            assert found.stdout.decode() == held, (value, path, key)


def test_set_key_says_that_a_key_is_new_and_that_a_number_becomes_text(
    fleet: Fleet,
) -> None:
    path = "secrets/t.yaml"
    put(fleet, path, value=TREES[path][0].encode())
    before = fleet.read(path).decode().splitlines()
    done = run_bytes(fleet, "set", path, "--key", "b/new/deep", stdin=b"x")
    assert "secrets/t.yaml: b/new/deep is a new key" in done.stderr.decode()
    after = fleet.read(path).decode().splitlines()
    added = [line for line in after if line not in before]
    assert [line.split("ENC")[0] for line in added[:2]] == [
        "    new:",
        "        deep: ",
    ]
    assert len(after) == len(before) + 2
    done = run_bytes(fleet, "set", path, "--key", "z", stdin=b"2")
    assert "secrets/t.yaml: z was of type int" in done.stderr.decode()
    done = run_bytes(fleet, "set", path, "--key", "z", stdin=b"3")
    assert "z was" not in done.stderr.decode()


def test_set_key_runs_sops_once_and_cat_key_never(fleet: Fleet, tmp_path: Path) -> None:
    put(fleet, "secrets/t.yaml", value=TREES["secrets/t.yaml"][0].encode())
    counted, folder = tmp_path / "runs", tmp_path / "bin"
    folder.mkdir()
    (folder / "real").symlink_to(sops_path())
    wrapper = folder / "sops"
    lines = ("#!/bin/sh", f'echo "$3" >> "{counted}"', f'exec "{folder}/real" "$@"')
    wrapper.write_text("\n".join(lines) + "\n")
    wrapper.chmod(0o755)
    fleet.env["PATH"] = f"{folder}:{fleet.env['PATH']}"
    put(fleet, "secrets/t.yaml", "--key", "b/c", value=b"new")
    assert counted.read_text() == "decrypt\n", "the staged file is verified"
    assert run_bytes(fleet, "cat", "secrets/t.yaml", "--key", "b/c").stdout == b"new"
    assert counted.read_text() == "decrypt\n"


def test_what_changes_while_a_value_is_typed_counts(fleet: Fleet) -> None:
    place, the_map = fleet.root / DNS, fleet.root / "nixsecrets.toml"
    before, text = place.read_bytes(), the_map.read_text()
    with terminal(fleet, "set", DNS, "--key", "dns", "--yes") as child:
        child.expect("value of dns: ")
        the_map.write_text(text + "no table\n")
        for question in ("once more: ", "nixsecrets.toml:"):
            child.sendline("typed")
            child.expect(question)
        assert ended(child) == 1
    assert place.read_bytes() == before
    the_map.write_text(text)
    with terminal(fleet, "set", DNS, "--key", "dns", "--yes") as child:
        child.expect("value of dns: ")
        put(fleet, DNS, "--key", "dns", value=b"of another run")
        for question in ("once more: ", "changed on disk"):
            child.sendline("typed")
            child.expect(question)
        assert ended(child) == 1
    assert b"of another run" in sops_text(fleet, DNS)


def test_only_what_a_value_needs_is_read(fleet: Fleet, tmp_path: Path) -> None:
    fleet.commit()
    calls = tmp_path / "calls"
    command = (sys.executable, "-m", "nixsecrets", "set", DNS, "--key", "dns", "--yes")
    subprocess.run(
        ["strace", "-f", "-e", "trace=openat,execve", "-o", calls, *command],
        cwd=fleet.root,
        env={**fleet.env, "PYTHONPATH": str(PROJECT)},
        input=b"new",
        check=True,
        capture_output=True,
    )
    said = calls.read_text()
    assert f"/{DNS}" in said
    assert f"/{WIFI}" not in said
    git = [line for line in said.splitlines() if '["git", ' in line and "= 0" in line]
    assert len(git) <= 3, "the file, the history of the map, and of the removals"


def test_documents_and_unusual_names_have_a_key_path(fleet: Fleet) -> None:
    path = "secrets/t.yaml"
    put(fleet, path, value=b"a: x\ntls/crt: y\n---\na: z\n")
    assert run_bytes(fleet, "cat", path, "--key", "[2]/a").stdout == b"z"
    put(fleet, path, "--key", "[2]/a", value=b"two")
    put(fleet, path, "--key", r"tls\/crt", value=b"one")
    assert run_bytes(fleet, "cat", path, "--key", "[1]/a").stdout == b"x"
    assert run_bytes(fleet, "cat", path, "--key", "[2]/a").stdout == b"two"
    assert run_bytes(fleet, "cat", path, "--key", r"tls\/crt").stdout == b"one"
    done = run_bytes(fleet, "set", path, "--key", "a", stdin=b"x")
    assert done.returncode == 2
    assert b"several documents of the file have that value" in done.stderr
    assert b"--key [1]/" in done.stderr


def test_what_has_no_key_says_so(fleet: Fleet) -> None:
    before = fleet.snapshot()
    for args, code, said in (
        (("cat", WIFI, "--key", "a"), 2, "is an age file"),
        (("cat", DNS, "--key", "nothing/there"), 1, "the file has no such value"),
        (("cat", DNS, "--key", "a//b"), 2, "not a valid path to a value"),
        (("set", DNS, "--key", 'a"]["b'), 2, "not a valid path to a value"),
        (("set", DNS, "--key", "dns/below"), 1, "other values would be dropped"),
        (("set", "secrets/n.env", "--key", "a/b"), 2, "a dotenv file has no levels"),
        (("set", "secrets/n.ini", "--key", "s/a=b"), 2, "is not possible"),
        (("set", "secrets/n.env", "--key", "A=B"), 2, "is not possible"),
        (("set", DNS, "--key", "sops/mac"), 2, "sops reserves that name"),
        (("set", DNS, "--key", "[2]/a"), 2, "no document 2"),
        (("set", "secrets/n.bin", "--key", "a"), 2, "a single value"),
        (("cat", "secrets/none.age"), 1, "no such secret"),
    ):
        done = run_bytes(fleet, *args, stdin=b"x")
        assert (done.returncode, said in done.stderr.decode()) == (code, True), (
            args,
            done.stderr,
        )
    assert changed(fleet, before) == set()


def test_a_branch_is_not_replaced_by_a_value(fleet: Fleet) -> None:
    put(fleet, "secrets/t.yaml", value=TREES["secrets/t.yaml"][0].encode())
    before = fleet.snapshot()
    done = run_bytes(fleet, "set", "secrets/t.yaml", "--key", "b", stdin=b"x")
    assert done.returncode == 1
    assert b"other values would be dropped" in done.stderr
    assert changed(fleet, before) == set()


def test_a_binary_value_is_refused_in_sops_text_and_says_where_it_can_go(
    fleet: Fleet,
) -> None:
    done = run_bytes(fleet, "set", APP, "--key", "app", stdin=b"\xff\x00")
    assert done.returncode == 1
    assert b"the value is not text" in done.stderr
    assert b"keep it in an age file" in done.stderr


def test_age_files_are_written_by_who_cannot_read_them(fleet: Fleet) -> None:
    del fleet.env["NIXSECRETS_IDENTITY"]
    put(fleet, WIFI, value=b"blind")
    put(fleet, "secrets/new.age", value=b"new")
    put(fleet, "secrets/new.yaml", value=b"a: new\n")
    assert fleet.age_decrypt(WIFI, "brunnen") == b"blind"
    assert fleet.age_decrypt("secrets/new.age", "alice") == b"new"
    assert sops_text(fleet, "secrets/new.yaml") == b"a: new\n"
    before = fleet.snapshot()
    for args in ((APP,), (APP, "--key", "app")):
        done = run_bytes(fleet, "set", *args, stdin=b"app: new\n")
        assert done.returncode == 1
        assert b"a sops file has to be opened to be changed" in done.stderr
    assert changed(fleet, before) == set()


def test_cat_to_a_file_is_private_and_never_over_a_secret(fleet: Fleet) -> None:
    target = fleet.home / "out"
    fleet.ok("cat", WIFI, "--output", str(target))
    assert target.read_bytes() == b"wifi-canary"
    assert target.stat().st_mode & 0o777 == 0o600
    before = fleet.snapshot()
    for place, code, said in (
        (WIFI, 2, "is the path of a secret"),
        ("secrets/new.age", 2, "is the path of a secret"),
        ("plain.txt", 1, "git would add the plaintext"),
        ("secrets", 2, "is a folder"),
    ):
        done = fleet.run("cat", WIFI, "--output", place)
        assert done.returncode == code
        assert said in done.stderr
    assert changed(fleet, before) == set()
    fleet.write(".gitignore", "*.plain\n")
    fleet.ok("cat", WIFI, "--output", "ok.plain")
    assert fleet.read("ok.plain") == b"wifi-canary"


def test_cat_replaces_no_device(fleet: Fleet) -> None:
    pipe = fleet.home / "pipe"
    os.mkfifo(pipe)
    done = fleet.run("cat", WIFI, "--output", str(pipe))
    assert done.returncode == 2
    assert "is not a regular file" in done.stderr
    assert stat.S_ISFIFO(pipe.stat().st_mode)


GENERATED = {
    "password": rb"[A-Za-z0-9_-]{20}",
    "passphrase": rb"([bdfghjklmnprstvz][aiou]){2}[bdfghjklmnprstvz](-\w{5}){19}",
    "hex": rb"[0-9a-f]{40}",
    "base64": rb"[A-Za-z0-9+/]{27}=",
}


@pytest.mark.parametrize("kind", GENERATED)
def test_a_generated_value_has_its_form(fleet: Fleet, kind: str) -> None:
    values = set()
    for path in ("secrets/a.age", "secrets/b.age"):
        done = fleet.run("generate", path, "--kind", kind, "--length", "20")
        assert done.returncode == 0
        assert done.stdout == ""
        value = fleet.age_decrypt(path, "alice")
        assert re.fullmatch(GENERATED[kind], value)
        assert value.decode() not in done.stderr
        values.add(value)
    assert len(values) == 2


def test_key_pairs_show_their_public_half(fleet: Fleet) -> None:
    for kind in ("ssh-ed25519", "age", "wireguard"):
        path = f"secrets/{kind}.age"
        done = fleet.run("generate", path, "--kind", kind)
        assert done.returncode == 0, done.stderr
        assert fleet.read(path + ".pub").decode() == done.stdout
        assert f"{path}.pub" in done.stderr.splitlines()[-1]
    private = fleet.home / "id"
    private.touch(mode=0o600)
    private.write_bytes(fleet.age_decrypt("secrets/ssh-ed25519.age", "alice"))
    shown = run_program(program("ssh-keygen"), "-y", "-f", str(private), env=fleet.env)
    assert shown == fleet.read("secrets/ssh-ed25519.age.pub")
    private.write_bytes(fleet.age_decrypt("secrets/age.age", "alice"))
    shown = run_program(program("age-keygen"), "-y", str(private), env=fleet.env)
    assert shown == fleet.read("secrets/age.age.pub")
    secret = base64.b64decode(fleet.age_decrypt("secrets/wireguard.age", "alice"))
    assert len(secret) == 32
    assert secret[0] & 7 == 0
    assert secret[31] & 192 == 64
    assert fleet.ok("check") is not None


def test_a_value_is_replaced_only_after_a_yes(fleet: Fleet) -> None:
    before = fleet.snapshot()
    for args in ((WIFI,), (APP, "--key", "app")):
        done = fleet.run("generate", *args)
        assert done.returncode == 1
        assert "agree in advance with --yes" in done.stderr
    assert changed(fleet, before) == set()
    fleet.ok("generate", APP, "--key", "fresh")
    fleet.ok("generate", APP, "--key", "app", "--yes")
    assert b"app-canary" not in sops_text(fleet, APP)


def test_the_length_of_a_key_is_fixed(fleet: Fleet) -> None:
    done = fleet.run("generate", WIFI, "--kind", "age", "--length", "3")
    assert done.returncode == 2


DRY = ("--dry-run", "--json")


def test_a_dry_run_generates_and_writes_nothing(fleet: Fleet) -> None:
    before = fleet.snapshot()
    done = fleet.run(
        "generate", "secrets/x.age", "--kind", "age", "--dry-run", "--json"
    )
    assert json.loads(done.stdout)["steps"][-1]["path"] == "secrets/x.age.pub"
    assert fleet.run("set", WIFI, "--dry-run", stdin="v").returncode == 0
    assert changed(fleet, before) == set()


def test_new_values_are_encrypted_as_the_rule_says_now(fleet: Fleet) -> None:
    rule = (
        '[[secrets]]\npath = "secrets/k8s.yaml"\nreaders = ["server"]\n'
        'sops = {{ encrypted_regex = "{}" }}\n'
    )
    path = fleet.root / "nixsecrets.toml"
    head, tail = path.read_text().split("[[secrets]]", 1)
    path.write_text(head + rule.format("^data$") + "\n[[secrets]]" + tail)
    fleet.ok("sync")
    put(fleet, "secrets/k8s.yaml", value=b"kind: Secret\ndata: a\nstringData: open\n")
    assert b"kind: Secret" in fleet.read("secrets/k8s.yaml")
    assert b"stringData: open" in fleet.read("secrets/k8s.yaml")
    path.write_text(path.read_text().replace("^data$", "^(data|stringData)$"))
    done = run_bytes(
        fleet, "set", "secrets/k8s.yaml", "--key", "stringData", stdin=CANARY.encode()
    )
    assert done.returncode == 0, done.stderr
    assert b"its rule now selects other values" in done.stderr
    assert CANARY.encode() not in fleet.read("secrets/k8s.yaml")
    assert b"kind: Secret" in fleet.read("secrets/k8s.yaml")
    script(fleet, f'sed -i "s/stringData: .*/stringData: {CANARY}2/" "$1"')
    fleet.ok("edit", "secrets/k8s.yaml")
    assert CANARY.encode() not in fleet.read("secrets/k8s.yaml")
    assert f"{CANARY}2".encode() in sops_text(fleet, "secrets/k8s.yaml")


DAMAGED = {
    "secrets/d.ini": (b"[a]\nb = c#d\n", 1, "line 2: a/b is cut short"),
    "secrets/d.json": (
        b'{"a": 12345678901234567890}',
        1,
        "more digits than sops keeps",
    ),
    "secrets/d.yaml": (b"a: &x 1\nb: *x\n", 0, "sops expands YAML anchors"),
    "secrets/d.env": (
        b"export A=1\n",
        0,
        'has "export " as part of its name for sops',
    ),
}


@pytest.mark.parametrize("path", DAMAGED)
def test_what_sops_would_damage_is_said_before(fleet: Fleet, path: str) -> None:
    value, code, said = DAMAGED[path]
    done = run_bytes(fleet, "set", path, stdin=value)
    assert (done.returncode, said in done.stderr.decode()) == (code, True), done.stderr
    assert (fleet.root / path).exists() is (code == 0)


@pytest.mark.parametrize(
    ("path", "text", "said", "hint"),
    [
        ("secrets/p.yaml", "a: x\npin: 0123\n", "line 2: pin is read", 'pin: "…"'),
        ("secrets/p.ini", '[s]\nk = "a#b"\n', "line 2: s/k is cut short", "k = `…`"),
        ("secrets/p.env", "A=1\r\n", "line 1: A ends with CR", "LF line ends"),
        ("secrets/p.json", '{"a": 1,\n"a": 2}', "at line 2", "keep the intended one"),
    ],
)
def test_a_text_that_sops_would_not_give_back_is_refused_and_kept(
    fleet: Fleet, path: str, text: str, said: str, hint: str
) -> None:
    """By every way in which a person hands over a text."""
    source = fleet.home / "text"
    source.write_bytes(text.encode())
    for args in (("set", path), ("set", path, "--from-file", str(source))):
        done = run_bytes(fleet, *args, stdin=text.encode())
        assert done.returncode == 1
        assert said in done.stderr.decode(), done.stderr
        assert hint in done.stderr.decode()
        assert not (fleet.root / path).exists()
    script(fleet, f'cp "{source}" "$1"')
    done = run_bytes(fleet, "edit", path)
    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert len(kept(fleet)) == 1
    assert not (fleet.root / path).exists()


def test_edit_opens_a_refused_text_again_at_its_line(fleet: Fleet) -> None:
    """The second time the editor writes what the hint says."""
    seen = fleet.home / "seen"
    script(
        fleet,
        f'echo "$@" >> {seen}; if grep -q pin "$1"; '
        'then printf "a: x\\npin: \\"0123\\"\\n" > "$1"; '
        'else printf "a: x\\npin: 0123\\n" > "$1"; fi',
    )
    with terminal(fleet, "edit", "secrets/p.yaml") as child:
        child.expect_exact("line 2: pin is read as a number (octal)")
        child.expect_exact("edit it again?")
        child.sendline("y")
        assert ended(child) == 0, child.before
    assert len(seen.read_text().splitlines()) == 2
    assert b'pin: "0123"' in sops_text(fleet, "secrets/p.yaml")
    assert kept(fleet) == []


def test_an_edit_that_sops_takes_for_none_is_refused_too(fleet: Fleet) -> None:
    """Quotes put around an INI value are none for sops: nothing would change."""
    put(fleet, "secrets/p.ini", value=b"[s]\nk = word\n")
    before = fleet.read("secrets/p.ini")
    done = run_bytes(fleet, "set", "secrets/p.ini", stdin=b'[s]\nk = "word"\n')
    assert done.returncode == 1
    assert b"loses the quotes around it" in done.stderr
    assert fleet.read("secrets/p.ini") == before


def test_what_is_only_spelled_differently_is_reported(fleet: Fleet) -> None:
    done = run_bytes(fleet, "set", "secrets/p.yaml", stdin=b"v: 1.20\nw: x # y\n")
    assert done.returncode == 0
    said = done.stderr.decode()
    assert 'line 1: v will be spelled differently; v: "…" keeps it' in said
    assert "line 2: sops moves a comment after a value above it" in said


def test_a_dotenv_name_that_sops_does_not_know_is_said(fleet: Fleet) -> None:
    script(fleet, 'printf "A=1\\n" > "$1"')
    said = "the name must end in .env"
    assert said in fleet.run("edit", "secrets/.env.prod").stderr
    assert kept(fleet) == []
    assert said in fleet.run("set", "secrets/.env.test", stdin="A=1\n").stderr
    assert said in fleet.run("generate", "secrets/x.env.old").stderr
    assert said not in fleet.run("set", "secrets/.env.age", stdin="A=1\n").stderr


def test_nothing_is_left_in_memory(fleet: Fleet) -> None:
    memory = fleet.env["XDG_RUNTIME_DIR"]
    from pathlib import Path

    put(fleet, APP, "--key", "app", value=b"v")
    fleet.ok("generate", "secrets/g.age")
    run_bytes(fleet, "cat", APP, "--key", "app")
    assert left_in(Path(memory)) == []


def test_the_hint_for_one_file_names_it_fit_for_a_shell(fleet: Fleet) -> None:
    path = "secrets/my $app.json"
    rule = '\n[[secrets]]\npath = "secrets/*.json"\nreaders = []\n'
    fleet.write("nixsecrets.toml", fleet.read("nixsecrets.toml").decode() + rule)
    put(fleet, path, value=b'{"a": "x"}')
    fleet.write(
        path, re.sub(rb'"version": "[^"]*"', b'"version": "z"', fleet.read(path))
    )
    done = run_bytes(fleet, "set", path, "--key", "a", stdin=b"y")
    assert done.returncode == 1
    assert b"FILE" not in done.stderr
    assert b"git log -p -- 'secrets/my $app.json'\n" in done.stderr


@pytest.mark.parametrize("path", ["nixsecrets.toml", "secrets/secrets.nix"])
def test_what_cannot_be_a_secret_is_never_to_be_encrypted(
    fleet: Fleet, path: str
) -> None:
    for args in (("set", path), ("edit", path), ("cat", path)):
        done = run_bytes(fleet, *args, stdin=b"v")
        assert done.returncode == 1
        assert b"cannot be a secret" in done.stderr
        assert b"encrypt it: nixsecrets" not in done.stderr


def test_a_folder_without_secrets_leads_to_the_list_of_them(fleet: Fleet) -> None:
    done = run_bytes(fleet, "ls", "secrets/none")
    assert done.returncode == 2
    assert done.stderr.endswith(b"hint: nixsecrets ls\n")
