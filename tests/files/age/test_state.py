"""What is known of an age file without a private key, and what is not."""

import subprocess
import sys
from hashlib import sha256
from itertools import count

import pyrage
import pytest

from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import operations
from nixsecrets.files.age.header import Stanza
from nixsecrets.files.age.shape import look
from nixsecrets.files.age.state import describe, fits, interpret
from nixsecrets.files.state import (
    Actual,
    Damaged,
    Exact,
    Record,
    Recorded,
    State,
    Unknown,
)
from nixsecrets.keys.bech32 import encode
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Kind, Recipient, parse_recipient, tag_of
from tests.files.age.test_operations import post_quantum_recipient
from tests.files.agekeys import age_encrypts, encode_header, reader, toy_reader
from tests.fleet import age_key, rsa_key, ssh_key
from tests.keys.vectors import TAG_RECIPIENT

ALICE = reader(age_key()).recipient
BOB = reader(age_key()).recipient
WEB = reader(ssh_key("state web")).recipient
DB = reader(ssh_key("state db")).recipient
RSA = reader(rsa_key()).recipient
TAG = parse_recipient(TAG_RECIPIENT)
BOOK = KeyBook([("alice", ALICE), ("web", WEB), ("rsa", RSA), ("tag", TAG)])


def record(data: bytes, *recipients: Recipient, how: str = "written") -> Record:
    return Record(recipients, sha256(data).hexdigest(), how)


def read_actual(
    path: str, data: bytes, book: KeyBook, of: Record | None
) -> Actual | Damaged:
    return interpret(path, sha256(data).hexdigest(), look(data), book, of)


def state(data: bytes, of: Record | None = None) -> State:
    actual = read_actual("a.age", data, BOOK, of)
    assert isinstance(actual, Actual)
    return actual.state


def with_stanzas(*stanzas: Stanza) -> bytes:
    header = encode_header(stanzas)
    return age_header.encode(header, bytes(32), bytes(32), armored=False)


# --- exact ------------------------------------------------------------------------


@pytest.mark.parametrize("armored", [False, True], ids=["binary", "armored"])
def test_tags_of_known_keys_determine_the_readers_exactly(armored: bool) -> None:
    data = age_encrypts(b"x", WEB, RSA, WEB, armored=armored)
    assert state(data) == Exact((WEB, RSA, WEB))


def test_the_tag_of_a_hardware_key_is_exact_too() -> None:
    assert state(operations.seal(b"x", [TAG, WEB]).data) == Exact((TAG, WEB))


def test_one_stanza_of_grease_is_no_reader() -> None:
    to = [pyrage.ssh.Recipient.from_str(WEB.text)]
    assert state(pyrage.encrypt(b"x", to)) == Exact((WEB,))


def test_tags_take_precedence_over_the_lock() -> None:
    data = age_encrypts(b"x", WEB)
    assert state(data, record(data, ALICE)) == Exact((WEB,))


# --- recorded ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["written", "adopted"])
def test_an_anonymous_reader_is_who_the_lock_says(how: str) -> None:
    data = age_encrypts(b"x", BOB, WEB, DB)
    known = state(data, record(data, BOB, WEB, DB, how=how))
    assert known == Recorded((BOB, WEB, DB), how)


def test_every_kind_of_reader_can_be_recorded() -> None:
    toy = toy_reader().recipient
    plain = operations.seal(b"x", [ALICE]).data
    stanza = Stanza("toy", (), b"")
    data = with_stanzas(stanza, *age_header.parse(plain).stanzas)
    assert state(data, record(data, toy, ALICE)) == Recorded((toy, ALICE), "written")


def test_a_lock_that_disagrees_with_the_file_is_not_trusted() -> None:
    data = age_encrypts(b"x", ALICE, WEB)
    for wrong in ((ALICE,), (ALICE, DB), (WEB, ALICE), (ALICE, WEB, WEB), ()):
        known = state(data, record(data, *wrong))
        assert isinstance(known, Unknown)
        assert "other recipients" in known.reason


def test_a_file_that_changed_since_is_unknown() -> None:
    data = age_encrypts(b"x", ALICE)
    later = age_encrypts(b"x", ALICE)
    known = state(later, record(data, ALICE))
    assert known == Unknown(
        "it changed after nixsecrets.lock recorded its recipients", ("X25519",)
    )


# --- unknown ----------------------------------------------------------------------


def test_an_anonymous_reader_without_a_record_is_unknown() -> None:
    known = state(age_encrypts(b"x", ALICE, WEB, RSA))
    assert known == Unknown(
        "nixsecrets.lock does not record its recipients",
        ("X25519", f"ssh-ed25519:{WEB.tag}", f"ssh-rsa:{RSA.tag}"),
    )


def test_a_tag_that_no_known_key_has_is_named() -> None:
    known = state(age_encrypts(b"x", WEB, DB))
    assert isinstance(known, Unknown)
    assert f"ssh-ed25519:{DB.tag}" in known.reason


def twins() -> tuple[Recipient, Recipient]:
    """Find two keys with one tag, which takes about 2^16 attempts."""
    seen: dict[str, Recipient] = {}
    for number in count():
        key = Recipient(Kind.SSH_RSA, number.to_bytes(4, "big"), f"key {number}")
        other = seen.setdefault(tag_of(key.key), key)
        if other is not key:
            return other, key
    raise AssertionError


