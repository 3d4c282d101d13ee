"""The value engine prints plain files exactly as sops does, and declines the others."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import printing
from nixsecrets.files.sops.program import Layout
from nixsecrets.files.sops.workcopy import layout_of
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key

ALICE_KEY = age_key()
ALICE = reader(ALICE_KEY)
PLAIN = b"""\
api: tok-en/1+2=
database:
    password: hunter2
    replica:
        user: a.b_c
    name: x
last: two words - or 3
long: LONG
port: 5432
tls: true
true_too: false
"""
PLAIN = PLAIN.replace(b"LONG", b"many words " * 40 + b"end")
WORDS = [
    *("a", "yes", "No", "ON", "y", "null", "True", "e5", "x1e5", "inf", "nan", "Inf"),
    *(
        "12",
        "1.5",
        "0x1f",
        "1_000",
        "2024-01-02",
        "a b",
        "a: b",
        "a #b",
        "#",
        "-",
        "a:",
    ),
    *(
        "=",
        "<<",
        "~",
        "",
        " ",
        "a\nb",
        "a\n",
        "é",
        "a'b",
        'a"b',
        "a,b",
        "[a",
        "{a",
        "*a",
    ),
    *(
        "&a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "a=",
        "a==",
        "a/b",
        "a" * 300,
        "a\tb",
        "0o7",
    ),
    *("---", "...", "a...", "sops", "mac", "ENC[a]", "null.", "yes.no", "n-", "\u2028"),
]


def by_both(
    version: str, name: str, data: bytes, folder: Path
) -> tuple[bytes | None, bytes | None]:
    """Return what we print, and what sops does, each None where it refuses."""
    file = metadata.parse(name, data)
    ours = printing.printed(file, data_key(file, [ALICE.identity]))
    sops = sopsfiles.SOPS[version]()
    try:
        theirs = sops.decrypt(
            data,
            kind=file.format,
            identity=ALICE.private,
            layout=layout_of(file),
            workdir=folder,
        )
    except SecretFileError:
        return ours, None
    return ours, theirs


def encrypted(version: str, text: bytes, folder: Path) -> bytes:
    program = sopsfiles.SOPS[version]()
    return sopsfiles.encrypt(program, "a.yaml", text, [ALICE_KEY.public], folder)


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_a_plain_file_is_printed_by_us_as_by_sops(version: str, tmp_path: Path) -> None:
    data = encrypted(version, PLAIN, tmp_path)
    ours, theirs = by_both(version, "a.yaml", data, tmp_path)
    assert ours == theirs == PLAIN


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_every_word_is_printed_as_by_sops_or_not_at_all(
    version: str, tmp_path: Path
) -> None:
    printed = set()
    for word in WORDS:
        for content in ({"k": word}, {"k": {word or "e": "v"}, "l": "w"}):
            text = json.dumps(content).encode()
            data = encrypted(version, text, tmp_path)
            ours, theirs = by_both(version, "a.yaml", data, tmp_path)
            if ours is not None:
                assert ours == theirs, word
                printed.add(word)
    assert printed >= {"a", "a=", "a/b", "yes.no", "a" * 300}


_NAMES = st.sampled_from([*"abc", "sops_x", "mac", "a-b", "on", "1", "a b"])
_VALUES = st.one_of(
    st.text("aZ09+/=_.-: #'", max_size=6),
    st.sampled_from([True, None, 5, -7, 1.5, 10**18]),
)
_TREES = st.recursive(
    _VALUES,
    lambda below: st.one_of(
        st.dictionaries(_NAMES, below, max_size=3), st.lists(below, max_size=2)
    ),
    max_leaves=6,
)


@given(st.dictionaries(_NAMES, _TREES, min_size=1, max_size=4), st.integers(1, 8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_printed_as_by_sops_or_not_at_all(
    tmp_path: Path, content: dict[str, object], indent: int
) -> None:
    text = json.dumps(content).encode()
    data = sopsfiles.SOPS["3.11"]().encrypt(
        text,
        kind=SopsFormat.YAML,
        recipient=ALICE_KEY.public,
        options=(),
        layout=Layout(yaml=indent),
        workdir=tmp_path,
    )
    ours, theirs = by_both("3.11", "a.yaml", data, tmp_path)
    assert ours in (None, theirs)


CHANGED = {
    "a comment": (b"last:", b"# why\nlast:"),
    "a blank line": (b"last:", b"\nlast:"),
    "another indentation": (b"    password:", b"     password:"),
    "a key twice": (b"last:", b"api:"),
    "a value in quotes": (b"api: ENC", b"api: 'ENC"),
    "a value in plaintext": (b"last: ENC", b"x: plain\nlast: ENC"),
    "a moved value": (b"last:", b"other:"),
    "CRLF": (b"\n", b"\r\n"),
    "a key behind the metadata": (b"    version: ", b"    version: "),
    "another type": (b"type:str]\ndatabase", b"type:int]\ndatabase"),
    "a number as text": (b"type:int]", b"type:str]"),
    "a number as a boolean": (b"type:int]", b"type:bool]"),
}


@pytest.mark.parametrize("how", CHANGED)
def test_a_file_that_somebody_changed_is_left_to_sops(how: str, tmp_path: Path) -> None:
    data = encrypted("3.11", PLAIN, tmp_path)
    old, new = CHANGED[how]
    assert old in data
    changed = data.replace(old, new)
    if how == "a key behind the metadata":
        (token,) = re.findall(rb"api: (ENC\S*)", data)
        changed = data + b"zzz: " + token + b"\n"
    file = metadata.parse("a.yaml", changed)
    key = data_key(file, [ALICE.identity])
    assert printing.printed(file, key) is None


def test_a_mac_of_another_version_is_not_accepted(tmp_path: Path) -> None:
    one = encrypted("3.11", PLAIN, tmp_path)
    file = metadata.parse("a.yaml", one)
    key = data_key(file, [ALICE.identity])
    dropped = re.sub(rb"last: .*\n", b"", one)
    assert printing.printed(metadata.parse("a.yaml", dropped), key) is None
