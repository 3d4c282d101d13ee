"""`secrets.nix` as real Nix reads it."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixsecrets.errors import NixsecretsError
from nixsecrets.generated import secretsnix
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Host, RecipientMap, Rule, User
from nixsecrets.map.resolve import Policy
from tests.fleet import clean_env, program, run_program
from tests.map.maps import recipient

ALICE = User("alice", (recipient("alice-age").converted(), recipient("alice")))
HOSTS = tuple(Host(name, (recipient(name),)) for name in ("web", "db", "or"))
FLEET = RecipientMap(
    always=("admins",),
    users=(ALICE, User("bob@home", (recipient("bob"),), sops_form="ssh")),
    hosts=HOSTS,
    groups=(("admins", ("alice",)), ("servers", ("web", "db")), ("none", ())),
    rules=(
        Rule(0, "secrets/sub/*", None, ("servers",), except_=("db",)),
        Rule(1, "secrets/{host}/*", None, ("{host}",)),
        Rule(2, "secrets/named.age", None, ("bob@home",), armor=True),
        Rule(3, "elsewhere/*.age", None, ("servers",)),
        Rule(4, "secrets/**", None, ()),
    ),
    agenix_rules="secrets/secrets.nix",
)
# every trap of a Nix string and of an attribute name
HOSTILE = [
    *('a"b', "a\\b", "a${x}b", "a$${x}", "a$", "$", "a''b", "''${x}", "a\nb", "a\rb"),
    *(
        "a\tb",
        "-rf",
        "a b",
        "ä€😀",
        "a;b",
        "a.b",
        "let",
        "{",
        "}",
        "a/b.age",
        "a#b",
        "\\${",
    ),
    *("\\", '\\"', "a\x01b", "a\x7f", "\u2028", "%s", "~", "@", "$\\{", '"}; x = {"'),
]


def render(fleet: RecipientMap, paths: Iterable[str]) -> str:
    return secretsnix.render(Policy(fleet), paths)


def evaluate(text: str, folder: Path) -> dict[str, dict[str, object]]:
    """Evaluate a rules file without store, network or environment."""
    (folder / "secrets.nix").write_bytes(text.encode())
    out = run_program(
        *(program("nix-instantiate"), "--store", "dummy://", "--eval", "--strict"),
        *("--json", "--readonly-mode", "--option", "restrict-eval", "true"),
        *("-I", ".", "-I", f"r={folder}", "-E", "import ./secrets.nix"),
        env=clean_env(folder),
        cwd=folder,
    )
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def keys(path: str) -> list[str]:
    found = Policy(FLEET).desired(path, Backend.AGE)
    assert found is not None
    return [reader.recipient.text for reader in found.readers]


def test_nix_reads_exactly_the_readers_of_each_file(tmp_path: Path) -> None:
    present = ["secrets/web/a.age", "secrets/or/b", "secrets/sub/x", "elsewhere/y.age"]
    expected: dict[str, dict[str, object]] = {
        "../elsewhere/y.age": {"publicKeys": keys("elsewhere/y.age")},
        "named.age": {"publicKeys": keys("secrets/named.age"), "armor": True},
        "or/b": {"publicKeys": keys("secrets/or/b")},
        "sub/x": {"publicKeys": keys("secrets/sub/x")},
        "web/a.age": {"publicKeys": keys("secrets/web/a.age")},
    }
    found = evaluate(render(FLEET, present), tmp_path)
    assert found == expected
    assert list(found) == sorted(expected)


def test_hosts_stand_in_their_ssh_form_and_always_comes_first(tmp_path: Path) -> None:
    found = evaluate(render(FLEET, ["secrets/web/a"]), tmp_path)["web/a"]
    ssh = [one.text for one in (*ALICE.keys, *HOSTS[0].keys)]
    assert found == {"publicKeys": ssh}


def test_the_text_reads_well() -> None:
    text = render(FLEET, ["secrets/sub/x", "elsewhere/y.age"])
    assert text.startswith("# written by nixsecrets from nixsecrets.toml")
    assert '  "../elsewhere/y.age".publicKeys = always ++ groups.servers;\n' in text
    assert '  "sub/x".publicKeys = always ++ hosts.web;\n' in text
    assert "    servers = hosts.web ++ hosts.db;\n    none = [ ];\n" in text
    assert f'    "or" = [ "{HOSTS[2].keys[0].text}" ];\n' in text
    assert "  always = users.alice;\n" in text


def test_many_readers_get_a_line_each() -> None:
    names = [f"a-rather-long-name-{at}" for at in range(9)]
    hosts = tuple(Host(name, (recipient(name),)) for name in names)
    rules = (Rule(0, "x.age", None, tuple(host.name for host in hosts)),)
    text = render(replace(FLEET, hosts=hosts, groups=(), always=(), rules=rules), [])
    assert all(len(line) < 100 or '= [ "' in line for line in text.splitlines())
    assert "    hosts.a-rather-long-name-0\n    ++ hosts.a-rather-long-name-1\n" in text


@pytest.mark.parametrize(
    "path",
    [
        "secrets/secrets.nix",
        "nixsecrets.lock",
        "secrets/README.md",
        "unmanaged.age",
        "secrets/key.pub",
    ],
)
def test_a_file_that_is_not_our_secret_is_skipped(path: str) -> None:
    assert render(FLEET, [path]) == render(FLEET, [])


def test_a_map_without_readers_gives_valid_nix(tmp_path: Path) -> None:
    nobody = RecipientMap((), (), (), (), (Rule(0, "**", None, ()),))
    assert evaluate(render(nobody, []), tmp_path) == {}
    assert evaluate(render(nobody, ["a"]), tmp_path) == {"a": {"publicKeys": []}}


def test_hostile_names_are_names_and_nothing_else(tmp_path: Path) -> None:
    found = evaluate(render(FLEET, [f"secrets/{name}" for name in HOSTILE]), tmp_path)
    assert set(found) == {*HOSTILE, "named.age"}
    assert all(set(value) <= {"publicKeys", "armor"} for value in found.values())


@settings(max_examples=8)
@given(
    st.lists(
        st.text(
            st.one_of(
                st.sampled_from("\"\\${}'\n\r\t ;=.-#"),
                st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
            ),
            min_size=1,
            max_size=12,
        ).filter(lambda name: name not in (".", "..")),
        max_size=200,
        unique=True,
    )
)
def test_every_name_comes_back_from_nix(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    policy = Policy(FLEET)
    kept = {name for name in names if not policy.never_secret(f"secrets/{name}")}
    text = render(FLEET, [f"secrets/{name}" for name in names])
    found = evaluate(text, tmp_path_factory.mktemp("nix"))
    assert set(found) == kept | {"named.age"}


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(NixsecretsError, match=r'^"secrets/\\udcff": .* not UTF-8'):
        render(FLEET, ["secrets/\udcff"])


def test_every_name_a_map_may_hold_is_an_attribute(tmp_path: Path) -> None:
    names = ["if", "then", "rec", "inherit", "with", "let", "in", "assert", "or"]
    names += ["else", "true", "null", "0", "1a", "a.b", "a@b", "a-", "builtins", "x'"]
    hosts = tuple(Host(name, (recipient(name),)) for name in names)
    groups = (("__functor", ("if",)), ("import", ("a.b", "0")))
    rules = (Rule(0, "{host}", None, ("{host}",)), Rule(1, "z/*", None, ("import",)))
    fleet = RecipientMap((), (), hosts, groups, rules, agenix_rules="secrets.nix")
    found = evaluate(render(fleet, [*names, "z/x"]), tmp_path)
    for name in names:
        assert found[name] == {"publicKeys": [recipient(name).text]}
    both = [recipient(name).text for name in ("0", "a.b")]
    assert found["z/x"] == {"publicKeys": both}
