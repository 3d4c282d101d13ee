"""Who may read what: readers, set order, forms, names that nobody bears."""

import itertools
import time
from dataclasses import replace

import pytest

from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient, parse_recipient
from nixsecrets.map.match import Match
from nixsecrets.map.model import Host, RecipientMap, Retired, Rule, User
from nixsecrets.map.resolve import Policy
from tests.fleet import rsa_key
from tests.map.maps import recipient

RSA = parse_recipient(rsa_key().public)
ALICE_AGE = recipient("alice-age").converted()
ALICE = User("alice", (ALICE_AGE, recipient("alice")))
BOB = User("bob", (recipient("bob"),), sops_form="ssh")
WEB = Host("web", (recipient("web"),))
DB = Host("db", (recipient("db"),))
OLD = Host("old", (RSA,))

RULES = (
    Rule(0, "hosts/{host}/**", None, ("{host}",)),
    Rule(1, "home/{user}/{host}.age", None, ("{user}", "{host}")),
    Rule(2, "all/**", None, ("everyone",), except_=("db", "alice")),
    Rule(3, "always.yaml", None, ()),
    Rule(4, None, r"^re/.*\.yaml$", ("db", "web", "db")),
    Rule(5, "docs/README.md", None, ("web",)),
    Rule(6, "odd/**", None, ("web",), backend=Backend.AGE),
    Rule(7, "{host}-*.age", None, ("{host}",)),
)
FLEET = RecipientMap(
    always=("admins",),
    users=(ALICE, BOB),
    hosts=(WEB, DB, OLD),
    groups=(
        ("admins", ("alice",)),
        ("servers", ("db", "web")),
        ("everyone", ("servers", "bob", "admins", "old")),
    ),
    rules=RULES,
    sops_config=".sops.yaml",
    agenix_rules="secrets/secrets.nix",
)


def names(policy: Policy, path: str, backend: Backend = Backend.SOPS) -> list[str]:
    """Return the names of a path's readers, one per key."""
    found = policy.desired(path, backend)
    assert found is not None
    return [reader.name for reader in found.readers]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("hosts/web/a/b.yaml", ["alice", "alice", "web"]),
        ("home/bob/db.age", ["alice", "alice", "bob", "db"]),
        ("home/alice/db.age", ["alice", "alice", "db"]),
        ("all/x", ["alice", "alice", "bob", "web", "old"]),
        ("always.yaml", ["alice", "alice"]),
        ("re/a.yaml", ["alice", "alice", "web", "db"]),
    ],
)
def test_readers_are_always_and_then_the_others_in_the_order_of_the_map(
    path: str, expected: list[str]
) -> None:
    assert names(Policy(FLEET), path) == expected


@pytest.mark.parametrize(
    ("path", "unclaimed"),
    [
        ("hosts/gone/x", "gone"),
        ("hosts/alice/x", "alice"),
        ("hosts/servers/x", "servers"),
        ("home/web/db.age", "web"),
        ("home/gone/gone.age", "gone"),
        ("home/bob/gone.age", "gone"),
    ],
)
def test_a_name_that_nobody_bears_leaves_the_file_to_always(
    path: str, unclaimed: str
) -> None:
    found = Policy(FLEET).desired(path, Backend.AGE)
    assert found is not None
    assert found.unclaimed == unclaimed
    assert {reader.name for reader in found.readers} == {"alice"}


def test_the_files_of_a_removed_host_never_become_another_hosts() -> None:
    both = replace(FLEET, hosts=(WEB, replace(DB, name="web-db")), groups=())
    both = replace(both, always=("alice",), rules=(RULES[7],))
    assert names(Policy(both), "web-db-key.age") == ["alice", "alice", "web-db"]
    retired = (Retired("web-db", DB.keys[0]),)
    removed = replace(both, hosts=(WEB,), retired=retired)
    found = Policy(removed).desired("web-db-key.age", Backend.AGE)
    assert found is not None
    assert found.unclaimed == "web-db"
    assert names(Policy(removed), "web-key.age") == ["alice", "alice", "web"]


def test_the_expansion_of_a_rule_follows_the_same_names() -> None:
    retired = (Retired("gone", DB.keys[0]), Retired("web", RSA))
    policy = Policy(replace(FLEET, retired=retired))
    known = [one.match for one in policy.expansions(RULES[7])]
    assert known == [
        *(Match("gone"), Match("web"), Match("old"), Match("db")),
        None,
    ]
    claims = [one.match for one in policy.expansions(RULES[0])]
    assert claims == [Match("web"), Match("old"), Match("db"), None]
    assert policy.readers(RULES[7], Match("gone"), Backend.AGE) == policy.readers(
        RULES[7], None, Backend.AGE
    )


