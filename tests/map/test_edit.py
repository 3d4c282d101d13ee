"""Edits of the map: exactly the asked-for change, in the layout that is there.

`<web>` in a text stands for the public key line of that name.
"""

from collections.abc import Callable

import pytest

from nixsecrets.keys.forms import Backend
from nixsecrets.map import edit
from nixsecrets.map.draft import Draft
from nixsecrets.map.load import load
from nixsecrets.map.model import Retired, Rule
from tests.map.maps import recipient, with_keys

Edit = Callable[[str], str]
BASE = """\
version = 1
always = ["alice"]

[users.alice]
keys = ["<alice>"]

[hosts.web]
keys = ["<web>"]

[[secrets]]
path = "secrets/**"
readers = ["web"]
"""


def add(name: str, *, groups: tuple[str, ...] = ()) -> Edit:
    return lambda text: edit.add_host(text, name, [recipient(name)], groups=groups)


def remove(name: str) -> Edit:
    return lambda text: edit.remove_host(text, name)


def keys(owner: str, *names: str, verified: str | None = None) -> Edit:
    new = [recipient(name) for name in names]
    return lambda text: edit.replace_keys(text, owner, new, verified=verified)


def rename(old: str, new: str) -> Edit:
    return lambda text: edit.rename(text, old, new)


NEW_RULE = Rule(0, "new/*.age", None, ("web",))

