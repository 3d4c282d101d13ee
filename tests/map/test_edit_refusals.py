"""Edits that cannot be made: an error that says why, and no new text."""

from collections.abc import Callable

import pytest

from nixsecrets.errors import MapError
from nixsecrets.map import edit
from nixsecrets.map.model import Rule
from tests.map.maps import SMALL, public, recipient

Edit = Callable[[str], str]
DB = [recipient("db")]
NOBODY = SMALL.replace('always = ["alice"]\n', "")
INLINE = f"version = 1\nhosts = {{ web = {{ keys = ['{public('web')}'] }} }}\n"
INLINE_RULES = 'version = 1\nalways = ["g"]\ngroups.g = []\nsecrets = []\n'

CASES: list[tuple[str, str, Edit, str]] = [
    ("a taken name", SMALL, lambda t: edit.add_host(t, "web", DB), "in the map"),
    ("a user's name", SMALL, lambda t: edit.add_host(t, "alice", DB), "in the map"),
    ("a bad name", SMALL, lambda t: edit.add_user(t, "a b", DB), "cannot be a name"),
    ("a long name", SMALL, lambda t: edit.add_user(t, "A" * 74, DB), "…"),
    (
        "a key that has an owner",
        SMALL,
        lambda t: edit.add_host(t, "db", [recipient("web")]),
        'cannot add "db": "db" has the same key as "web"',
    ),
    (
        "a converted key that has an owner",
        SMALL,
        lambda t: edit.add_user(t, "bob", [recipient("web").converted()]),
        "has the same key as",
    ),
    ("no key", SMALL, lambda t: edit.add_host(t, "db", []), "has no key"),
    (
        "a group that is a host",
        SMALL,
        lambda t: edit.add_host(t, "db", DB, groups=["web"]),
        '"web" is already a',
    ),
    (
        "a group with a bad name",
        SMALL,
        lambda t: edit.add_host(t, "db", DB, groups=["-"]),
        "cannot be the name of a group",
    ),
    (
        "an address of several lines",
        SMALL,
        lambda t: edit.add_host(t, "db", DB, address="a\nb"),
        "control character",
    ),
    ("no such host", SMALL, lambda t: edit.remove_host(t, "wbe"), 'called "wbe"'),
    ("a user as host", SMALL, lambda t: edit.remove_host(t, "alice"), "is a user"),
    ("a host as user", SMALL, lambda t: edit.remove_user(t, "web"), "is a host"),
    (
        "the last reader",
        NOBODY,
        lambda t: edit.remove_host(t, "web"),
        'nobody could read the files of the rule "secrets/**"',
    ),
    (
        "keys of nobody",
        SMALL,
        lambda t: edit.replace_keys(t, "db", DB),
        'no host or user is called "db"',
    ),
    (
        "a key of somebody else",
        SMALL,
        lambda t: edit.replace_keys(t, "web", [recipient("alice")]),
        "the same key",
    ),
    ("no more keys", SMALL, lambda t: edit.replace_keys(t, "web", []), "has no key"),
    ("renaming nobody", SMALL, lambda t: edit.rename(t, "db", "x"), 'called "db"'),
    ("a taken new name", SMALL, lambda t: edit.rename(t, "web", "alice"), "already"),
    ("a bad new name", SMALL, lambda t: edit.rename(t, "web", "ä"), "cannot be a name"),
    (
        "a rule that is wrong",
        SMALL,
        lambda t: edit.add_rule(t, Rule(0, "a/[", None, ("web",))),
        "cannot add the rule: path: ",
    ),
    (
        "hosts in an inline table",
        INLINE,
        lambda t: edit.add_host(t, "db", DB),
        "the map is written in an unusual way",
    ),
    (
        "rules in a list",
        INLINE_RULES,
        lambda t: edit.add_rule(t, Rule(0, "a", None, ("g",)), first=True),
        "the map is written in an unusual way",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "change", "part"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_what_cannot_be_done_is_an_error_that_says_why(
    text: str, change: Edit, part: str
) -> None:
    with pytest.raises(MapError) as error:
        change(text)
    assert error.value.message.startswith("nixsecrets.toml: ")
    assert part in error.value.message
    assert error.value.hint


def test_a_map_that_is_wrong_already_is_not_edited() -> None:
    with pytest.raises(MapError) as error:
        edit.add_host(SMALL + "x = 1\n", "db", DB)
    assert error.value.message.startswith("nixsecrets.toml:13: ")


def test_errors_name_the_map() -> None:
    with pytest.raises(MapError) as error:
        edit.remove_host(NOBODY, "web")
    assert error.value.message.startswith(
        'nixsecrets.toml: cannot remove "web": nobody'
    )
