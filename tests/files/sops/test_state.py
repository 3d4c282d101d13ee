"""What a sops file tells without a private key: stated, unknown, damaged, no secret."""

import base64
import hashlib
import itertools
import textwrap
from pathlib import Path

import pyrage
import pytest

from nixsecrets.files.age import operations
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.state import read_actual, read_enc
from nixsecrets.files.state import Actual, Damaged, NotSecret, Stated, Unknown
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient, parse_recipient
from nixsecrets.splice import apply_edits
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key, rsa_key, ssh_key
from tests.keys.vectors import TAG_RECIPIENT

ALICE = reader(age_key())
WEB = reader(ssh_key("web", comment="root@web"))
DB = reader(ssh_key("db"))
RSA = reader(rsa_key())
READERS = (ALICE, WEB, RSA)
LABELS = tuple(one.recipient.text for one in READERS)
NAMES = [*sopsfiles.PLAIN, "many.yaml"]
BOOK = KeyBook([("alice", ALICE.recipient), ("web", WEB.recipient)])
DATA_KEY = bytes(32)


def sample(name: str, version: str = "3.11") -> bytes:
    return sopsfiles.sample(version, name, *LABELS)


def with_entry(name: str, index: int, label: str, enc: str) -> bytes:
    """The sample with one entry replaced in every document."""
    file = metadata.parse(name, sample(name))
    edits = [edit for block in file.blocks for edit in block.replace(index, label, enc)]
    return apply_edits(file.text, edits).encode()


def enc_for(*recipients: Recipient, payload: bytes = DATA_KEY) -> str:
    return operations.seal(payload, recipients, armored=True).data.decode()


def unknown(name: str, data: bytes) -> Unknown:
    actual = read_actual(name, data, BOOK)
    assert isinstance(actual, Actual)
    assert isinstance(actual.state, Unknown)
    assert actual.recipients == ()
    return actual.state


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_labels_and_tags_of_a_real_file_are_stated(version: str, name: str) -> None:
    data = sample(name, version)
    actual = read_actual(name, data, BOOK)
    assert isinstance(actual, Actual)
    assert actual.state == Stated(tuple(one.recipient for one in READERS))
    assert actual.backend is Backend.SOPS
    assert actual.sha256 == hashlib.sha256(data).hexdigest()
    assert len(set(actual.key_prints)) == len(READERS) + 1  # the MAC
    assert (actual.refusal, actual.others, actual.options) == (None, (), ())


def test_every_order_of_labels_is_distinguished() -> None:
    """Swapped labels of tagged stanzas are noticed, whatever the order."""
    entries = metadata.parse("s.json", sample("s.json")).entries
    for order in itertools.permutations(range(len(entries))):
        file = metadata.parse("s.json", sample("s.json"))
        edits = [
            edit
            for place, index in enumerate(order)
            for edit in file.blocks[0].replace(
                place, entries[place].label, entries[index].enc
            )
        ]
        actual = read_actual("s.json", apply_edits(file.text, edits).encode(), BOOK)
        assert isinstance(actual, Actual)
        in_place = order == tuple(range(len(entries)))
        assert isinstance(actual.state, Stated) is in_place


@pytest.mark.parametrize("name", NAMES)
def test_a_label_that_its_tag_contradicts_is_unknown(name: str) -> None:
    enc = metadata.parse(name, sample(name)).entries[1].enc
    state = unknown(name, with_entry(name, 1, DB.recipient.text, enc))
    assert state.reason == f"entry 2 is not for ssh-ed25519:{DB.recipient.tag}"
    assert state.seen == ("X25519", f"ssh-ed25519:{WEB.recipient.tag}", state.seen[2])


def test_a_converted_label_on_an_ssh_stanza_is_unknown() -> None:
    converted = WEB.recipient.converted()
    state = unknown(
        "s.yaml", with_entry("s.yaml", 1, converted.text, enc_for(WEB.recipient))
    )
    assert state.reason == "entry 2 is not for web"


def test_a_label_that_is_no_recipient_is_unknown() -> None:
    state = unknown(
        "s.yaml", with_entry("s.yaml", 0, "alice", enc_for(ALICE.recipient))
    )
    assert state.reason == "the label of entry 1 is not a recipient"


def test_an_enc_for_two_keys_is_unknown() -> None:
    enc = enc_for(ALICE.recipient, DB.recipient)
    state = unknown("s.yaml", with_entry("s.yaml", 0, ALICE.recipient.text, enc))
    assert state.reason == "entry 1 (alice) is not for one key"
    assert state.seen[0] == f"X25519+ssh-ed25519:{DB.recipient.tag}"


def test_grease_in_an_enc_is_no_recipient() -> None:
    enc = pyrage.encrypt(
        DATA_KEY, [pyrage.x25519.Recipient.from_str(ALICE.recipient.text)], armored=True
    ).decode()
    actual = read_actual(
        "s.yaml", with_entry("s.yaml", 0, ALICE.recipient.text, enc), BOOK
    )
    assert isinstance(actual, Actual)
    assert isinstance(actual.state, Stated)