CASES: list[tuple[str, Edit, str, str]] = [
    (
        "a host goes behind the last host",
        add("db"),
        BASE,
        BASE.replace('["<web>"]\n', '["<web>"]\n\n[hosts.db]\nkeys = ["<db>"]\n'),
    ),
    (
        "a host has every field it was given",
        lambda text: edit.add_host(
            text,
            "db",
            [recipient("db"), recipient("db2")],
            groups=["dns", "server"],
            address="10.0.0.1",
            verified='by "phone"',
        ),
        BASE,
        BASE.replace(
            '["<web>"]\n',
            """["<web>"]

[hosts.db]
keys = ["<db>", "<db2>"]
groups = ["dns", "server"]
address = "10.0.0.1"
verified = 'by "phone"'
""",
        ),
    ),
    (
        "a user goes behind the last user",
        lambda text: edit.add_user(
            text, "bob", [recipient("bob")], groups=["admins"], sops_form="ssh"
        ),
        BASE,
        BASE.replace(
            '["<alice>"]\n',
            """["<alice>"]

[users.bob]
keys = ["<bob>"]
groups = ["admins"]
sops_form = "ssh"
""",
        ),
    ),
    (
        "a name with a dot is quoted",
        lambda text: edit.add_user(text, "b.ob", [recipient("bob")]),
        BASE,
        BASE.replace(
            '["<alice>"]\n',
            '["<alice>"]\n\n[users."b.ob"]\nkeys = ["<bob>"]\n',
        ),
    ),
    (
        "the first host goes behind the users, above the next section's banner",
        add("db"),
        """\
version = 1
[users.alice]
keys = ["<alice>"]  # her laptop
# address = "not yet"

# ---- groups ----

[groups]
g = ["alice"]
""",
        """\
version = 1
[users.alice]
keys = ["<alice>"]  # her laptop
# address = "not yet"

[hosts.db]
keys = ["<db>"]

# ---- groups ----

[groups]
g = ["alice"]
""",
    ),
    (
        "tables without empty lines between them get one on both sides",
        add("db"),
        """\
version = 1
[hosts.web]
keys = ["<web>"]
# dns
[groups]
dns = ["web"]
""",
        """\
version = 1
[hosts.web]
keys = ["<web>"]

[hosts.db]
keys = ["<db>"]

# dns
[groups]
dns = ["web"]
""",
    ),
    (
        "the first table of a map goes below the keys above all tables",
        add("db"),
        "version = 1",
        'version = 1\n\n[hosts.db]\nkeys = ["<db>"]\n',
    ),
    (
        "a host joins hosts written with dots",
        add("db"),
        'version = 1\n[hosts]\nweb.keys = ["<web>"]\n\n# end\n',
        'version = 1\n[hosts]\nweb.keys = ["<web>"]\n\n'
        '[hosts.db]\nkeys = ["<db>"]\n\n# end\n',
    ),
    (
        "a removed host takes its comments and its mentions with it",
        remove("web"),
        """\
version = 1
always = ["alice", "web"]  # both

[users.alice]
keys = ["<alice>"]

# -- hosts --

# the web server
# in the cellar
[hosts.web]  # rented
keys = ["<web>"]  # root@web
# address = "web.lan"

# the mail server
[hosts.mail]
keys = ["<mail>"]

[groups]
dns = ["web", "mail"]
web-only = [ "web" ]

[[secrets]]
path = "web/**"
readers = ["mail", "web"]
except = ["web"]
""",
        """\
version = 1
always = ["alice"]  # both

[users.alice]
keys = ["<alice>"]

# -- hosts --

# the mail server
[hosts.mail]
keys = ["<mail>"]

[groups]
dns = ["mail"]
web-only = []

[[secrets]]
path = "web/**"
readers = ["mail"]
except = []
""",
    ),
    (
        "a removed host at the end takes the empty line above",
        remove("db"),
        BASE + '\n[hosts.db]\nkeys = ["<db>"]\n',
        BASE,
    ),
    (
        "a group that only the removed host had joined stays where it is named",
        remove("web"),
        BASE.replace('["<web>"]\n', '["<web>"]\ngroups = ["server", "x"]\n').replace(
            'readers = ["web"]', 'readers = ["server"]'
        ),
        """\
version = 1
always = ["alice"]

[users.alice]
keys = ["<alice>"]

[groups]
server = []

[[secrets]]
path = "secrets/**"
readers = ["server"]
""",
    ),
    (
        "a group that stays joins the others",
        remove("web"),
        """\
version = 1
always = ["alice", "server"]
[users.alice]
keys = ["<alice>"]
[hosts.web]
keys = ["<web>"]
groups = ["server"]
[groups]
  admins = ["alice"] # people
# end
""",
        """\
version = 1
always = ["alice", "server"]
[users.alice]
keys = ["<alice>"]
[groups]
  admins = ["alice"] # people
  server = []
# end
""",
    ),
    (
        "hosts written with dots, in pieces or inline are removed, too",
        remove("web"),
        """\
version = 1
hosts.web.keys = ["<web>"]  # 1

# about mail
hosts.mail = { keys = ["<mail>"] }
hosts.web.groups = ["x"]
""",
        """\
version = 1

# about mail
hosts.mail = { keys = ["<mail>"] }
""",
    ),
    (
        "a host inside of an inline table is removed",
        remove("web"),
        'version = 1\nhosts = { web.keys = ["<web>"], m.keys = ["<m>"] } # x\n',
        'version = 1\nhosts = { m.keys = ["<m>"] } # x\n',
    ),
    (
        "the last host inside of an inline table is removed",
        remove("web"),
        'version = 1\nhosts = { web = { keys = ["<web>"] } }\n',
        "version = 1\nhosts = {}\n",
    ),
    (
        "retired keys go to the end",
        lambda text: edit.remove_host(
            text,
            "web",
            retired=[
                Retired("web", recipient("web"), "2026-11-20", "sold"),
                Retired("web", recipient("old")),
            ],
        ),
        BASE,
        """\
version = 1
always = ["alice"]

[users.alice]
keys = ["<alice>"]

[[secrets]]
path = "secrets/**"
readers = []

[[retired]]
name = "web"
key = "<web>"
date = "2026-11-20"
reason = "sold"

[[retired]]
name = "web"
key = "<old>"
""",
    ),
    (
        "a replaced key takes the place of the old one",
        keys("web", "new"),
        BASE.replace('["<web>"]', '["<web>"]  # in ssh form'),
        BASE.replace('["<web>"]', '["<new>"]  # in ssh form'),
    ),
    (
        "keys that stay keep their lines, and comments go with their keys",
        keys("alice", "c", "b", "d"),
        """\
version = 1
[users.alice]
keys = [
  # token
  "<a>",  # lost
  # laptop
  "<b>",
  "<c>"   # desktop
  # "<z>"
]
""",
        """\
version = 1
[users.alice]
keys = [
  # laptop
  "<b>",
  "<c>",   # desktop
  "<d>"
  # "<z>"
]
""",
    ),
    (
        "how a key was verified is replaced with the key",
        keys("web", "new", verified="by phone"),
        BASE.replace('["<web>"]\n', '["<web>"]\nverified = "x" # y\n'),
        BASE.replace('["<web>"]\n', '["<new>"]\nverified = "by phone" # y\n'),
    ),
    (
        "how a key was verified goes with the key",
        keys("web", "new"),
        BASE.replace('["<web>"]\n', '["<web>"]\nverified = "x" # y\n'),
        BASE.replace('["<web>"]\n', '["<new>"]\n'),
    ),
    (
        "how a key was verified is written where nothing was",
        keys("web", "new", verified="by phone"),
        BASE.replace('["<web>"]\n', '["<web>"] # y\n'),
        BASE.replace('["<web>"]\n', '["<new>"] # y\nverified = "by phone"\n'),
    ),
    (
        "an inline host is edited inline",
        keys("web", "new", verified="x"),
        "version = 1\nhosts.web = { keys = ['<web>'] } # y\n",
        'version = 1\nhosts.web = { keys = ["<new>"], verified = "x" } # y\n',
    ),
    (
        "a host written with dots is edited with dots",
        keys("web", "new", verified="x"),
        "version = 1\n[hosts]\n  web.keys = ['<web>'] # y",
        'version = 1\n[hosts]\n  web.keys = ["<new>"] # y\n  web.verified = "x"\n',
    ),
    ("the same keys change nothing", keys("web", "web"), BASE, BASE),
    (
        "the same keys keep how they were verified",
        keys("web", "web"),
        BASE.replace('["<web>"]\n', '["<web>"]\nverified = "x"\n'),
        BASE.replace('["<web>"]\n', '["<web>"]\nverified = "x"\n'),
    ),
    (
        "a rule goes behind the last rule",
        lambda text: edit.add_rule(text, NEW_RULE),
        BASE + '\n[[retired]]\nname = "x"\nkey = "<x>"\n',
        BASE
        + '\n[[secrets]]\npath = "new/*.age"\nreaders = ["web"]\n'
        + '\n[[retired]]\nname = "x"\nkey = "<x>"\n',
    ),
    (
        "a first rule goes above the first rule and its comments",
        lambda text: edit.add_rule(text, NEW_RULE, first=True),
        BASE.replace("[[secrets]]", "# all the rest\n[[secrets]]"),
        BASE.replace(
            "[[secrets]]",
            '[[secrets]]\npath = "new/*.age"\nreaders = ["web"]\n\n'
            "# all the rest\n[[secrets]]",
        ),
    ),
    (
        "the first rule of a map goes below the comments at its end",
        lambda text: edit.add_rule(
            text,
            Rule(
                7,
                None,
                r"^a\.b$",
                (),
                except_=("alice",),
                plaintext_allowed=True,
                backend=Backend.SOPS,
                sops=(("encrypted_regex", r"^(a|b)\d$"), ("mac_only_encrypted", True)),
            ),
        ),
        'version = 1\nalways = ["alice"]\n[users.alice]\nkeys = ["<alice>"]\n\n# end',
        """\
version = 1
always = ["alice"]
[users.alice]
keys = ["<alice>"]

# end

[[secrets]]
path_regex = '^a\\.b$'
readers = []
except = ["alice"]
plaintext = "allowed"
backend = "sops"
sops = { encrypted_regex = '^(a|b)\\d$', mac_only_encrypted = true }
""",
    ),
    (
        "an age rule can be armored",
        lambda text: edit.add_rule(
            text, Rule(0, 'it\'s "x"', None, ("web",), backend=Backend.AGE, armor=True)
        ),
        BASE,
        BASE
        + '\n[[secrets]]\npath = "it\'s \\"x\\""\nreaders = ["web"]\n'
        + 'backend = "age"\narmor = true\n',
    ),
    (
        "a renamed host is renamed everywhere but in paths and comments",
        rename("web", "w.eb"),
        """\
version = 1
always = [ 'web', "alice" ]  # web
users.alice = { keys = ["<alice>"] }

[hosts."web"] # web
keys = ["<web>"]
address = "web"

[groups]
g = [
  "web", # web
]

[[secrets]]
path = "web/**"
readers = ["web"]
except = ["web"]

[[retired]]
name = "web"
key = "<old>"
""",
        """\
version = 1
always = [ "w.eb", "alice" ]  # web
users.alice = { keys = ["<alice>"] }

[hosts."w.eb"] # web
keys = ["<web>"]
address = "web"

[groups]
g = [
  "w.eb", # web
]

[[secrets]]
path = "web/**"
readers = ["w.eb"]
except = ["w.eb"]

[[retired]]
name = "w.eb"
key = "<old>"
""",
    ),
    (
        "a renamed group is renamed where it is joined, too",
        rename("g", "h"),
        """\
version = 1
users = { alice = { keys = ["<alice>"], groups = ["g"] } }
[hosts]
web.keys = ["<web>"]
web.groups = ["g", "x"]
[groups]
g = []
x = ["g"]
""",
        """\
version = 1
users = { alice = { keys = ["<alice>"], groups = ["h"] } }
[hosts]
web.keys = ["<web>"]
web.groups = ["h", "x"]
[groups]
h = []
x = ["h"]
""",
    ),
    (
        "every piece of a host is renamed",
        rename("web", "www"),
        'version = 1\nhosts.web.keys = ["<web>"]\nhosts . web . address = "web"\n',
        'version = 1\nhosts.www.keys = ["<web>"]\nhosts . www . address = "web"\n',
    ),
]


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [pytest.param(*case[1:], id=case[0]) for case in CASES],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_an_edit_changes_what_was_asked_for_and_nothing_else(
    change: Edit, before: str, after: str, newline: str
) -> None:
    before, after = (with_keys(t).replace("\n", newline) for t in (before, after))
    load(before)
    if "\n" not in before:
        after = after.replace("\r\n", "\n")
    assert change(before) == after


