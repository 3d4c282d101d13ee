"""The map of two branches as one, in the layout and with the comments of both."""

import tomllib
from collections.abc import Callable

import pytest

from nixsecrets.errors import MapError
from nixsecrets.map import edit
from nixsecrets.map.load import load
from nixsecrets.map.model import Retired, Rule
from nixsecrets.merge.mapmerge import Merged, merged
from tests.map.maps import recipient, with_keys

Edit = Callable[[str], str]
BASE = with_keys("""\
version = 1
always = ["admins"]

# People.
[users.alice]
keys = ["<alice>"]
groups = ["admins"]

[users.bert]
keys = ["<bert>"]

# Machines, in the order in which they were bought.
[hosts.web]
keys = ["<web>"]
groups = ["servers"]

# The old one.
[hosts.db]
keys = ["<db>"]
groups = ["servers"]

[groups]
desks = ["bert"]

[[secrets]]
path = "secrets/web/*"
readers = ["web"]

[[secrets]]
path = "secrets/**"
readers = ["servers"]
""")


def add(name: str, *, groups: tuple[str, ...] = ()) -> Edit:
    return lambda text: edit.add_host(text, name, [recipient(name)], groups=groups)


def remove(name: str) -> Edit:
    gone = Retired(name, recipient(name), "2026-11-30")
    return lambda text: edit.remove_host(text, name, retired=[gone])


def keys(owner: str, *names: str) -> Edit:
    new = [recipient(name) for name in names]
    return lambda text: edit.replace_keys(text, owner, new)


def rename(old: str, new: str) -> Edit:
    return lambda text: edit.rename(text, old, new)


def rule(path: str, *readers: str, first: bool = True) -> Edit:
    made = Rule(0, path, None, readers)
    return lambda text: edit.add_rule(text, made, first=first)


