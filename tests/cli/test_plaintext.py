"""Values and comments in plaintext inside of sops files: found, and encrypted."""

import json
import re
from collections.abc import Callable

import pytest

from nixsecrets.findings.catalogue import Code
from nixsecrets.keys.forms import Backend, form_for
from nixsecrets.keys.recipients import parse_recipient
from tests.cli.conftest import changed, set_editor
from tests.cli.test_terminal import ended, spawn
from tests.fleet import Fleet

READERS = ("alice", "brunnen")
FORMATS = {
    "yaml": ("db: ok-canary\npassword: hunter2\n", "^db$", "password:"),
    "json": ('{"db": "ok-canary", "password": "hunter2"}\n', "^db$", '"password"'),
    "env": ("DB=ok-canary\nPASSWORD=hunter2\n", "^DB$", "PASSWORD="),
    "ini": ("[db]\na = ok-canary\n[pw]\nb = hunter2\n", "^db$", "b "),
}


def readers(fleet: Fleet) -> list[str]:
    keys = [parse_recipient(fleet.public(name)) for name in READERS]
    return [form_for(key, Backend.SOPS, owner="host").text for key in keys]


def rekeyed(fleet: Fleet) -> set[str]:
    """The files that a rekey of everything changes."""
    before = fleet.snapshot()
    fleet.ok("rekey", "--yes")
    return changed(fleet, before)


def weaken(fleet: Fleet, name: str = "app.yaml", *args: str) -> str:
    """A file for its readers, encrypted with options that its rule does not have."""
    text, regex, _ = FORMATS[name.rpartition(".")[2]]
    path = f"secrets/{name}"
    fleet.sops_encrypt(
        path, text, readers(fleet), *(args or ("--encrypted-regex", regex))
    )
    fleet.commit(f"{name} as somebody made it")
    return path


def codes(fleet: Fleet, *args: str) -> set[str]:
    """The codes that check finds; it exits with 1 where one is an error."""
    done = fleet.run("check", *args)
    found = set(re.findall(r"^(NS\d+) ", done.stdout, re.MULTILINE))
    errors = {code for code in found if Code(code).fails_check}
    assert done.returncode == bool(errors or (found and "--strict" in args)), (
        done.stdout + done.stderr
    )
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_options_that_a_rule_does_not_have_are_found_and_mended(
    ready: Fleet, form: str
) -> None:
    path = weaken(ready, f"app2.{form}")
    assert b"hunter2" in ready.read(path)
    assert codes(ready) == {"NS004"}
    found = ready.run("check").stdout
    assert "its selection options leave" in found
    assert f"    nixsecrets rekey {path}\n" in found
    assert ready.run("hook", "run", "--all").returncode == 1
    assert f"re-encrypt  {path}" in ready.run("status").stdout
    assert "NS004" in ready.run("lint").stdout
    ready.ok("rekey", path, "--yes")
    assert b"hunter2" not in ready.read(path)
    assert codes(ready) == set()
    ready.commit("mended")
    assert ready.run("hook", "run", "--all").returncode == 0
    assert rekeyed(ready) == set()
    plain = ready.sops_decrypt(path, ready.users["alice"].private)
    assert b"hunter2" in plain
    assert b"ok-canary" in plain


def test_a_removal_leaves_no_value_in_plaintext(ready: Fleet) -> None:
    path = weaken(ready)
    done = ready.run("remove-host", "brunnen", "--yes", "--allow-revoke")
    assert done.returncode == 0, done.stderr
    assert "-brunnen (plaintext)" in done.stderr
    assert b"hunter2" not in ready.read(path)
    assert not ready.sops_opens(path, ready.users["alice"].private[:-1] + "X")


@pytest.mark.parametrize("regex", ["^db$", "^(db|password)$"])
def test_a_new_value_is_not_written_in_plaintext(ready: Fleet, regex: str) -> None:
    path = weaken(ready, "app.yaml", "--encrypted-regex", regex)
    ready.ok("set", path, "--key", "token", "--yes", stdin="new-canary")
    assert b"new-canary" not in ready.read(path)
    assert b"hunter2" not in ready.read(path)
    assert codes(ready) == set()
    path = weaken(ready, "app.yaml", "--encrypted-regex", regex)
    ready.env["EDITOR"] = set_editor(ready, "db: x\nthird: new-canary\n")
    ready.ok("edit", path, "--yes")
    assert b"new-canary" not in ready.read(path)


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (("--encrypted-regex", "."), set()),
        (("--unencrypted-regex", "^nothing$"), set()),
        (("--unencrypted-suffix", "_plain"), set()),
        (("--unencrypted-suffix", "word"), {"NS004"}),
        (("--encrypted-suffix", "db"), {"NS004"}),
        (("--unencrypted-regex", "pass"), {"NS004"}),
    ],
)
def test_options_count_where_they_leave_something_in_plaintext(
    ready: Fleet, args: tuple[str, ...], found: set[str]
) -> None:
    path = weaken(ready, "app.yaml", *args)
    before = ready.read(path)
    assert codes(ready) == found
    ready.ok("rekey", "--yes")
    assert (ready.read(path) == before) is (not found)
    assert codes(ready) == set()