def keys(path: str, backend: Backend) -> list[tuple[str, Recipient]]:
    found = Policy(FLEET).desired(path, backend)
    assert found is not None
    return [(reader.name, reader.recipient) for reader in found.readers]


def test_age_files_get_keys_as_they_are() -> None:
    assert keys("all/x", Backend.AGE) == [
        ("alice", ALICE_AGE),
        ("alice", recipient("alice")),
        ("bob", recipient("bob")),
        ("web", recipient("web")),
        ("old", RSA),
    ]


def test_sops_files_get_converted_keys_but_for_who_asked_for_the_ssh_form() -> None:
    assert keys("all/x", Backend.SOPS) == [
        ("alice", ALICE_AGE),
        ("alice", recipient("alice").converted()),
        ("bob", recipient("bob")),
        ("web", recipient("web").converted()),
        ("old", RSA),
    ]


def test_equal_sets_are_equal_whatever_the_rule_calls_them() -> None:
    sets = set()
    for readers in itertools.permutations(("bob", "servers", "web", "old")):
        policy = Policy(replace(FLEET, rules=(Rule(0, "x", None, readers),)))
        found = policy.desired("x", Backend.AGE)
        assert found is not None
        sets.add(found.readers)
    assert len(sets) == 1


def test_the_first_rule_that_matches_wins() -> None:
    policy = Policy(replace(FLEET, rules=(*RULES, Rule(8, "**", None, ("bob",)))))
    found = policy.winning("hosts/web/x")
    assert found == (RULES[0], Match("web"))
    last = policy.winning("elsewhere")
    assert last is not None
    assert last[0].index == 8
    assert Policy(FLEET).winning("elsewhere") is None
    assert Policy(FLEET).desired("elsewhere", Backend.AGE) is None


@pytest.mark.parametrize(
    "path",
    [
        *("nixsecrets.toml", "nixsecrets.lock", ".sops.yaml", "secrets/secrets.nix"),
        *("a/.gitignore", ".gitattributes", "flake.nix", "a/b.nix", "NOTES.md"),
        *("keys/web.pub", "other/.sops.yaml"),
    ],
)
def test_some_files_are_never_secrets(path: str) -> None:
    policy = Policy(replace(FLEET, rules=(Rule(0, "**", None, ("web",)),)))
    assert policy.never_secret(path)
    assert policy.desired(path, Backend.SOPS) is None


@pytest.mark.parametrize("path", [".env", "a.nix.age", "git", "pub", "a.md/x"])
def test_names_that_only_look_alike_are_ordinary(path: str) -> None:
    policy = Policy(replace(FLEET, rules=(Rule(0, "**", None, ("web",)),)))
    assert not policy.never_secret(path)


def test_a_rule_that_names_a_file_makes_it_a_secret() -> None:
    policy = Policy(FLEET)
    assert not policy.never_secret("docs/README.md")
    assert policy.never_secret("docs/OTHER.md")
    named = Policy(replace(FLEET, rules=(Rule(0, "nixsecrets.toml", None, ()),)))
    assert named.never_secret("nixsecrets.toml")
    assert named.named_paths(Backend.SOPS) == []


def test_the_backend_of_a_new_file_is_the_rules_or_follows_from_its_name() -> None:
    policy = Policy(FLEET)
    assert policy.backend_for_new("odd/x.yaml") is Backend.AGE
    assert policy.backend_for_new("all/x.age") is Backend.AGE
    assert policy.backend_for_new("all/x.yaml") is Backend.SOPS
    assert policy.backend_for_new("unmanaged") is Backend.SOPS


def test_paths_named_without_wildcards_are_listed_by_backend() -> None:
    assert Policy(FLEET).named_paths(Backend.SOPS) == ["always.yaml", "docs/README.md"]
    rules = (Rule(0, "b.age", None, ()), Rule(1, "a/*.age", None, ()))
    assert Policy(replace(FLEET, rules=rules)).named_paths(Backend.AGE) == ["b.age"]


def test_a_group_that_contains_itself_does_not_hang() -> None:
    looped = replace(FLEET, groups=(("admins", ("alice", "admins")),), rules=RULES[:1])
    assert names(Policy(looped), "hosts/web/x") == ["alice", "alice", "web"]


def test_ten_thousand_paths_resolve_at_once() -> None:
    rules = tuple(Rule(at, f"{at}/**/*.yaml", None, ("web",)) for at in range(50))
    policy = Policy(replace(FLEET, rules=rules))
    start = time.process_time()
    for at in range(10_000):
        policy.desired(f"{at % 60}/a/{at}.yaml", Backend.SOPS)
    assert time.process_time() - start < 2  # 0.15 s here; two busy cores are slow