def swap(old: str, new: str) -> Edit:
    def swapped(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return swapped


def of(ours: Edit, theirs: Edit, **choices: str) -> Merged:
    return merged(BASE, ours(BASE), theirs(BASE), choices)


def data(text: str) -> dict[str, object]:
    return tomllib.loads(text)


def test_two_hosts_that_both_sides_add_are_both_there() -> None:
    found = of(add("oak", groups=("servers",)), add("elm"))
    assert found.text == add("elm")(add("oak", groups=("servers",))(BASE))


def test_the_same_host_on_both_sides_is_there_once() -> None:
    assert of(add("oak"), add("oak")).text == add("oak")(BASE)


def test_one_name_with_two_keys_is_a_clash_with_both_lines() -> None:
    theirs = edit.add_host(BASE, "oak", [recipient("elm")])
    found = merged(BASE, add("oak")(BASE), theirs)
    assert [(c.name, c.ours, c.theirs) for c in found.clashes] == [
        ("hosts.oak.keys", 23, 23)
    ]
    assert not found.text


@pytest.mark.parametrize(("side", "key"), [("ours", "ash"), ("theirs", "yew")])
def test_a_clash_is_settled_by_a_choice(side: str, key: str) -> None:
    choices = {"hosts.web.keys": side}
    found = merged(BASE, keys("web", "ash")(BASE), keys("web", "yew")(BASE), choices)
    assert [k.text for k in load(found.text).hosts[0].keys] == [recipient(key).text]


def test_two_keys_for_one_host_are_a_clash() -> None:
    found = of(keys("web", "ash"), keys("web", "yew"))
    assert [c.name for c in found.clashes] == ["hosts.web.keys"]


def test_a_second_key_from_each_side_is_no_clash() -> None:
    found = of(keys("bert", "bert", "ash"), keys("bert", "bert", "yew"))
    have = {user.name: user.keys for user in load(found.text).users}
    assert {k.text for k in have["bert"]} == {
        recipient(name).text for name in ("bert", "ash", "yew")
    }


def test_who_is_removed_on_one_side_is_gone_though_the_other_changed_it() -> None:
    found = of(remove("db"), keys("db", "ash"))
    assert found.text == remove("db")(BASE)
    assert found.removed == (("hosts", "db"),)
    again = of(keys("db", "ash"), remove("db"))
    assert data(again.text) == data(found.text)


def test_a_removed_host_is_gone_from_lists_that_the_other_side_put_it_on() -> None:
    found = of(remove("db"), rule("secrets/new.age", "web", "db"))
    assert load(found.text).rules[0].readers == ("web",)
    assert load(found.text).host("db") is None


def test_two_removals_are_both_done_and_an_empty_group_stays() -> None:
    found = of(remove("db"), remove("web"))
    assert dict(load(found.text).groups)["servers"] == ()
    assert not load(found.text).hosts
    assert {one.name for one in load(found.text).retired} == {"db", "web"}


def test_groups_are_merged_as_sets_though_they_stand_on_one_line() -> None:
    found = of(
        swap('desks = ["bert"]', 'desks = ["bert", "web"]'),
        swap('desks = ["bert"]', 'desks = ["db"]'),
    )
    assert set(dict(load(found.text).groups)["desks"]) == {"web", "db"}


def test_a_group_that_is_split_keeps_a_host_that_the_other_side_added() -> None:
    split = swap(
        'path = "secrets/**"\nreaders = ["servers"]',
        'path = "secrets/**"\nreaders = ["servers", "desks"]',
    )
    found = of(split, add("oak", groups=("servers",)))
    assert found.text == split(add("oak", groups=("servers",))(BASE))


def test_a_host_has_its_new_name_also_where_the_other_side_uses_the_old_one() -> None:
    found = of(rename("db", "store"), rule("secrets/new.age", "db"))
    assert load(found.text).rules[0].readers == ("store",)
    assert found.text == rename("db", "store")(rule("secrets/new.age", "db")(BASE))


def test_rules_keep_their_order() -> None:
    found = of(rule("a/*", "web"), rule("b/*", "db"))
    assert [r.path for r in load(found.text).rules] == [
        "a/*",
        "b/*",
        "secrets/web/*",
        "secrets/**",
    ]


def test_comments_and_blank_lines_of_both_sides_are_kept() -> None:
    ours = swap("# The old one.\n", "# The old one, in the cellar.\n")
    theirs = swap("[users.bert]\n", "# Since May.\n[users.bert]  # intern\n")
    assert of(ours, theirs).text == theirs(ours(BASE))


def test_sides_that_began_a_map_each_for_itself_are_merged() -> None:
    found = merged("", BASE, add("oak")(BASE))
    assert data(found.text) == data(add("oak")(BASE))


def test_other_values_that_both_sides_changed_are_a_clash() -> None:
    ours = swap("[hosts.web]\n", '[hosts.web]\naddress = "a.example"\n')
    theirs = swap("[hosts.web]\n", '[hosts.web]\naddress = "b.example"\n')
    assert [c.name for c in of(ours, theirs).clashes] == ["hosts.web.address"]


def test_a_changed_rule_that_the_other_side_removed_is_gone() -> None:
    less = swap('[[secrets]]\npath = "secrets/web/*"\nreaders = ["web"]\n\n', "")
    more = swap('readers = ["web"]', 'readers = ["web", "db"]')
    found = of(less, more)
    assert found.text == less(BASE)
    assert found.removed == (("secrets", "secrets/web/*"),)


EDITS: list[Edit] = [
    add("oak", groups=("servers",)),
    add("elm"),
    add("fir", groups=("desks", "new")),
    remove("db"),
    remove("web"),
    rename("web", "www"),
    rename("alice", "ann"),
    keys("bert", "bert", "ash"),
    rule("c/*", "web"),
    rule("d/*", "servers", first=False),
    swap('desks = ["bert"]', 'desks = ["alice"]'),
    swap('always = ["admins"]', 'always = ["admins", "bert"]'),
    swap("# People.", "# The people."),
    swap('readers = ["servers"]', 'readers = ["servers", "bert"]'),
]


@pytest.mark.parametrize("ours", range(len(EDITS)))
@pytest.mark.parametrize("theirs", range(len(EDITS)))
def test_any_two_edits_merge_as_if_one_came_after_the_other(
    ours: int, theirs: int
) -> None:
    try:
        one_by_one = [
            EDITS[theirs](EDITS[ours](BASE)) if ours != theirs else EDITS[ours](BASE),
            EDITS[ours](EDITS[theirs](BASE)) if ours != theirs else EDITS[ours](BASE),
        ]
    except (AssertionError, MapError):
        one_by_one = []
    found = merged(BASE, EDITS[ours](BASE), EDITS[theirs](BASE))
    assert not found.clashes
    wanted = [_as_sets(data(text)) for text in one_by_one]
    assert not wanted or _as_sets(data(found.text)) in wanted


def _as_sets(value: object) -> object:
    match value:
        case dict():
            return {k: _as_sets(v) for k, v in value.items() if v != {}}
        case list() if all(isinstance(one, str) for one in value):
            return sorted(value)
        case list():
            return sorted((_as_sets(one) for one in value), key=repr)
        case _:
            return value
