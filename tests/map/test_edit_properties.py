"""Edits of random maps in random layouts: the value is right, comments stay put.

Each comment of a generated map says what it describes (`above h1`, `item h1`), so that
a test can tell whether it still stands there.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.map import edit
from nixsecrets.map.load import load
from nixsecrets.map.model import RecipientMap, Retired, Rule
from tests.map.maps import public, recipient

HOSTS = ("h1", "h2", "h3")
USERS = ("root", "u1", "u2")
GROUPS = ("g1", "g2")
JOINED = ("j1", "g2")
OWNERS = (*HOSTS, *USERS)


@dataclass
class Writer:
    """Writes TOML in a layout that Hypothesis draws, with numbered comments."""

    draw: Callable[[st.SearchStrategy[int]], int]
    newline: str
    comments: int = 0

    def choose(self, count: int) -> int:
        return self.draw(st.integers(0, count - 1))

    def comment(self, about: str) -> str:
        self.comments += 1
        return f"# {about} no{self.comments}"

    def behind(self, about: str) -> str:
        return f"  {self.comment(about)}" if self.choose(3) == 0 else ""

    def subset(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if self.choose(2)]

    def names(self, key: str, names: Sequence[str]) -> str:
        """Return a `key = [...]` line, or lines."""
        return self.listed(key, [(name, f'"{name}"') for name in names])

    def listed(self, key: str, items: Sequence[tuple[str, str]]) -> str:
        texts = [text for _, text in items]
        layout = self.choose(6)
        if layout < 2 or not items:
            comma = "," if layout == 1 and items else ""
            return f"{key} = [{', '.join(texts)}{comma}]{self.behind(f'line {key}')}\n"
        if layout == 2:
            return f"{key} = [ {(',' + self.newline + '    ').join(texts)} ]\n"
        lines = [f"{key} = [\n"]
        for index, (name, text) in enumerate(items):
            if layout >= 4:
                lines.append(f"  {self.comment(f'above {name}')}\n")
            comma = "" if index == len(items) - 1 and self.choose(2) else ","
            lines.append(f"  {text}{comma}{self.behind(f'item {name}')}\n")
        end = f"  {self.comment('end of list')}\n" if layout == 5 else ""
        return "".join([*lines, end, "]\n"])

    def table(self, header: str, name: str, lines: Sequence[str]) -> str:
        above = "".join(
            f"{self.comment(f'above {name}')}\n" for _ in range(self.choose(3))
        )
        if self.choose(3) == 0:
            above = f"{self.comment('banner')}\n\n{above}"
        below = f"{self.comment(f'below {name}')}\n\n" if self.choose(4) == 0 else ""
        gap = "\n" * self.choose(3)
        head = f"{header}{self.behind(f'item {name}')}\n"
        return above + head + "".join(lines) + below + gap

    def owner(self, kind: str, name: str) -> str:
        keys = [(f"{name}-{i}", f'"{public(f"{name}-{i}")}"') for i in range(2)]
        lines = [self.listed("keys", keys[: 1 + self.choose(2)])]
        if joined := self.subset(JOINED):
            lines.append(self.names("groups", joined))
        if kind == "hosts" and self.choose(2):
            lines.insert(self.choose(2), f'verified = "x"{self.behind("verified")}\n')
        if self.choose(6) == 0:
            inner = f"keys = [ {', '.join(text for _, text in keys)} ]"
            return f"[{kind}.{name}]\n{inner}\n\n"
        return self.table(f"[{kind}.{name}]", name, lines)

    def rule(self, number: int) -> str:
        name = f"secrets{number}"
        lines = [f'path = "{name}/*"\n', self.names("readers", self.anybody())]
        if self.choose(2):
            lines.append(self.names("except", self.anybody()))
        return self.table("[[secrets]]", name, lines)

    def anybody(self) -> list[str]:
        return self.subset((*OWNERS, *GROUPS))


@st.composite
def maps(draw: Callable[[st.SearchStrategy[int]], int]) -> str:
    """Draw the text of a valid map."""
    newline = ("\n", "\r\n")[draw(st.integers(0, 1))]
    writer = Writer(draw, newline)
    parts = ["version = 1\n", writer.names("always", ["root", *writer.subset(HOSTS)])]
    parts += [writer.owner("users", name) for name in USERS]
    parts += [writer.owner("hosts", name) for name in HOSTS]
    groups = [writer.names(group, writer.subset(OWNERS)) for group in GROUPS]
    parts.append(writer.table("[groups]", "groups", groups))
    parts += [writer.rule(number) for number in range(draw(st.integers(0, 2)))]
    text = "".join(parts)
    if draw(st.integers(0, 1)):
        text = text.rstrip("\n")
    return re.sub("\r*\n", newline, text)


def comments(text: str) -> list[str]:
    return re.findall(r"# .* no\d+", text)


def require_comments_in_place(text: str) -> None:
    """Fail if a comment does not stand at what it says it describes."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        found = re.search(r"# (\w+) ([\w-]+).* no\d+", line)
        if found is None:
            continue
        position, name = found[1], found[2]
        code = line[: found.start()]
        following = next(
            (s for s in lines[number + 1 :] if not s.lstrip().startswith("#")), ""
        )
        match position:
            case "above":
                assert not code.strip()
                assert name.partition("-")[0] in following or "[[" in following
            case "item" | "line" | "verified":
                assert code.strip()
                assert name.partition("-")[0] in code or "[[" in code
            case _:
                assert not code.strip()


