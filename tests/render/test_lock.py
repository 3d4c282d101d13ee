"""The lock: exact bytes, any merge of two branches, every damage named."""

import hashlib
import json
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import MapError
from nixsecrets.keys.recipients import Recipient
from nixsecrets.render.lock import Lock
from nixsecrets.secretfiles.state import Record
from tests.fleet import clean_env, program
from tests.policy.maps import recipient

KEYS = tuple(recipient(name) for name in ("alice", "web", "db"))
ALICE, WEB, DB = KEYS
NAMES = [("alice", ALICE), ("web", WEB), ("db", DB)]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def record(*recipients: Recipient, content: str = "x", how: str = "written") -> Record:
    return Record(recipients, digest(content), how)


SMALL = Lock().with_files({"secrets/wifi.age": record(ALICE, WEB)}, NAMES)


def test_the_format_is_exactly_this() -> None:
    ids = {one: digest(one.text)[:16] for one in (ALICE, WEB)}
    set_id = digest(f"{ids[ALICE]}\n{ids[WEB]}\n")[:16]
    recipients = [
        {
            "recipient": ids[one],
            "key": one.text,
            "age": one.converted().text,
            "name": name,
        }
        for name, one in NAMES[:2]
    ]
    expected = [
        {"nixsecrets": 1},
        *sorted(recipients, key=lambda one: one["recipient"]),
        {"set": set_id, "recipients": [ids[ALICE], ids[WEB]]},
        {
            "file": "secrets/wifi.age",
            "set": set_id,
            "sha256": digest("x"),
            "how": "written",
        },
    ]
    lines = [json.dumps(one, separators=(",", ":")) + "\n" for one in expected]
    assert SMALL.render() == "".join(lines)


def test_an_age_key_has_no_second_form() -> None:
    lock = Lock().with_files({"a": record(WEB.converted())})
    assert '"age":' not in lock.render()
    assert Lock.parse(lock.render()).record("a", digest("x")) == record(WEB.converted())


def test_an_empty_lock_has_only_its_head() -> None:
    assert Lock.parse("").render() == Lock().render() == '{"nixsecrets":1}\n'
    assert Lock().paths() == []


def test_a_set_keeps_its_order_and_each_order_is_a_set() -> None:
    lock = Lock().with_files({"a": record(WEB, ALICE), "b": record(ALICE, WEB)})
    again = Lock.parse(lock.render())
    assert again.record("a", digest("x")) == record(WEB, ALICE)
    assert again.record("b", digest("x")) == record(ALICE, WEB)


def test_a_record_counts_only_for_the_bytes_it_was_made_of() -> None:
    assert SMALL.record("secrets/wifi.age", digest("x")) == record(ALICE, WEB)
    assert SMALL.record("secrets/wifi.age", digest("y")) is None
    assert SMALL.record("other.age", digest("x")) is None


def test_what_no_file_needs_goes() -> None:
    emptied = SMALL.with_files({"secrets/wifi.age": None, "never.age": None})
    assert emptied.render() == Lock().render()


def test_a_key_keeps_its_name_until_it_has_another() -> None:
    lock = Lock.parse(SMALL.render())
    assert lock.named_recipients() == NAMES[:2]
    renamed = lock.with_files({}, [("www", WEB), ("later", WEB)])
    assert renamed.named_recipients() == [("alice", ALICE), ("www", WEB)]


@pytest.mark.parametrize("order", range(5))
def test_lines_are_read_in_any_order_and_any_number(order: int) -> None:
    lines = SMALL.render().splitlines() * 2
    random.Random(order).shuffle(lines)  # noqa: S311 (a repeatable dice)
    assert Lock.parse("\n".join(lines)).render() == SMALL.render()
    assert Lock.parse("\r\n".join(lines)).render() == SMALL.render()


def test_of_several_records_the_fitting_one_counts_and_stays() -> None:
    ours = SMALL.with_files({"secrets/wifi.age": record(ALICE, DB, content="ours")})
    theirs = SMALL.with_files({"secrets/wifi.age": record(ALICE, content="theirs")})
    merged = Lock.parse(ours.render() + theirs.render())
    path = "secrets/wifi.age"
    assert merged.record(path, digest("ours")) == record(ALICE, DB, content="ours")
    assert merged.record(path, digest("theirs")) == record(ALICE, content="theirs")
    assert Lock.parse(merged.render()).render() == merged.render()
    kept = merged.with_files({}, present={path: digest("theirs")})
    assert kept.record(path, digest("ours")) is None
    assert kept.record(path, digest("theirs")) is not None
    assert merged.with_files({}, present={path: "neither"}).render() == merged.render()
    written = merged.with_files({path: record(DB, content="new")})
    assert written.record(path, digest("theirs")) is None


