"""Metadata as sops spells it is read in one step, all else by its tree; both agree."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import SecretFileError
from nixsecrets.files.faults import faults
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops import tree as sops_tree
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.state import Shown, look, read_actual
from nixsecrets.files.sops.yaml import YamlBlock
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
VERSIONS = sorted(sopsfiles.SOPS)


def sample(version: str) -> bytes:
    return sopsfiles.sample(version, NAME, *LABELS)


def in_one_step(data: bytes) -> SopsFile:
    """A file that was read in one step."""
    file = metadata.parse(NAME, data)
    (block,) = file.blocks
    assert isinstance(block, YamlBlock)
    assert block.standard
    return file


def by_its_tree(file: SopsFile) -> YamlBlock:
    """Its only block as it is read where it cannot be in one step."""
    (fields,) = sops_tree.metadata(file.text)
    return YamlBlock(file.text, fields)


def shown(data: bytes) -> Shown:
    looked = look(NAME, data)
    assert looked
    assert isinstance(looked[0], Shown)
    return looked[0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("indented", [True, False])
def test_what_sops_writes_is_read_in_one_step(version: str, *, indented: bool) -> None:
    data = sample(version)
    if not indented:  # as prettier has it
        data = re.sub(rb"(?m)^    (?=    )", b"  ", data)
        data = re.sub(rb"(?m)^    (?=\w+:)", b"  ", data)
    file = in_one_step(data)
    assert [entry.label for entry in file.entries] == LABELS
    assert file.entries == by_its_tree(file).entries
    looked = look(NAME, data)
    assert looked
    assert shown(data).complete
    assert len(set(looked[1])) == len(LABELS) + 1  # the MAC


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mac_only", [False, True])
@pytest.mark.parametrize(
    "option", ["", "encrypted_regex: ^k", "encrypted_suffix: k", "unencrypted_regex: x"]
)
def test_options_are_read_in_one_step_wherever_sops_writes_them(
    option: str, version: str, tmp_path: Path, *, mac_only: bool
) -> None:
    """It sorts its fields since 3.13."""
    lines = [f"age: {','.join(LABELS)}", option, "mac_only_encrypted: true" * mac_only]
    rule = "\n    ".join(line for line in lines if line)
    (tmp_path / ".sops.yaml").write_text(f"creation_rules:\n  - {rule}\n")
    program = sopsfiles.SOPS[version]()
    file = in_one_step(sopsfiles.encrypt(program, NAME, b"k: v\nx: 1\n", [], tmp_path))
    assert ("mac_only_encrypted", True) in file.options or not mac_only
    assert not option or tuple(option.split(": ")) in file.options


OTHER_FIELDS = {
    "empty lists of old versions": (b"    age:\n", b"    kms: []\n    hc_vault: []\n"),
    "an empty list below": (b"    version: ", b"    pgp: []\n"),
    "only values in the MAC": (b"    version: ", b"    mac_only_encrypted: true\n"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", OTHER_FIELDS)
def test_fields_of_older_and_other_files_are_read_in_one_step(
    version: str, case: str
) -> None:
    before, lines = OTHER_FIELDS[case]
    data = sample(version).replace(before, lines + before, 1)
    assert in_one_step(data).entries == metadata.parse(NAME, sample(version)).entries
    assert shown(data).complete


NOT_WHOLE = {
    "another key": (rb"    version: ", b"    shamir_threshold: 1\n    version: "),
    "a list that sops does not know": (
        rb"    version: ",
        b"    ours: []\n    version: ",
    ),
    "text for a flag": (
        rb"    version: ",
        b"    mac_only_encrypted: hunter2\n    version: ",
    ),
    "a comment": (rb"    version: ", b"    # by hand\n    version: "),
    "a second document": (rb"\Z", b"---\nx: y\n"),
    "a second document above": (rb"\A", b"x: y\n---\n"),
    "a second sops key": (rb"\A", b"sops: x\n"),
    "carriage returns": (rb"\n", b"\r\n"),
    "a field twice": (rb"    version: ", b"    version: 1.2.3\n    version: "),
    "no MAC": (rb"    mac: .*\n", b""),
    "text for a MAC": (rb"    mac: .*\n", b"    mac: hunter2\n"),
    "text for a version": (rb"    version: .*\n", b"    version: hunter2\n"),
    "JSON": (rb"\A", b"{"),
    "a marker first": (rb"\A", b"---\n"),
    "an entry cut short": (rb"=\n            -----END", b"\n            -----END"),
    "padding inside": (rb"\n            YWdl", b"\n            ==dl"),
    "a blank inside": (rb"\n            YWdl", b"\n            Y dl"),
    "a NUL inside": (rb"\n            YWdl", b"\n            Y\0dl"),
    "other letters": (rb"\n            YWdl", b"\n            YW-l"),
    "another magic": (rb"\n            YWdl", b"\n            XWdl"),
    "a line deeper in": (rb"\n            YWdl", b"\n             YWdl"),
    "a label with a tail": (rb"(recipient: age1\w+)\n", rb"\1 # web" + b"\n"),
}


FINE = {"another key", "carriage returns", "a marker first", "a label with a tail"}
"""What is whole all the same, looked at closely."""


@pytest.mark.parametrize("case", NOT_WHOLE)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_with_anything_else_in_it_is_looked_at_closely(
    version: str, case: str
) -> None:
    pattern, instead = NOT_WHOLE[case]
    data = re.sub(pattern, instead, sample(version), count=0 if "car" in case else 1)
    assert data != sample(version)
    looked = look(NAME, data)
    assert looked
    assert not (isinstance(looked[0], Shown) and looked[0].complete)
    assert any(faults(NAME, data)) or case in FINE


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_that_contradict_their_entries_are_not_trusted(version: str) -> None:
    data = sample(version)
    swapped = data.replace(LABELS[0].encode(), b"@").replace(
        LABELS[1].encode(), LABELS[0].encode()
    )
    found = read_actual(NAME, swapped.replace(b"@", LABELS[1].encode()), BOOK)
    assert isinstance(found, Actual)
    assert found.recipients == ()
    assert not found.surely_complete


@pytest.mark.parametrize("letter", ["-", "=", " ", "\0"])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_base64_never_fills_up_an_entry(version: str, letter: str) -> None:
    """Passed over, the sixteen would leave a whole entry of the shorter kind."""
    file = in_one_step(sample(version))
    begin, *lines, end = file.entries[0].enc.strip().split("\n")
    long = 16 * letter + "".join(lines)
    spread = [long[at : at + 64] for at in range(0, len(long), 64)]
    enc = "\n".join([begin, *spread, end, ""])
    assert len(file.entries[1].enc) == len(enc)
    data = apply_edits(file.text, file.blocks[0].replace(0, LABELS[0], enc)).encode()
    assert isinstance(read_actual(NAME, data, BOOK), Damaged)


@pytest.mark.parametrize("place", range(len(LABELS)))
@pytest.mark.parametrize("version", VERSIONS)
def test_an_entry_that_age_refuses_for_its_last_letter_is_damaged(
    version: str, place: int
) -> None:
    """Its last four bits stand for nothing; age wants them to be zero."""
    first, *rest = re.split(rb"(?<=[AQgw])(?===\n *-----END)", sample(version))
    parts = [first, *rest]
    parts[place] = parts[place][:-1] + bytes([parts[place][-1] + 1])
    found = read_actual(NAME, b"".join(parts), BOOK)
    assert isinstance(found, Damaged)
    assert "armor is not canonical" in found.reason


@pytest.mark.parametrize("version", VERSIONS)
def test_entries_are_added_and_replaced_as_by_the_tree(version: str) -> None:
    file = in_one_step(b"a: \xc3\xbc\n" + sample(version))
    ours, theirs = file.blocks[0], by_its_tree(file)
    pairs = [(entry.label, entry.enc) for entry in list(file.entries)[:2]]
    for one, other in (
        (ours.append(pairs), theirs.append(pairs)),
        (ours.replace(1, *pairs[0]), theirs.replace(1, *pairs[0])),
        (ours.only(*pairs[1]), theirs.only(*pairs[1])),
        (ours.bare(*pairs[1]), theirs.bare(*pairs[1])),
    ):
        assert apply_edits(file.text, one) == apply_edits(file.text, other)


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_what_is_read_in_one_step_is_what_its_tree_has(
    version: str, data: st.DataObject
) -> None:
    lines = sample(version).splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        lines = _changed(lines, data)
    try:
        file = metadata.parse(NAME, b"".join(lines))
    except SecretFileError:
        return
    block = file.blocks[0]
    if not (isinstance(block, YamlBlock) and block.standard):
        return
    tree = by_its_tree(file)
    assert block.entries == tree.entries
    assert block.foreign == tree.foreign
    assert dict(block.fields) == dict(tree.fields)
    assert block.values == {n: v for n, v in tree.values.items() if n != "age"}


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
