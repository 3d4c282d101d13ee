"""The age format: parsing and writing gives the same bytes; the rest is refused."""

import re
import zlib
from pathlib import Path

import pyrage
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nixsecrets.errors import SecretFileError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import shape
from nixsecrets.files.age.header import AgeFile, Stanza
from nixsecrets.files.kind import looks_like_age
from tests import gate
from tests.files.agekeys import encode_header, spelled
from tests.fleet import SHARED

BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
END = b"-----END AGE ENCRYPTED FILE-----"
MAGIC = b"age-encryption.org/v1\n"
MAC = b"--- " + b"A" * 43 + b"\n"
BODY = b"A" * 43 + b"\n"
STANZA = b"-> X25519 abc\n" + BODY


def again(file: AgeFile) -> bytes:
    """Write a parsed file again."""
    header = encode_header(file.stanzas)
    return age_header.encode(header, file.mac, file.payload, armored=file.armored)


words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
stanzas = st.builds(
    Stanza,
    words.filter(lambda word: word != "scrypt"),
    st.lists(words, max_size=3).map(tuple),
    st.one_of(st.binary(max_size=100), st.integers(0, 4).map(lambda n: bytes(48 * n))),
)


@given(
    st.lists(stanzas, min_size=1, max_size=5),
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=200),
    st.booleans(),
)
def test_what_is_written_is_read_back_the_same(
    written: list[Stanza], mac: bytes, payload: bytes, armored: bool
) -> None:
    header = encode_header(written)
    data = age_header.encode(header, mac, payload, armored=armored)
    file = age_header.parse(data)
    assert file.stanzas == tuple(written)
    assert (file.mac, bytes(file.payload), file.header) == (mac, payload, header)
    assert file.armored is armored
    assert again(file) == data
    assert looks_like_age(data)


@given(st.lists(stanzas, min_size=1, max_size=3))
def test_the_spelled_stanzas_of_a_file_are_its_header(written: list[Stanza]) -> None:
    header = encode_header(written)
    file = age_header.parse(age_header.encode(header, bytes(32), b"", armored=False))
    assert list(file.encoded) == [spelled(stanza) for stanza in written]
    assert list(map(age_header.decode, file.encoded)) == written
    assert age_header.join_header(file.encoded) == header


SHARE = st.binary(min_size=32, max_size=32).map(
    lambda data: age_header.encode_base64(data).decode()
)
native = st.builds(
    lambda tag, share, body: Stanza(
        "ssh-ed25519" if tag else "X25519", (*tag, share), body
    ),
    st.sampled_from([(), ("AAAAAA",), ("b/+9zz",)]),
    SHARE,
    st.binary(min_size=32, max_size=32),
)


@given(st.lists(native | stanzas, min_size=1, max_size=5))
def test_a_head_is_the_argument_line_and_of_native_stanzas_without_the_share(
    written: list[Stanza],
) -> None:
    header = encode_header(written)
    file = age_header.parse(age_header.encode(header, bytes(32), b"", armored=False))
    lines = [" ".join((one.type, *one.args)).encode() for one in written]
    shares = [43 if head.endswith(b" ") else 0 for head in file.heads]
    pairs = zip(lines, shares, strict=True)
    assert [*file.heads] == [line[: len(line) - share] for line, share in pairs]
    assert file.native is all(shares)
    assert [*file.foreign] == [
        one for one, share in zip(written, shares, strict=True) if not share
    ]


NEARLY_NATIVE = {
    "another type in front": Stanza("a", ("->", "X25519", "A" * 43), bytes(32)),
    "no share": Stanza("X25519", (), bytes(32)),
    "two shares": Stanza("X25519", ("A" * 43, "A" * 43), bytes(32)),
    "a share with stray bits": Stanza("X25519", ("B" * 43,), bytes(32)),
    "a short share": Stanza("X25519", ("A" * 42,), bytes(32)),
    "a short body": Stanza("X25519", ("A" * 43,), bytes(31)),
    "a long body": Stanza("ssh-ed25519", ("AAAAAA", "A" * 43), bytes(48)),
    "a long tag": Stanza("ssh-ed25519", ("AAAAAAA", "A" * 43), bytes(32)),
    "a tag that is no base64": Stanza("ssh-ed25519", ("AAA-AA", "A" * 43), bytes(32)),
    "another type": Stanza("X25519-grease", ("A" * 43,), bytes(32)),
}


@pytest.mark.parametrize("stanza", NEARLY_NATIVE.values(), ids=NEARLY_NATIVE.keys())
def test_the_complete_line_of_an_almost_native_stanza_is_shown(stanza: Stanza) -> None:
    one = Stanza("X25519", ("A" * 43,), bytes(32))
    header = encode_header([one, stanza, one])
    file = age_header.parse(age_header.encode(header, bytes(32), b"", armored=False))
    line = " ".join((stanza.type, *stanza.args)).encode()
    assert file.heads == (b"X25519 ", line, b"X25519 ")
    assert not file.native