LISTS = [
    # name, the list before, with "x" appended, with "b" removed
    ("on one line", '["a", "b", "c"]', '["a", "b", "c", "x"]', '["a", "c"]'),
    ("no blanks", '["a","b","c"]', '["a","b","c", "x"]', '["a","c"]'),
    ("blanks inside", '[ "a", "b" ]', '[ "a", "b", "x" ]', '[ "a" ]'),
    ("trailing comma", '["a", "b",]', '["a", "b", "x",]', '["a",]'),
    ("first", '["b", "c"]', '["b", "c", "x"]', '["c"]'),
    ("alone", '["b"]', '["b", "x"]', "[]"),
    ("alone with blanks", '[ "b" , ]', '[ "b", "x" , ]', "[]"),
    (
        "one per line",
        '[\n  "a",\n  "b",\n]',
        '[\n  "a",\n  "b",\n  "x",\n]',
        '[\n  "a",\n]',
    ),
    (
        "one per line without the last comma",
        '[\n\t"a",\n\t"b"\n]',
        '[\n\t"a",\n\t"b",\n\t"x"\n]',
        '[\n\t"a"\n]',
    ),
    (
        "one per line in the middle",
        '[\n  "a", # A\n  "b", # B\n  "c" # C\n]',
        '[\n  "a", # A\n  "b", # B\n  "c", # C\n  "x"\n]',
        '[\n  "a", # A\n  "c" # C\n]',
    ),
    (
        "comments above and behind",
        '[\n  # A\n  "a", # a\n  # B\n  "b", # b\n  # C\n  "c",\n  # end\n]',
        '[\n  # A\n  "a", # a\n  # B\n  "b", # b\n  # C\n  "c",\n  "x",\n  # end\n]',
        '[\n  # A\n  "a", # a\n  # C\n  "c",\n  # end\n]',
    ),
    (
        "a heading of several",
        '[\n  # A\n  "a",\n\n  # B\n  "b",\n  "c",\n]',
        '[\n  # A\n  "a",\n\n  # B\n  "b",\n  "c",\n  "x",\n]',
        '[\n  # A\n  "a",\n\n  # B\n  "c",\n]',
    ),
    (
        "the last with a comment and no comma",
        '[\n  "a", # A\n  # B\n  "b" # b\n]',
        '[\n  "a", # A\n  # B\n  "b", # b\n  "x"\n]',
        '[\n  "a" # A\n]',
    ),
    (
        "the last on its line with the bracket",
        '["a",\n "b"]',
        '["a",\n "b",\n "x"]',
        '["a"]',
    ),
    (
        "several per line",
        '[\n  "a", "b", # ab\n  "c", "d", # cd\n]',
        '[\n  "a", "b", # ab\n  "c", "d", # cd\n  "x",\n]',
        '[\n  "a", # ab\n  "c", "d", # cd\n]',
    ),
    (
        "the first of several on a line",
        '[\n  "a", # a\n  "b", "c"\n]',
        '[\n  "a", # a\n  "b", "c",\n  "x"\n]',
        '[\n  "a", # a\n  "c"\n]',
    ),
    (
        "commas first",
        '[ "a"\n, "b"\n, "c"\n]',
        '[ "a"\n, "b"\n, "c",\n"x"\n]',
        '[ "a"\n, "c"\n]',
    ),
    (
        "commas first, the first",
        '[\n  "b"  # B\n  , "c"\n]',
        '[\n  "b"  # B\n  , "c",\n  "x"\n]',
        '[\n   "c"\n]',
    ),
    (
        "commas on lines of their own",
        '[\n  "a"\n  ,\n  "b"\n  ,\n]',
        '[\n  "a"\n  ,\n  "b"\n  ,\n  "x",\n]',
        '[\n  "a"\n  ,\n]',
    ),
    (
        "a comment between the last and its comma",
        '["a", # A\n "b" # B\n , # C\n]',
        '["a", # A\n "b" # B\n , # C\n "x",\n]',
        '["a", # A\n  # C\n]',
    ),
    (
        "beginning on the first line",
        '["a", # A\n  "b", # B\n]',
        '["a", # A\n  "b", # B\n  "x",\n]',
        '["a", # A\n]',
    ),
    (
        "ending on the first line",
        '["b" # B\n]',
        '["b", # B\n  "x"\n]',
        "[ # B\n]",
    ),
    (
        "alone with comments",
        '[\n  # none but\n  "b", # B\n  # end\n]',
        '[\n  # none but\n  "b", # B\n  "x",\n  # end\n]',
        "[\n  # end\n]",
    ),
    (
        "alone with its comment",
        '[\n  "b" # B\n]',
        '[\n  "b", # B\n  "x"\n]',
        "[]",
    ),
    ("empty", "[]", '["x"]', None),
    ("empty with blanks", "[ \n ]", '["x"]', None),
    ("empty with a comment", "[\n  # none\n]", '[\n  # none\n  "x",\n]', None),
    ("empty with a comment behind", "[ # none\n]", '[ # none\n  "x",\n]', None),
]