def test_a_rule_that_has_the_options_wants_them(ready: Fleet) -> None:
    weaken(ready)
    text = ready.read("nixsecrets.toml").decode()
    rule = 'path = "secrets/**"\n'
    sops = "sops = { encrypted_regex = '^db$' }\n"
    ready.write("nixsecrets.toml", text.replace(rule, rule + sops))
    ready.ok("sync", "--yes")
    assert b"hunter2" in ready.read("secrets/app.yaml")
    found = ready.run("check").stdout
    assert "app.yaml" not in found, found


def test_where_plaintext_is_allowed_a_secret_is_encrypted_whole_all_the_same(
    ready: Fleet,
) -> None:
    text = ready.read("nixsecrets.toml").decode()
    rule = 'path = "secrets/**"\n'
    ready.write("nixsecrets.toml", text.replace(rule, rule + 'plaintext = "allowed"\n'))
    ready.ok("sync", "--yes")
    ready.commit("allowed")
    ready.write("secrets/ordinary.yaml", "a: b\n")
    path = weaken(ready)
    assert codes(ready) == {"NS004"}
    ready.ok("rekey", path, "--yes")
    assert codes(ready) == set()


def test_the_default_suffix_is_a_note_and_stops_nobody(ready: Fleet) -> None:
    text = "db: x\nport_unencrypted: 5432\nhost_unencrypted: h\n"
    ready.sops_encrypt("secrets/app.yaml", text, readers(ready))
    ready.commit("with a port")
    found = ready.run("check")
    assert (found.returncode, found.stdout) == (
        0,
        "NS017  secrets/app.yaml:2: port_unencrypted and 1 more is in plaintext: its"
        " key ends in _unencrypted\n",
    )
    assert codes(ready, "--strict") == {"NS017"}
    assert ready.run("hook", "run", "--all").returncode == 0
    assert rekeyed(ready) == set()
    problems = json.loads(ready.run("check", "--json").stdout)["problems"]
    assert [one["code"] for one in problems] == ["NS017"]
    map_text = ready.read("nixsecrets.toml").decode()
    rule = 'path = "secrets/**"\n'
    sops = 'sops = { unencrypted_suffix = "_unencrypted" }\n'
    ready.write("nixsecrets.toml", map_text.replace(rule, rule + sops))
    ready.ok("sync", "--yes")
    assert codes(ready) == set()


COMMENTS: dict[str, tuple[str, Callable[[str], str], int]] = {
    "above": ("app.yaml", lambda t: "# secret\n" + t, 1),
    "beside": ("app.yaml", lambda t: t.replace("]\n", "] # secret\n", 1), 1),
    "metadata": (
        "app.yaml",
        lambda t: t.replace("sops:\n", "sops:\n    # secret\n"),
        4,
    ),
    "dotenv": ("a.env", lambda t: t + "# secret\n", 0),
    "ini": ("a.ini", lambda t: t.replace("a ", "; secret\na ", 1), 2),
    "ini end": ("a.ini", lambda t: t + "# secret\n", 0),
}


@pytest.mark.parametrize("what", COMMENTS)
def test_a_comment_in_plaintext_is_found_and_mended(ready: Fleet, what: str) -> None:
    name, change, line = COMMENTS[what]
    path = f"secrets/{name}"
    text, _, _ = FORMATS[name.rpartition(".")[2]]
    ready.sops_encrypt(path, text, readers(ready))
    ready.commit("as it should be")
    assert codes(ready) == set()
    old = ready.read(path).decode()
    new = change(old)
    assert new != old
    ready.write(path, new)
    ready.git("add", "-A")
    assert codes(ready) == {"NS029"}
    found = ready.run("check").stdout
    assert f"    nixsecrets rekey {path}\n" in found
    assert "secret is" not in found
    if line:
        assert f"{path}:{line}: a comment" in found, found
    hook = ready.run("hook", "run")
    assert hook.returncode == 1
    assert "NS029" in hook.stdout
    assert "in it are in plaintext" in ready.run("status").stdout
    ready.ok("rekey", path, "--yes")
    assert "# secret" not in ready.read(path).decode()
    assert codes(ready) == set()
    assert rekeyed(ready) == set()
    ready.sops_decrypt(path, ready.users["alice"].private)