@pytest.mark.parametrize("kind", [TAG_RECIPIENT])
def test_labels_of_other_kinds_are_trusted_with_the_right_stanza(kind: str) -> None:
    recipient = parse_recipient(kind)
    actual = read_actual(
        "s.json", with_entry("s.json", 0, recipient.text, enc_for(recipient)), BOOK
    )
    assert isinstance(actual, Actual)
    assert actual.recipients[0] == recipient


def test_documents_that_name_different_recipients_are_unknown() -> None:
    """Whoever rewrites only the first document leaves a reader in the second."""
    data = sample("many.yaml")
    file = metadata.parse("many.yaml", data)
    edits = file.blocks[1].replace(0, DB.recipient.text, enc_for(DB.recipient))
    state = unknown("many.yaml", apply_edits(file.text, edits).encode())
    assert state.reason == "its documents name different recipients"


@pytest.mark.parametrize("name", [*sopsfiles.PLAIN])
def test_several_key_groups_are_unknown_and_refused(name: str, tmp_path: Path) -> None:
    config = tmp_path / ".sops.yaml"
    groups = "".join(f"    - age: ['{label}']\n" for label in LABELS)
    config.write_text("creation_rules:\n- key_groups:\n" + groups)
    program = sopsfiles.old_sops()
    data = sopsfiles.encrypt(program, name, sopsfiles.PLAIN[name], [], tmp_path)
    actual = read_actual(name, data, BOOK)
    assert isinstance(actual, Actual)
    assert isinstance(actual.state, Unknown)
    assert actual.refusal == "it splits its data key over 3 key groups"


@pytest.mark.parametrize(
    ("data", "empty"), [(b"", True), (b"k: v\n", False), (b"sops: 1\n", False)]
)
def test_what_is_not_encrypted_is_no_secret(data: bytes, *, empty: bool) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    assert read_actual("a.yaml", data, BOOK) == NotSecret("a.yaml", sha256, empty=empty)


@pytest.mark.parametrize(
    ("enc", "reason"),
    [
        ("AAAA\n", "is not an age file"),
        (enc_for(ALICE.recipient).replace("YWdl", "YWd=", 1), "is not base64"),
        (enc_for(ALICE.recipient, payload=bytes(31)), "holds no data key"),
        (enc_for(ALICE.recipient)[:200], "armor"),
    ],
)
def test_an_incomplete_enc_is_reported_as_corrupt(enc: str, reason: str) -> None:
    found = read_actual(
        "s.json", with_entry("s.json", 0, ALICE.recipient.text, enc), BOOK
    )
    assert isinstance(found, Damaged)
    assert reason in found.reason


def test_the_reason_for_a_damaged_enc_is_one_sentence() -> None:
    enc = enc_for(ALICE.recipient)
    body = base64.b64decode("".join(enc.split("\n")[1:-2]))
    odd = base64.encodebytes(body.replace(b"/v1\n", b"/v2\n")).decode()
    lines = "\n".join(textwrap.wrap("".join(odd.split()), 64))
    armor = f"{enc.splitlines()[0]}\n{lines}\n{enc.splitlines()[-1]}\n"
    data = with_entry("s.json", 0, ALICE.recipient.text, armor)
    found = read_actual("s.json", data, BOOK)
    assert isinstance(found, Damaged)
    assert found.reason == (
        "the file has an enc in its sops metadata that has a version other than 1, or a"
        " corrupt first line"
    )


def test_values_without_metadata_are_damage() -> None:
    text = sample("s.yaml")
    found = read_actual("s.yaml", text[: text.index(b"sops:")], BOOK)
    assert isinstance(found, Damaged)
    assert "no sops metadata" in found.reason


def test_a_copied_entry_has_the_same_print() -> None:
    enc = enc_for(ALICE.recipient)
    one = read_actual("s.yaml", with_entry("s.yaml", 0, LABELS[0], enc), BOOK)
    two = read_actual("s.json", with_entry("s.json", 0, LABELS[0], enc), BOOK)
    assert isinstance(one, Actual)
    assert isinstance(two, Actual)
    assert len(set(one.key_prints) & set(two.key_prints)) == 1


@pytest.mark.parametrize("one", [ALICE, WEB, RSA])
def test_line_ends_of_an_enc_change_nothing_that_it_shows(one: object) -> None:
    assert one in READERS
    recipient = next(r.recipient for r in READERS if r is one)
    enc = enc_for(recipient)
    unix, windows = read_enc(enc), read_enc(enc.replace("\n", "\r\n"))
    assert (unix.heads, unix.tag) == (windows.heads, windows.tag)
    assert (unix.file is None) is (one is not RSA)