def same(left: RecipientMap, right: RecipientMap) -> bool:
    """Compare two maps, whatever the order of their names."""

    def key(m: RecipientMap) -> object:
        groups = {name: sorted(members) for name, members in m.groups}
        users = {user.name: user for user in m.users}
        hosts = {host.name: host for host in m.hosts}
        return (m.always, users, hosts, groups, m.rules, m.retired)

    return key(left) == key(right)


def only_inserted(old: str, new: str) -> bool:
    """Return whether `new` is `old` with one piece of text inserted."""
    start = next(
        (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
        min(len(old), len(new)),
    )
    end = len(old) - start
    return len(new) >= len(old) and (end == 0 or new.endswith(old[-end:]))


@given(maps())
def test_the_comments_of_a_generated_map_stand_where_they_say(text: str) -> None:
    load(text)
    require_comments_in_place(text)


@given(maps(), st.sampled_from(["hosts", "users", "rule", "first rule"]))
def test_adding_inserts_one_piece_of_text(text: str, what: str) -> None:
    old, key = load(text), recipient("new")
    rule = Rule(0, "new", None, ("h1",))
    match what:
        case "hosts":
            new = edit.add_host(text, "new", [key], groups=["g1"], address="x")
        case "users":
            new = edit.add_user(text, "new", [key], groups=["g1"])
        case _:
            new = edit.add_rule(text, rule, first=what == "first rule")
    assert only_inserted(text, new)
    assert comments(new) == comments(text)
    require_comments_in_place(new)
    assert ("\r\n" in text) == ("\r\n" in new)
    assert not re.search("[^\r]\n", new) or "\r" not in new
    now = load(new)
    if what in ("hosts", "users"):
        names = {host.name for host in now.hosts} | {user.name for user in now.users}
        assert names == {*OWNERS, "new"}
        members = dict(now.groups)["g1"]
        assert sorted(members) == sorted((*dict(old.groups)["g1"], "new"))
    else:
        place = 0 if what == "first rule" else len(old.rules)
        rest = [replace(r, index=0) for i, r in enumerate(now.rules) if i != place]
        assert replace(now.rules[place], index=0) == rule
        assert rest == [replace(r, index=0) for r in old.rules]


def without(names: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)


@given(maps(), st.sampled_from((*HOSTS, "u1", "u2")), st.integers(0, 1))
def test_removing_leaves_no_trace_and_all_else(
    text: str, name: str, retire: int
) -> None:
    old = load(text)
    retired = [Retired(name, recipient(name), "2026-11-20")] * retire
    remove = edit.remove_host if name in HOSTS else edit.remove_user
    new = remove(text, name, retired=retired)
    now = load(new)
    gone = {f"j{i}" for i in (1, 2)} - {g for o in now.hosts for g in o.groups}
    expected = replace(
        old,
        always=without(old.always, name),
        users=tuple(user for user in old.users if user.name != name),
        hosts=tuple(host for host in old.hosts if host.name != name),
        groups=tuple(
            (group, without(members, name))
            for group, members in old.groups
            if group not in gone or without(members, name)
        ),
        rules=tuple(
            replace(
                rule,
                readers=without(rule.readers, name),
                except_=without(rule.except_, name),
            )
            for rule in old.rules
        ),
        retired=tuple(retired),
    )
    assert same(now, expected)
    about = re.compile(rf"# (above|item|below) {name}\b")
    table = re.search(rf"(?s)\[\w+\.{name}\].*?(?=\n\[|$)", text)
    own = set(comments(table[0])) if table else set()
    kept = [c for c in comments(text) if not about.match(c)]
    left = comments(new)
    assert not any(about.match(c) for c in left)
    assert [c for c in kept if c in set(left)] == left
    lost = [c for c in kept if c not in set(left)]
    assert set(lost) <= own
    require_comments_in_place(new)


@given(maps(), st.sampled_from((*OWNERS, *GROUPS)))
def test_renaming_there_and_back_changes_only_the_quotes(text: str, name: str) -> None:
    new = edit.rename(text, name, "renamed")
    assert name not in edit_names(load(new))
    assert comments(new) == comments(text)
    back = edit.rename(new, "renamed", name)
    assert back == text


def edit_names(m: RecipientMap) -> set[str]:
    lists = [m.always, *(members for _, members in m.groups)]
    lists += [names for rule in m.rules for names in (rule.readers, rule.except_)]
    names = {user.name for user in m.users} | {host.name for host in m.hosts}
    return names.union(dict(m.groups), *lists)


@given(maps(), st.sampled_from(HOSTS), st.sets(st.sampled_from("012"), min_size=1))
def test_replacing_keys_gives_these_keys_and_touches_nothing_else(
    text: str, name: str, numbers: set[str]
) -> None:
    keys = [recipient(f"{name}-{number}") for number in sorted(numbers)]
    old = load(text)
    new = edit.replace_keys(text, name, keys, verified="again")
    now = load(new)
    assert {h.name: set(h.keys) for h in now.hosts}[name] == set(keys)
    hosts = {host.name: host for host in now.hosts}
    before = {host.name: host for host in old.hosts}[name]
    hosts[name] = replace(before, keys=before.keys)
    assert same(replace(now, hosts=tuple(hosts.values())), old)
    about = [c for c in comments(text) if f" {name}-" not in c]
    assert [c for c in comments(new) if f" {name}-" not in c] == about
    require_comments_in_place(new)
    assert edit.replace_keys(new, name, keys, verified="again") == new


@given(maps(), st.data())
def test_many_edits_in_a_row_keep_the_map_editable(
    text: str, data: st.DataObject
) -> None:
    for number in range(4):
        hosts = [host.name for host in load(text).hosts]
        match data.draw(st.integers(0, 2)):
            case 0:
                name = f"new{number}"
                text = edit.add_host(text, name, [recipient(name)], groups=["g1"])
            case 1 if hosts:
                text = edit.remove_host(text, data.draw(st.sampled_from(hosts)))
            case _:
                text = edit.rename(text, "g1", "g9")
                text = edit.rename(text, "g9", "g1")
        require_comments_in_place(text)