def test_a_tag_that_two_known_keys_have_is_unknown() -> None:
    one, other = twins()
    data = with_stanzas(Stanza("ssh-rsa", (tag_of(one.key),), bytes(256)))
    for book, expected in (
        (KeyBook([("one", one)]), Exact),
        (KeyBook([("one", one), ("other", other)]), Unknown),
    ):
        actual = read_actual("a.age", data, book, None)
        assert isinstance(actual, Actual)
        assert isinstance(actual.state, expected)


GREASE = Stanza("a-grease", ("b",), b"")


@pytest.mark.parametrize(
    "stanzas",
    [(GREASE,), (GREASE, GREASE), (Stanza("X25519", ("a",), b""), GREASE, GREASE)],
    ids=["only one", "only two", "two"],
)
def test_grease_that_no_program_writes_is_unknown(stanzas: tuple[Stanza, ...]) -> None:
    data = with_stanzas(*stanzas)
    known = state(data, record(data, ALICE))
    assert isinstance(known, Unknown)
    assert "noise" in known.reason


def test_a_file_of_an_unknown_type_is_unknown() -> None:
    known = state(with_stanzas(Stanza("future", ("a", "b"), b"")))
    assert isinstance(known, Unknown)
    assert known.seen == ("future",)


def test_a_passphrase_file_is_refused() -> None:
    data = with_stanzas(Stanza("scrypt", ("c2FsdA", "18"), bytes(32)))
    actual = read_actual("a.age", data, BOOK, record(data, ALICE))
    assert isinstance(actual, Actual)
    assert isinstance(actual.state, Unknown)
    assert actual.refusal


# --- files ------------------------------------------------------------------------


def test_the_facts_of_a_file_are_returned() -> None:
    data = operations.seal(b"x", [WEB], armored=True).data
    actual = read_actual("secrets/a.age", data, BOOK, None)
    assert isinstance(actual, Actual)
    assert (actual.path, actual.backend) == ("secrets/a.age", Backend.AGE)
    assert actual.sha256 == sha256(data).hexdigest()
    assert actual.armored
    assert actual.refusal is None


def test_only_copies_share_a_print() -> None:
    one, other = (age_encrypts(b"x", WEB) for _ in range(2))
    file = age_header.parse(one)
    armored = age_header.encode(file.header, file.mac, file.payload, armored=True)
    prints = [
        actual.key_prints
        for data in (one, armored, other)
        if isinstance(actual := read_actual("a", data, BOOK, None), Actual)
    ]
    assert prints[0] == prints[1] != prints[2]


WHOLE = age_encrypts(b"x", WEB)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        WHOLE[:10],
        WHOLE[:100],
        WHOLE[:-2],
        WHOLE[: len(age_header.parse(WHOLE).header) + 45],
        WHOLE.replace(b"\n", b"\r\n"),
        WHOLE.replace(b"v1", b"v9"),
    ],
    ids=range(7),
)
def test_a_cut_or_mangled_file_is_damaged(data: bytes) -> None:
    damaged = read_actual("a.age", data, BOOK, record(data, WEB))
    assert isinstance(damaged, Damaged)
    assert damaged.reason
    assert damaged.backend is Backend.AGE


# --- stanzas ----------------------------------------------------------------------


def test_a_stanza_fits_its_reader_and_no_other() -> None:
    strong = post_quantum_recipient()
    pairs = {
        recipient: age_header.parse(operations.seal(b"x", [recipient]).data).entries[0]
        for recipient in (ALICE, WEB, DB, RSA, TAG, strong)
    }
    hybrid = parse_recipient(encode("age1pq", bytes(1216)))
    pairs[hybrid] = Stanza("mlkem768x25519", ("share",), bytes(32))
    for recipient, stanza in pairs.items():
        assert [one for one in pairs if fits(stanza, one)] == [recipient]


@pytest.mark.parametrize(
    ("recipient", "kind", "arguments"),
    [
        (ALICE, "X25519", ()),
        (ALICE, "X25519", ("share", "more")),
        (WEB, "ssh-ed25519", (str(WEB.tag),)),
        (WEB, "ssh-ed25519", (str(WEB.tag), "share", "more")),
        (WEB, "ssh-ed25519", ("share", str(WEB.tag))),
        (RSA, "ssh-rsa", ()),
        (RSA, "ssh-rsa", (str(RSA.tag), "more")),
        (TAG, "p256tag", ("AAAAAA",)),
        (TAG, "p256tag", ("AAAAAA", "*")),
        (TAG, "p256tag", ("AAAAAA", "AAAA")),
    ],
)
def test_a_mangled_stanza_fits_nobody(
    recipient: Recipient, kind: str, arguments: tuple[str, ...]
) -> None:
    assert not fits(Stanza(kind, arguments, bytes(32)), recipient)


def test_a_stanza_is_described_by_type_and_tag() -> None:
    assert describe(Stanza("X25519", ("share",), b"")) == "X25519"
    assert describe(Stanza("ssh-rsa", ("tag",), b"")) == "ssh-rsa:tag"
    assert describe(Stanza("ssh-rsa", (), b"")) == "ssh-rsa"


def test_reading_a_state_loads_no_cryptographic_library() -> None:
    code = (
        "import sys, nixsecrets.files.age.state;"
        "print(*{'cryptography', 'pyrage'} & sys.modules.keys())"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert loaded.stdout.strip() == ""