def test_any_two_branches_merge_in_git(tmp_path: Path) -> None:
    env = clean_env(tmp_path)

    def git(*args: str) -> None:
        subprocess.run(
            [program("git"), *args],
            cwd=tmp_path,
            env=env,
            check=True,
            capture_output=True,
        )

    def commit(lock: Lock) -> None:
        (tmp_path / "nixsecrets.lock").write_text(lock.render())
        git("add", "-A")
        git("commit", "-q", "-m", "x")

    git("init", "-q", "-b", "main")
    (tmp_path / ".gitattributes").write_text("nixsecrets.lock merge=union\n")
    base = Lock().with_files({f"{at}.age": record(ALICE) for at in range(9)}, NAMES)
    commit(base)
    git("checkout", "-q", "-b", "side")
    commit(base.with_files({"4.age": record(ALICE, WEB, content="s"), "0.age": None}))
    git("checkout", "-q", "main")
    commit(base.with_files({"4.age": record(ALICE, DB, content="m"), "5.age": None}))
    git("merge", "-q", "side", "-m", "merge")
    merged = Lock.parse((tmp_path / "nixsecrets.lock").read_text())
    assert merged.record("4.age", digest("s")) == record(ALICE, WEB, content="s")
    assert merged.record("4.age", digest("m")) == record(ALICE, DB, content="m")
    assert merged.record("8.age", digest("x")) == record(ALICE)


KEY_LINE, SET_LINE, FILE_LINE = SMALL.render().splitlines()[2:]
DAMAGES = [
    ("<<<<<<< HEAD", "not a line of a lock"),
    ("[" * 100_000, "not a line of a lock"),
    ('{"nixsecrets":1},{"nixsecrets":1}', "not a line of a lock"),
    ("[1,2]", "unknown kind"),
    ("null", "unknown kind"),
    ("{}", "unknown kind"),
    ('{"secret":"x"}', "unknown kind"),
    ('{"nixsecrets":0}', "unknown version"),
    ('{"nixsecrets":true}', "wrong type"),
    ('{"nixsecrets":1,"more":1}', "wrong fields"),
    ('{"file":"x"}', "wrong fields"),
    (FILE_LINE.replace('"written"', '"guessed"'), "neither"),
    (FILE_LINE.replace('"written"', "1"), "wrong type"),
    (FILE_LINE.replace('"set":"', '"set":"0'), "no line defines the set"),
    (SET_LINE.replace('"set":"', '"set":"0'), "not that of the set"),
    (SET_LINE.replace('":["', '":[1,"'), "not that of the set"),
    (KEY_LINE.replace('recipient":"', 'recipient":"0'), "not that of the key"),
    (KEY_LINE.replace('"age":"age1', '"age":"age1q'), "not the converted ssh key"),
    (KEY_LINE.replace("ssh-ed25519 ", "ssh-ed25519 A"), "no recipient"),
]


@pytest.mark.parametrize(("line", "problem"), DAMAGES)
def test_a_damaged_line_is_named_by_its_number(line: str, problem: str) -> None:
    text = "\n" + SMALL.render() + line + "\n"
    with pytest.raises(MapError, match=rf"^the\.lock:7: .*{problem}") as caught:
        Lock.parse(text, "the.lock")
    assert caught.value.hint
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(
    "line",
    [
        '{"nixsecrets":2}',
        '{"file":"x","scheme":3}\n{"nixsecrets":2}',
        '# a comment\n{ "nixsecrets": 2 }',
    ],
)
def test_a_lock_of_a_newer_version_says_so_whatever_else_it_has(line: str) -> None:
    number = SMALL.render().count("\n") + line.count("\n") + 1
    with pytest.raises(MapError) as caught:
        Lock.parse(SMALL.render() + line + "\n")
    assert caught.value.message == (
        f"nixsecrets.lock:{number}: written by a newer nixsecrets"
        " (format 2; this one reads 1)"
    )
    assert caught.value.hint == "upgrade nixsecrets"


def test_a_set_without_its_recipients_is_an_error() -> None:
    lines = [line for line in SMALL.render().splitlines() if "ssh-ed25519" not in line]
    with pytest.raises(
        MapError, match=r"nixsecrets\.lock:2: no line defines a recipient"
    ):
        Lock.parse("\n".join(lines))


paths = st.text(
    st.characters(exclude_characters="\0", exclude_categories=[]), min_size=1
)
records = st.builds(
    Record,
    st.lists(st.sampled_from(KEYS), unique=True).map(tuple),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.sampled_from(["written", "adopted"]),
)


@given(st.dictionaries(paths, records), st.dictionaries(paths, records))
def test_every_lock_survives_writing_and_merging(
    ours: dict[str, Record], theirs: dict[str, Record]
) -> None:
    one = Lock().with_files(ours, NAMES)
    other = Lock().with_files(theirs, NAMES)
    one.render().encode()  # also for file names that are no UTF-8
    assert Lock.parse(one.render()).render() == one.render()
    lines = {*one.render().split("\n"), *other.render().split("\n")}
    merged = Lock.parse("\n".join(sorted(lines)))
    for lock in (ours, theirs):
        for path, wanted in lock.items():
            found = merged.record(path, wanted.sha256)
            assert found is not None
            assert found in (ours.get(path), theirs.get(path))


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        Lock.parse(text)
    except MapError as error:
        assert error.hint