def owners(*names: str) -> str:
    return "".join(with_keys(f'[hosts."{n}"]\nkeys = ["<{n[0]}>"]\n') for n in names)


HOSTS = owners("a", "b", "c", "d") + with_keys('[hosts.x]\nkeys = ["<x>"]\n')


@pytest.mark.parametrize(
    ("before", "appended", "removed"),
    [pytest.param(*case[1:], id=case[0]) for case in LISTS],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_list_keeps_its_layout(
    before: str, appended: str, removed: str | None, newline: str
) -> None:
    rule = '[[secrets]]\npath = "x"\nreaders = LIST # behind\n'
    text = f'version = 1\nalways = ["x"]\n{HOSTS}{rule}'.replace("\n", newline)
    before, appended = (t.replace("\n", newline) for t in (before, appended))
    old = text.replace("LIST", before)
    names = load(old).rules[0].readers
    assert with_readers(old, [*names, "x"]) == text.replace("LIST", appended)
    if removed is not None:
        removed = removed.replace("\n", newline)
        left = [name for name in names if name != "b"]
        assert with_readers(old, left) == text.replace("LIST", removed)


def with_readers(text: str, names: list[str]) -> str:
    """The map with other readers of its first rule."""
    draft = Draft(text)
    draft.set_strings(("secrets", 0, "readers"), names)
    draft.intended["secrets"][0]["readers"] = names
    return draft.finished("cannot change the readers")


def test_comments_of_an_ssh_key_cannot_break_out_of_their_string() -> None:
    key = recipient("web")
    for comment in ('a"b', "a\\", "é ☃", "it's", "x'\"\\", "#", "]"):
        odd = type(key)(key.kind, key.key, key.text, comment)
        text = edit.add_host("version = 1\n", "web", [odd])
        assert load(text).hosts[0].keys == (key,)
        assert load(text).hosts[0].keys[0].comment == comment
