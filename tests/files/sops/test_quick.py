"""The quick look answers for what sops writes, and never otherwise than the readers."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import grant, metadata
from nixsecrets.files.sops.entries import UsualEntries, changed
from nixsecrets.files.sops.quick import appended, look
from nixsecrets.files.sops.spans import Block, Edit
from nixsecrets.files.sops.state import read_actual, read_closely
from nixsecrets.files.sops.usual import UsualBlock
from nixsecrets.files.state import Actual, Damaged
from nixsecrets.keys.book import KeyBook
from nixsecrets.splice import apply_edits
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key, ssh_key

READERS = [reader(age_key()), reader(ssh_key("web")), reader(age_key())]
LABELS = [one.recipient.text for one in READERS]
BOOK = KeyBook([(f"r{n}", one.recipient) for n, one in enumerate(READERS)])
NAME = "s.yaml"
KIND = metadata.SopsFormat.YAML
VERSIONS = sorted(sopsfiles.SOPS)


def sample(version: str) -> bytes:
    return sopsfiles.sample(version, NAME, *LABELS)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_answers_for_what_sops_writes(version: str) -> None:
    looked = look(NAME, sample(version))
    assert looked is not None
    shown, tags = looked
    assert [label.decode() for label in shown.labels] == LABELS
    assert shown.whole
    assert len(set(tags)) == len(LABELS) + 1  # the MAC


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mac_only", [False, True])
@pytest.mark.parametrize(
    "option", ["", "encrypted_regex: ^k", "encrypted_suffix: k", "unencrypted_regex: x"]
)
def test_it_answers_for_options_wherever_sops_writes_them(
    option: str, version: str, tmp_path: Path, *, mac_only: bool
) -> None:
    """It sorts its fields since 3.13."""
    lines = [f"age: {','.join(LABELS)}", option, "mac_only_encrypted: true" * mac_only]
    rule = "\n    ".join(line for line in lines if line)
    (tmp_path / ".sops.yaml").write_text(f"creation_rules:\n  - {rule}\n")
    program = sopsfiles.SOPS[version]()
    data = sopsfiles.encrypt(program, NAME, b"k: v\nx: 1\n", [], tmp_path)
    found = look(NAME, data)
    assert found is not None
    options = metadata.parse_as(KIND, data).options
    assert found[0].options == options
    assert ("mac_only_encrypted", True) in options or not mac_only


@pytest.mark.parametrize(
    "lines",
    [
        [b"    encrypted_regex: ^k\n", b"    unencrypted_suffix: _u\n"],
        [b"    encrypted_regex: ^k\n", b"    encrypted_regex: ^k\n"],
    ],
)
def test_two_options_are_left_to_the_readers(lines: list[bytes]) -> None:
    data = sample("3.13").replace(b"    unencrypted_suffix: _unencrypted\n", lines[1])
    data = with_field(data, b"    lastmodified: ", lines[0])
    assert look(NAME, data) is None


def with_field(text: bytes, before: bytes, line: bytes) -> bytes:
    return text.replace(before, line + before, 1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("before", "line"),
    [
        (b"    age:\n", b"    kms: []\n    gcp_kms: []\n    hc_vault: []\n"),
        (b"    unencrypted_suffix: _unencrypted\n", b"    pgp: []\n"),
        (b"    version: ", b"    mac_only_encrypted: true\n"),
    ],
)
def test_it_answers_for_fields_of_older_and_other_files(
    version: str, before: bytes, line: bytes
) -> None:
    data = with_field(sample(version), before, line)
    assert look(NAME, data) is not None
    assert read_actual(NAME, data, BOOK) == read_closely(NAME, data, BOOK)


@pytest.mark.parametrize(
    "value", [b"^(data|stringData)$", b"_enc", b"null", b"~", b"'x'"]
)
@pytest.mark.parametrize("option", [b"encrypted_regex", b"unencrypted_suffix"])
def test_options_are_read_as_the_readers_read_them(option: bytes, value: bytes) -> None:
    line = b"    " + option + b": " + value + b"\n"
    data = sample("3.11").replace(b"    unencrypted_suffix: _unencrypted\n", line)
    found = read_actual(NAME, data, BOOK)
    assert isinstance(found, Actual)
    assert found == read_closely(NAME, data, BOOK)


DECLINED = {
    "another key": (rb"    version: ", b"    shamir_threshold: 1\n    version: "),
    "a field twice": (rb"    version: ", b"    version: 1.2.3\n    version: "),
    "no MAC": (rb"    mac: .*\n", b""),
    "a comment": (rb"    version: ", b"    # by hand\n    version: "),
    "a second document": (rb"\Z", b"---\nx: y\n"),
    "a second document above": (rb"\A", b"x: y\n---\n"),
    "a second sops key": (rb"\A", b"sops: x\n"),
    "carriage returns": (rb"\n", b"\r\n"),
    "JSON": (rb"\A", b"{"),
    "a marker first": (rb"\A", b"---\n"),
    "no line feed at the end": (rb"\n\Z", b""),
    "an entry cut short": (rb"=\n            -----END", b"\n            -----END"),
    "padding inside": (rb"\n            YWdl", b"\n            ==dl"),
    "a blank inside": (rb"\n            YWdl", b"\n            Y dl"),
    "other letters": (rb"\n            YWdl", b"\n            YW-l"),
    "another magic": (rb"\n            YWdl", b"\n            XWdl"),
    "a line deeper in": (rb"\n            YWdl", b"\n             YWdl"),
    "a label with a tail": (rb"(recipient: age1\w+)\n", rb"\1 # web" + b"\n"),
}


@pytest.mark.parametrize("case", DECLINED)
@pytest.mark.parametrize("version", VERSIONS)
def test_it_declines_any_other_spelling(version: str, case: str) -> None:
    pattern, instead = DECLINED[case]
    data = re.sub(pattern, instead, sample(version), count=0 if "car" in case else 1)
    assert data != sample(version)
    assert look(NAME, data) is None
    assert read_actual(NAME, data, BOOK) == read_closely(NAME, data, BOOK)


@pytest.mark.parametrize("name", ["s.json", "s.env", "s.ini", "s", "s.yaml.bak"])
def test_it_declines_names_that_stand_for_another_format(name: str) -> None:
    assert look(name, sample("3.11")) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_that_contradict_their_entries_are_left_to_the_readers(
    version: str,
) -> None:
    data = sample(version)
    swapped = data.replace(LABELS[0].encode(), b"@").replace(
        LABELS[1].encode(), LABELS[0].encode()
    )
    swapped = swapped.replace(b"@", LABELS[1].encode())
    found = read_actual(NAME, swapped, BOOK)
    assert found == read_closely(NAME, swapped, BOOK)
    assert isinstance(found, Actual)
    assert found.recipients == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_entries_of_two_kinds_never_make_up_for_each_other(version: str) -> None:
    """A blank of the longer kind, dropped, would make the shorter one."""
    text = sample(version).decode()
    file = metadata.parse(NAME, text.encode())
    short, long = file.entries[0].enc, file.entries[1].enc
    block = file.blocks[0]
    for first, second in ((short, short), (long, long), (long, short)):
        edits = [
            *block.replace(0, LABELS[0], first),
            *block.replace(1, LABELS[1], second),
        ]
        data = apply_edits(text, edits).encode()
        assert read_actual(NAME, data, BOOK) == read_closely(NAME, data, BOOK)


@pytest.mark.parametrize("letter", ["-", "=", " ", "\n", "\0"])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_base64_never_fills_up_an_entry(version: str, letter: str) -> None:
    """Passed over, the sixteen would leave a whole entry of the shorter kind."""
    text = sample(version).decode()
    file = metadata.parse(NAME, text.encode())
    begin, *lines, end = file.entries[0].enc.strip().split("\n")
    long = 16 * letter + "".join(lines)
    spread = [long[at : at + 64] for at in range(0, len(long), 64)]
    enc = "\n".join([begin, *spread, end, ""])
    edits = file.blocks[0].replace(0, LABELS[0], enc)
    data = apply_edits(text, edits).encode()
    assert len(file.entries[1].enc) == len(enc)
    assert look(NAME, data) is None
    assert read_actual(NAME, data, BOOK) == read_closely(NAME, data, BOOK)


@pytest.mark.parametrize("place", range(len(LABELS)))
@pytest.mark.parametrize("version", VERSIONS)
def test_an_entry_that_age_refuses_for_its_last_letter_is_damaged(
    version: str, place: int
) -> None:
    """Its last four bits stand for nothing; age wants them to be zero."""
    first, *rest = re.split(rb"(?<=[AQgw])(?===\n *-----END)", sample(version))
    parts = [first, *rest]
    parts[place] = parts[place][:-1] + bytes([parts[place][-1] + 1])
    data = b"".join(parts)
    assert look(NAME, data) is None
    for read in (read_actual, read_closely):
        found = read(NAME, data, BOOK)
        assert isinstance(found, Damaged)
        assert "armor is not spelled" in found.reason


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_it_declines_or_agrees_with_the_readers(
    version: str, data: st.DataObject
) -> None:
    lines = sample(version).splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        lines = _changed(lines, data)
    changed = b"".join(lines)
    found, closely = (read(NAME, changed, BOOK) for read in (read_actual, read_closely))
    assert found == closely
    assert taken_apart(metadata.parse, NAME, changed) == taken_apart(
        metadata.parse_as, KIND, changed
    )


def taken_apart(
    parse: Callable[..., metadata.SopsFile], name: str, data: bytes
) -> dict[str, object] | str:
    """What a reader says of a file, or why it does not read it."""
    try:
        file = parse(name, data)
    except SecretFileError as error:
        return error.message
    said = {one.name: getattr(file, one.name) for one in fields(file)}
    return said | {"blocks": [dict(block.fields) for block in file.blocks]}


def _changed(lines: list[bytes], data: st.DataObject) -> list[bytes]:
    """Change a line, or the order of lines, in a way that may still be read."""
    here = data.draw(st.integers(0, len(lines) - 1))
    there = data.draw(st.integers(0, len(lines) - 1))
    line = lines[here]
    at = data.draw(st.integers(0, len(line)))
    filler = data.draw(
        st.one_of(
            st.binary(max_size=3),
            st.text("\n\r\t -:|>#'\"[]{}AQgw=_0", max_size=4).map(str.encode),
        )
    )
    match data.draw(st.sampled_from(["put", "over", "twice", "away", "swap", "copy"])):
        case "put":
            new = [line[:at] + filler + line[at:]]
        case "over":
            new = [line[:at] + filler + line[at + len(filler) :]]
        case "twice":
            new = [line, line]
        case "away":
            new = []
        case "swap":
            lines = [*lines]
            lines[there], new = line, [lines[there]]
        case _:
            new = [lines[there]]
    return [*lines[:here], *new, *lines[here + 1 :]]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_file_it_takes_in_is_the_one_the_readers_do(version: str) -> None:
    data = b"a: \xc3\xbc\n" + sample(version)
    usual, careful = metadata.parse(NAME, data), metadata.parse_as(KIND, data)
    assert isinstance(usual.blocks[0], UsualBlock)
    assert not isinstance(careful.blocks[0], UsualBlock)
    assert taken_apart(metadata.parse, NAME, data) == taken_apart(
        metadata.parse_as, KIND, data
    )
    ours, theirs = usual.blocks[0], careful.blocks[0]
    pairs = [(entry.label, entry.enc) for entry in careful.entries[:2]]
    changes: list[Callable[[Block], list[Edit]]] = [
        lambda block: block.append(pairs),
        lambda block: block.append(pairs[:1]),
        lambda block: block.replace(1, *pairs[0]),
        lambda block: block.only(*pairs[1]),
    ]
    for edits in changes:
        changed = apply_edits(usual.text, edits(ours))
        assert changed == apply_edits(usual.text, edits(theirs))


def usual(data: bytes) -> UsualEntries:
    """The entries of a file as they stand in it."""
    entries = metadata.parse(NAME, data).entries
    assert isinstance(entries, UsualEntries)
    return entries


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_has_its_entries_and_no_others(version: str) -> None:
    data = sample(version)
    entries = usual(data)
    assert appended(NAME, data, data, entries)
    for others in (entries[1:], entries[:1], entries[::-1], entries[:0]):
        assert not appended(NAME, data, data, others)
    twice = changed(entries, [], [entries[0]])
    assert isinstance(twice, UsualEntries)
    assert not appended(NAME, data, data, twice)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_grant_is_the_old_file_with_the_entries_that_were_planned(
    version: str,
) -> None:
    data = sample(version)
    new = reader(age_key()).recipient
    sealed = grant.grant(NAME, data, [READERS[0].identity], add=[new])
    assert isinstance(sealed.entries, UsualEntries)
    assert appended(NAME, data, sealed.data, sealed.entries)
    assert not appended(NAME, data, data, sealed.entries)
    assert not appended(NAME, data, sealed.data, usual(data))
    assert not appended(NAME, sealed.data, data, usual(data))


@pytest.mark.parametrize("case", DECLINED)
@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_told_of_any_other_spelling(version: str, case: str) -> None:
    pattern, instead = DECLINED[case]
    data = re.sub(pattern, instead, sample(version), count=0 if "car" in case else 1)
    assert not appended(NAME, data, data, usual(sample(version)))


@given(data=st.data())
def test_what_is_told_to_have_entries_reads_as_these(data: st.DataObject) -> None:
    """Of a file with a few bytes changed, or of the entries of another file."""
    original = sample(data.draw(st.sampled_from(VERSIONS)))
    entries = usual(original)
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        instead = data.draw(st.sampled_from([b"", b"A", b"\n", b"=", b" ", b"  - "]))
        mutated[at : at + 1] = instead
    if appended(NAME, bytes(mutated), bytes(mutated), entries):
        read = metadata.parse_as(KIND, bytes(mutated))
        assert read.entries == entries
        assert read.agree


@given(data=st.data())
def test_an_old_file_that_differs_before_its_end_is_not_the_one(
    data: st.DataObject,
) -> None:
    """Whatever stands around its entries, and these, must be there still."""
    old = sample(data.draw(st.sampled_from(VERSIONS)))
    new = reader(age_key()).recipient
    sealed = grant.grant(NAME, old, [READERS[0].identity], add=[new])
    assert isinstance(sealed.entries, UsualEntries)
    other = bytearray(old)
    at = data.draw(st.integers(0, len(other) - 1))
    other[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    told = appended(NAME, bytes(other), sealed.data, sealed.entries)
    assert told == (bytes(other) == old)