@given(st.binary(max_size=300), st.sampled_from([b"", MAGIC, MAGIC + STANZA, BEGIN]))
@example(b"\n" + END, BEGIN)
@example(b"\n\n" + END, BEGIN)
@example(b"\r\n\xff\r\n" + END, BEGIN)
def test_any_bytes_are_parsed_exactly_or_refused(tail: bytes, start: bytes) -> None:
    data = start + tail
    try:
        file = age_header.parse(data)
    except SecretFileError as error:
        assert error.hint
    else:
        text = data if not file.armored else data.strip() + b"\n"
        assert again(file) == text.replace(b"\r\n", b"\n" if file.armored else b"\r\n")


HEADER = MAGIC + STANZA + MAC
REFUSED_HEADERS = {
    "nothing": b"",
    "only the first line": MAGIC,
    "no recipient": MAGIC + MAC,
    "another version": HEADER.replace(b"v1", b"v2"),
    "CRLF": HEADER.replace(b"\n", b"\r\n"),
    "a blank line before": b"\n" + HEADER,
    "cut in a stanza": MAGIC + STANZA[:20],
    "cut behind a stanza": MAGIC + STANZA,
    "cut in the MAC": HEADER[:-3],
    "no line feed behind the MAC": HEADER[:-1],
    "no space before the MAC": HEADER.replace(b"--- ", b"---"),
    "two spaces before the MAC": HEADER.replace(b"--- ", b"---  "),
    "a padded MAC": HEADER[:-1] + b"=\n",
    "a MAC with stray bits": HEADER[:-2] + b"B\n",
    "no type": MAGIC + b"->\n" + BODY + MAC,
    "an empty type": MAGIC + b"-> \n" + BODY + MAC,
    "two spaces between arguments": MAGIC + b"-> a  b\n" + BODY + MAC,
    "a space at the end of the arguments": MAGIC + b"-> a b \n" + BODY + MAC,
    "a tab": MAGIC + b"-> a\tb\n" + BODY + MAC,
    "letters beyond ASCII": MAGIC + "-> ä\n".encode() + BODY + MAC,
    "no body": MAGIC + b"-> a\n" + MAC,
    "a padded body": MAGIC + b"-> a\nAA==\n" + MAC,
    "a body with stray bits": MAGIC + b"-> a\nAB\n" + MAC,
    "a body of one character": MAGIC + b"-> a\nA\n" + MAC,
    "a full last line": MAGIC + b"-> a\n" + b"A" * 64 + b"\n" + MAC,
    "a line of 65": MAGIC + b"-> a\n" + b"A" * 65 + b"\n\n" + MAC,
    "two short lines": MAGIC + b"-> a\nAAAA\nAAAA\n" + MAC,
    "passphrase beside a recipient": MAGIC + STANZA + b"-> scrypt a\n" + BODY + MAC,
    "two passphrases": MAGIC + (b"-> scrypt a\n" + BODY) * 2 + MAC,
}


@pytest.mark.parametrize("data", REFUSED_HEADERS.values(), ids=REFUSED_HEADERS.keys())
def test_a_header_with_any_fault_is_refused(data: bytes) -> None:
    assert age_header.parse(HEADER).stanzas == (Stanza("X25519", ("abc",), bytes(32)),)
    with pytest.raises(SecretFileError):
        age_header.parse(data)


ARMORED = age_header.encode(
    encode_header([Stanza("X25519", ("abc",), bytes(32))]),
    bytes(32),
    bytes(60),
    armored=True,
)
LINES = ARMORED.splitlines()
ACCEPTED_ARMOR = {
    "CRLF": ARMORED.replace(b"\n", b"\r\n"),
    "no line feed at the end": ARMORED.rstrip(),
    "blank lines before": b"\n \t\n" + ARMORED,
    "blank lines behind": ARMORED + b"\r\n \n",
}
REFUSED_ARMOR = {
    "a byte order mark": b"\xef\xbb\xbf" + ARMORED,
    "words before": b"hello\n" + ARMORED,
    "words behind": ARMORED + b"hello\n",
    "another label": ARMORED.replace(b"AGE ENCRYPTED", b"PGP"),
    "no end": b"\n".join(LINES[:-1]) + b"\n",
    "only begin and end": BEGIN + b"\n" + END,
    "begin and end on one line": BEGIN + END,
    "a PEM header": b"\n".join([LINES[0], b"A: b", b"", *LINES[1:]]),
    "an indented line": ARMORED.replace(b"\n", b"\n ", 1),
    "a blank at the end of a line": ARMORED.replace(b"\n", b" \n", 2),
    "a blank line inside": ARMORED.replace(b"\n", b"\n\n", 1),
    "a blank line before the end": ARMORED.replace(b"\n-----END", b"\n\n-----END"),
    "a short line": ARMORED.replace(LINES[1], LINES[1][:32] + b"\n" + LINES[1][32:]),
    "a long line": ARMORED.replace(LINES[1] + b"\n", LINES[1]),
    "no padding": ARMORED.replace(b"=", b""),
    "another alphabet": ARMORED.replace(LINES[2], b"-" * 64),
}


