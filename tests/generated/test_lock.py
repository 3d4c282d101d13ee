"""The lock: exact bytes, every line for itself, whatever a merge leaves of them."""

import hashlib
import json
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import MapError
from nixsecrets.files.state import Record
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.recipients import Recipient
from tests.map.maps import recipient

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
        {"nixsecrets": 2},
        *sorted(recipients, key=lambda one: one["recipient"]),
        {
            "file": "secrets/wifi.age",
            "recipients": [ids[ALICE], ids[WEB]],
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
    assert Lock.parse("").render() == Lock().render() == '{"nixsecrets":2}\n'
    assert Lock().paths() == []


def test_a_file_keeps_the_order_of_its_recipients() -> None:
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


def version_1(records: Mapping[str, Record], names: list[tuple[str, Recipient]]) -> str:
    """Return a lock as nixsecrets wrote it while a line stood for a set of readers."""
    named = {key: name for name, key in names}
    recipients, sets, files = set(), set(), []
    for path, one in sorted(records.items()):
        ids = [key.id for key in one.recipients]
        set_id = digest("".join(f"{each}\n" for each in ids))[:16]
        sets.add(compact({"set": set_id, "recipients": ids}))
        for key in one.recipients:
            fields = {"recipient": key.id, "key": key.text}
            fields |= {"age": key.converted().text, "name": named[key]}
            recipients.add(compact(fields))
        files.append(
            compact({"file": path, "set": set_id, "sha256": one.sha256, "how": one.how})
        )
    lines = ['{"nixsecrets":1}', *sorted(recipients), *sorted(sets), *files, ""]
    return "\n".join(lines)


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


OLD = {
    "a.age": record(ALICE, WEB),
    "b.age": record(ALICE, content="b", how="adopted"),
    "c.age": record(ALICE, WEB, content="c"),
}


def test_version_1_is_read_and_written_as_version_2() -> None:
    text = version_1(OLD, NAMES)
    lock = Lock.parse(text)
    assert (lock.version, lock.skipped) == (1, ())
    for path, wanted in OLD.items():
        assert lock.record(path, wanted.sha256) == wanted
    again = lock.render()
    assert again == Lock().with_files(OLD, NAMES).render()
    assert '"set"' not in again
    assert Lock.parse(again).version == 2


def test_lines_of_both_versions_are_next_to_each_other_after_a_merge() -> None:
    new = {"d.age": record(ALICE, DB, content="d")}
    text = version_1(OLD, NAMES) + Lock().with_files(new, NAMES).render()
    lock = Lock.parse(text)
    assert lock.skipped == ()
    assert lock.render() == Lock().with_files(OLD | new, NAMES).render()


def test_a_set_that_a_merge_took_away_costs_its_files_their_record_and_no_more() -> (
    None
):
    lines = version_1(OLD, NAMES).splitlines()
    first_set = next(at for at, line in enumerate(lines) if line.startswith('{"set"'))
    lost = json.loads(lines.pop(first_set))["set"]
    lock = Lock.parse("\n".join(lines))
    for line in lines:
        fields = json.loads(line)
        if "file" in fields:
            found = lock.record(fields["file"], fields["sha256"])
            assert (found is None) == (fields["set"] == lost)


HEAD_LINE, *RECIPIENT_LINES, FILE_LINE = SMALL.render().splitlines()
KEY_LINE = RECIPIENT_LINES[0]
SET_LINE = version_1({"a": record(ALICE)}, NAMES).splitlines()[2]
UNREADABLE = [
    "<<<<<<< HEAD",
    "=======",
    "no line of a lock",
    "[" * 100_000,
    '{"nixsecrets":1},{"nixsecrets":1}',
    "[1,2]",
    "null",
    "{}",
    '{"":1}',
    '{"later":"\udcff"}',
    '{"nixsecrets":0}',
    '{"nixsecrets":true}',
    '{"nixsecrets":1,"more":1}',
    '{"file":"x"}',
    FILE_LINE.replace('"written"', '"guessed"'),
    FILE_LINE.replace('"written"', "1"),
    FILE_LINE.replace('":["', '":[1,"'),
    FILE_LINE.replace('":["', '":[[],"'),
    FILE_LINE[:-9],
    SET_LINE.replace('"set":"', '"set":"0'),
    SET_LINE.replace('":["', '":[1,"'),
    KEY_LINE.replace('recipient":"', 'recipient":"0'),
    KEY_LINE.replace('"age":"age1', '"age":"age1q'),
    KEY_LINE.replace("ssh-ed25519 ", "ssh-ed25519 A"),
]


@pytest.mark.parametrize("line", UNREADABLE)
def test_a_line_that_cannot_be_read_is_skipped_and_named(line: str) -> None:
    text = "\n" + SMALL.render() + line + "\n" + line + "\n"
    lock = Lock.parse(text)
    assert lock.skipped == (6, 7)
    assert lock.record("secrets/wifi.age", digest("x")) == record(ALICE, WEB)
    assert lock.render() == SMALL.render()


def test_a_lock_with_conflict_markers_has_the_records_of_both_sides() -> None:
    ours = SMALL.with_files({"ours.age": record(ALICE, content="o")})
    theirs = SMALL.with_files({"theirs.age": record(ALICE, DB, content="t")}, NAMES)
    text = f"<<<<<<< HEAD\n{ours.render()}=======\n{theirs.render()}>>>>>>> side\n"
    lock = Lock.parse(text)
    assert lock.skipped
    assert lock.paths() == ["ours.age", "secrets/wifi.age", "theirs.age"]
    assert lock.record("theirs.age", digest("t")) == record(ALICE, DB, content="t")


def test_lines_of_later_kinds_are_kept_byte_for_byte() -> None:
    later = '{"value": "secrets/dns.yaml",  "key":["a"],"changed":"2027-01-01"}'
    other = '{"approved":[1.0, null]}'
    text = SMALL.render() + f"{later}\r\n{other}\n{later}\n"
    lock = Lock.parse(text)
    assert lock.skipped == ()
    assert lock.render() == SMALL.render() + f"{other}\n{later}\n"
    assert lock.with_files({"secrets/wifi.age": None}).render().endswith(later + "\n")


@pytest.mark.parametrize(
    "line",
    [
        '{"nixsecrets":3}',
        '{"file":"x","scheme":3}\n{"nixsecrets":3}',
        '# a comment\n{ "nixsecrets": 3 }',
    ],
)
def test_a_lock_of_a_newer_version_says_so_whatever_else_it_has(line: str) -> None:
    number = SMALL.render().count("\n") + line.count("\n") + 1
    with pytest.raises(MapError) as caught:
        Lock.parse(SMALL.render() + line + "\n")
    assert caught.value.message == (
        f"nixsecrets.lock:{number}: written by a newer nixsecrets"
        " (format 3; this one reads 2)"
    )
    assert caught.value.hint == "upgrade nixsecrets"


def test_an_id_without_a_line_is_looked_up_among_the_keys_of_the_map() -> None:
    converted = record(ALICE, WEB.converted(), content="c")
    full = SMALL.with_files({"c.age": converted}, NAMES)
    lines = [line for line in full.render().splitlines() if '"key"' not in line]
    keys = (*KEYS, *(key.converted() for key in KEYS))
    lock = Lock.parse("\n".join(lines), known=lambda: keys)
    assert lock.skipped == ()
    assert lock.record("secrets/wifi.age", digest("x")) == record(ALICE, WEB)
    assert lock.record("c.age", digest("c")) == converted


def test_keys_of_the_map_are_not_asked_for_where_every_id_has_its_line() -> None:
    def never() -> tuple[Recipient, ...]:
        raise AssertionError

    assert Lock.parse(SMALL.render(), known=never).paths() == ["secrets/wifi.age"]


def test_an_id_that_nothing_defines_leaves_its_file_without_record_alone() -> None:
    both = SMALL.with_files({"alone.age": record(ALICE, content="alone")})
    lines = [
        line for line in both.render().splitlines() if f'"key":"{WEB.text}"' not in line
    ]
    lock = Lock.parse("\n".join(lines), known=lambda: [DB])
    assert lock.record("secrets/wifi.age", digest("x")) is None
    assert lock.record("alone.age", digest("alone")) == record(ALICE, content="alone")
    assert WEB.id not in lock.render()


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
        lock = Lock.parse(text)
    except MapError as error:
        assert error.hint
        return
    assert Lock.parse(lock.render()).render() == lock.render()
