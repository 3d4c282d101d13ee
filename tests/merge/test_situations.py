"""What two people do at the same time, and what comes of it.

Real git, real age, real sops: every file is opened with every host's own key.
"""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.conftest import copied, template
from tests.fleet import Fleet
from tests.merge.branches import (
    AGE,
    DB,
    DB_TEXT,
    ENV,
    INI,
    JSON,
    LINES,
    Act,
    add,
    edited,
    in_order,
    key,
    larger_fleet,
    parted,
    put,
    remove,
    rename,
    resolve,
    rotate,
    several,
)

__all__ = ["template"]


@pytest.fixture(scope="session")
def larger(template: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """More files: each format of sops, several values in one."""
    return larger_fleet(template, tmp_path_factory.mktemp("larger") / "fleet")


@pytest.fixture
def base(larger: Fleet, tmp_path: Path) -> Fleet:
    """A copy of it."""
    return copied(larger, tmp_path / "fleet")


class Case(NamedTuple):
    """What each side does, and what must come of it."""

    ours: Act
    theirs: Act
    values: dict[str, str]
    removed: tuple[str, ...] = ()


CASES = {
    "add ‖ add host": Case(add("oak", "server"), add("elm", "server"), {DB: DB_TEXT}),
    "value ‖ value in one file": Case(
        key(DB, "db/password", "two"),
        key(DB, "last", "done"),
        {DB: DB_TEXT.replace("one\n", "two\n").replace("end", "done")},
    ),
    "a key at the end ‖ another one": Case(
        key(DB, "new", "ours"),
        key(DB, "newer", "theirs"),
        {DB: DB_TEXT + "new: ours\nnewer: theirs\n"},
    ),
    "the same value on both sides": Case(
        key(DB, "db/password", "two"),
        key(DB, "db/password", "two"),
        {DB: DB_TEXT.replace("one\n", "two\n")},
    ),
    "remove ‖ add host": Case(
        remove("schere"), add("elm", "dns"), {DB: DB_TEXT}, ("schere",)
    ),
    "remove ‖ edit of sops": Case(
        remove("schere"),
        key("secrets/dns.yaml", "dns", "new"),
        {"secrets/dns.yaml": "dns: new\n"},
        ("schere",),
    ),
    "edit of age ‖ remove": Case(
        put("secrets/dns.age", "new"),
        remove("schere"),
        {"secrets/dns.age": "new"},
        ("schere",),
    ),
    "remove and value ‖ remove and value": Case(
        several(remove("schere"), key("secrets/dns.yaml", "dns", "new")),
        several(remove("stein"), key("secrets/dns.yaml", "more", "yes")),
        {"secrets/dns.yaml": 'dns: new\nmore: "yes"\n'},
        ("schere", "stein"),
    ),
    "grant ‖ edit": Case(
        add("oak", "server"),
        several(key(DB, "last", "done"), put(AGE, LINES + "five\n")),
        {DB: DB_TEXT.replace("end", "done"), AGE: LINES + "five\n"},
    ),
    "lines of an age file": Case(
        put(AGE, LINES.replace("one", "1")),
        put(AGE, LINES.replace("four", "4")),
        {AGE: LINES.replace("one", "1").replace("four", "4")},
    ),
    "every format": Case(
        several(
            key(ENV, "MAIL", "two"), key(INI, "mail/key", "two"), key(JSON, "key", "a")
        ),
        several(
            key(ENV, "USER", "me"), key(INI, "mail/user", "me"), key(JSON, "new", "b")
        ),
        {
            ENV: "MAIL=two\nUSER=me\n",
            INI: "[mail]\nkey  = two\nuser = me\n",
            JSON: '{\n\t"key": "a",\n\t"new": "b"\n}\n',
        },
    ),
    "rename-host ‖ set": Case(
        rename("brunnen", "quelle"),
        key(JSON, "key", "new"),
        {"secrets/hosts/quelle/tls.json": '{\n\t"key": "new"\n}\n'},
    ),
    "remove ‖ new file": Case(
        remove("schere"), put("secrets/dns.new.age", "v"), {}, ("schere",)
    ),
    "grant of a file ‖ remove": Case(
        edited('dns = ["schere", "stein"]', 'dns = ["schere", "stein", "brunnen"]'),
        remove("schere"),
        {},
        ("schere",),
    ),
    "rotate ‖ edit": Case(
        rotate("schere"),
        key("secrets/dns.yaml", "dns", "new"),
        {"secrets/dns.yaml": "dns: new\n"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_merge_of_ordinary_work_is_resolved(base: Fleet, case: Case) -> None:
    found = parted(base, case.ours, case.theirs)
    done = resolve(found)
    assert done.returncode == 0, done.stderr
    for path, value in case.values.items():
        assert base.ok("cat", path) == value
    for name in case.removed:
        base.hosts.pop(name)
    in_order(base, removed=case.removed)