def test_a_grant_leaves_a_comment_and_a_removal_encrypts_it(ready: Fleet) -> None:
    path = "secrets/dns.yaml"
    text = ready.read(path)
    ready.write(path, b"# secret\n" + text)
    ready.commit("a comment")
    key = ready.add_host("neu").public
    ready.ok("add-host", "neu", "--group", "dns", "--key", key, "--yes")
    assert ready.read(path).startswith(b"# secret\n" + text[:20])
    assert codes(ready) == {"NS029"}
    ready.commit("a host")
    done = ready.run("remove-host", "neu", "--yes", "--allow-revoke")
    assert "-neu (plaintext)" in done.stderr
    assert b"# secret" not in ready.read(path)
    plain = ready.sops_decrypt(path, ready.users["alice"].private)
    assert plain == b"# secret\ndns: dns-canary\n"
    assert codes(ready) == set()


def test_comments_that_sops_leaves_or_encrypts_are_no_findings(ready: Fleet) -> None:
    text = "# head\nopen_unencrypted:\n    # beside\n    a: b\ndb: x # inline\n"
    ready.sops_encrypt("secrets/app.yaml", text, readers(ready))
    ready.sops_encrypt("secrets/a.env", "# one\nA=b\n# two\n", readers(ready))
    ready.sops_encrypt("secrets/a.ini", "; one\na = b\n", readers(ready))
    ready.commit("comments by sops")
    assert b"# beside" in ready.read("secrets/app.yaml")
    assert codes(ready) == {"NS017"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sops:\n", "sops:\n    note: hunter2\n"),
        ("        - recipient: ", "        - note: hunter2\n          recipient: "),
    ],
)
def test_check_finds_text_in_the_metadata_as_the_hook_does(
    ready: Fleet, old: str, new: str
) -> None:
    text = ready.read("secrets/app.yaml").decode()
    assert old in text
    ready.write("secrets/app.yaml", text.replace(old, new, 1))
    ready.commit("a note")
    done = ready.run("check")
    assert done.returncode == 1
    assert "NS002  secrets/app.yaml: has " in done.stdout
    assert ready.run("hook", "run", "--all").returncode == 1


WARNING = (
    "nixsecrets: warning: secrets/{}: {} in plaintext: sops by default encrypts nothing"
    " below a key that ends in _unencrypted\n"
    "nixsecrets: hint: if it is a secret, rename the key: nixsecrets edit secrets/{}\n"
)
SUFFIXED = {
    "new.yaml": (
        "a: b\nx_unencrypted: hunter2\ndb:\n    y_unencrypted: [hunter2]\n",
        "db/y_unencrypted, x_unencrypted stay",
    ),
    "new.json": ('{"a": "b", "x_unencrypted": {"c": 5}}', "x_unencrypted/c stays"),
    "new.env": ("A=b\nX_unencrypted=hunter2\n", "X_unencrypted stays"),
    "new.ini": ("[a]\nb = c\n[x_unencrypted]\nd = hunter2\n", "x_unencrypted/d stays"),
}


@pytest.mark.parametrize("name", SUFFIXED)
@pytest.mark.parametrize("way", ["set", "--from-file", "edit"])
def test_what_is_saved_in_plaintext_by_the_default_suffix_is_said(
    ready: Fleet, name: str, way: str
) -> None:
    text, names = SUFFIXED[name]
    path = f"secrets/{name}"
    if way == "set":
        done = ready.run("set", path, stdin=text)
    elif way == "edit":
        ready.env["EDITOR"] = set_editor(ready, text)
        done = ready.run("edit", path)
    else:
        ready.write(path, text)
        done = ready.run("set", path, "--from-file", path)
    assert done.returncode == 0, done.stderr
    assert WARNING.format(name, names, name) in done.stderr
    assert "hunter2" not in done.stderr
    if name == "new.yaml":
        again = ready.run("set", path, "--key", "a", stdin="c")
        assert (again.returncode, "plaintext" in again.stderr) == (0, False)
        one = ready.run("set", path, "--key", "x_unencrypted", stdin="new")
        assert WARNING.format(name, "x_unencrypted stays", name) in one.stderr
        ready.env["EDITOR"] = set_editor(ready, "a: b\nx: hunter2\n")
        assert "plaintext" not in ready.run("edit", path).stderr
        assert b"hunter2" not in ready.read(path)