@pytest.mark.parametrize("data", ACCEPTED_ARMOR.values(), ids=ACCEPTED_ARMOR.keys())
def test_armor_may_have_blanks_around_it_and_windows_line_ends(data: bytes) -> None:
    assert looks_like_age(data)
    assert again(age_header.parse(data)) == ARMORED


@pytest.mark.parametrize("data", REFUSED_ARMOR.values(), ids=REFUSED_ARMOR.keys())
def test_armor_with_any_fault_inside_is_refused(data: bytes) -> None:
    assert b"=" in ARMORED, "the sample must end in padding to be of use"
    with pytest.raises(SecretFileError):
        age_header.parse(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", False),
        (b"age", False),
        (b"# how to use age-encryption.org/v1\n", False),
        (b"password: hunter2\n", False),
        (b"text\n" + BEGIN, False),
        (MAGIC, True),
        (b"age-encryption.org/v2\n", True),
        (BEGIN, True),
        (b"\n\t " + BEGIN, True),
        (b"\xef\xbb\xbf" + BEGIN, True),
    ],
)
def test_a_file_is_taken_for_age_by_how_it_starts(data: bytes, expected: bool) -> None:
    assert looks_like_age(data) is expected


def test_no_error_repeats_what_is_in_the_file() -> None:
    for data in (*REFUSED_HEADERS.values(), b"hunter2", MAGIC + b"-> hunter2\n"):
        with pytest.raises(SecretFileError) as caught:
            age_header.parse(data)
        assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"
        assert caught.value.message[0].islower()
        assert not caught.value.message.endswith(".")


def test_repr_shows_neither_payload_nor_file() -> None:
    assert re.sub(r"body=b'.*?'", "", repr(age_header.parse(ARMORED))).count("b'") == 0


@pytest.mark.parametrize(
    "hostile",
    [
        MAGIC + b"-> " + b"a" * 10_000_000,
        MAGIC + b"-> " + b"a " * 5_000_000,
        MAGIC + b"-> a\n" + (b"A" * 64 + b"\n") * 150_000,
        MAGIC + b"-> a\n" + b"A" * 10_000_000,
        MAGIC + b"-> a\n\n" * 500_000,
        BEGIN + b"\n" * 10_000_000 + END,
        BEGIN + b"A" * 10_000_000 + END,
        b" " * 10_000_000,
    ],
    ids=range(8),
)
def test_ten_hostile_megabytes_are_refused_at_once(hostile: bytes) -> None:
    # Anything worse than linear would take hours, not the test's time-out.
    with pytest.raises(SecretFileError):
        age_header.parse(hostile)


CHUNK = 64 * 1024


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_the_payload_of_a_real_file_has_no_fault(size: int) -> None:
    to = pyrage.x25519.Identity.generate().to_public()
    file = age_header.parse(pyrage.encrypt(bytes(size), [to]))
    assert shape.payload_fault(len(file.payload)) is None


NONCE, TAG = 16, 16


@pytest.mark.parametrize(
    "length",
    [
        0,
        NONCE,
        NONCE + TAG - 1,
        NONCE + (TAG + CHUNK) + 1,
        NONCE + (TAG + CHUNK) + TAG - 1,
        NONCE + (TAG + CHUNK) + TAG,
        NONCE + 2 * (TAG + CHUNK) + TAG,
    ],
)
def test_a_payload_no_plaintext_can_have_is_a_fault(length: int) -> None:
    assert shape.payload_fault(length)


TESTKIT = SHARED / "vectors" / "age-testkit"
KIT = sorted(TESTKIT.iterdir()) if TESTKIT.is_dir() else []
# Header failures that lie in what a stanza means; `wrap` and pyrage find those.
BEYOND_GRAMMAR = re.compile(
    r"(x25519|hybrid|scrypt|stream)_(?!not_canonical_body|and_x25519|double)"
)


@pytest.mark.skipif(not KIT, reason=gate.reason("shared", "age's test suite"))
@pytest.mark.parametrize("vector", KIT, ids=lambda path: path.name)
def test_the_public_test_suite_is_judged_as_it_says(vector: Path) -> None:
    keys, data = read_vector(vector)
    fault = keys["expect"] == "armor failure" or (
        keys["expect"] == "header failure" and not BEYOND_GRAMMAR.match(vector.name)
    )
    if fault:
        with pytest.raises(SecretFileError):
            age_header.parse(data)
    else:
        file = age_header.parse(data)
        text = data.strip().replace(b"\r\n", b"\n") + b"\n" if file.armored else data
        assert again(file) == text


def read_vector(vector: Path) -> tuple[dict[str, str], bytes]:
    """Return what a vector says about itself, and its age file."""
    head, _, data = vector.read_bytes().partition(b"\n\n")
    keys = dict(line.split(": ", 1) for line in head.decode().splitlines())
    return keys, zlib.decompress(data) if "compressed" in keys else data