def test_where_the_rule_says_it_no_value_in_plaintext_is_warned_of(
    ready: Fleet,
) -> None:
    map_text = ready.read("nixsecrets.toml").decode()
    rule = 'path = "secrets/**"\n'
    sops = 'sops = { unencrypted_suffix = "_unencrypted" }\n'
    ready.write("nixsecrets.toml", map_text.replace(rule, rule + sops))
    ready.ok("sync", "--yes")
    done = ready.run("set", "secrets/new.yaml", stdin="a: b\nx_unencrypted: c\n")
    assert (done.returncode, "plaintext" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("args", [(), ("--key", "a_unencrypted")])
def test_where_all_would_be_in_plaintext_the_true_reason_is_given(
    ready: Fleet, args: tuple[str, ...]
) -> None:
    text = "hunter2" if args else "a_unencrypted: hunter2\n"
    done = ready.run("set", "secrets/new.yaml", *args, stdin=text)
    assert done.returncode == 1
    assert (
        "nothing in it would be encrypted: sops by default leaves values below keys"
        " that end in _unencrypted in plaintext; the file has no others\n"
        "nixsecrets: hint: give the keys other names" in done.stderr
    )
    assert "hunter2" not in done.stderr
    assert not (ready.root / "secrets/new.yaml").exists()


RULE = 'path = "secrets/**"\n'
OWN = 'sops = { unencrypted_suffix = "_x" }\n'
OPENED = "re-encrypt  secrets/app.yaml  (options; 2 values in plaintext from now on: "
OPENED_NAMES = "db/a_unencrypted, b_unencrypted"


@pytest.fixture
def suffixed(ready: Fleet) -> Fleet:
    """A rule with its own suffix that lost it, and a file that was written before."""
    map_text = ready.read("nixsecrets.toml").decode()
    ready.write("nixsecrets.toml", map_text.replace(RULE, RULE + OWN))
    ready.ok("sync", "--yes")
    text = (
        "db:\n  a_unencrypted: [hunter2, sesame]\nb_unencrypted: x\nc: d\nport_x: 5\n"
    )
    ready.ok("set", "secrets/app.yaml", stdin=text)
    assert b"hunter2" not in ready.read("secrets/app.yaml")
    ready.write("nixsecrets.toml", map_text)
    ready.ok("sync", "--yes")
    ready.commit("without the option")
    return ready


def test_an_encrypted_value_becomes_no_plaintext_with_a_yes_to_all(
    suffixed: Fleet,
) -> None:
    before = suffixed.snapshot()
    shown = suffixed.ok("rekey", "--dry-run")
    assert f"{OPENED}{OPENED_NAMES})" in shown
    plan = json.loads(suffixed.ok("rekey", "--dry-run", "--json"))
    (step,) = (one for one in plan["steps"] if one["path"] == "secrets/app.yaml")
    assert step["plaintext"] == ["db/a_unencrypted", "b_unencrypted"]
    done = suffixed.run("rekey", "--yes")
    assert done.returncode == 1
    assert f"  secrets/app.yaml: {OPENED_NAMES}\n" in done.stderr
    assert re.findall("^nixsecrets: hint: (.*)$", done.stderr, re.MULTILINE) == [
        "rename the keys: nixsecrets edit secrets/app.yaml",
        'or keep them encrypted: write sops = { unencrypted_suffix = "_x" } into the'
        " rule",
        'or agree: write sops = { unencrypted_suffix = "_unencrypted" } into the rule',
    ]
    assert "hunter2" not in done.stdout + done.stderr
    one = suffixed.run("set", "secrets/app.yaml", "--key", "c", "--yes", stdin="e")
    assert (one.returncode, OPENED_NAMES in one.stderr) == (1, True)
    assert changed(suffixed, before) == set()


def test_each_way_out_of_plaintext_by_options_works(suffixed: Fleet) -> None:
    text = "db:\n  a: [hunter2, sesame]\nb: x\nc: d\nport: 5\n"
    map_text = suffixed.read("nixsecrets.toml").decode()
    old = suffixed.read("secrets/app.yaml")
    suffixed.env["EDITOR"] = set_editor(suffixed, text)
    suffixed.ok("edit", "secrets/app.yaml")
    assert b"hunter2" not in suffixed.read("secrets/app.yaml")
    suffixed.write("secrets/app.yaml", old)
    suffixed.write("nixsecrets.toml", map_text.replace(RULE, RULE + OWN))
    suffixed.ok("rekey", "--yes")
    assert suffixed.read("secrets/app.yaml") == old
    default = OWN.replace("_x", "_unencrypted")
    suffixed.write("nixsecrets.toml", map_text.replace(RULE, RULE + default))
    done = suffixed.run("rekey", "--yes")
    assert (done.returncode, f"{OPENED}{OPENED_NAMES})" in done.stderr) == (0, True)
    assert b"hunter2" in suffixed.read("secrets/app.yaml")


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_plaintext_by_options_is_asked_about_by_itself(
    suffixed: Fleet, answer: str, code: int
) -> None:
    before = suffixed.snapshot()
    child = spawn(suffixed, "rekey", "--yes")
    child.expect_exact(OPENED)
    child.expect_exact("store them in plaintext? [y/N] ")
    child.sendline(answer)
    assert ended(child)[1] == code
    assert (b"hunter2" in suffixed.read("secrets/app.yaml")) is (code == 0)
    assert (changed(suffixed, before) == set()) is (code == 1)
